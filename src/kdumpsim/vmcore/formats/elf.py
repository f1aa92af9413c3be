# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF core files: System V ABI, "ELF Header", "Program Header" and "Note Section"; notes as in <linux/elfcore.h>.

A page that is left out ends its PT_LOAD's contents, as makedumpfile -E has it: ``p_filesz`` covers the pages that are
there, ``p_memsz`` those left out after them, too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from kdumpsim.target import ELF32, ELF64, MACHINES, PAGE_SIZE, PRSTATUS, ElfClass, ProgramHeader
from kdumpsim.vmcore.dump import Dump, pieces
from kdumpsim.vmcore.reader import NT_PRSTATUS, Load, Note

ELFOSABI_LINUX = 3
INCOMPLETE = 1
"""e_flags of a dump whose disk was full (makedumpfile's DUMP_ELF_INCOMPLETE)."""

_NUMBERS = {name: number for number, name in MACHINES.items()}
_EI_OSABI = 7
_ET_CORE = 4
_PT_LOAD, _PT_NOTE = 1, 4
_RWX = 7
_PN_XNUM = 0xFFFF
_NO_SYSTEM_CALL = -1
_NT_PRPSINFO = 3
_PRPSINFO = struct.Struct("<BcBBIHH4I16s80s")
"""State as number and letter, zombie, nice; flags, uid, gid; pid, ppid, pgrp, sid; name, arguments."""

Left = Callable[[int], bool]
"""Whether the page with this number is left out."""


@dataclass(frozen=True)
class _Run:
    """Pages of a load that are stored, and the ones after them that are not: bytes from the load's beginning."""

    load: Load
    start: int
    stored: int
    end: int


def pack_notes(notes: Sequence[Note]) -> bytes:
    """The contents of a PT_NOTE."""
    packed = bytearray()
    for note in notes:
        owner = note.owner.encode() + b"\0"
        packed += struct.pack("<III", len(owner), len(note.data), note.kind)
        for part in (owner, note.data):
            packed += part + bytes(-len(part) % 4)
    return bytes(packed)


def prstatus(pid: int, registers: Mapping[str, int]) -> Note:
    """An NT_PRSTATUS note; `registers` by name, and 0 for those that are missing (`target.PRSTATUS`)."""
    data = bytearray(PRSTATUS.size)
    struct.pack_into("<i", data, PRSTATUS.pid, pid)
    packed = PRSTATUS.registers.pack({"orig_eax": _NO_SYSTEM_CALL, **registers})
    data[PRSTATUS.reg : PRSTATUS.reg + len(packed)] = packed
    return Note("CORE", NT_PRSTATUS, bytes(data))


def prpsinfo(name: str) -> Note:
    """An NT_PRPSINFO note (``struct elf_prpsinfo`` of i386): a program of that name that runs, and no more."""
    return Note("CORE", _NT_PRPSINFO, _PRPSINFO.pack(0, b"R", 0, 0, 0, 0, 0, 1, 0, 0, 0, name.encode(), name.encode()))


def write_elf(
    dump: Dump, file: BinaryIO, *, left_out: Left | None = None, incomplete: bool = False, abi: int | None = None
) -> None:
    """Write an ELF core; zeros become holes in the file.

    `abi`: another EI_OSABI than the dump's.  `incomplete`: only the first half of the memory is stored, and e_flags
    says so.
    """
    form = ELF32 if dump.bits == ELF32.bits else ELF64
    notes = pack_notes(dump.notes)
    runs = [run for load in dump.loads for run in _runs(load, left_out)]
    count = len(runs) + 1
    table = form.ehdr.size + form.shdr.size * (count >= _PN_XNUM)
    notes_at = table + count * form.phdr_size
    headers = [ProgramHeader(_PT_NOTE, notes_at, 0, 0, len(notes), len(notes), 0, 0)]
    at = _aligned(notes_at + len(notes))
    for run in runs:
        # A file offset is the address, modulo a page; without an address (high memory) it is all ones.
        at += run.load.paddr + run.start & PAGE_SIZE - 1
        vaddr = -1 if run.load.vaddr is None else run.load.vaddr + run.start
        size, memory = run.stored - run.start, run.end - run.start
        headers.append(ProgramHeader(_PT_LOAD, at, vaddr, run.load.paddr + run.start, size, memory, _RWX, 0))
        at = _aligned(at + size)
    end = headers[-1].offset + headers[-1].filesz
    head = bytearray(_elf_header(form, dump, count, table, INCOMPLETE if incomplete else 0))
    head[_EI_OSABI] = dump.abi if abi is None else abi
    file.write(head)
    file.write(b"".join(map(form.pack_phdr, headers)) + notes)
    limit = end if not incomplete else headers[1].offset + (end - headers[1].offset) // 2
    for run, header in zip(runs, headers[1:], strict=True):
        for inside, data in pieces(dump, run.load, run.start, run.stored):
            place = header.offset + inside - run.start
            if place < limit:
                file.seek(place)
                file.write(data[: limit - place])
    file.truncate(limit)


def _elf_header(form: ElfClass, dump: Dump, count: int, table: int, flags: int) -> bytes:
    """ELF header, and the section header that counts the segments where there are too many for it."""
    many = count >= _PN_XNUM
    machine = _NUMBERS.get(dump.machine) or int(dump.machine.split()[-1])
    head = form.ehdr.pack(
        form.ident, _ET_CORE, machine, 1, 0, table, form.ehdr.size if many else 0, flags,
        form.ehdr.size, form.phdr_size, _PN_XNUM if many else count, form.shdr.size if many else 0, int(many), 0,
    )  # fmt: skip
    return head + form.shdr.pack(0, 0, 0, 0, 0, 0, 0, count, 0, 0) if many else head


def _runs(load: Load, left_out: Left | None) -> Iterator[_Run]:
    if left_out is None:
        yield _Run(load, 0, load.size, load.size)
        return
    start = stored = end = 0
    while end < load.size:
        inside = min(load.size, (load.paddr + end & -PAGE_SIZE) + PAGE_SIZE - load.paddr)
        left = left_out((load.paddr + end) // PAGE_SIZE)
        if not left and stored < end:
            yield _Run(load, start, stored, end)
            start = stored = end
        if not left:
            stored = inside
        end = inside
    yield _Run(load, start, stored, end)


def _aligned(offset: int) -> int:
    return -(-offset // PAGE_SIZE) * PAGE_SIZE
