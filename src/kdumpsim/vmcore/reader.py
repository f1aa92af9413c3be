# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a vmcore: an ELF core file of physical memory, with a note of registers for each CPU.

Layout: System V ABI, "ELF Header", "Program Header" and "Note Section"; PN_XNUM as in Linux's <linux/elf.h>.
Everything the headers promise is checked before anything is read, so that a damaged file costs neither time nor memory.
The file is read, not mapped: a dump is sparse, and looking at a hole through a mapping allocates it.  On a full tmpfs
that would be SIGBUS.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

PAGE_SIZE = 4096
NT_PRSTATUS = 1
MAX_NOTES = 4 << 20
"""Bytes of notes that are read: some 10,000 CPUs."""

_EHDR_SIZE = 64
_ET_CORE = 4
_PT_LOAD, _PT_NOTE = 1, 4
_PN_XNUM = 0xFFFF  # so many program headers that their number is in the first section header
_MACHINES = {3: "EM_386", 62: "EM_X86_64"}


class _Format(NamedTuple):
    """Of one ELF class: the header's machine, phoff, shoff, phentsize, phnum; a program header; a section's sh_info."""

    ehdr: struct.Struct
    phdr: struct.Struct
    fields: tuple[int, ...]
    """Where a program header has p_type, p_offset, p_vaddr, p_paddr, p_filesz."""
    sh_info: int


_FORMATS = {
    1: _Format(struct.Struct("<16xHH8xII6xHH6x"), struct.Struct("<8I"), (0, 1, 2, 3, 4), 28),
    2: _Format(struct.Struct("<16xHH12xQQ6xHH6x"), struct.Struct("<IIQQQQQQ"), (0, 2, 3, 4, 5), 44),
}

REGISTER_NAMES = (
    "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax", "eip", "cs", "eflags", "esp",
    "ss",
)  # fmt: skip
"""Order of ``elf_gregset_t`` on i386."""
_PRSTATUS_I386 = 144
_PR_PID, _PR_REG = 24, 72


class VmcoreError(Exception):
    """The file is no usable vmcore, or does not hold the memory asked for."""


@dataclass(frozen=True, slots=True)
class Load:
    """One PT_LOAD: memory from `paddr` on, at `offset` of the file.

    `vaddr` is None where the headers give no virtual address: kexec-tools write all ones (high memory), tools that know
    physical memory only write 0.
    """

    paddr: int
    vaddr: int | None
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Note:
    """One ELF note."""

    owner: str
    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PrStatus:
    """What NT_PRSTATUS says of one CPU: process and registers by name (:data:`REGISTER_NAMES`)."""

    pid: int
    registers: dict[str, int]


def _open_file(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _statuses(notes: Iterable[Note]) -> list[PrStatus]:
    """What those notes say that are a CPU's registers."""
    found = []
    for note in notes:
        if note.owner == "CORE" and note.kind == NT_PRSTATUS and len(note.data) == _PRSTATUS_I386:
            (pid,) = struct.unpack_from("<i", note.data, _PR_PID)
            values = struct.unpack_from("<17I", note.data, _PR_REG)
            found.append(PrStatus(pid, dict(zip(REGISTER_NAMES, values, strict=True))))
    return found


class Vmcore:
    """An open vmcore; use it as a context manager.

    Raises VmcoreError for a file that is no ELF core, or whose headers promise more than the file holds; whatever
    the file holds, nothing else, and in time proportional to its headers and notes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = open(path, "rb", buffering=0, opener=_open_file)  # noqa: SIM115 (`close` closes it)
        except OSError as error:
            raise VmcoreError(f"{self.path}: {error.strerror}") from None
        try:
            status = os.fstat(self._file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise VmcoreError(f"{self.path}: is not a regular file")
            if not status.st_size:
                raise VmcoreError(f"{self.path}: is empty")
            self._size = status.st_size
            self._read_headers()
        except BaseException:
            self.close()
            raise

    def _read_headers(self) -> None:
        size, data = self._size, self._bytes(0, min(self._size, _EHDR_SIZE))
        form = _FORMATS.get(data[4]) if len(data) >= 6 and data[:4] == b"\x7fELF" and data[5] == 1 else None
        if form is None or len(data) < form.ehdr.size:
            raise VmcoreError(f"{self.path}: not a usable ELF file (32 or 64 bits, little-endian)")
        kind, machine, phoff, shoff, entry_size, count = form.ehdr.unpack_from(data)
        if kind != _ET_CORE:
            raise VmcoreError(f"{self.path}: an ELF file, but not a core file")
        self.machine = _MACHINES.get(machine, f"machine {machine}")
        """``EM_386``, ``EM_X86_64``, or the number of another."""
        self.bits = 32 * data[4]
        if count == _PN_XNUM:
            if shoff + form.sh_info + 4 > size:
                raise VmcoreError(f"{self.path}: is cut off: the section header that counts its segments is missing")
            (count,) = struct.unpack("<I", self._bytes(shoff + form.sh_info, 4))
        if count and (entry_size != form.phdr.size or phoff + count * entry_size > size):
            raise VmcoreError(f"{self.path}: is cut off, or damaged: {count} program headers at {phoff:#x}")
        rows = form.phdr.iter_unpack(self._bytes(phoff, count * form.phdr.size))
        headers = [tuple(row[at] for at in form.fields) for row in rows]
        headers = [header for header in headers if header[0] in (_PT_LOAD, _PT_NOTE)]
        for p_type, offset, _, _, filesz in headers:
            if offset + filesz > size:
                name = "PT_LOAD" if p_type == _PT_LOAD else "PT_NOTE"
                raise VmcoreError(f"{self.path}: is cut off: {name} reaches beyond the end of the file")
        if (promised := sum(filesz for *_, filesz in headers)) > size:
            raise VmcoreError(f"{self.path}: its headers promise {promised} bytes, the file has {size}")
        noted = [(offset, filesz) for p_type, offset, _, _, filesz in headers if p_type == _PT_NOTE]
        if (total := sum(filesz for _, filesz in noted)) > MAX_NOTES:
            raise VmcoreError(f"{self.path}: {total} bytes of notes; at most {MAX_NOTES} are read")
        unknown = (0, (1 << self.bits) - 1)
        self.loads = tuple(
            Load(paddr, None if vaddr in unknown else vaddr, offset, filesz)
            for p_type, offset, vaddr, paddr, filesz in headers
            if p_type == _PT_LOAD
        )
        self.notes = tuple(note for span in noted for note in self._notes(self._bytes(*span)))

    def _bytes(self, offset: int, size: int) -> bytes:
        """So many bytes of the file, which had them when it was opened; VmcoreError if it was cut off since."""
        pieces = []
        while size:
            piece = os.pread(self._file.fileno(), size, offset)
            if not piece:
                raise VmcoreError(f"{self.path}: was cut off while it was read")
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _notes(self, data: bytes) -> Iterator[Note]:
        """Notes of one PT_NOTE, up to the first empty one (which ends a CPU's notes in memory)."""
        at = 0
        while at + 12 <= len(data):
            name_size, size, kind = struct.unpack_from("<III", data, at)
            if not name_size and not size and not kind:
                return
            body = at + 12 + -(-name_size // 4) * 4
            end = body + -(-size // 4) * 4
            if body + size > len(data):
                raise VmcoreError(f"{self.path}: a note reaches beyond its segment")
            owner = data[at + 12 : at + 12 + name_size].rstrip(b"\0").decode("ascii", "replace")
            yield Note(owner, kind, data[body : body + size])
            at = end

    @property
    def cpus(self) -> list[PrStatus]:
        """Registers, in the order of the notes; whose they are, `notes.cpu_notes` tells."""
        return _statuses(self.notes)

    def cpus_at(self, address: int, size: int) -> list[PrStatus]:
        """Registers in notes that lie in memory at a physical address; none where these are not there or not whole."""
        try:
            return _statuses(self._notes(self.read_physical(address, size)))
        except VmcoreError:
            return []

    @property
    def vmcoreinfo(self) -> dict[str, str] | None:
        """Keys of the VMCOREINFO note; None when there is none."""
        for note in self.notes:
            if note.owner == "VMCOREINFO":
                lines = note.data.rstrip(b"\0").decode("ascii", "replace").splitlines()
                return dict(line.partition("=")[::2] for line in lines if "=" in line)
        return None

    def read_physical(self, address: int, size: int) -> bytes:
        """Memory at a physical address; VmcoreError if any of it is not in the dump."""
        return self._read(address, size, "physical", [(load.paddr, load) for load in self.loads])

    def read_virtual(self, address: int, size: int) -> bytes:
        """Memory at a virtual address that the headers give; VmcoreError if any of it is not in the dump."""
        places = [(load.vaddr, load) for load in self.loads if load.vaddr is not None]
        return self._read(address, size, "virtual", places)

    def _read(self, address: int, size: int, what: str, places: list[tuple[int, Load]]) -> bytes:
        pieces = []
        while size:
            for start, load in places:
                if start <= address < start + load.size:
                    inside = address - start
                    take = min(size, load.size - inside)
                    pieces.append(self._bytes(load.offset + inside, take))
                    break
            else:
                raise VmcoreError(f"{self.path}: {what} address {address:#x} is not in the dump")
            address += take
            size -= take
        return b"".join(pieces)

    def slice(self, load: Load, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of a load."""
        return self._bytes(load.offset + start, end - start)

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """(physical address, contents) of every page, in the order of the file; a last one may be shorter."""
        for load in self.loads:
            for inside in range(0, load.size, PAGE_SIZE):
                yield load.paddr + inside, self.slice(load, inside, min(inside + PAGE_SIZE, load.size))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
