# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions, source lines and code of a kernel file, by address (ELF symbols; DWARF 4, section 6.2)."""

from __future__ import annotations

import bisect
import io
from dataclasses import dataclass

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection


class DebugInfoError(ValueError):
    """The file is no ELF file, or holds no symbols."""


@dataclass(frozen=True)
class Function:
    """A function's name, its first address, and its size in bytes."""

    name: str
    start: int
    size: int


class DebugInfo:
    """What a kernel file knows of addresses in it.  DebugInfoError for what is no kernel file."""

    def __init__(self, elf: bytes) -> None:
        try:
            self._elf = ELFFile(io.BytesIO(elf))
            table = self._elf.get_section_by_name(".symtab")
        except ELFError as error:
            raise DebugInfoError(f"no ELF file: {error}") from error
        if not isinstance(table, SymbolTableSection):
            raise DebugInfoError("an ELF file without symbols")
        self._functions = sorted(
            (
                Function(symbol.name, symbol["st_value"], symbol["st_size"])
                for symbol in table.iter_symbols()
                if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_size"]
            ),
            key=lambda function: function.start,
        )
        self._starts = [function.start for function in self._functions]
        self._lines = self._read_lines()
        self._line_starts = [start for start, _, _ in self._lines]

    def _read_lines(self) -> list[tuple[int, str, int]]:
        """Rows of all line tables: address, file, line (0 behind the end of a sequence)."""
        rows = []
        dwarf = self._elf.get_dwarf_info()
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

    def code(self, start: int, size: int) -> bytes:
        """What the file holds at a virtual address; less than `size` where a segment ends."""
        for segment in self._elf.iter_segments("PT_LOAD"):
            offset = start - segment["p_vaddr"]
            if 0 <= offset < segment["p_filesz"]:
                return bytes(segment.data()[offset : offset + size])
        return b""
