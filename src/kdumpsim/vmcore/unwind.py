# SPDX-License-Identifier: GPL-2.0-or-later
"""Backtraces by call frame information (DWARF 4, section 6.4), from memory and registers.

What the kernel's ``.debug_frame`` has is read here, expressions are not.  pyelftools refuses the augmentation "S", by
which the frames of interrupts and exceptions are told.
"""

from __future__ import annotations

import bisect
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from elftools.elf.elffile import ELFFile

from kdumpsim.target import DWARF_REGISTERS, PROGRAM_COUNTER, STACK_POINTER, TARGET

from .debuginfo import DebugInfo, DebugInfoError

MAX_FRAMES = 64
Read = Callable[[int, int], bytes | None]
"""Memory at a linear address; None where there is none."""

_CIE = 0xFFFFFFFF
_NOP, _SAME, _UNDEFINED = 0x00, 0x08, 0x07
_ADVANCE = {0x02: 1, 0x03: 2, 0x04: 4}
"""DW_CFA_advance_loc1, 2 and 4: bytes of their operand."""
_OFFSET_EXTENDED, _RESTORE_EXTENDED = 0x05, 0x06
_REMEMBER, _RESTORE_STATE = 0x0A, 0x0B
_DEF_CFA, _DEF_CFA_REGISTER, _DEF_CFA_OFFSET = 0x0C, 0x0D, 0x0E


@dataclass(frozen=True)
class Frame:
    """One call."""

    address: int
    """The next instruction; a return address but for the innermost, and for those that were interrupted."""
    function: str | None
    """None outside of the kernel's functions."""
    file: str | None
    line: int | None
    arguments: int | None = None
    """Where the function's arguments lie; None where that is not known."""


@dataclass
class _Rules:
    """How a frame's registers are found: the CFA is a register and an offset, others lie at offsets from it."""

    register: int = 0
    offset: int = 0
    saved: dict[int, int | None] = field(default_factory=dict)
    """By register: its offset from the CFA; None for one that is undefined."""


@dataclass(frozen=True)
class _Common:
    """A CIE."""

    code_factor: int
    data_factor: int
    interrupted: bool
    """Frames that an interrupt or an exception made: what they return to is no call."""
    instructions: bytes


@dataclass(frozen=True)
class _Description:
    """An FDE."""

    start: int
    end: int
    common: _Common
    instructions: bytes


class Unwinder:
    """Backtraces of one kernel file.  DebugInfoError for one that is damaged, or has no call frame information."""

    def __init__(self, elf: bytes) -> None:
        self._info = DebugInfo.of(elf)
        section = ELFFile(io.BytesIO(elf)).get_section_by_name(".debug_frame")
        if section is None:
            raise DebugInfoError("an ELF file without call frame information")
        try:
            self._descriptions = sorted(_descriptions(section.data()), key=lambda description: description.start)
        except (IndexError, KeyError) as error:
            raise DebugInfoError("its call frame information is damaged") from error
        self._starts = [description.start for description in self._descriptions]

    @staticmethod
    @lru_cache(maxsize=4)
    def of(elf: bytes) -> Unwinder:
        """The same, read once for all who ask about these bytes."""
        return Unwinder(elf)

    def backtrace(self, registers: Mapping[str, int], read: Read) -> list[Frame]:
        """Calls from the innermost on, as far as they can be followed; `registers` by name."""
        values = {number: registers[name] for number, name in enumerate(DWARF_REGISTERS)}
        frames: list[Frame] = []
        exact = True  # the innermost has not called anything
        while len(frames) < MAX_FRAMES:
            pc = values[_PC]
            frame = self._frame(pc, pc if exact else pc - 1)
            description = self._description(pc if exact else pc - 1)
            caller = None
            if description is not None:
                caller = _caller(values, _rules(description, pc if exact else pc - 1), read)
            frames.append(frame if caller is None else replace(frame, arguments=caller[_SP]))
            if description is None or caller is None or caller[_SP] <= values[_SP]:
                break
            values, exact = caller, description.common.interrupted
        return frames

    def function(self, address: int) -> str | None:
        """The name of the function at an address."""
        found = self._info.function(address)
        return found.name if found else None

    def _frame(self, address: int, within: int) -> Frame:
        function, where = self._info.function(within), self._info.line(within)
        return Frame(address, function.name if function else None, *(where or (None, None)))

    def _description(self, pc: int) -> _Description | None:
        at = bisect.bisect_right(self._starts, pc) - 1
        return self._descriptions[at] if at >= 0 and pc < self._descriptions[at].end else None


_PC, _SP = DWARF_REGISTERS.index(PROGRAM_COUNTER), DWARF_REGISTERS.index(STACK_POINTER)


def _caller(values: Mapping[int, int], rules: _Rules, read: Read) -> dict[int, int] | None:
    """The caller's registers; None where there is none, or its frame cannot be read."""
    limit = (1 << 8 * TARGET.word) - 1
    cfa = values[rules.register] + rules.offset & limit
    found = {**values, _SP: cfa}
    for register, offset in rules.saved.items():
        if offset is None:
            if register == _PC:
                return None
            continue
        data = read(cfa + offset & limit, TARGET.word)
        if data is None:
            return None
        found[register] = int.from_bytes(data, "little")
    return found if _PC in rules.saved else None


def _rules(description: _Description, pc: int) -> _Rules:
    """The rules that hold at an address of a function."""
    rules = _Rules()
    _execute(description.common.instructions, description, rules, _Rules(), None)
    initial = replace(rules, saved=dict(rules.saved))
    _execute(description.instructions, description, rules, initial, pc)
    return rules


def _execute(code: bytes, description: _Description, rules: _Rules, initial: _Rules, until: int | None) -> None:
    """Run instructions up to the row of an address."""
    common, reader, at = description.common, _Reader(code), description.start
    remembered: list[_Rules] = []
    while reader.left:
        opcode = reader.byte()
        high, low = opcode & 0xC0, opcode & 0x3F
        if high == 0x40 or opcode in _ADVANCE:
            at += (low if high else reader.number(_ADVANCE[opcode])) * common.code_factor
            if until is not None and at > until:
                return
        elif high == 0x80 or opcode == _OFFSET_EXTENDED:
            register = low if high else reader.uleb()
            rules.saved[register] = reader.uleb() * common.data_factor
        elif high == 0xC0 or opcode in (_RESTORE_EXTENDED, _SAME):
            register = low if high else reader.uleb()
            rules.saved.pop(register, None)
            if opcode != _SAME and register in initial.saved:
                rules.saved[register] = initial.saved[register]
        elif opcode == _UNDEFINED:
            rules.saved[reader.uleb()] = None
        elif opcode == _DEF_CFA:
            rules.register, rules.offset = reader.uleb(), reader.uleb()
        elif opcode == _DEF_CFA_REGISTER:
            rules.register = reader.uleb()
        elif opcode == _DEF_CFA_OFFSET:
            rules.offset = reader.uleb()
        elif opcode == _REMEMBER:
            remembered.append(replace(rules, saved=dict(rules.saved)))
        elif opcode == _RESTORE_STATE:
            before = remembered.pop()
            rules.register, rules.offset, rules.saved = before.register, before.offset, before.saved
        elif opcode != _NOP:
            raise DebugInfoError(f"call frame instruction {opcode:#x} is not known here")


def _descriptions(section: bytes) -> list[_Description]:
    commons: dict[int, _Common] = {}
    waiting = []
    at = 0
    while at < len(section):
        length = int.from_bytes(section[at : at + 4], "little")
        entry = _Reader(section[at + 4 : at + 4 + length])
        identity = entry.number(4)
        if identity == _CIE:
            commons[at] = _common(entry)
        else:
            start, size = entry.number(TARGET.word), entry.number(TARGET.word)
            waiting.append((start, size, identity, entry.rest()))
        at += 4 + length
    return [_Description(start, start + size, commons[common], code) for start, size, common, code in waiting]


def _common(entry: _Reader) -> _Common:
    version = entry.byte()
    augmentation = entry.text()
    if version >= 4:
        entry.number(2)  # sizes of addresses and of segment selectors
    code_factor, data_factor = entry.uleb(), entry.sleb()
    if version == 1:
        entry.byte()
    else:
        entry.uleb()  # the return address's column: the program counter's
    return _Common(code_factor, data_factor, "S" in augmentation, entry.rest())


class _Reader:
    """Numbers out of bytes, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def number(self, size: int) -> int:
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "little")

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def sleb(self) -> int:
        begin = self._at
        value = self.uleb()
        bits = 7 * (self._at - begin)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def text(self) -> str:
        end = self._data.index(b"\0", self._at)
        begin, self._at = self._at, end + 1
        return self._data[begin:end].decode("ascii", "replace")

    def rest(self) -> bytes:
        return self._data[self._at :]
