# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF core headers in both sizes (System V ABI, chapters 4 and 5), and one form for program headers of either."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, cast, guest, length, ptr, sizeof, u8, u16, u32, u64, usize

EI_NIDENT: Final = 16
EI_CLASS: Final = 4
EI_DATA: Final = 5
EI_VERSION: Final = 6
ELFCLASS32: Final = 1
ELFCLASS64: Final = 2
ELFDATA2LSB: Final = 1
EV_CURRENT: Final = 1
ET_CORE: Final = 4
PT_LOAD: Final = 1
PT_NOTE: Final = 4


class Elf32Ehdr(Struct):
    """ELF32 file header."""

    e_ident: array[u8] = length(EI_NIDENT)
    e_type: u16
    e_machine: u16
    e_version: u32
    e_entry: u32
    e_phoff: u32
    e_shoff: u32
    e_flags: u32
    e_ehsize: u16
    e_phentsize: u16
    e_phnum: u16
    e_shentsize: u16
    e_shnum: u16
    e_shstrndx: u16


class Elf64Ehdr(Struct):
    """ELF64 file header."""

    e_ident: array[u8] = length(EI_NIDENT)
    e_type: u16
    e_machine: u16
    e_version: u32
    e_entry: u64
    e_phoff: u64
    e_shoff: u64
    e_flags: u32
    e_ehsize: u16
    e_phentsize: u16
    e_phnum: u16
    e_shentsize: u16
    e_shnum: u16
    e_shstrndx: u16


class Elf32Phdr(Struct):
    """ELF32 program header."""

    p_type: u32
    p_offset: u32
    p_vaddr: u32
    p_paddr: u32
    p_filesz: u32
    p_memsz: u32
    p_flags: u32
    p_align: u32


class Elf64Phdr(Struct):
    """ELF64 program header, and the form this kernel works with."""

    p_type: u32
    p_flags: u32
    p_offset: u64
    p_vaddr: u64
    p_paddr: u64
    p_filesz: u64
    p_memsz: u64
    p_align: u64


@guest
def elf_phdr_size(elf_class: u8) -> usize:
    """Size of a program header."""
    return sizeof(Elf64Phdr) if elf_class == ELFCLASS64 else sizeof(Elf32Phdr)


@guest
def elf_ehdr_size(elf_class: u8) -> usize:
    """Size of the file header."""
    return sizeof(Elf64Ehdr) if elf_class == ELFCLASS64 else sizeof(Elf32Ehdr)


@guest
def elf_get_phdr(elf_class: u8, table: ptr[u8], index: u32, out: ptr[Elf64Phdr]) -> None:
    """Read a program header of either size."""
    if elf_class == ELFCLASS64:
        out[0] = cast(ptr[Elf64Phdr], table)[index]
        return
    narrow = cast(ptr[Elf32Phdr], table) + index
    out.p_type = narrow.p_type
    out.p_flags = narrow.p_flags
    out.p_offset = narrow.p_offset
    out.p_vaddr = narrow.p_vaddr
    out.p_paddr = narrow.p_paddr
    out.p_filesz = narrow.p_filesz
    out.p_memsz = narrow.p_memsz
    out.p_align = narrow.p_align


@guest
def elf_put_phdr(elf_class: u8, table: ptr[u8], index: u32, phdr: ptr[Elf64Phdr]) -> None:
    """Write a program header of either size."""
    if elf_class == ELFCLASS64:
        cast(ptr[Elf64Phdr], table)[index] = phdr[0]
        return
    narrow = cast(ptr[Elf32Phdr], table) + index
    narrow.p_type = phdr.p_type
    narrow.p_flags = phdr.p_flags
    narrow.p_offset = u32(phdr.p_offset)
    narrow.p_vaddr = u32(phdr.p_vaddr)
    narrow.p_paddr = u32(phdr.p_paddr)
    narrow.p_filesz = u32(phdr.p_filesz)
    narrow.p_memsz = u32(phdr.p_memsz)
    narrow.p_align = u32(phdr.p_align)
