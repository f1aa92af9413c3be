# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions, source lines and code of a kernel file, by address (ELF symbols; DWARF 4, section 6.2)."""

from __future__ import annotations

import bisect
import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection, SymbolTableSection

from kdumpsim.compiler import cache


class DebugInfoError(ValueError):
    """The file is no ELF file, is damaged, or holds no symbols."""


@dataclass(frozen=True)
class Function:
    """A function's name, its first address, and its size in bytes."""

    name: str
    start: int
    size: int


class DebugInfo:
    """What a kernel file knows of addresses in it.  DebugInfoError for what is no kernel file."""

    def __init__(self, elf: bytes) -> None:
        if elf[:4] != b"\x7fELF":
            raise DebugInfoError("no ELF file")
        self._image = elf
        try:
            self._read(ELFFile(io.BytesIO(elf)))
        except DebugInfoError:
            raise
        except Exception as error:  # pyelftools trusts what it reads: on damage it raises anything at all
            what = str(error) if isinstance(error, ELFError) else f"{type(error).__name__}: {error}"
            raise DebugInfoError(f"a damaged ELF file ({what})") from error

    @staticmethod
    @lru_cache(maxsize=4)
    def of(elf: bytes) -> DebugInfo:
        """The same, read once for all who ask about these bytes, in other processes, too (a sixth of a second)."""

        def read() -> bytes:
            found = DebugInfo(elf)
            functions = [(one.name, one.start, one.size) for one in found._functions]
            return json.dumps([functions, found._segments, found._lines]).encode()

        functions, segments, lines = json.loads(cache.cached(cache.digest([Path(__file__).read_bytes(), elf]), read))
        found = DebugInfo.__new__(DebugInfo)
        found._image = elf
        found._take([Function(*one) for one in functions], segments, [tuple(row) for row in lines])
        return found

    def _take(
        self, functions: list[Function], segments: list[tuple[int, int, int]], lines: list[tuple[int, str, int]]
    ) -> None:
        self._functions, self._segments, self._lines = functions, segments, lines
        self._starts = [function.start for function in functions]
        self._line_starts = [start for start, _, _ in lines]

    def _read(self, elf: ELFFile) -> None:
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            raise DebugInfoError("an ELF file without symbols")
        functions = sorted(
            (
                Function(symbol.name, symbol["st_value"], symbol["st_size"])
                for symbol in table.iter_symbols()
                if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_size"]
            ),
            key=lambda function: function.start,
        )
        segments = [(s["p_vaddr"], s["p_offset"], s["p_filesz"]) for s in elf.iter_segments("PT_LOAD")]
        self._take(functions, segments, self._read_lines(elf.get_dwarf_info()))

    def _read_lines(self, dwarf: DWARFInfo) -> list[tuple[int, str, int]]:
        """Rows of all line tables: address, file, line (0 after the end of a sequence)."""
        rows = []
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            if program is None:
                continue
            directories = [b"", *program["include_directory"]]
            files = [""]
            for entry in program["file_entry"]:
                directory = directories[entry.dir_index]
                files.append((directory + b"/" * bool(directory) + entry.name).decode())
            for row in program.get_entries():
                state = row.state
                # Line 0 is code of no line of its own: it goes with what stands before, as gdb has it.
                if state is not None and (state.line or state.end_sequence):
                    rows.append((state.address, files[state.file], 0 if state.end_sequence else state.line))
        # Where one sequence ends at the address at which the next begins, the beginning counts.
        return sorted(rows, key=lambda row: (row[0], row[2] != 0))

    def function(self, address: int) -> Function | None:
        """The function that holds an address."""
        at = bisect.bisect_right(self._starts, address) - 1
        if at < 0 or address >= self._functions[at].start + self._functions[at].size:
            return None
        return self._functions[at]

    def line(self, address: int) -> tuple[str, int] | None:
        """Source file, as the compiler was given it, and line of an address."""
        at = bisect.bisect_right(self._line_starts, address) - 1
        if at < 0 or self._lines[at][2] == 0:
            return None
        return self._lines[at][1:]

    def rows_of(self, file: str) -> list[tuple[int, str, int]]:
        """Rows of the line table, (address, file, line), of all files whose path ends with this one."""
        return [row for row in self._lines if row[2] and (row[1] == file or row[1].endswith(f"/{file}"))]

    def begins(self, rows: list[tuple[int, str, int]], line: int) -> list[int]:
        """Where the code of a line begins, by the rows of its file: the first address in each function."""
        firsts: dict[Function | None, int] = {}
        for address, _, number in rows:
            if number == line:
                function = self.function(address)
                firsts[function] = min(address, firsts.get(function, address))
        return sorted(firsts.values())

    def extent(self, address: int) -> tuple[int, int] | None:
        """Begin and end of the code around an address that is of the same source line; None without a line."""
        first = last = bisect.bisect_right(self._line_starts, address) - 1
        if first < 0 or self._lines[first][2] == 0:
            return None
        while first > 0 and self._lines[first - 1][1:] == self._lines[first][1:]:
            first -= 1
        while last + 1 < len(self._lines) and self._lines[last + 1][1:] == self._lines[last][1:]:
            last += 1
        end = self._line_starts[last + 1] if last + 1 < len(self._lines) else address + 1
        return self._line_starts[first], end

    def places(self, file: str) -> dict[int, list[int]]:
        """The lines of a source file that have code, and the addresses at which it begins."""
        found: dict[int, list[int]] = {}
        before = ("", 0)
        for address, name, line in self._lines:
            if name == file and line and before != (name, line):
                found.setdefault(line, []).append(address)
            before = (name, line)
        return found

    def files(self) -> list[str]:
        """All source files that have code."""
        return list(dict.fromkeys(file for _, file, line in self._lines if line))

    def functions(self) -> list[Function]:
        """All of them, by address."""
        return list(self._functions)

    def code(self, start: int, size: int) -> bytes:
        """What the file holds at a virtual address; less than `size` where a segment ends."""
        for address, offset, filesz in self._segments:
            inside = start - address
            if 0 <= inside < filesz:
                return self._image[offset + inside : offset + min(inside + size, filesz)]
        return b""


def build_id(elf: bytes) -> str:
    """The build-id that a linker has left in a file, for messages."""
    try:
        section = ELFFile(io.BytesIO(elf)).get_section_by_name(".note.gnu.build-id")
        if isinstance(section, NoteSection):
            return str(next(section.iter_notes())["n_desc"])
    except (ELFError, StopIteration):
        pass
    return "(none)"
