# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the target's relocatable ELF objects, and applying their relocations.

Only what LLVM and GNU as emit without position independence is known; everything else is an :class:`ElfError`, never
skipped.  Source: System V ABI (gABI) chapter 4, and its supplement for the processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .target import TARGET

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_REL = 1, 2, 3, 4, 7, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_MERGE, SHF_STRINGS = 1, 2, 4, 0x10, 0x20
SHN_UNDEF, SHN_ABS, SHN_COMMON = 0, 0xFFF1, 0xFFF2
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_FUNC, STT_SECTION, STT_FILE = 0, 2, 3, 4
ET_REL, ET_EXEC, ET_DYN = 1, 2, 3

EHDR, SHDR, SYM, REL = TARGET.elf.ehdr, TARGET.elf.shdr, TARGET.elf.sym, TARGET.elf.rel


class ElfError(Exception):
    """The file is not an ELF object of the kind expected, or a relocation cannot be applied."""


@dataclass(slots=True)
class Section:
    """One section of an object; `data` is empty for NOBITS, whose extent is `size`."""

    name: str
    kind: int
    flags: int
    size: int
    align: int
    data: bytes
    link: int = 0
    info: int = 0
    relocations: list[Relocation] = field(default_factory=list)

    @property
    def alloc(self) -> bool:
        """Does it occupy memory at run time?"""
        return bool(self.flags & SHF_ALLOC)


@dataclass(slots=True)
class Symbol:
    """One symbol-table entry; `section` is an index into the object's sections or an SHN_ value."""

    name: str
    value: int
    size: int
    bind: int
    kind: int
    section: int


@dataclass(slots=True, frozen=True)
class Relocation:
    """One REL entry: the addend stands in the field itself."""

    offset: int
    kind: int
    symbol: int


@dataclass(slots=True)
class Relocatable:
    """A parsed ET_REL file."""

    name: str
    sections: list[Section]
    symbols: list[Symbol]


class StringTable:
    """A string table under construction: each string once, the empty one at 0."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self._known: dict[str, int] = {"": 0}

    def add(self, text: str) -> int:
        """The string's offset, after adding it if it is new."""
        if text not in self._known:
            self._known[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._known[text]


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def read_object(data: bytes, name: str = "<object>") -> Relocatable:
    """Parse a relocatable file for the target; ElfError when it is anything else."""
    if len(data) < EHDR.size or data[:6] != TARGET.elf.ident[:6]:
        raise ElfError(f"{name}: not a {TARGET.elf.bits}-bit little-endian ELF file")
    _, kind, machine, *rest = EHDR.unpack_from(data)
    if kind != ET_REL or machine != TARGET.machine:
        raise ElfError(f"{name}: not a relocatable {TARGET.name} object (type {kind}, machine {machine})")
    shoff, shnum, shstrndx = rest[3], rest[9], rest[10]
    headers = [SHDR.unpack_from(data, shoff + i * SHDR.size) for i in range(shnum)]
    names = data[headers[shstrndx][4] :][: headers[shstrndx][5]]
    sections = []
    for n, k, flags, _, offset, size, link, info, align, _ in headers:
        body = b"" if k == SHT_NOBITS else data[offset : offset + size]
        sections.append(Section(_string(names, n) if names else "", k, flags, size, max(align, 1), body, link, info))
    symbols: list[Symbol] = []
    for section in sections:
        if section.kind == SHT_SYMTAB:
            strings = sections[section.link].data
            for n, value, size, info, _, index in SYM.iter_unpack(section.data):
                symbols.append(Symbol(_string(strings, n), value, size, info >> 4, info & 15, index))
        elif section.kind == SHT_RELA:
            raise ElfError(f"{name}: {section.name}: RELA relocations are not used on {TARGET.name}")
    for section in sections:
        if section.kind == SHT_REL:
            target = sections[section.info]
            target.relocations.extend(Relocation(o, i & 0xFF, i >> 8) for o, i in REL.iter_unpack(section.data))
    return Relocatable(name, sections, symbols)


def apply_relocation(image: bytearray, offset: int, kind: int, symbol_value: int, place: int, where: str) -> None:
    """Patch the field at `offset` of `image`, whose run-time address is `place`, for a symbol's address.

    A field that does not wrap must hold the result, signed or unsigned: ElfError otherwise.
    """
    if not kind:
        return
    try:
        width, relative, wraps = TARGET.relocations[kind]
    except KeyError:
        raise ElfError(f"{where}: relocation type {kind} is not supported") from None
    addend = int.from_bytes(image[offset : offset + width], "little", signed=True)
    value = symbol_value + addend - (place if relative else 0)
    limit = 1 << (8 * width)
    if not wraps and not -(limit >> 1) <= value < limit:
        raise ElfError(f"{where}: {value:#x} does not fit a relocation of {8 * width} bits")
    image[offset : offset + width] = (value & (limit - 1)).to_bytes(width, "little")


def section_bases(obj: Relocatable, address: int) -> dict[int, int]:
    """Where `relocate_object` puts each allocated section, by number, in the order in which it does."""
    bases: dict[int, int] = {}
    at = address
    # What has contents first, so that zeros stand at the end.
    for index, section in sorted(enumerate(obj.sections), key=lambda pair: pair[1].kind == SHT_NOBITS):
        if section.alloc:
            at += -at % section.align
            bases[index] = at
            at += len(section.data) if section.kind != SHT_NOBITS else section.size
    return bases


def relocate_object(
    data: bytes, address: int, externals: Mapping[str, int] | None = None
) -> tuple[bytes, dict[str, int]]:
    """Place one relocatable object at a physical/virtual `address`.

    Allocated sections follow one another in their order, aligned as each asks; NOBITS come last, as zeros.  Returns the
    memory image and the addresses of all named symbols.  Undefined symbols may be given in `externals`; ElfError
    otherwise.
    """
    obj = read_object(data)
    bases = section_bases(obj, address)
    image = bytearray()
    for index, base in bases.items():
        section = obj.sections[index]
        image.extend(bytes(base - address - len(image)))
        image.extend(section.data if section.kind != SHT_NOBITS else bytes(section.size))
    externals = externals or {}
    values: list[int | None] = []
    symbols: dict[str, int] = {}
    for symbol in obj.symbols:
        value: int | None = None
        if symbol.section == SHN_ABS:
            value = symbol.value
        elif symbol.section in bases:
            value = bases[symbol.section] + symbol.value
        elif symbol.section == SHN_UNDEF and symbol.name in externals:
            value = externals[symbol.name]
        values.append(value)
        if value is not None and symbol.name and symbol.kind not in (STT_FILE, STT_SECTION):
            symbols[symbol.name] = value
    for index, base in bases.items():
        section = obj.sections[index]
        for rel in section.relocations:
            target = values[rel.symbol]
            if target is None:
                raise ElfError(
                    f"undefined symbol {obj.symbols[rel.symbol].name!r} used in {section.name}+{rel.offset:#x}"
                )
            where = f"{section.name}+{rel.offset:#x}"
            apply_relocation(image, base - address + rel.offset, rel.kind, target, base + rel.offset, where)
    return bytes(image), symbols
