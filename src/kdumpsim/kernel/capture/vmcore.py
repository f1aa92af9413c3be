# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/vmcore: the dead kernel's memory as an ELF core file (kdump paper, section 4.5.1; Linux fs/proc/vmcore.c).

The headers that kexec-tools left are copied and checked; if they are not sane, /proc/vmcore has size zero and
the console says why.  The notes of all CPUs are merged into one PT_NOTE, and every PT_LOAD gets a page-aligned
offset in the file.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    cast,
    cstr,
    fn,
    guest,
    i32,
    placed,
    ptr,
    sizeof,
    u8,
    u16,
    u32,
    u64,
    usize,
)
from kdumpsim.kernel.architecture import ELF_MACHINE, PAGE_MASK, PAGE_SIZE, pa
from kdumpsim.kernel.capture.elf import (
    EI_CLASS,
    EI_DATA,
    EI_VERSION,
    ELFCLASS32,
    ELFCLASS64,
    ELFDATA2LSB,
    ET_CORE,
    EV_CURRENT,
    PT_LOAD,
    PT_NOTE,
    Elf32Ehdr,
    Elf64Ehdr,
    Elf64Phdr,
    elf_ehdr_size,
    elf_get_phdr,
    elf_phdr_size,
    elf_put_phdr,
)
from kdumpsim.kernel.capture.elfcorehdr import elfcorehdr_addr, is_kdump_kernel
from kdumpsim.kernel.capture.oldmem import OLDMEM_END, read_from_oldmem
from kdumpsim.kernel.core.elf import ElfNote
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import memcpy, memset
from kdumpsim.kernel.core.types import EINVAL, ENOMEM
from kdumpsim.kernel.fs.file_types import File, FileOperations
from kdumpsim.kernel.fs.proc import register_proc_fops
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages
from kdumpsim.kernel.mm.slab import kzalloc

MAX_PHDRS: Final = 64
MAX_NOTE_BYTES: Final = 4096
"""Longest note area of one CPU; kexec reserves 1 KiB."""
HEADERS_ORDER: Final = 3
HEADERS_BYTES: Final = 4096 << HEADERS_ORDER


class VmcoreRange(Struct):
    """Old memory of `size` bytes at `paddr` that stands at `offset` in /proc/vmcore."""

    paddr: usize
    size: usize
    offset: u64
    next: ptr["VmcoreRange"]


class ElfSummary(Struct):
    """What the file header says, in one form for both classes."""

    elf_class: u8
    phoff: u64
    phnum: u32


vmcore_size: u64 = 0
vmcore_headers: ptr[u8] = NULL
vmcore_headers_bytes: usize = 0
vmcore_data_offset: usize = 0
vmcore_ranges: ptr[VmcoreRange] = NULL
vmcore_last_range: ptr[VmcoreRange] = NULL


@guest
def vmcore_page_up(value: usize) -> usize:
    """Round up to a page."""
    return (value + PAGE_SIZE - 1) & PAGE_MASK


@guest
def vmcore_bad(reason: cstr) -> bool:
    """Say why there is no vmcore; always False."""
    printk(f"<4>Warning: Core image elf header not sane: {reason:s}\n")
    return False


@guest
def elf_ident_sane(ident: ptr[u8]) -> bool:
    """Check e_ident: magic, class, byte order, version."""
    if ident[0] != 0x7F or ident[1] != ord("E") or ident[2] != ord("L") or ident[3] != ord("F"):
        return vmcore_bad("no ELF magic")
    if ident[EI_CLASS] != ELFCLASS32 and ident[EI_CLASS] != ELFCLASS64:
        return vmcore_bad("unknown class")
    if ident[EI_DATA] != ELFDATA2LSB or ident[EI_VERSION] != EV_CURRENT:
        return vmcore_bad("wrong byte order or version")
    return True


@guest
def elf_summarise(header: ptr[u8], out: ptr[ElfSummary]) -> bool:
    """Check the file header and take from it what is needed."""
    if not elf_ident_sane(header):
        return False
    narrow = cast(ptr[Elf32Ehdr], header)
    wide = cast(ptr[Elf64Ehdr], header)
    is64: bool = header[EI_CLASS] == ELFCLASS64
    out.elf_class = header[EI_CLASS]
    if narrow.e_type != ET_CORE:
        return vmcore_bad("not a core file")
    if narrow.e_machine != ELF_MACHINE or narrow.e_version != EV_CURRENT:
        return vmcore_bad("wrong machine or version")
    ehsize: u16 = wide.e_ehsize if is64 else narrow.e_ehsize
    phentsize: u16 = wide.e_phentsize if is64 else narrow.e_phentsize
    if ehsize != elf_ehdr_size(out.elf_class) or phentsize != elf_phdr_size(out.elf_class):
        return vmcore_bad("wrong header sizes")
    out.phnum = u32(wide.e_phnum if is64 else narrow.e_phnum)
    out.phoff = wide.e_phoff if is64 else narrow.e_phoff
    if out.phnum == 0 or out.phnum > MAX_PHDRS:
        return vmcore_bad("no or too many program headers")
    if out.phoff < ehsize or out.phoff > PAGE_SIZE:
        return vmcore_bad("program headers out of place")
    return True


@guest
def elf_set_phnum(header: ptr[u8], phnum: u16) -> None:
    """Finish the copied file header: program headers follow it at once, sections there are none."""
    if header[EI_CLASS] == ELFCLASS64:
        wide = cast(ptr[Elf64Ehdr], header)
        wide.e_phnum = phnum
        wide.e_phoff = sizeof(Elf64Ehdr)
        return
    narrow = cast(ptr[Elf32Ehdr], header)
    narrow.e_phnum = phnum
    narrow.e_phoff = sizeof(Elf32Ehdr)


@guest
def real_notes_size(notes: ptr[u8], size: usize) -> usize:
    """Bytes of notes before the null note; a note that does not fit ends them too (Linux update_note_header_size)."""
    at: u32 = 0
    while at + sizeof(ElfNote) <= size:
        note = cast(ptr[ElfNote], notes + at)
        if note.n_namesz == 0 or note.n_namesz > size or note.n_descsz > size:
            break
        n: u32 = sizeof(ElfNote) + ((note.n_namesz + 3) & 0xFFFFFFFC) + ((note.n_descsz + 3) & 0xFFFFFFFC)
        if at + n > size:
            break
        at += n
    return at


@guest
def phdr_sane(phdr: ptr[Elf64Phdr]) -> bool:
    """Does the header describe memory that can exist?  p_offset is where it lies now (paper, section 4.3)."""
    if phdr.p_memsz > OLDMEM_END or phdr.p_offset > OLDMEM_END - phdr.p_memsz:
        return vmcore_bad("memory beyond 4 GiB")
    if phdr.p_type == PT_LOAD and phdr.p_filesz != phdr.p_memsz:
        return vmcore_bad("PT_LOAD with p_filesz unlike p_memsz")
    return True


@guest
def merge_notes(elf_class: u8, table: ptr[u8], phnum: u32, notes: ptr[u8], room: usize) -> i32:
    """Copy the notes of every PT_NOTE one after the other; their size or a negative errno."""
    phdr: Elf64Phdr = Elf64Phdr()
    done: usize = 0
    for i in range(phnum):
        elf_get_phdr(elf_class, table, i, phdr)
        if phdr.p_type != PT_NOTE:
            continue
        if not phdr_sane(phdr) or phdr.p_memsz > MAX_NOTE_BYTES or usize(phdr.p_memsz) > room - done:
            return -EINVAL
        size: usize = usize(phdr.p_memsz)
        read_from_oldmem(notes + done, usize(phdr.p_offset), size)
        done += real_notes_size(notes + done, size)
    return i32(done)


@guest
def add_range(paddr: usize, size: usize, offset: u64) -> bool:
    """Append a piece of old memory to the list."""
    global vmcore_ranges, vmcore_last_range
    piece = cast(ptr[VmcoreRange], kzalloc(sizeof(VmcoreRange)))
    if piece == NULL:
        return False
    piece.paddr = paddr
    piece.size = size
    piece.offset = offset
    if vmcore_last_range == NULL:
        vmcore_ranges = piece
    else:
        vmcore_last_range.next = piece
    vmcore_last_range = piece
    return True


@guest
def count_phdrs(elf_class: u8, table: ptr[u8], phnum: u32, kind: u32) -> u32:
    """How many program headers are of a type."""
    phdr: Elf64Phdr = Elf64Phdr()
    count: u32 = 0
    for i in range(phnum):
        elf_get_phdr(elf_class, table, i, phdr)
        if phdr.p_type == kind:
            count += 1
    return count


@guest
def place_loads(elf_class: u8, table: ptr[u8], phnum: u32, out: ptr[u8]) -> i32:
    """Give every PT_LOAD its place in the file, from vmcore_data_offset on; write the new headers from index 1 on."""
    global vmcore_size
    phdr: Elf64Phdr = Elf64Phdr()
    offset: u64 = vmcore_data_offset
    index: u32 = 1
    for i in range(phnum):
        elf_get_phdr(elf_class, table, i, phdr)
        if phdr.p_type != PT_LOAD:
            continue
        if not phdr_sane(phdr):
            return -EINVAL
        size: usize = usize(phdr.p_memsz)
        if not add_range(usize(phdr.p_offset), size, offset):
            return -ENOMEM
        phdr.p_offset = offset
        elf_put_phdr(elf_class, out, index, phdr)
        index += 1
        vmcore_size = offset + size
        offset += vmcore_page_up(size)
    return 0


@guest
def vmcore_build(old: ptr[u8], found: ptr[ElfSummary]) -> i32:
    """Make the new headers and the list of ranges from the copied old headers."""
    global vmcore_headers_bytes, vmcore_data_offset
    phdr: Elf64Phdr = Elf64Phdr()
    elf_class: u8 = found.elf_class
    table: ptr[u8] = old + usize(found.phoff)
    loads: u32 = count_phdrs(elf_class, table, found.phnum, PT_LOAD)
    if loads == 0 or count_phdrs(elf_class, table, found.phnum, PT_NOTE) == 0:
        vmcore_bad("no PT_LOAD or no PT_NOTE")
        return -EINVAL
    ehsize: usize = elf_ehdr_size(elf_class)
    notes_at: usize = ehsize + (loads + 1) * elf_phdr_size(elf_class)
    memcpy(vmcore_headers, old, ehsize)
    elf_set_phnum(vmcore_headers, u16(loads + 1))
    notes: i32 = merge_notes(elf_class, table, found.phnum, vmcore_headers + notes_at, HEADERS_BYTES - notes_at)
    if notes < 0:
        return notes
    phdr.p_type = PT_NOTE
    phdr.p_offset = notes_at
    phdr.p_filesz = u32(notes)
    phdr.p_memsz = u32(notes)
    elf_put_phdr(elf_class, vmcore_headers + ehsize, 0, phdr)
    vmcore_headers_bytes = notes_at + u32(notes)
    vmcore_data_offset = vmcore_page_up(vmcore_headers_bytes)
    return place_loads(elf_class, table, found.phnum, vmcore_headers + ehsize)


@guest
def parse_crash_elf_headers() -> i32:
    """Copy the old headers, check them, and build the vmcore from them."""
    found: ElfSummary = ElfSummary()
    old = cast(ptr[u8], __get_free_pages(HEADERS_ORDER))
    if old == NULL:
        return -ENOMEM
    if elfcorehdr_addr > OLDMEM_END - HEADERS_BYTES:
        vmcore_bad("elfcorehdr= beyond 4 GiB")
        return -EINVAL
    read_from_oldmem(old, u32(elfcorehdr_addr), HEADERS_BYTES)
    if not elf_summarise(old, found):
        return -EINVAL
    return vmcore_build(old, found)


@guest
def vmcore_range_at(offset: u64) -> ptr[VmcoreRange]:
    """The range at a place of the file, or the next one behind it; NULL behind the last."""
    piece: ptr[VmcoreRange] = vmcore_ranges
    while piece != NULL and offset >= piece.offset + piece.size:
        piece = piece.next
    return piece


@guest
def vmcore_read(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """/proc/vmcore: headers, then the ranges; gaps between them read as zeros."""
    done: usize = 0
    while done < count and file.f_pos < vmcore_size:
        if file.f_pos < vmcore_headers_bytes:
            n: usize = min(count - done, vmcore_headers_bytes - usize(file.f_pos))
            memcpy(buffer + done, vmcore_headers + usize(file.f_pos), n)
            file.f_pos += n
            done += n
            continue
        piece = vmcore_range_at(file.f_pos)
        if piece == NULL:
            break
        if file.f_pos < piece.offset:
            gap: usize = min(count - done, usize(piece.offset - file.f_pos))
            memset(buffer + done, 0, gap)
            file.f_pos += gap
            done += gap
            continue
        inside: usize = usize(file.f_pos - piece.offset)
        part: usize = min(count - done, piece.size - inside)
        read_from_oldmem(buffer + done, piece.paddr + inside, part)
        file.f_pos += part
        done += part
    return i32(done)


@guest
def vmcore_send_copy(file: ptr[File], count: usize, out: ptr[File]) -> i32:
    """Send up to a page by way of this kernel's own memory: headers, and what lies in memory in no whole pages."""
    page = __get_free_pages(0)
    if page == NULL:
        return -ENOMEM
    n = vmcore_read(file, cast(ptr[u8], page), min(count, PAGE_SIZE))
    sent: i32 = out.f_op.sendphys(out, pa(usize(page)), u32(n))
    file.f_pos -= u32(n - max(sent, 0))
    free_pages(page, 0)
    return sent


@guest
def vmcore_send_pages(file: ptr[File], piece: ptr[VmcoreRange], count: usize, out: ptr[File]) -> i32:
    """Send whole pages of old memory from where they lie."""
    sent: i32 = out.f_op.sendphys(out, piece.paddr + usize(file.f_pos - piece.offset), count)
    if sent > 0:
        file.f_pos += u32(sent)
    return sent


@guest
def vmcore_sendfile(file: ptr[File], count: usize, out: ptr[File]) -> i32:
    """sendfile() from /proc/vmcore; how much, or the errno of the first piece."""
    done: usize = 0
    while done < count and file.f_pos < vmcore_size:
        piece = vmcore_range_at(file.f_pos)
        whole: usize = 0
        if piece != NULL and file.f_pos >= piece.offset and piece.paddr & 1 == 0:
            whole = min(count - done, piece.size - usize(file.f_pos - piece.offset)) & PAGE_MASK
        if whole != 0:
            sent = vmcore_send_pages(file, piece, whole, out)
        else:
            sent = vmcore_send_copy(file, count - done, out)
        if sent <= 0:
            return i32(done) if done != 0 else sent
        done += u32(sent)
    return i32(done)


@guest
def vmcore_file_size(file: ptr[File]) -> u64:
    """Where the file ends; 0 when the dead kernel's headers were not sane."""
    return vmcore_size


@guest
def vmcore_release(file: ptr[File]) -> None:
    """Nothing is kept for an open /proc/vmcore."""


vmcore_file_operations: FileOperations = FileOperations(
    read=vmcore_read, release=vmcore_release, size=vmcore_file_size, sendfile=vmcore_sendfile
)


@guest
def vmcore_open() -> u64:
    """Build the vmcore if that has not been done; its size, 0 if it cannot be built.  Needs memory and no more."""
    global vmcore_headers, vmcore_size
    if vmcore_headers == NULL:
        vmcore_headers = cast(ptr[u8], __get_free_pages(HEADERS_ORDER))
        error: i32 = -ENOMEM
        if vmcore_headers != NULL:
            error = parse_crash_elf_headers()
        if error != 0:
            vmcore_size = 0
            printk(f"<4>Kdump: vmcore not initialized, error {-error}\n")
    return vmcore_size


@guest
def vmcore_init() -> i32:
    """/proc/vmcore, in a capture kernel only."""
    if not is_kdump_kernel():
        return 0
    vmcore_open()
    return register_proc_fops("/proc/vmcore", vmcore_file_operations, NULL)


_init_vmcore: fn[[], i32] = placed("initcall5", vmcore_init)
