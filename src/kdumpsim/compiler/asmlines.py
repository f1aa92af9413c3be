# SPDX-License-Identifier: GPL-2.0-or-later
"""Debug data of assembly functions: a compilation unit for each module that has some, with their names and lines.

LLVM describes what it compiles, and no module-level assembly.  So the assembly notes the address and the source line of
each instruction in a section of its own, from which the linker makes units of DWARF 4 (sections 2.17.3, 3.1.1, 6.2 and
7.5), as assemblers do for their sources.  A macro's instructions have the line at which it is used.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .target import TARGET

#: Where addresses and lines are noted; dropped from the image.
SECTION = ".debug_asm_lines"
_NOTE = struct.Struct("<II")
_NO_ASSEMBLY = 0
"""The line of what follows the assembly in .text."""
_LABELS = re.compile(r"\s*(?:[\w.$]+:\s*)*")
_PRODUCER = "kdumpsim guest compiler"
_COMP_DIR = "."
_LANG_ASSEMBLER = 0x8001
"""DW_LANG_Mips_Assembler, which is every assembler's."""
_UNIT, _FUNCTION = 1, 2
_ABBREVIATIONS = bytes((
    _UNIT, 0x11, 1,  # DW_TAG_compile_unit, with children
    0x25, 0x08,  # DW_AT_producer, DW_FORM_string
    0x13, 0x05,  # DW_AT_language, DW_FORM_data2
    0x03, 0x08,  # DW_AT_name, DW_FORM_string
    0x1B, 0x08,  # DW_AT_comp_dir, DW_FORM_string
    0x10, 0x17,  # DW_AT_stmt_list, DW_FORM_sec_offset
    0x11, 0x01,  # DW_AT_low_pc, DW_FORM_addr
    0x55, 0x17,  # DW_AT_ranges, DW_FORM_sec_offset
    0, 0,
    _FUNCTION, 0x2E, 0,  # DW_TAG_subprogram
    0x03, 0x08,  # DW_AT_name, DW_FORM_string
    0x3A, 0x0B,  # DW_AT_decl_file, DW_FORM_data1
    0x3B, 0x0F,  # DW_AT_decl_line, DW_FORM_udata
    0x11, 0x01,  # DW_AT_low_pc, DW_FORM_addr
    0x12, 0x06,  # DW_AT_high_pc, DW_FORM_data4
    0x3F, 0x0C,  # DW_AT_external, DW_FORM_flag
    0, 0,
    0,
))  # fmt: skip


@dataclass(frozen=True)
class AssemblyFunction:
    """A function's symbol."""

    name: str
    start: int
    size: int
    external: bool


def note_lines(text: str, first: int, *, each: int = 1) -> str:
    """Assembly text that notes the line of each instruction: `first` for the first line, and `each` more for others."""
    out = []
    in_macro = False
    for number, line in enumerate(text.split("\n")):
        labels = _LABELS.match(line)
        at = labels.end() if labels else 0
        in_macro = in_macro or line.startswith(".macro", at)
        if line[at:] and line[at] not in ".#" and not in_macro:
            line = line[:at] + _note(first + each * number) + line[at:]
        in_macro = in_macro and not line.startswith(".endm", at)
        out.append(line)
    return "\n".join(out)


def _note(line: int) -> str:
    return f'8889: .pushsection {SECTION},"",@progbits; .long 8889b, {line}; .popsection; '


def note_source(texts: Sequence[str], file: str) -> list[str]:
    """All assembly of a module, with a note of its file before and of its end behind."""
    begin = f'.pushsection {SECTION},"",@progbits; .asciz "{file}"; .popsection'
    return [begin, *texts, ".text; " + _note(_NO_ASSEMBLY)]


def _uleb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _sleb128(value: int) -> bytes:
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def _string(text: str) -> bytes:
    return text.encode() + b"\0"


def _address(value: int) -> bytes:
    return value.to_bytes(TARGET.word, "little")


def _sized(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


class AssemblyUnits:
    """What is to be added to the debug sections, whose sizes so far are given by name."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        names = (".debug_info", ".debug_abbrev", ".debug_line", ".debug_ranges", ".debug_aranges")
        self.sections = {name: bytearray() for name in names}

    def _end(self, name: str) -> int:
        return self._sizes.get(name, 0) + len(self.sections[name])

    def add(self, functions: Iterable[AssemblyFunction], notes: bytes) -> None:
        """Describe those of an object's functions that its notes show to be assembly."""
        file, _, noted = notes.partition(b"\0")
        # Of several notes at one address, the last is of what is there.
        lines = dict(sorted(dict(_NOTE.iter_unpack(noted)).items()))
        found = []
        for function in sorted(functions, key=lambda function: function.start):
            # Where a macro was used, its note may be before an alignment.
            first = [line for at, line in lines.items() if at <= function.start][-1:]
            if first and first[0] != _NO_ASSEMBLY:
                end = function.start + function.size
                more = [(at, line) for at, line in lines.items() if function.start < at < end]
                found.append((function, [(function.start, first[0]), *more]))
        if not found:
            return
        if not self.sections[".debug_abbrev"]:
            self._abbreviations = self._end(".debug_abbrev")
            self.sections[".debug_abbrev"] += _ABBREVIATIONS
        unit = bytes((_UNIT,)) + _string(_PRODUCER) + struct.pack("<H", _LANG_ASSEMBLER)
        unit += file + b"\0" + _string(_COMP_DIR) + struct.pack("<I", self._end(".debug_line"))
        unit += _address(0) + struct.pack("<I", self._end(".debug_ranges"))
        for function, rows in found:
            unit += bytes((_FUNCTION,)) + _string(function.name) + b"\1" + _uleb128(rows[0][1])
            unit += _address(function.start) + struct.pack("<IB", function.size, function.external)
            self.sections[".debug_ranges"] += _address(function.start) + _address(function.start + function.size)
        self.sections[".debug_ranges"] += _address(0) * 2
        word = TARGET.word
        # Version, unit, sizes of an address and of a segment selector; addresses are aligned to two words.
        aranges = struct.pack("<HIBB", 2, self._end(".debug_info"), word, 0) + bytes(-12 % (2 * word))
        for function, _ in found:
            aranges += _address(function.start) + _address(function.size)
        self.sections[".debug_aranges"] += _sized(aranges + _address(0) * 2)
        header = struct.pack("<HIB", 4, self._abbreviations, TARGET.word)
        self.sections[".debug_info"] += _sized(header + unit + b"\0")
        self.sections[".debug_line"] += _line_table(file, found)


def _line_table(file: bytes, functions: Sequence[tuple[AssemblyFunction, list[tuple[int, int]]]]) -> bytes:
    """One sequence of rows for each function."""
    operands = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))  # of the standard opcodes
    # Of instructions: the shortest, the most in a bundle; is_stmt; line base and range, for special opcodes.
    header = struct.pack("<BBBbBB", 1, 1, 1, -5, 14, len(operands) + 1) + operands
    directory, _, name = file.rpartition(b"/")
    header += directory + bytes(1 + bool(directory)) + name + bytes((0, bool(directory), 0, 0, 0))  # both tables
    program = bytearray()
    for function, rows in functions:
        program += bytes((0, 1 + TARGET.word, 2)) + _address(function.start)  # DW_LNE_set_address
        at, line = function.start, 1
        for address, number in rows:
            if number != line or address == function.start:
                program += b"\2" + _uleb128(address - at)  # DW_LNS_advance_pc
                program += b"\3" + _sleb128(number - line) + b"\1"  # DW_LNS_advance_line, DW_LNS_copy
                at, line = address, number
        program += b"\2" + _uleb128(function.start + function.size - at) + b"\0\1\1"  # DW_LNE_end_sequence
    return _sized(struct.pack("<H", 4) + _sized(header) + bytes(program))
