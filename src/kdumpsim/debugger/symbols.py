# SPDX-License-Identifier: GPL-2.0-or-later
"""Where addresses of a run are in its sources, and back: both kernels, what else is loaded, programs of ring 3.

An address alone does not tell which program of ring 3 it is in, because all are linked at the same place; the task's
name does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kdumpsim import images
from kdumpsim.debugger.tools import PACKAGE
from kdumpsim.target import PAGE_OFFSET
from kdumpsim.vmcore.debuginfo import DebugInfo
from kdumpsim.vmcore.unwind import Unwinder

FIRST, CAPTURE = "first kernel", "capture kernel"
_ENTRY = ("entry_text_start", "entry_text_end")
"""Around a kernel's stubs for interrupts, exceptions and system calls."""
_COMM_BYTES = 15
"""Of a program's name that a task keeps."""


@dataclass(frozen=True)
class Spot:
    """An address in the sources."""

    address: int
    owner: str = ""
    """FIRST, CAPTURE, the name of what else is loaded, or a program's path; empty: none that is known."""
    function: str = ""
    offset: int = 0
    """Bytes from the function's beginning."""
    file: str | None = None
    """As the compiler was given it."""
    line: int | None = None
    extent: tuple[int, int] = (0, 0)
    """Begin and end of the line's code around the address."""
    entry: bool = False
    """In a kernel's entry code."""

    def __str__(self) -> str:
        if not self.function:
            return f"{self.address:#x}"
        return f"{self.function}+{self.offset:#x}" if self.offset else self.function

    @property
    def where(self) -> str:
        """FILE:LINE, the file without its folders; empty where that is not known."""
        return f"{self.file.rpartition('/')[2]}:{self.line}" if self.file else ""


@dataclass(frozen=True)
class Line:
    """A source line that has code."""

    file: str
    line: int
    places: frozenset[tuple[str, int]]
    """Where its code begins: the program's name (empty: none of ring 3), and a linear address."""


class _Part:
    """An ELF file, and where it runs."""

    def __init__(self, name: str, elf: bytes, moved: int = 0) -> None:
        self.name, self.elf, self.moved = name, elf, moved

    @cached_property
    def info(self) -> DebugInfo:
        return DebugInfo.of(self.elf)

    @cached_property
    def _entry(self) -> range:
        table = ELFFile(io.BytesIO(self.elf)).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        found = [symbol for name in _ENTRY for symbol in table.get_symbol_by_name(name) or ()]
        return range(*(symbol["st_value"] for symbol in found)) if len(found) == 2 else range(0)

    def spot(self, address: int) -> Spot | None:
        """None where it has no function."""
        at = address - self.moved
        function = self.info.function(at)
        if function is None:
            return None
        file, line = self.info.line(at) or (None, None)
        begin, end = self.info.extent(at) or (at, at + 1)
        extent = (max(begin, function.start) + self.moved, min(end, function.start + function.size) + self.moved)
        return Spot(address, self.name, function.name, at - function.start, file, line, extent, at in self._entry)

    def places(self, file: str) -> Iterator[tuple[int, int]]:
        """(line, address) of the lines' beginnings."""
        for line, addresses in self.info.places(file).items():
            yield from ((line, address + self.moved) for address in addresses)

    def function(self, name: str) -> int | None:
        """A function's address."""
        found = [function.start for function in self.info.functions() if function.name == name]
        return found[0] + self.moved if found else None


class Symbols:
    """Those of a run."""

    def __init__(self, first: bytes, objects: str, folders: Sequence[Path] = ()) -> None:
        """`first`: the first kernel's ELF file; `objects`: what to call objects that are loaded beside kernels;
        `folders`: where there are sources beside our own."""
        self._objects = objects
        self._parts = [_Part(FIRST, first)]
        self._folders = [PACKAGE.parent, *folders]
        self._texts: dict[str, tuple[str, ...]] = {}
        self._lines: dict[str, dict[int, Line]] = {}

    def load(self, loaded: tuple[Sequence[tuple[bytes, int]], Sequence[tuple[bytes, dict[str, int]]]]) -> None:
        """Know what runs beside the first kernel: the view `loaded`, once the run has loaded it."""
        kernels, objects = loaded
        self._parts[1:] = [_Part(CAPTURE, elf, moved) for elf, moved in kernels]
        self._parts += [_Part(self._objects, elf, sections[".text"]) for elf, sections in objects]
        self._lines.clear()

    @cached_property
    def _programs(self) -> dict[str, _Part]:
        paths = {**images.USER_PROGRAMS, **images.INITRAMFS_PROGRAMS}
        return {Path(path).name[:_COMM_BYTES]: _Part(path, images.user_program(path)) for path in paths}

    def read(self) -> None:
        """Read all debug information now, which takes some seconds; else it is read when it is needed."""
        for part in self._parts:
            part.spot(0)
        Unwinder.of(self._parts[0].elf)

    def spot(self, address: int, task: str = "", paging: bool = True) -> Spot:
        """What is at a linear address of a CPU that runs a task."""
        if not paging and (part := self._parts[0].spot(address + PAGE_OFFSET)) is not None:
            return part
        if address < PAGE_OFFSET and task in self._programs and paging:
            return self._programs[task].spot(address) or Spot(address)
        return next((spot for part in self._parts if (spot := part.spot(address))), Spot(address))

    def lines(self, file: str) -> dict[int, Line]:
        """The lines of a source file that have code, by number."""
        if file in self._lines:
            return self._lines[file]
        found: dict[int, set[tuple[str, int]]] = {}
        for name, part in [*(("", part) for part in self._parts), *self._programs.items()]:
            for line, address in part.places(file):
                found.setdefault(line, set()).add((name, address))
        self._lines[file] = {line: Line(file, line, frozenset(found[line])) for line in sorted(found)}
        return self._lines[file]

    def function(self, name: str) -> Spot | None:
        """A function of this name: the first kernel's if it has one."""
        for part in [*self._parts, *self._programs.values()]:
            if (address := part.function(name)) is not None:
                return part.spot(address)
        return None

    def unwinder(self, spot: Spot) -> Unwinder | None:
        """For calls from a kernel's code on; None where it cannot follow them: in other code, and in a kernel that
        runs elsewhere than where it is linked."""
        part = next((part for part in self._parts if part.name == spot.owner), None)
        return Unwinder.of(part.elf) if part and part.name in (FIRST, CAPTURE) and not part.moved else None

    def files(self) -> list[str]:
        """All source files that have code."""
        parts = [*self._parts, *self._programs.values()]
        return list(dict.fromkeys(file for part in parts for file in part.info.files()))

    def text(self, file: str) -> tuple[str, ...]:
        """A source file's lines; none where it cannot be found."""
        if file not in self._texts:
            self._texts[file] = ()
            for folder in self._folders:
                if (folder / file).is_file():
                    self._texts[file] = tuple((folder / file).read_text("utf-8", "replace").splitlines())
                    break
        return self._texts[file]
