# SPDX-License-Identifier: GPL-2.0-or-later
"""Variables found from the canonical frame address, so that they are right at every instruction of a function.

LLVM finds them from the frame pointer, which is the caller's until the prologue has run, and again after the epilogue.
What the call frame information gives as the CFA is right throughout (DW_OP_call_frame_cfa; DWARF 4, sections 2.5.1.1
and 3.3.5), and is two words above the function's own frame pointer.  So the compiler asks LLVM for a variable's place
less two words, by EXPRESSION, and an object's debug data is then edited in place: the frame base, and each place as one
operand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto

from .elf import EHDR, SHDR
from .target import TARGET

_TO_CFA = 2 * TARGET.word
EXPRESSION = f"!DIExpression(DW_OP_constu, {_TO_CFA}, DW_OP_minus)"
"""What describes a variable whose address LLVM gives."""
_LESS = bytes((0x30 + _TO_CFA, 0x1C))
"""DW_OP_lit, DW_OP_minus: what LLVM makes of it."""
_ADDR, _FBREG, _CALL_FRAME_CFA, _FRAME_POINTER = 0x03, 0x91, 0x9C, 0x50 + TARGET.frame_pointer
"""DW_OP_addr, DW_OP_fbreg, DW_OP_call_frame_cfa, DW_OP_reg."""
_LOCATION, _FRAME_BASE = 0x02, 0x40
"""DW_AT_location, DW_AT_frame_base."""
_HEADER = 11
"""A compilation unit's header: length, version, abbreviations' offset, size of an address."""


class _Step(IntEnum):
    """How to get over an attribute."""

    FIXED = auto()
    LEB128 = auto()
    STRING = auto()
    BLOCK = auto()
    """A length in LEB128, and bytes."""
    LOCATION = auto()
    FRAME_BASE = auto()


#: By DW_FORM: addr, data1/2/4/8, flag, strp, ref4, sec_offset and flag_present have a size.
_FIXED = {0x01: TARGET.word, 0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x0C: 1, 0x0E: 4, 0x13: 4, 0x17: 4, 0x19: 0}
#: string, sdata, udata, exprloc.
_OTHER = {0x08: _Step.STRING, 0x0D: _Step.LEB128, 0x0F: _Step.LEB128, 0x18: _Step.BLOCK}


class FrameBaseError(Exception):
    """LLVM's debug data is not as it is known to be."""


@dataclass(slots=True)
class _Section:
    start: int
    end: int


def _section(data: bytes, wanted: bytes) -> _Section | None:
    header = EHDR.unpack_from(data)
    shoff, shnum, shstrndx = header[6], header[12], header[13]
    names = SHDR.unpack_from(data, shoff + shstrndx * SHDR.size)[4]
    for index in range(shnum):
        name, _, _, _, offset, size, *_ = SHDR.unpack_from(data, shoff + index * SHDR.size)
        if data.startswith(wanted + b"\0", names + name):
            return _Section(offset, offset + size)
    return None


def _uleb128(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """An unsigned LEB128 and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _sleb128(value: int, size: int) -> bytes:
    """A signed LEB128 of `size` bytes, longer than it must be where need be."""
    if not -(1 << (7 * size - 1)) <= value < 1 << (7 * size - 1):
        raise FrameBaseError(f"offset {value} in a frame does not fit {size} bytes")
    return bytes((value >> 7 * index & 0x7F) | (0x80 if index < size - 1 else 0) for index in range(size))


def _abbreviations(data: bytes, section: _Section) -> dict[int, list[tuple[_Step, int]]]:
    """By code: the steps over an entry's attributes, each with its size."""
    found = {}
    at = section.start
    while at < section.end and data[at]:
        code, at = _uleb128(data, at)
        _, at = _uleb128(data, at)  # tag
        at += 1  # whether it has children
        steps: list[tuple[_Step, int]] = []
        while True:
            attribute, at = _uleb128(data, at)
            form, at = _uleb128(data, at)
            if not form:
                break
            step, size = (_Step.FIXED, _FIXED[form]) if form in _FIXED else (_OTHER[form], 0)
            if step == _Step.BLOCK:
                step = {_LOCATION: _Step.LOCATION, _FRAME_BASE: _Step.FRAME_BASE}.get(attribute, step)
            if step == _Step.FIXED and steps and steps[-1][0] == _Step.FIXED:
                steps[-1] = (step, steps[-1][1] + size)
            else:
                steps.append((step, size))
        found[code] = steps
    return found


def find_from_cfa(data: bytes) -> bytes:
    """An object of one compilation unit with its variables found from the CFA; FrameBaseError for what is unknown."""
    info, abbreviations = _section(data, b".debug_info"), _section(data, b".debug_abbrev")
    if info is None or abbreviations is None:
        return data
    out = bytearray(data)
    try:
        _edit(out, info, _abbreviations(data, abbreviations))
    except (KeyError, IndexError) as error:
        raise FrameBaseError(f"debug data of an unknown form ({error})") from None
    return bytes(out)


def _edit(out: bytearray, info: _Section, abbreviations: dict[int, list[tuple[_Step, int]]]) -> None:
    at = info.start + _HEADER
    while at < info.end:
        code, at = _uleb128(out, at)
        if not code:
            continue
        for step, size in abbreviations[code]:
            if step == _Step.FIXED:
                at += size
            elif step == _Step.STRING:
                at = out.index(0, at) + 1
            elif step == _Step.LEB128:
                _, at = _uleb128(out, at)
            else:
                length, start = _uleb128(out, at)
                at = start + length
                if step == _Step.FRAME_BASE and out[start] == _FRAME_POINTER:
                    out[start] = _CALL_FRAME_CFA
                elif step == _Step.LOCATION and out[start] != _ADDR:
                    _edit_location(out, start, at)


def _edit_location(out: bytearray, start: int, end: int) -> None:
    """In place of an offset and "less two words": the offset less two words."""
    if out[start] != _FBREG or out[end - 2 : end] != _LESS:
        raise FrameBaseError("a variable's place is not as it was asked for")
    start += 1
    offset, after = _uleb128(out, start)
    if out[after - 1] & 0x40:
        offset -= 1 << 7 * (after - start)
    out[start:end] = _sleb128(offset - _TO_CFA, end - start)
