# SPDX-License-Identifier: GPL-2.0-or-later
"""Several relocatable objects to one, as ``ld -r`` does: kexec's purgatory is one ELF object, whatever it is made of.

Only what has a place in memory is kept: debug sections go, sections of the same name stay apart.  Source: gABI,
chapter 4 (locals before globals in the symbol table, `sh_info` names the first global).
"""

from __future__ import annotations

from collections.abc import Sequence

from .driver import ObjectFile
from .elf import (
    REL,
    SHN_ABS,
    SHN_UNDEF,
    SHT_REL,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    SYM,
    ElfError,
    Relocatable,
    Section,
    StringTable,
    Symbol,
    read_object,
    section_bases,
)
from .relocatable import Header, write_relocatable


class _Symbols:
    """The merged symbol table: locals of every object, then each global once."""

    def __init__(self, objects: Sequence[Relocatable], places: dict[tuple[int, int], int]) -> None:
        self._places = places
        self.index: dict[tuple[int, int], int] = {}
        locals_: list[Symbol] = []
        globals_: dict[str, Symbol] = {}
        for number, obj in enumerate(objects):
            for at, symbol in enumerate(obj.symbols[1:], 1):
                moved = self._moved(number, symbol)
                if symbol.bind == STB_LOCAL:
                    if moved is not None and symbol.kind != STT_FILE:
                        locals_.append(moved)
                        self.index[number, at] = len(locals_)
                elif moved is not None:
                    self._take(globals_, moved, obj.name)
        names = {name: at for at, name in enumerate(globals_, len(locals_) + 1)}
        for number, obj in enumerate(objects):
            for at, symbol in enumerate(obj.symbols):
                if at and symbol.bind != STB_LOCAL:
                    self.index[number, at] = names[symbol.name]
        self.first_global = len(locals_) + 1
        self.all = [*locals_, *globals_.values()]

    def _moved(self, number: int, symbol: Symbol) -> Symbol | None:
        """The symbol with its section's new number; None if that section is not kept."""
        section = symbol.section
        if section not in (SHN_UNDEF, SHN_ABS):
            if (number, section) not in self._places:
                return None
            section = self._places[number, section]
        return Symbol(symbol.name, symbol.value, symbol.size, symbol.bind, symbol.kind, section)

    @staticmethod
    def _take(known: dict[str, Symbol], symbol: Symbol, where: str) -> None:
        old = known.get(symbol.name)
        if old is None or (old.section == SHN_UNDEF and symbol.section != SHN_UNDEF) or old.bind == STB_WEAK:
            known[symbol.name] = symbol
        elif symbol.section != SHN_UNDEF and symbol.bind != STB_WEAK:
            raise ElfError(f"{where}: {symbol.name!r} is defined twice")


def merge(objects: Sequence[ObjectFile]) -> bytes:
    """One relocatable object of all of them; ElfError for a symbol that two of them define."""
    parsed = [read_object(obj.data, obj.name) for obj in objects]
    kept = [(number, at, section) for number, obj in enumerate(parsed) for at, section in enumerate(obj.sections)]
    kept = [(number, at, section) for number, at, section in kept if section.alloc]
    places = {(number, at): index for index, (number, at, _) in enumerate(kept, 1)}
    symbols = _Symbols(parsed, places)
    names, strings = StringTable(), StringTable()
    symtab = bytes(SYM.size) + b"".join(
        SYM.pack(strings.add(s.name), s.value, s.size, s.bind << 4 | s.kind, 0, s.section) for s in symbols.all
    )
    symtab_at = len(kept) + 1
    bodies: list[bytes] = []
    headers: list[Header] = []  # name, type, flags, size, link, info, alignment
    for _, _, section in kept:
        bodies.append(section.data)
        headers.append((names.add(section.name), section.kind, section.flags, section.size, 0, 0, section.align))
    bodies.append(symtab)
    headers.append((names.add(".symtab"), SHT_SYMTAB, 0, len(symtab), symtab_at + 1, symbols.first_global, 4))
    bodies.append(bytes(strings.data))
    headers.append((names.add(".strtab"), SHT_STRTAB, 0, len(strings.data), 0, 0, 1))
    for index, (number, _, section) in enumerate(kept, 1):
        if section.relocations:
            body = _relocations(section, number, symbols)
            bodies.append(body)
            name = names.add(f".rel{section.name}")
            headers.append((name, SHT_REL, 0, len(body), symtab_at, index, 4))
    own_name = names.add(".shstrtab")
    bodies.append(bytes(names.data))
    headers.append((own_name, SHT_STRTAB, 0, len(names.data), 0, 0, 1))
    return write_relocatable(headers, bodies)


def placed(objects: Sequence[ObjectFile], address: int) -> list[dict[str, int]]:
    """For each object the addresses of its sections, once `relocate_object` has placed what `merge` makes of all."""
    bases = section_bases(read_object(merge(objects)), address)
    found: list[dict[str, int]] = []
    index = 0
    for obj in objects:
        sections: dict[str, int] = {}
        for section in read_object(obj.data, obj.name).sections:
            if section.alloc:
                index += 1
                sections[section.name] = bases[index]
        found.append(sections)
    return found


def _relocations(section: Section, number: int, symbols: _Symbols) -> bytes:
    return b"".join(
        REL.pack(rel.offset, symbols.index[number, rel.symbol] << 8 | rel.kind if rel.symbol else rel.kind)
        for rel in section.relocations
    )
