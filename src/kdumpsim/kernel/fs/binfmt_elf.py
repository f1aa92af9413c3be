# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading ELF programs (fs/binfmt_elf.c; System V ABI, chapters 4 and 5): static ET_EXEC files of 32-bit i386.

Whatever a file says is checked before anything is done by it: a bad file is -ENOEXEC, never a crash.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cast, guest, i32, ptr, sizeof, u8, u32, usize
from kdumpsim.kernel.architecture import ELF_MACHINE, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from kdumpsim.kernel.capture.elf import (
    EI_CLASS,
    EI_DATA,
    EI_VERSION,
    ELFCLASS32,
    ELFDATA2LSB,
    EV_CURRENT,
    PT_LOAD,
    Elf32Ehdr,
    Elf32Phdr,
)
from kdumpsim.kernel.core.types import EIO, ENOEXEC, ENOMEM
from kdumpsim.kernel.fs.file_types import File
from kdumpsim.kernel.mm.memory import get_user_page
from kdumpsim.kernel.mm.mm_types import VM_EXEC, VM_READ, VM_WRITE, MmStruct
from kdumpsim.kernel.mm.page_alloc import page_address
from kdumpsim.kernel.mm.vma import TASK_SIZE, find_vma, insert_vma, vma_set_file

ET_EXEC: Final = 2
PF_X: Final = 1
PF_W: Final = 2
PF_R: Final = 4
MAX_PHDRS: Final = 16
STACK_SIZE: Final = 1 << 20
STACK_TOP: Final = TASK_SIZE
USER_START: Final = 0x1000
"""Nothing can lie in the first page, so that null pointers fault."""
USER_END: Final = STACK_TOP - STACK_SIZE - PAGE_SIZE
"""Programs end below the stack and a page that nothing may touch."""


@guest
def elf_header_sane(header: ptr[Elf32Ehdr], size: usize) -> bool:
    """Whether the first bytes of a file are those of a program for this machine, its program headers among them."""
    if size < sizeof(Elf32Ehdr):
        return False
    ident: ptr[u8] = header.e_ident
    if ident[0] != 0x7F or ident[1] != ord("E") or ident[2] != ord("L") or ident[3] != ord("F"):
        return False
    if ident[EI_CLASS] != ELFCLASS32 or ident[EI_DATA] != ELFDATA2LSB or ident[EI_VERSION] != EV_CURRENT:
        return False
    if header.e_type != ET_EXEC or header.e_machine != ELF_MACHINE or header.e_version != EV_CURRENT:
        return False
    if header.e_phentsize != sizeof(Elf32Phdr) or header.e_phnum == 0 or header.e_phnum > MAX_PHDRS:
        return False
    return header.e_phoff <= size and u32(header.e_phnum) * sizeof(Elf32Phdr) <= size - header.e_phoff


@guest
def elf_load_sane(phdr: ptr[Elf32Phdr], previous_end: usize) -> bool:
    """Whether a PT_LOAD lies behind the one before it, on pages of its own, where programs may lie."""
    if phdr.p_filesz > phdr.p_memsz or phdr.p_memsz == 0 or phdr.p_memsz > USER_END:
        return False
    if phdr.p_vaddr < USER_START or phdr.p_vaddr > USER_END - phdr.p_memsz:
        return False
    if (phdr.p_vaddr ^ phdr.p_offset) & (PAGE_SIZE - 1) or phdr.p_offset > 0x7FFF_FFFF - phdr.p_filesz:
        return False
    return phdr.p_vaddr & PAGE_MASK >= previous_end


@guest
def elf_check(file: ptr[u8], size: usize) -> i32:
    """Check all headers, of which `size` bytes from the file's start are there: 0 or -ENOEXEC."""
    header = cast(ptr[Elf32Ehdr], file)
    if not elf_header_sane(header, size):
        return -ENOEXEC
    end: usize = 0
    entered = False
    for i in range(u32(header.e_phnum)):
        phdr = cast(ptr[Elf32Phdr], file + header.e_phoff) + i
        if phdr.p_type != PT_LOAD:
            continue
        if not elf_load_sane(phdr, end):
            return -ENOEXEC
        end = (phdr.p_vaddr + phdr.p_memsz + PAGE_SIZE - 1) & PAGE_MASK
        if phdr.p_flags & PF_X and header.e_entry >= phdr.p_vaddr and header.e_entry - phdr.p_vaddr < phdr.p_filesz:
            entered = True
    return 0 if entered else -ENOEXEC


@guest
def elf_region_flags(p_flags: u32) -> u32:
    """A segment's rights as a region's."""
    flags: u32 = 0
    if p_flags & PF_R:
        flags |= VM_READ
    if p_flags & PF_W:
        flags |= VM_WRITE
    if p_flags & PF_X:
        flags |= VM_EXEC
    return flags


@guest
def elf_fill(file: ptr[File], mm: ptr[MmStruct], phdr: ptr[Elf32Phdr]) -> i32:
    """Read a segment's bytes into its pages; what lies behind them comes by demand, zeroed."""
    vma = find_vma(mm, phdr.p_vaddr)
    done: u32 = 0
    while done < phdr.p_filesz:
        address = phdr.p_vaddr + done
        offset = address & (PAGE_SIZE - 1)
        count = min(phdr.p_filesz - done, PAGE_SIZE - offset)
        page = get_user_page(mm, vma, address)
        if page == NULL:
            return -ENOMEM
        file.f_pos = phdr.p_offset + done
        if file.f_op.read(file, cast(ptr[u8], page_address(page)) + offset, count) != i32(count):
            return -EIO
        done += count
    return 0


@guest
def load_elf_binary(file: ptr[File], headers: ptr[u8], size: usize, mm: ptr[MmStruct]) -> i32:
    """Build the address space of a program whose first `size` bytes are at `headers`; 0 or a negative errno."""
    error = elf_check(headers, size)
    if error != 0:
        return error
    header = cast(ptr[Elf32Ehdr], headers)
    for i in range(u32(header.e_phnum)):
        phdr = cast(ptr[Elf32Phdr], headers + header.e_phoff) + i
        if phdr.p_type != PT_LOAD:
            continue
        end = (phdr.p_vaddr + phdr.p_memsz + PAGE_SIZE - 1) & PAGE_MASK
        error = insert_vma(mm, phdr.p_vaddr & PAGE_MASK, end, elf_region_flags(phdr.p_flags))
        if error == 0:
            vma_set_file(find_vma(mm, phdr.p_vaddr), file, phdr.p_offset >> PAGE_SHIFT)
            error = elf_fill(file, mm, phdr)
        if error != 0:
            return error
        if phdr.p_flags & PF_X:
            mm.start_code = phdr.p_vaddr
            mm.end_code = phdr.p_vaddr + phdr.p_memsz
        elif phdr.p_flags & PF_W:
            mm.start_data = phdr.p_vaddr
            mm.end_data = phdr.p_vaddr + phdr.p_filesz
        mm.start_brk = end
        mm.brk = end
    return insert_vma(mm, STACK_TOP - STACK_SIZE, STACK_TOP, VM_READ | VM_WRITE)
