# SPDX-License-Identifier: GPL-2.0-or-later
"""Variables and structures of a kernel file, as its DWARF 4 debug information has them (sections 4.1 and 5)."""

from __future__ import annotations

import io
from functools import cached_property, lru_cache
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kdumpsim.target import TARGET

from .debuginfo import DebugInfoError

_TRANSPARENT = ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type")
_MAX_NESTED = 64
"""Typedefs of typedefs that are looked through."""
_MEMBERS = ("DW_TAG_structure_type", "DW_TAG_union_type")
_DW_OP_ADDR = 3
_SIGNED = (5, 6, 13)  # DW_ATE_signed, DW_ATE_signed_char, and what some compilers make of enumerations


class Shape:
    """A type; typedefs, const and volatile are looked through."""

    def __init__(self, die: Any) -> None:
        """`die`: the debugging information entry; None for void."""
        for _ in range(_MAX_NESTED):
            if die is None or die.tag not in _TRANSPARENT:
                break
            die = _type_of(die)
        self._die = die

    @property
    def name(self) -> str:
        """As the source has it; empty for what has none."""
        return _name(self._die) if self._die is not None else "void"

    @property
    def is_pointer(self) -> bool:
        """Whether a value is an address."""
        return self._die is not None and self._die.tag == "DW_TAG_pointer_type"

    @property
    def is_array(self) -> bool:
        """Whether it has elements."""
        return self._die is not None and self._die.tag == "DW_TAG_array_type"

    @property
    def signed(self) -> bool:
        """Whether an integer can be negative."""
        return self._die is not None and _number(self._die, "DW_AT_encoding") in _SIGNED

    @property
    def size(self) -> int:
        """Bytes."""
        if self.is_array:
            return self.target.size * self.count
        size = 0 if self._die is None else _number(self._die, "DW_AT_byte_size") or 0
        return size or TARGET.word * self.is_pointer

    @property
    def target(self) -> Shape:
        """What a pointer points to, or the elements of an array."""
        return Shape(_type_of(self._die))

    @property
    def count(self) -> int:
        """Elements of an array."""
        count = 1
        for child in _children(self._die):
            number, last = _number(child, "DW_AT_count"), _number(child, "DW_AT_upper_bound")
            count *= number if number is not None else 0 if last is None else last + 1
        return count

    @cached_property
    def members(self) -> dict[str, tuple[int, Shape]]:
        """Offset in bytes and type of each member of a structure or union; those of unnamed ones belong to it."""
        found: dict[str, tuple[int, Shape]] = {}
        if self._die is None or self._die.tag not in _MEMBERS:
            return found
        for child in _children(self._die):
            if child.tag == "DW_TAG_member":
                offset, shape = _number(child, "DW_AT_data_member_location") or 0, Shape(_type_of(child))
                if name := _name(child):
                    found[name] = offset, shape
                else:
                    found |= {inner: (offset + at, part) for inner, (at, part) in shape.members.items()}
        return found


class Layout:
    """What a kernel file says of its data.  DebugInfoError for what is no kernel file, or has no debug information."""

    def __init__(self, elf: bytes) -> None:
        self.symbols: dict[str, int] = {}
        """Addresses of all symbols by name."""
        self.variables: dict[str, tuple[int, Shape]] = {}
        """Address and type of global variables."""
        self.structures: dict[str, Shape] = {}
        """By name, where they have one."""
        if elf[:4] != b"\x7fELF":
            raise DebugInfoError("no ELF file")
        try:
            self._read(ELFFile(io.BytesIO(elf)))
        except DebugInfoError:
            raise
        except Exception as error:  # pyelftools trusts what it reads: on damage it raises anything at all
            raise DebugInfoError(f"a damaged ELF file ({type(error).__name__}: {error})") from error

    @staticmethod
    @lru_cache(maxsize=2)
    def of(elf: bytes) -> Layout:
        """The same, read once for all who ask about these bytes."""
        return Layout(elf)

    def _read(self, elf: ELFFile) -> None:
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            raise DebugInfoError("an ELF file without symbols")
        if not elf.has_dwarf_info():
            raise DebugInfoError("an ELF file without debug information")
        self.symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols() if symbol.name}
        for unit in elf.get_dwarf_info().iter_CUs():
            for die in unit.get_top_DIE().iter_children():
                name = _name(die)
                if die.tag == "DW_TAG_variable" and (address := _location(die)) is not None:
                    self.variables.setdefault(name, (address, Shape(_type_of(die))))
                elif die.tag in _MEMBERS and name and "DW_AT_declaration" not in die.attributes:
                    self.structures.setdefault(name, Shape(die))


def _name(die: Any) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode("utf-8", "replace") if attribute is not None else ""


def _number(die: Any, what: str) -> int | None:
    attribute = die.attributes.get(what)
    return attribute.value if attribute is not None and isinstance(attribute.value, int) else None


def _type_of(die: Any) -> Any:
    try:
        return die.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in die.attributes else None
    except Exception as error:  # as above
        raise DebugInfoError(f"damaged debug information ({type(error).__name__}: {error})") from error


def _children(die: Any) -> list[Any]:
    try:
        return list(die.iter_children())
    except Exception as error:
        raise DebugInfoError(f"damaged debug information ({type(error).__name__}: {error})") from error


def _location(die: Any) -> int | None:
    """The address of a variable that has one for good."""
    attribute = die.attributes.get("DW_AT_location")
    if attribute is None or not isinstance(attribute.value, list) or attribute.value[:1] != [_DW_OP_ADDR]:
        return None
    data = bytes(attribute.value[1:])
    return int.from_bytes(data, "little") if len(data) == TARGET.word else None
