# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF core headers for /proc/vmcore, made while the first kernel is healthy (kdump paper, sections 4.2 and 4.3).

Physical memory is the "file": ``p_offset`` is a physical address.  Only the backup region's differs from ``p_paddr``.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdumpsim.target import (
    CRASH_NOTES_BYTES,
    ELF32,
    ELF64,
    LOWMEM_END,
    PAGE_OFFSET,
    TARGET,
    ProgramHeader,
)

from .segments import Range, subtract

NO_VADDR = -1
"""p_vaddr of such memory, as kexec-tools write it: all ones in the width of the header."""
BACKUP_SOURCE = Range(0, 640 << 10)

_ET_CORE = 4
_PT_LOAD, _PT_NOTE = 1, 4
_RWX = 7


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
    ram: Sequence[Range],
    crash: Range,
    crash_notes: Sequence[int],
    backup: int,
    *,
    vmcoreinfo: Range | None = None,
    elf64: bool = False,
) -> bytes:
    """ELF header, a PT_NOTE per CPU and one for VMCOREINFO, PT_LOADs for the backup region and each chunk of RAM."""
    form = ELF64 if elf64 else ELF32
    notes = [Range(address, address + CRASH_NOTES_BYTES) for address in crash_notes]
    if vmcoreinfo is not None:
        notes.append(vmcoreinfo)
    headers = [ProgramHeader(_PT_NOTE, part.start, 0, part.start, part.size, part.size, 0, 0) for part in notes]
    low = BACKUP_SOURCE
    headers.append(ProgramHeader(_PT_LOAD, backup, low.start + PAGE_OFFSET, low.start, low.size, low.size, _RWX, 0))
    for part in dump_ranges(ram, crash):
        vaddr = part.start + PAGE_OFFSET if part.end <= LOWMEM_END else NO_VADDR
        headers.append(ProgramHeader(_PT_LOAD, part.start, vaddr, part.start, part.size, part.size, _RWX, 0))
    ehdr = form.ehdr.pack(
        form.linux_ident, _ET_CORE, TARGET.machine, 1, 0, form.ehdr.size, 0, 0, form.ehdr.size, form.phdr_size,
        len(headers), 0, 0, 0,
    )  # fmt: skip
    return ehdr + b"".join(map(form.pack_phdr, headers))
