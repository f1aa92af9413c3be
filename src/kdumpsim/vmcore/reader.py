# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a vmcore: an ELF core file of physical memory, with a note of registers for each CPU.

Layout: System V ABI, "ELF Header", "Program Header" and "Note Section"; PN_XNUM as in Linux's <linux/elf.h>.
Everything the headers promise is checked before anything is read, so that a damaged file costs neither time nor memory.
The file is read, not mapped: a dump is sparse, and looking at a hole through a mapping allocates it.  On a full tmpfs
that would be SIGBUS.
"""

from __future__ import annotations

import bisect
import errno
import itertools
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from kdumpsim.errors import KdumpsimError
from kdumpsim.target import ELF_CLASSES, MACHINES, PAGE_SIZE, PRSTATUS

NT_PRSTATUS = 1
MAX_EXTENTS = 1 << 14
"""Pieces of a sparse file that are told apart."""
ZEROS = bytes(1 << 16)
MAX_NOTES = 4 << 20
"""Bytes of notes that are read: some 10,000 CPUs."""

_EHDR_SIZE = max(form.ehdr.size for form in ELF_CLASSES.values())
_EI_OSABI = 7
_ET_CORE = 4
_PT_LOAD, _PT_NOTE = 1, 4
_SH_INFO = 7
_PN_XNUM = 0xFFFF  # so many program headers that their number is in the first section header


class VmcoreError(KdumpsimError):
    """The file is no usable vmcore, or does not hold the memory asked for."""


@dataclass(frozen=True, slots=True)
class Load:
    """One PT_LOAD: memory from `paddr` on, at `offset` of the file.

    `vaddr` is None where the headers give no virtual address: all ones mean high memory, and tools that know
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
    """What NT_PRSTATUS says of one CPU: process and registers by name (`target.PRSTATUS`)."""

    pid: int
    registers: dict[str, int]


def _open_file(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def statuses_of(notes: Iterable[Note]) -> list[PrStatus]:
    """What those notes say that are a CPU's registers."""
    found = []
    for note in notes:
        if note.owner == "CORE" and note.kind == NT_PRSTATUS and len(note.data) == PRSTATUS.size:
            (pid,) = struct.unpack_from("<i", note.data, PRSTATUS.pid)
            found.append(PrStatus(pid, PRSTATUS.registers.unpack(note.data, PRSTATUS.reg)))
    return found


def notes_in(data: bytes, what: str = "the notes") -> Iterator[Note]:
    """Notes in a piece of memory or of a file, up to the first empty one (which ends a CPU's notes in memory).

    VmcoreError, which says `what` it is, where one does not end in it.
    """
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        if not name_size and not size and not kind:
            return
        body = at + 12 + -(-name_size // 4) * 4
        end = body + -(-size // 4) * 4
        if body + size > len(data):
            raise VmcoreError(f"{what}: a note reaches beyond its segment")
        owner = data[at + 12 : at + 12 + name_size].rstrip(b"\0").decode("ascii", "replace")
        yield Note(owner, kind, data[body : body + size])
        at = end


def vmcoreinfo_of(notes: Iterable[Note]) -> dict[str, str] | None:
    """Keys of the VMCOREINFO note; None when there is none."""
    for note in notes:
        if note.owner == "VMCOREINFO":
            lines = note.data.rstrip(b"\0").decode("ascii", "replace").splitlines()
            return dict(line.partition("=")[::2] for line in lines if "=" in line)
    return None


class Storage(Protocol):
    """The bytes of a dump, wherever they are."""

    @property
    def size(self) -> int: ...

    def extents(self) -> Iterator[tuple[int, int]]:
        """(start, end) of what may be anything but zeros, in order."""

    def read(self, offset: int, size: int, /) -> bytes:
        """So many bytes; fewer at the end."""

    def close(self) -> None:
        """Let go of them."""


class FileStorage:
    """A regular file.  VmcoreError for anything else."""

    def __init__(self, path: str | os.PathLike[str], opener: Callable[[str, int], int] = _open_file) -> None:
        try:
            self._file = open(path, "rb", buffering=0, opener=opener)  # noqa: SIM115 (`close` closes it)
        except OSError as error:
            raise VmcoreError(f"{path}: {error.strerror}") from None
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise VmcoreError(f"{path}: is not a regular file")

    def extents(self) -> Iterator[tuple[int, int]]:
        """What is not a hole, as far as the file system tells."""
        file, at = self._file.fileno(), 0
        for _ in range(MAX_EXTENTS):
            try:
                start = os.lseek(file, at, os.SEEK_DATA)
                at = os.lseek(file, start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno != errno.ENXIO:  # no holes are told of here
                    yield at, self.size
                return
            yield start, at
        yield at, self.size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        self._file.close()


class Vmcore:
    """An open vmcore; use it as a context manager.

    Raises VmcoreError for a file that is no ELF core, or whose headers promise more than the file holds; whatever
    the file holds, nothing else, and in time proportional to its headers and notes.  With `cut_off`, a file that holds
    less than its headers promise is a dump of what is there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        opener: Callable[[str, int], int] = _open_file,
        storage: Storage | None = None,
        *,
        cut_off: bool = False,
    ) -> None:
        """`opener` as for `open`, for a dump that is no file of that name; `storage` for one that is no file at all."""
        self.path = Path(path)
        self._may_be_cut_off = cut_off
        self._storage = storage if storage is not None else FileStorage(self.path, opener)
        try:
            self._size = self._storage.size
            if not self._size:
                raise VmcoreError(f"{self.path}: is empty")
            self._stored = list(self._storage.extents())
            self._read_headers()
        except BaseException:
            self.close()
            raise

    def _read_headers(self) -> None:
        size, data = self._size, self._bytes(0, min(self._size, _EHDR_SIZE))
        form = ELF_CLASSES.get(data[4]) if len(data) >= 6 and data[:4] == b"\x7fELF" and data[5] == 1 else None
        if form is None or len(data) < form.ehdr.size:
            raise VmcoreError(f"{self.path}: not a usable ELF file (32 or 64 bits, little-endian)")
        _, kind, machine, _, _, phoff, shoff, _, _, entry_size, count, *_ = form.ehdr.unpack_from(data)
        if kind != _ET_CORE:
            raise VmcoreError(f"{self.path}: an ELF file, but not a core file")
        self.machine = MACHINES.get(machine, f"machine {machine}")
        """``EM_386``, ``EM_X86_64``, or the number of another."""
        self.bits = form.bits
        self.abi = data[_EI_OSABI]
        if count == _PN_XNUM:
            if shoff + form.shdr.size > size:
                raise VmcoreError(f"{self.path}: is cut off: the section header that counts its segments is missing")
            count = form.shdr.unpack(self._bytes(shoff, form.shdr.size))[_SH_INFO]
        if count and (entry_size != form.phdr_size or phoff + count * entry_size > size):
            raise VmcoreError(f"{self.path}: is cut off, or damaged: {count} program headers at {phoff:#x}")
        table = self._bytes(phoff, count * form.phdr_size)
        headers = [form.unpack_phdr(table, at) for at in range(0, len(table), form.phdr_size)]
        headers = [header for header in headers if header.type in (_PT_LOAD, _PT_NOTE)]
        if self._may_be_cut_off:
            headers = [
                header._replace(filesz=min(header.filesz, size - header.offset))
                for header in headers
                if header.offset < size
            ]
        for header in headers:
            if header.offset + header.filesz > size:
                name = "PT_LOAD" if header.type == _PT_LOAD else "PT_NOTE"
                raise VmcoreError(f"{self.path}: is cut off: {name} reaches beyond the end of the file")
        if (promised := sum(header.filesz for header in headers)) > size:
            raise VmcoreError(f"{self.path}: its headers promise {promised} bytes, the file has {size}")
        self.headers_size = phoff + count * form.phdr_size
        """Bytes before which the program headers end."""
        noted = [(header.offset, header.filesz) for header in headers if header.type == _PT_NOTE]
        if (total := sum(filesz for _, filesz in noted)) > MAX_NOTES:
            raise VmcoreError(f"{self.path}: {total} bytes of notes; at most {MAX_NOTES} are read")
        unknown = (0, (1 << self.bits) - 1)
        self.loads = tuple(
            Load(header.paddr, None if header.vaddr in unknown else header.vaddr, header.offset, header.filesz)
            for header in headers
            if header.type == _PT_LOAD
        )
        self.note_spans = tuple(noted)
        """Where the notes are in the file: (offset, bytes)."""
        self.notes = tuple(note for span in noted for note in notes_in(self._bytes(*span), str(self.path)))

    def _bytes(self, offset: int, size: int) -> bytes:
        """So many bytes of the file, which had them when it was opened; VmcoreError if it was cut off since."""
        if size <= len(ZEROS):
            place = bisect.bisect_right(self._stored, offset, key=lambda extent: extent[1])
            if place == len(self._stored) or offset + size <= self._stored[place][0]:
                return ZEROS[:size]
        pieces = []
        while size:
            piece = self._storage.read(offset, size)
            if not piece:
                raise VmcoreError(f"{self.path}: was cut off while it was read")
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def cpus(self) -> list[PrStatus]:
        """Registers, in the order of the notes; whose they are, `notes.cpu_notes` tells."""
        return statuses_of(self.notes)

    def cpus_at(self, address: int, size: int) -> list[PrStatus]:
        """Registers in notes that lie in memory at a physical address; none where these are not there or not whole."""
        try:
            return statuses_of(notes_in(self.read_physical(address, size)))
        except VmcoreError:
            return []

    @property
    def vmcoreinfo(self) -> dict[str, str] | None:
        """Keys of the VMCOREINFO note; None when there is none."""
        return vmcoreinfo_of(self.notes)

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

    def stored(self, load: Load, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of `start` to `end` of a load that may be anything but zeros, as (start, end), in order."""
        place = bisect.bisect_right(self._stored, load.offset + start, key=lambda extent: extent[1])
        for first, last in itertools.islice(self._stored, place, None):
            first, last = max(first - load.offset, start), min(last - load.offset, end)
            if first >= last:
                return
            yield first, last

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """(physical address, contents) of every page, in the order of the file; a last one may be shorter."""
        for load in self.loads:
            for inside in range(0, load.size, PAGE_SIZE):
                yield load.paddr + inside, self.slice(load, inside, min(inside + PAGE_SIZE, load.size))

    def close(self) -> None:
        """Let go of the file."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
