# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF core headers for /proc/vmcore, made while the first kernel is healthy (kdump paper, sections 4.2 and 4.3).

Physical memory is the "file": ``p_offset`` is a physical address.  Only the backup region's differs from ``p_paddr``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from .segments import Range, subtract

PAGE_OFFSET = 0xC0000000
LOWMEM_END = 896 << 20
"""End of the kernel's linear map; memory above has no virtual address that could be known now."""
NO_VADDR = -1
"""p_vaddr of such memory, as kexec-tools write it: all ones in the width of the header."""
CRASH_NOTES_BYTES = 1024
BACKUP_SOURCE = Range(0, 640 << 10)

_ET_CORE, _EM_386 = 4, 3
_PT_LOAD, _PT_NOTE = 1, 4
_RWX = 7
_EHDR32 = struct.Struct("<16sHHIIIIIHHHHHH")
_PHDR32 = struct.Struct("<8I")
_EHDR64 = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR64 = struct.Struct("<IIQQQQQQ")


def dump_ranges(ram: Sequence[Range], crash: Range) -> list[Range]:
    """What of System RAM is dumped where it lies: all but low memory and the reserved region, split at lowmem's end."""
    parts = subtract(ram, [BACKUP_SOURCE, crash])
    ranges: list[Range] = []
    for part in parts:
        if part.start < LOWMEM_END < part.end:
            ranges += [Range(part.start, LOWMEM_END), Range(LOWMEM_END, part.end)]
        else:
            ranges.append(part)
    return ranges


def core_headers(
    ram: Sequence[Range], crash: Range, crash_notes: Sequence[int], backup: int, *, elf64: bool = False
) -> bytes:
    """ELF header, a PT_NOTE per CPU, a PT_LOAD for the backup region at `backup` and one per contiguous RAM chunk."""
    headers = [(_PT_NOTE, 0, address, 0, address, CRASH_NOTES_BYTES) for address in crash_notes]
    headers.append((_PT_LOAD, _RWX, backup, PAGE_OFFSET, BACKUP_SOURCE.start, BACKUP_SOURCE.size))
    for part in dump_ranges(ram, crash):
        vaddr = part.start + PAGE_OFFSET if part.end <= LOWMEM_END else NO_VADDR
        headers.append((_PT_LOAD, _RWX, part.start, vaddr, part.start, part.size))
    ehdr, phdr = (_EHDR64, _PHDR64) if elf64 else (_EHDR32, _PHDR32)
    ident = b"\x7fELF" + bytes((2 if elf64 else 1, 1, 1)) + bytes(9)
    out = bytearray(
        ehdr.pack(ident, _ET_CORE, _EM_386, 1, 0, ehdr.size, 0, 0, ehdr.size, phdr.size, len(headers), 0, 0, 0)
    )
    for kind, flags, offset, vaddr, paddr, size in headers:
        if elf64:
            out += phdr.pack(kind, flags, offset, vaddr & 0xFFFFFFFF_FFFFFFFF, paddr, size, size, 0)
        else:
            out += phdr.pack(kind, offset, vaddr & 0xFFFFFFFF, paddr, size, size, flags, 0)
    return bytes(out)
