# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading an LKCD dump, as the guest's `kernel/lkcd/` writes it: version 8 of i386, pages raw.

Source: libkdumpfile's lkcd.c and crash's lkcd_dump_v8.h, for names and places of fields.  Not read: other versions and
machines, compressed pages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kdumpsim.target import ELF32, MACHINES, PAGE_OFFSET, PAGE_SIZE, PT_REGS, ProgramHeader
from kdumpsim.vmcore.formats.elf import pack_notes, prstatus
from kdumpsim.vmcore.formats.kinds import LKCD_SIGNATURE
from kdumpsim.vmcore.reader import FileStorage, PrStatus, Storage, Vmcore, VmcoreError

MAGIC = int.from_bytes(LKCD_SIGNATURE, "little")
VERSION = 8
FIRST_PAGE = 64 << 10
_COMMON = struct.Struct("<QIIIIQQQI256s")
"""Magic, version, header's size, level, page size; RAM in pages, its start and end; pages in the dump; panic string."""
_ASM = struct.Struct(f"<QIIII{PT_REGS.size}sII")
"""Magic, version, size, esp, eip, registers, CPUs, dumping CPU; then the registers of every CPU."""
_ASM_MAGIC = 0xDEADDEAD
_PAGE = struct.Struct("<QII")
"""Address, size, flags."""
_RAW, _END = 1, 4
_EM_386 = next(number for number, name in MACHINES.items() if name == "EM_386")
_ET_CORE = 4
_PT_LOAD, _PT_NOTE = 1, 4
_RWX = 7
_WINDOW = 1 << 20
"""Bytes that are read at once: readers mostly go from page to page."""


@dataclass(frozen=True)
class LkcdHeader:
    """The beginning of a dump."""

    pages: int
    """In the dump; 0 as long as it is not whole."""
    panic_string: str
    cpus: int
    dumping_cpu: int
    registers: tuple[dict[str, int], ...]
    """Of every CPU, by name."""

    @property
    def size(self) -> int:
        """Bytes of the dump, if its pages are raw."""
        return FIRST_PAGE + self.pages * (_PAGE.size + PAGE_SIZE) + _PAGE.size


def read_header(file: Storage) -> LkcdHeader | None:
    """The headers; None where there are none of this version."""
    data = file.read(0, PAGE_SIZE)
    if len(data) < PAGE_SIZE:
        return None
    magic, version, size, _, page_size, _, _, _, pages, text = _COMMON.unpack_from(data)
    if (magic, version, page_size) != (MAGIC, VERSION, PAGE_SIZE) or size + _ASM.size > PAGE_SIZE:
        return None
    asm_magic, _, _, _, _, _, cpus, dumping = _ASM.unpack_from(data, size)
    end = size + _ASM.size + cpus * PT_REGS.size
    if asm_magic != _ASM_MAGIC or end > PAGE_SIZE:
        return None
    frames = (PT_REGS.unpack(data, at) for at in range(size + _ASM.size, end, PT_REGS.size))
    return LkcdHeader(pages, text.partition(b"\0")[0].decode("ascii", "replace"), cpus, dumping, tuple(frames))


def smp_registers(cpu: int) -> int:
    """Where a CPU's registers are in the header of i386."""
    return _ASM.size + cpu * PT_REGS.size


def _status(cpu: int, registers: dict[str, int]) -> PrStatus:
    """A CPU's registers as in a note.  An LKCD dump has no pids: threads are numbered from 1."""
    return PrStatus(cpu + 1, {"fs": 0, "gs": 0, **registers})


class _AsElf:
    """An LKCD dump as an ELF core file that nobody has written (a `vmcore.reader.Storage`)."""

    def __init__(self, name: str, file: Storage, header: LkcdHeader) -> None:
        self._file = file
        self._window_at, self._window = 0, b""
        self._places: list[int] = []
        """Where each page is in the LKCD file, in order."""
        runs: list[list[int]] = []  # address and number of pages, next to each other in memory
        for address, place in self._pages(name):
            if not runs or runs[-1][0] + runs[-1][1] * PAGE_SIZE != address:
                runs.append([address, 0])
            runs[-1][1] += 1
            self._places.append(place)
        statuses = [_status(cpu, registers) for cpu, registers in enumerate(header.registers)]
        notes = pack_notes([prstatus(status.pid, status.registers) for status in statuses])
        table = ELF32.ehdr.size
        notes_at = table + (1 + len(runs)) * ELF32.phdr_size
        self._begin = at = -(-(notes_at + len(notes)) // PAGE_SIZE) * PAGE_SIZE
        headers = [ProgramHeader(_PT_NOTE, notes_at, 0, 0, len(notes), len(notes), 0, 0)]
        for address, count in runs:
            size = count * PAGE_SIZE
            headers.append(ProgramHeader(_PT_LOAD, at, address + PAGE_OFFSET, address, size, size, _RWX, 0))
            at += size
        head = ELF32.ehdr.pack(
            ELF32.ident, _ET_CORE, _EM_386, 1, 0, table, 0, 0,
            ELF32.ehdr.size, ELF32.phdr_size, len(headers), ELF32.shdr.size, 0, 0,
        )  # fmt: skip
        self._head = (head + b"".join(map(ELF32.pack_phdr, headers)) + notes).ljust(self._begin, b"\0")
        self.size = at

    def _pages(self, name: str) -> Iterator[tuple[int, int]]:
        at = FIRST_PAGE
        while True:
            head = self._bytes(at, _PAGE.size)
            if len(head) < _PAGE.size:
                raise VmcoreError(f"{name}: the LKCD dump is cut off: it has no end marker")
            address, size, flags = _PAGE.unpack(head)
            at += _PAGE.size
            if flags & _END:
                return
            if (size, flags) != (PAGE_SIZE, _RAW) or address % PAGE_SIZE:
                raise VmcoreError(f"{name}: page header at {at - _PAGE.size:#x}: {size} bytes, flags {flags:#x}")
            yield address, at
            at += size

    def _bytes(self, at: int, size: int) -> bytes:
        """So many bytes of the LKCD file; fewer at the end."""
        start = at - self._window_at
        if start < 0 or start + size > len(self._window):
            self._window_at, self._window, start = at, self._file.read(at, _WINDOW), 0
        return self._window[start : start + size]

    def extents(self) -> Iterator[tuple[int, int]]:
        """All of it may be anything."""
        yield 0, self.size

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes; fewer at the end."""
        pieces = []
        size = max(min(size, self.size - offset), 0)
        while size:
            if offset < self._begin:
                piece = self._head[offset : offset + size]
            else:
                number, inside = divmod(offset - self._begin, PAGE_SIZE)
                piece = self._bytes(self._places[number] + inside, min(size, PAGE_SIZE - inside))
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self._file.close()


class LkcdCore(Vmcore):
    """An LKCD dump; VmcoreError for a file that is none, or not a whole one."""

    def __init__(self, name: str | Path, file: Storage) -> None:
        header = read_header(file)
        if header is None or not header.pages:
            raise VmcoreError(f"{name}: not a whole LKCD dump of version {VERSION}")
        self.header = header
        super().__init__(name, storage=_AsElf(str(name), file, header))

    def cpus_at(self, address: int, size: int) -> list[PrStatus]:
        """Registers that lie in memory as ``struct pt_regs``: those of the CPU whose they are in the header."""
        found = PT_REGS.unpack(self.read_physical(address, PT_REGS.size))
        return [_status(cpu, mine) for cpu, mine in enumerate(self.header.registers) if mine == found]


def open_dump(path: Path, opener: Callable[[str, int], int] | None = None) -> Vmcore:
    """A dump that is an ELF file or in LKCD's format; `opener` as for `open`.  VmcoreError for anything else."""
    storage = FileStorage(path) if opener is None else FileStorage(path, opener)
    try:
        if storage.read(0, len(LKCD_SIGNATURE)) == LKCD_SIGNATURE:
            return LkcdCore(path, storage)
    except BaseException:
        storage.close()
        raise
    return Vmcore(path, storage=storage)
