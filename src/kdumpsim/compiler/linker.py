# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects to an executable image: layout, symbols, relocation, kallsyms, ELF.

The layout follows Linux's vmlinux: text, read-only data, data and bss, each group on pages of its own, with the
symbols Linux's linker script defines.  Debug sections are concatenated and relocated; nothing is garbage-collected.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .asmlines import SECTION as ASSEMBLY_LINES
from .asmlines import AssemblyFunction, AssemblyUnits
from .diagnostics import GuestError
from .driver import ObjectFile
from .elf import (
    ET_DYN,
    ET_EXEC,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_MERGE,
    SHF_STRINGS,
    SHF_WRITE,
    SHN_ABS,
    SHN_COMMON,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_NOTE,
    SHT_PROGBITS,
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    STT_FUNC,
    STT_NOTYPE,
    STT_SECTION,
    ElfError,
    Relocatable,
    Relocation,
    Section,
    Symbol,
    apply_relocation,
    read_object,
    relocate_object,
)  # fmt: skip
from .elfwriter import OutputSection, Segment, write_executable
from .frames import SECTION as SIGNAL_FRAMES
from .frames import finish_frames
from .lines import source_line
from .mergestrings import MergedStrings, is_mergeable
from .target import TARGET

PAGE = 4096
#: Input sections that come first in .text: what a boot loader must find near the start of the image.
_HEAD = (".multiboot", ".head.text", ".text.head")
_LEVEL = re.compile(r"([A-Za-z_]\w*?)([0-9])")
"""A section of one level: NAME0 to NAME9 make one table, NAME, in the order of the digit (ld's SORT)."""
RELOCS = "relocs"
"""The table of a relocatable image: the link-time address of each word that holds an address, in order."""
_KALLSYMS = ("kallsyms_num_syms", "kallsyms_addresses", "kallsyms_names")


class LinkError(GuestError):
    """The objects do not make a program; the message names every symbol at fault and where it is used."""


PER_CPU = "percpu"
"""The section of variables that every CPU has its own copy of; its symbols are those of Linux's linker script."""
BUILD_ID = ".note.gnu.build-id"
BUILD_ID_HEADER = struct.pack("<III4s", 4, 20, 3, b"GNU")
"""An ELF note's header: name and description in bytes, NT_GNU_BUILD_ID, the name."""
BUILD_ID_BYTES = len(BUILD_ID_HEADER) + 20


@dataclass
class Layout:
    """Where the image goes: `vaddr` the first byte's virtual, `paddr` its physical address.

    `entry` is a symbol; with `entry_is_physical` e_entry holds its physical address, as in Linux's vmlinux.
    `build_id` adds a note that names the contents, as GNU ld's --build-id does; it lies between __start_notes and
    __stop_notes.  `relocatable` adds a table of all words that hold addresses, between __start_relocs and
    __stop_relocs, with which the image can move itself by any multiple of its alignment, and says so by ET_DYN.
    """

    vaddr: int
    paddr: int
    entry: str
    kallsyms: bool = False
    entry_is_physical: bool = True
    build_id: bool = False
    relocatable: bool = False


@dataclass(frozen=True)
class LinkedImage:
    """An ET_EXEC file (ET_DYN: a relocatable image) and the addresses of its global symbols."""

    elf: bytes
    symbols: Mapping[str, int]
    _stripped: bytes = field(repr=False, default=b"")

    def stripped(self) -> bytes:
        """The same load segments, without symbols and debug sections."""
        return self._stripped


@dataclass
class _Input:
    """One input section: which object, and where it went in its output section."""

    owner: Relocatable
    section: Section
    offset: int = 0


@dataclass
class _Output:
    name: str
    flags: int
    nobits: bool = False
    inputs: list[_Input] = field(default_factory=list)
    address: int = 0
    size: int = 0
    align: int = 1
    data: bytearray = field(default_factory=bytearray)
    strings: MergedStrings | None = None

    def append(self, owner: Relocatable, section: Section) -> None:
        """Add an input section after the others."""
        if self.strings is not None:
            self.strings.add(section)
            self.inputs.append(_Input(owner, section))
            self.size = len(self.strings.data)
            return
        self.align = max(self.align, section.align)
        self.size = -(-self.size // section.align) * section.align
        self.inputs.append(_Input(owner, section, self.size))
        self.size += section.size

    def fill(self) -> None:
        """Copy the inputs' bytes; gaps in code are NOPs."""
        if self.nobits:
            return
        if self.strings is not None:
            self.data = self.strings.data
            return
        self.data = bytearray((b"\x90" if self.flags & SHF_EXECINSTR else b"\0") * self.size)
        for part in self.inputs:
            self.data[part.offset : part.offset + part.section.size] = part.section.data.ljust(part.section.size, b"\0")


def is_c_identifier(name: str) -> bool:
    """Can __start_NAME be written in C?"""
    return name.isidentifier() and name.isascii()


def table_name(section: str) -> str:
    """The table that a section with a C identifier for a name belongs to."""
    match = _LEVEL.fullmatch(section)
    return match[1] if match else section


class _Linker:
    def __init__(self, objects: Sequence[ObjectFile], layout: Layout) -> None:
        self.layout = layout
        self.inputs = [read_object(obj.data, obj.name) for obj in objects]
        self.files = {obj.name: obj.data for obj in objects}
        self.outputs: dict[str, _Output] = {}
        self.globals: dict[str, int] = {}
        self.errors: list[str] = []

    def run(self) -> LinkedImage:
        self._check_duplicates()
        groups = self._collect()
        self._check_tables_are_read()
        extra = self._kallsyms_size()
        if self.layout.relocatable:
            self._relocs_size(groups)
        self._assign_addresses(groups, extra)
        places = self._places()
        self._symbols(places, groups)
        if extra:
            self._kallsyms(places)
        for output in self.outputs.values():
            output.fill()
        if extra:
            table = self.outputs[".kallsyms"]
            table.data = bytearray(self._table)
        if self.layout.build_id:
            self.outputs[BUILD_ID].data = bytearray(BUILD_ID_HEADER.ljust(BUILD_ID_BYTES, b"\0"))
        self._relocate(places)
        if self.layout.relocatable:
            self._relocs(places)
        self._frames(groups)
        self._assembly(groups, places)
        if self.layout.entry not in self.globals:
            self.errors.append(f"entry symbol {self.layout.entry} is not defined")
        if self.errors:
            raise LinkError("\n".join(self.errors))
        return self._write(groups)

    def _check_tables_are_read(self) -> None:
        """A table without a reader is a registration that never takes effect: a level or a name nobody knows."""
        wanted = {s.name for obj in self.inputs for s in obj.symbols if s.section == SHN_UNDEF}
        for output in self.outputs.values():
            reader = "__per_cpu_start" if output.name == PER_CPU else f"__start_{output.name}"
            if output.flags & SHF_ALLOC and is_c_identifier(output.name) and reader not in wanted:
                sections = sorted({f"{part.section.name} ({part.owner.name})" for part in output.inputs})
                self.errors.append(f"no code reads section {', '.join(sections)}: {reader} is not used")

    # -- layout ------------------------------------------------------------------------------------------------------

    def _check_duplicates(self) -> None:
        first: dict[str, str] = {}
        for obj in self.inputs:
            for symbol in obj.symbols:
                if symbol.bind == STB_GLOBAL and symbol.section != SHN_UNDEF:
                    if symbol.section == SHN_COMMON:
                        self.errors.append(f"{obj.name}: common symbol {symbol.name}: give it an initial value")
                    if symbol.name in first:
                        self.errors.append(f"symbol {symbol.name} is defined in {first[symbol.name]} and in {obj.name}")
                    first.setdefault(symbol.name, obj.name)

    def _output_name(self, section: Section) -> str:
        name = section.name
        if not section.alloc:
            return name
        if section.flags & SHF_EXECINSTR:
            return ".text"
        if is_c_identifier(name):
            return table_name(name)
        if name == ".eh_frame" or section.kind == SHT_NOTE:
            return name
        if section.flags & SHF_WRITE:
            return ".bss" if section.kind == SHT_NOBITS else ".data"
        return ".rodata"

    def _collect(self) -> dict[str, list[_Output]]:
        kept = (SHT_PROGBITS, SHT_NOBITS, SHT_NOTE)
        parts = [
            (obj, s)
            for obj in self.inputs
            for s in obj.sections
            if s.kind in kept and (s.alloc or s.name.startswith(".debug_"))
        ]
        head = [(obj, s) for name in _HEAD for obj, s in parts if s.name == name]
        levels = sorted(((obj, s) for obj, s in parts if _LEVEL.fullmatch(s.name)), key=lambda part: part[1].name)
        rest = [(obj, s) for obj, s in parts if s.name not in _HEAD and not _LEVEL.fullmatch(s.name)]
        parts = head + rest + levels
        for name, flags in ((".text", 6), (".rodata", 2), (".data", 3), (".bss", 3)):
            self.outputs[name] = _Output(name, flags, nobits=name == ".bss")
        for obj, section in parts:
            name = self._output_name(section)
            if section.name in _HEAD:
                name = ".text"
            if name not in self.outputs:
                kept_flags = SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR if section.alloc else SHF_MERGE | SHF_STRINGS
                strings = MergedStrings() if is_mergeable(section) else None
                self.outputs[name] = _Output(name, section.flags & kept_flags, strings=strings)
            output = self.outputs[name]
            output.flags |= section.flags & SHF_WRITE
            output.append(obj, section)
        if self.layout.build_id:
            self.outputs[BUILD_ID] = _Output(BUILD_ID, SHF_ALLOC, align=4, size=BUILD_ID_BYTES)
        groups: dict[str, list[_Output]] = {"text": [], "rodata": [], "data": [], "bss": [], "debug": []}
        for output in self.outputs.values():
            if not output.flags & SHF_ALLOC:
                groups["debug"].append(output)
            elif output.flags & SHF_EXECINSTR:
                groups["text"].append(output)
            elif output.nobits:
                groups["bss"].append(output)
            else:
                groups["data" if output.flags & SHF_WRITE else "rodata"].append(output)
        return groups

    def _kallsyms_size(self) -> int:
        """Bytes of the table, or 0 if nobody wants one; its size depends on the names alone."""
        wanted = {s.name for obj in self.inputs for s in obj.symbols if s.section == SHN_UNDEF}
        if not self.layout.kallsyms and not wanted.intersection(_KALLSYMS):
            return 0
        names = [s.name for _, s in self._text_symbols()] if self.layout.kallsyms else []
        output = _Output(".kallsyms", SHF_ALLOC, align=4)
        output.size = 4 + 4 * len(names) + sum(len(name.encode()) + 1 for name in names)
        self.outputs[".kallsyms"] = output
        return output.size

    def _moving(self) -> Iterable[tuple[Relocatable, Section, Relocation]]:
        """Relocations that write an address of the image; an error for a field that is too small for any."""
        absolute = {s.name for obj in self.inputs for s in obj.symbols if s.section == SHN_ABS and s.bind != STB_LOCAL}
        for obj in self.inputs:
            for section in obj.sections:
                for rel in section.relocations if section.alloc else ():
                    symbol = obj.symbols[rel.symbol]
                    field_ = TARGET.relocations.get(rel.kind)
                    if field_ is None or symbol.section == SHN_ABS or symbol.name in absolute:
                        continue
                    if field_.width == TARGET.word and not field_.relative:
                        yield obj, section, rel
                    elif field_.width != TARGET.word:
                        self.errors.append(
                            f"{self._where(obj, section, rel.offset)}: {8 * field_.width} bits of an "
                            "address, which a relocatable image cannot have"
                        )

    def _relocs_size(self, groups: dict[str, list[_Output]]) -> None:
        """Make room for the table: a word for each relocation, and for each address in kallsyms."""
        count = sum(1 for _ in self._moving())
        if self.layout.kallsyms:
            count += sum(1 for _ in self._text_symbols())
        self.outputs[RELOCS] = _Output(RELOCS, SHF_ALLOC, align=TARGET.word, size=TARGET.word * count)
        groups["rodata"].append(self.outputs[RELOCS])

    def _relocs(self, places: Mapping[int, tuple[_Output, int]]) -> None:
        addresses = [places[id(section)][1] + rel.offset for _, section, rel in self._moving()]
        if self.layout.kallsyms:
            table = self.outputs[".kallsyms"].address
            addresses += [table + TARGET.word * (1 + index) for index, _ in enumerate(self._text_symbols())]
        self.outputs[RELOCS].data = bytearray(struct.pack(f"<{len(addresses)}{TARGET.word_format}", *sorted(addresses)))

    def _text_symbols(self) -> Iterable[tuple[Relocatable, Symbol]]:
        for obj in self.inputs:
            for symbol in obj.symbols:
                named = symbol.kind in (STT_FUNC, STT_NOTYPE) and symbol.name and not symbol.name.startswith(".L")
                inside = 0 < symbol.section < len(obj.sections)
                if named and inside and obj.sections[symbol.section].flags & SHF_EXECINSTR:
                    yield obj, symbol

    def _assign_addresses(self, groups: dict[str, list[_Output]], kallsyms: int) -> None:
        if kallsyms:
            groups["rodata"].append(self.outputs[".kallsyms"])
        address = self.layout.vaddr
        for name in ("text", "rodata", "data", "bss"):
            if name != "text":
                address = -(-address // PAGE) * PAGE
            for output in groups[name]:
                address = -(-address // output.align) * output.align
                output.address = address
                address += output.size
        self.end = -(-address // 4) * 4

    def _places(self) -> dict[int, tuple[_Output, int]]:
        """Where each input section (by identity) went: its output and its address or, for debug sections, offset."""
        return {
            id(part.section): (output, output.address + part.offset)
            for output in self.outputs.values()
            for part in output.inputs
        }

    # -- symbols -----------------------------------------------------------------------------------------------------

    def _symbols(self, places: Mapping[int, tuple[_Output, int]], groups: dict[str, list[_Output]]) -> None:
        def extent(name: str) -> tuple[int, int]:
            outputs = groups[name]
            return outputs[0].address, max(o.address + o.size for o in outputs)

        text, rodata, data, bss = (extent(name) for name in ("text", "rodata", "data", "bss"))
        defined = {
            "_text": text[0], "_stext": text[0], "_etext": text[1], "__start_rodata": rodata[0],
            "__end_rodata": rodata[1], "_sdata": data[0], "_edata": data[1], "__bss_start": bss[0],
            "__bss_stop": -(-bss[1] // 4) * 4, "_end": self.end,
        }  # fmt: skip
        for output in self.outputs.values():
            if output.flags & SHF_ALLOC and is_c_identifier(output.name):
                defined[f"__start_{output.name}"] = output.address
                defined[f"__stop_{output.name}"] = output.address + output.size
        if (area := self.outputs.get(PER_CPU)) is not None:
            defined |= {"__per_cpu_start": area.address, "__per_cpu_end": area.address + area.size}
        notes = self.outputs.get(BUILD_ID, _Output(BUILD_ID, SHF_ALLOC))
        defined |= {"__start_notes": notes.address, "__stop_notes": notes.address + notes.size}
        if (table := self.outputs.get(".kallsyms")) is not None:
            count = len(list(self._text_symbols())) if self.layout.kallsyms else 0
            for name, offset in zip(_KALLSYMS, (0, TARGET.word, TARGET.word * (1 + count)), strict=True):
                defined[name] = table.address + offset
        weak: dict[str, int] = {}
        for obj in self.inputs:
            for symbol in obj.symbols:
                if symbol.bind in (STB_GLOBAL, STB_WEAK) and symbol.section != SHN_UNDEF:
                    value = self._value(obj, symbol, places)
                    if value is not None:
                        (self.globals if symbol.bind == STB_GLOBAL else weak)[symbol.name] = value
        self.globals = {**defined, **weak, **self.globals}

    @staticmethod
    def _value(obj: Relocatable, symbol: Symbol, places: Mapping[int, tuple[_Output, int]]) -> int | None:
        if symbol.section == SHN_ABS:
            return symbol.value
        if symbol.section in (SHN_UNDEF, SHN_COMMON):
            return None
        place = places.get(id(obj.sections[symbol.section]))
        return None if place is None else place[1] + symbol.value

    def _kallsyms(self, places: Mapping[int, tuple[_Output, int]]) -> None:
        entries = []
        if self.layout.kallsyms:
            for obj, symbol in self._text_symbols():
                entries.append((self._value(obj, symbol, places) or 0, symbol.name))
        entries.sort()
        words = (len(entries), *(address for address, _ in entries))
        self._table = struct.pack(f"<{len(words)}{TARGET.word_format}", *words)
        self._table += b"".join(name.encode() + b"\0" for _, name in entries)

    # -- relocation --------------------------------------------------------------------------------------------------

    def _relocate(self, places: Mapping[int, tuple[_Output, int]]) -> None:
        undefined: dict[str, list[str]] = {}
        for obj in self.inputs:
            values: list[int | None] = []
            for symbol in obj.symbols:
                if symbol.section == SHN_UNDEF and symbol.name:
                    values.append(self.globals.get(symbol.name, 0 if symbol.bind == STB_WEAK else None))
                else:
                    values.append(
                        self.globals[symbol.name] if symbol.bind == STB_WEAK else self._value(obj, symbol, places)
                    )
            strings = {
                index
                for index, symbol in enumerate(obj.symbols)
                if 0 < symbol.section < len(obj.sections) and is_mergeable(obj.sections[symbol.section])
            }
            for section in obj.sections:
                if not section.relocations or id(section) not in places:
                    continue
                output, base = places[id(section)]
                for rel in section.relocations:
                    if rel.symbol in strings:
                        self._move_string(output.data, base + rel.offset, obj, obj.symbols[rel.symbol])
                        continue
                    value = values[rel.symbol]
                    if value is None:
                        name = obj.symbols[rel.symbol].name or "?"
                        if section.alloc:
                            undefined.setdefault(name, []).append(self._where(obj, section, rel.offset))
                        continue
                    place = base + rel.offset
                    where = f"{obj.name}: {section.name}+{rel.offset:#x}"
                    try:
                        apply_relocation(output.data, place - output.address, rel.kind, value, place, where)
                    except ElfError as error:
                        self.errors.append(str(error))
        for name, uses in sorted(undefined.items()):
            unique = list(dict.fromkeys(uses))
            more = f" and {len(unique) - 4} more" if len(unique) > 4 else ""
            self.errors.append(f"undefined symbol {name}, used in {', '.join(unique[:4])}{more}")

    def _move_string(self, image: bytearray, offset: int, obj: Relocatable, symbol: Symbol) -> None:
        """Relocate a debug section's word that refers to a string."""
        section = obj.sections[symbol.section]
        strings = self.outputs[section.name].strings
        assert strings is not None
        (addend,) = struct.unpack_from("<I", image, offset)
        struct.pack_into("<I", image, offset, strings.offset(section, symbol.value + addend))

    def _frames(self, groups: dict[str, list[_Output]]) -> None:
        noted, table = self.outputs.get(SIGNAL_FRAMES), self.outputs.get(".debug_frame")
        if table is not None:
            table.data = bytearray(finish_frames(bytes(table.data), bytes(noted.data) if noted else b""))
            table.size = len(table.data)
        if noted is not None:
            groups["debug"].remove(noted)

    def _assembly(self, groups: dict[str, list[_Output]], places: Mapping[int, tuple[_Output, int]]) -> None:
        noted = self.outputs.get(ASSEMBLY_LINES)
        if noted is None:
            return
        groups["debug"].remove(noted)
        units = AssemblyUnits({output.name: output.size for output in groups["debug"]})
        for part in noted.inputs:
            obj = part.owner
            functions = [
                AssemblyFunction(symbol.name, value, symbol.size, symbol.bind != STB_LOCAL)
                for symbol in obj.symbols
                if symbol.kind == STT_FUNC and symbol.size
                if (value := self._value(obj, symbol, places)) is not None
            ]
            units.add(functions, bytes(noted.data[part.offset : part.offset + part.section.size]))
        for name, data in units.sections.items():
            if name not in self.outputs and data:
                self.outputs[name] = _Output(name, 0)
                groups["debug"].append(self.outputs[name])
            if data:
                self.outputs[name].data += data
                self.outputs[name].size += len(data)

    def _where(self, obj: Relocatable, section: Section, offset: int) -> str:
        """The function or object around an offset, for messages."""
        best = ""
        for symbol in obj.symbols:
            if symbol.section >= len(obj.sections) or obj.sections[symbol.section] is not section or not symbol.name:
                continue
            if symbol.value <= offset < symbol.value + max(symbol.size, 1):
                best = symbol.name
        line = source_line(self.files[obj.name], offset) if section.name == ".text" else None
        return f"{obj.name}:{best or section.name}" + (f" ({line})" if line else "")

    # -- output ------------------------------------------------------------------------------------------------------

    def _write(self, groups: dict[str, list[_Output]]) -> LinkedImage:
        """The image; the build ID is the digest of the file without it."""
        image = self._written(groups)
        if self.layout.build_id:
            self.outputs[BUILD_ID].data[len(BUILD_ID_HEADER) :] = hashlib.sha1(image.elf).digest()
            image = self._written(groups)
        return image

    def _written(self, groups: dict[str, list[_Output]]) -> LinkedImage:
        sections = [
            OutputSection(
                o.name, o.flags, o.address, o.size, o.align, None if o.nobits else bytes(o.data), o.name == BUILD_ID
            )
            for name in ("text", "rodata", "data", "bss", "debug")
            for o in groups[name]
            if o.size
        ]
        index = {s.name: i + 1 for i, s in enumerate(sections)}
        shift = self.layout.paddr - self.layout.vaddr
        segments = []
        for names, flags in ((("text",), 5), (("rodata",), 4), (("data", "bss"), 6)):
            members = [o.name for name in names for o in groups[name] if o.size]
            if members:
                segments.append(Segment(members, flags, shift))
        entry = self.globals[self.layout.entry] + (shift if self.layout.entry_is_physical else 0)
        symbols = self._symbol_table(index)
        kind, align = ET_EXEC, PAGE
        if self.layout.relocatable:
            kind, align = (
                ET_DYN,
                max(PAGE, *(o.align for name in ("text", "rodata", "data", "bss") for o in groups[name])),
            )
        elf = write_executable(entry, sections, segments, symbols, file_type=kind, align=align)
        loaded = [s for s in sections if s.flags & SHF_ALLOC]
        stripped = write_executable(entry, loaded, segments, None, file_type=kind, align=align)
        return LinkedImage(elf, dict(sorted(self.globals.items())), stripped)

    def _symbol_table(self, index: Mapping[str, int]) -> list[Symbol]:
        places = self._places()
        table: list[Symbol] = []
        seen: set[str] = set()
        for obj in self.inputs:
            for symbol in obj.symbols:
                if symbol.kind == STT_SECTION or symbol.section == SHN_UNDEF:
                    continue
                if symbol.kind == STT_FILE:
                    table.append(symbol)
                    continue
                if not symbol.name or symbol.name.startswith(".L"):
                    continue
                value = self._value(obj, symbol, places)
                if value is None:
                    continue
                seen.add(symbol.name)
                number = SHN_ABS
                if symbol.section != SHN_ABS:
                    number = index.get(places[id(obj.sections[symbol.section])][0].name, SHN_ABS)
                table.append(Symbol(symbol.name, value, symbol.size, symbol.bind, symbol.kind, number))
        for name, value in self.globals.items():
            if name not in seen:
                table.append(Symbol(name, value, 0, STB_GLOBAL, STT_NOTYPE, SHN_ABS))
        return [s for s in table if s.bind == STB_LOCAL] + [s for s in table if s.bind != STB_LOCAL]


def link(objects: Sequence[ObjectFile], layout: Layout) -> LinkedImage:
    """Link objects into an executable; LinkError names all undefined and duplicate symbols."""
    return _Linker(objects, layout).run()


__all__ = ["Layout", "LinkError", "LinkedImage", "link", "relocate_object"]
