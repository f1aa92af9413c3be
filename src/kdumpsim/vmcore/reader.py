# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a vmcore: an ELF core file of physical memory, with a note of registers for each CPU.

pyelftools reads the headers; contents are slices of the mapped file.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

PAGE_SIZE = 4096
NT_PRSTATUS = 1
PT_LOAD, PT_NOTE = "PT_LOAD", "PT_NOTE"

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
    """One PT_LOAD: memory from `paddr` on, at `offset` of the file."""

    paddr: int
    vaddr: int
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


class Vmcore:
    """An open vmcore; use it as a context manager.

    Raises VmcoreError for a file that is no ELF core, or whose headers promise more than the file holds.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with open(path, "rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise VmcoreError(f"{self.path}: {error.strerror}") from None
        except ValueError:
            raise VmcoreError(f"{self.path}: is empty") from None
        try:
            self._read_headers()
        except BaseException:
            self.close()
            raise

    def _read_headers(self) -> None:
        try:
            elf = ELFFile(cast("IO[bytes]", self._data))
            if elf["e_type"] != "ET_CORE":
                raise VmcoreError(f"{self.path}: an ELF file, but not a core file")
            self.machine: str = elf["e_machine"]
            self.bits: int = elf.elfclass
            headers = [segment.header for segment in elf.iter_segments()]
        except ELFError as error:
            raise VmcoreError(f"{self.path}: not a usable ELF file: {error}") from None
        for header in headers:
            if header["p_offset"] + header["p_filesz"] > len(self._data):
                raise VmcoreError(f"{self.path}: is cut off: {header['p_type']} reaches beyond the end of the file")
        self.loads = tuple(
            Load(h["p_paddr"], h["p_vaddr"], h["p_offset"], h["p_filesz"]) for h in headers if h["p_type"] == PT_LOAD
        )
        self.notes = tuple(
            note
            for h in headers
            if h["p_type"] == PT_NOTE
            for note in self._notes(self._data[h["p_offset"] : h["p_offset"] + h["p_filesz"]])
        )

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
        """Registers by CPU, in the order of the notes."""
        found = []
        for note in self.notes:
            if note.owner == "CORE" and note.kind == NT_PRSTATUS and len(note.data) == _PRSTATUS_I386:
                (pid,) = struct.unpack_from("<i", note.data, _PR_PID)
                values = struct.unpack_from("<17I", note.data, _PR_REG)
                found.append(PrStatus(pid, dict(zip(REGISTER_NAMES, values, strict=True))))
        return found

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
        return self._read(address, size, "virtual", [(load.vaddr, load) for load in self.loads if load.vaddr])

    def _read(self, address: int, size: int, what: str, places: list[tuple[int, Load]]) -> bytes:
        pieces = []
        while size:
            for start, load in places:
                if start <= address < start + load.size:
                    inside = address - start
                    take = min(size, load.size - inside)
                    pieces.append(self._data[load.offset + inside : load.offset + inside + take])
                    break
            else:
                raise VmcoreError(f"{self.path}: {what} address {address:#x} is not in the dump")
            address += take
            size -= take
        return b"".join(pieces)

    def slice(self, load: Load, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of a load."""
        return self._data[load.offset + start : load.offset + end]

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """(physical address, contents) of every page, in the order of the file; a last one may be shorter."""
        for load in self.loads:
            for inside in range(0, load.size, PAGE_SIZE):
                yield load.paddr + inside, self.slice(load, inside, min(inside + PAGE_SIZE, load.size))

    def close(self) -> None:
        """Let go of the file."""
        self._data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
