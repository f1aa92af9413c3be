# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing ET_EXEC and ET_DYN files for the target (System V ABI, chapters 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .elf import (
    EHDR,
    ET_EXEC,
    SHDR,
    SHF_ALLOC,
    SHF_STRINGS,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PROGBITS,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_LOCAL,
    SYM,
    StringTable,
    Symbol,
)  # fmt: skip
from .target import TARGET, ProgramHeader

PT_LOAD, PT_NOTE = 1, 4
PAGE = 4096
PF_R = 4


@dataclass(frozen=True)
class OutputSection:
    """A finished section; `data` is None for NOBITS."""

    name: str
    flags: int
    address: int
    size: int
    align: int
    data: bytes | None
    notes: bool = False
    """A section of notes, for which a PT_NOTE is made as well."""


@dataclass(frozen=True)
class Segment:
    """A PT_LOAD over consecutive sections; physical addresses are `shift` away from the virtual ones."""

    sections: list[str]
    flags: int
    shift: int


def _align(offset: int, boundary: int) -> int:
    return -(-offset // boundary) * boundary


def write_executable(
    entry: int,
    sections: Sequence[OutputSection],
    segments: Sequence[Segment],
    symbols: Sequence[Symbol] | None,
    *,
    file_type: int = ET_EXEC,
    align: int = PAGE,
) -> bytes:
    """The file, of `file_type`; `symbols` None leaves the symbol table out.

    Offsets are congruent to addresses modulo `align`, the segments' p_align.
    """
    notes = [section for section in sections if section.notes]
    out = bytearray(EHDR.size + TARGET.elf.phdr_size * (len(segments) + len(notes)))
    offsets: dict[str, int] = {}
    by_name = {section.name: section for section in sections}
    first_of = {segment.sections[0] for segment in segments}
    for section in sections:
        offset = len(out)
        if section.flags & SHF_ALLOC:
            if section.name in first_of:
                offset += (section.address - offset) % align
            else:
                # Within a segment the file follows the addresses.
                offset += (section.address - offset) % PAGE
        else:
            offset = _align(offset, section.align)
        offsets[section.name] = offset
        if section.data is not None:
            out.extend(bytes(offset - len(out)))
            out.extend(section.data)
    headers: list[tuple[int, ...]] = [(0,) * 10]
    names = StringTable()
    for section in sections:
        kind = SHT_NOBITS if section.data is None else SHT_NOTE if section.notes else SHT_PROGBITS
        headers.append(
            (names.add(section.name), kind, section.flags, section.address, offsets[section.name], section.size, 0, 0,
             section.align, 1 if section.flags & SHF_STRINGS else 0)
        )  # fmt: skip
    if symbols is not None:
        strings = StringTable()
        table = bytearray(SYM.size)
        limit = (1 << TARGET.elf.bits) - 1
        for symbol in symbols:
            info = symbol.bind << 4 | symbol.kind
            table += SYM.pack(strings.add(symbol.name), symbol.value & limit, symbol.size, info, 0, symbol.section)
        locals_ = 1 + sum(symbol.bind == STB_LOCAL for symbol in symbols)
        out.extend(bytes(-len(out) % 4))
        number = len(headers)
        headers.append((names.add(".symtab"), SHT_SYMTAB, 0, 0, len(out), len(table), number + 1, locals_, 4, SYM.size))
        out += table
        headers.append((names.add(".strtab"), SHT_STRTAB, 0, 0, len(out), len(strings.data), 0, 0, 1, 0))
        out += strings.data
    name_entry = names.add(".shstrtab")
    headers.append((name_entry, SHT_STRTAB, 0, 0, len(out), len(names.data), 0, 0, 1, 0))
    out += names.data
    out.extend(bytes(-len(out) % 4))
    table_offset = len(out)
    for row in headers:
        out += SHDR.pack(*row)
    EHDR.pack_into(
        out, 0, TARGET.elf.linux_ident, file_type, TARGET.machine, 1, entry, EHDR.size, table_offset, 0, EHDR.size,
        TARGET.elf.phdr_size, len(segments) + len(notes), SHDR.size, len(headers), len(headers) - 1,
    )  # fmt: skip
    program_headers = []
    for segment in segments:
        members = [by_name[name] for name in segment.sections]
        start = members[0].address
        in_file = [m for m in members if m.data is not None]
        file_size = in_file[-1].address + in_file[-1].size - start if in_file else 0
        memory_size = members[-1].address + members[-1].size - start
        program_headers.append(
            ProgramHeader(
                PT_LOAD, offsets[members[0].name], start, start + segment.shift, file_size, memory_size, segment.flags,
                align,
            )
        )  # fmt: skip
    shift = segments[0].shift if segments else 0
    for note in notes:
        address, offset = note.address, offsets[note.name]
        program_headers.append(
            ProgramHeader(PT_NOTE, offset, address, address + shift, note.size, note.size, PF_R, note.align)
        )
    for index, header in enumerate(program_headers):
        where = EHDR.size + index * TARGET.elf.phdr_size
        out[where : where + TARGET.elf.phdr_size] = TARGET.elf.pack_phdr(header)
    return bytes(out)
