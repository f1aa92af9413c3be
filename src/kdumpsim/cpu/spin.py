# SPDX-License-Identifier: GPL-2.0-or-later
"""Loops that only wait: they read registers and RAM, compare, and jump back.

While a slice lasts, nothing but its CPU changes memory. So if such a loop has come around once and left the CPU's whole
state as it was, it will do the same until the slice ends, and its turns need not be run to be counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LONGEST: Final = 32
"""Bytes of a block that are looked at."""
NO_BASE: Final = -1

_NOP, _PAUSE = 0x90, b"\xf3\x90"
_CMP_IMMEDIATE: Final = {0x80: 1, 0x81: 4, 0x83: 1}  # with /7; bytes of the immediate operand
_TEST_IMMEDIATE: Final = {0xF6: 1, 0xF7: 4}  # with /0
_ACCUMULATOR: Final = {0x3C: 1, 0x3D: 4, 0xA8: 1, 0xA9: 4}  # cmp and test with an immediate operand
_LOADS: Final = frozenset((0xA0, 0xA1))  # mov to the accumulator, from an address of 32 bits
_READS: Final = frozenset((0x38, 0x39, 0x3A, 0x3B, 0x84, 0x85, 0x8A, 0x8B))  # cmp, test, mov from memory
_READS_0F: Final = frozenset((0xB6, 0xB7, 0xBE, 0xBF))  # movzx, movsx


@dataclass(frozen=True)
class Block:
    """A block of a loop that waits."""

    size: int
    operands: tuple[tuple[int, int], ...]
    """What it reads: number of a general register (SDM vol. 2, table 2-2) or NO_BASE, and what is added to it."""


@lru_cache(maxsize=256)
def decode(code: bytes) -> Block | None:
    """The block that 32-bit code begins with, up to a jump or PAUSE; None if it may do more than wait."""
    operands: list[tuple[int, int]] = []
    at = 0
    while at + 10 < len(code):  # the longest of them is 10 bytes
        opcode = code[at]
        if opcode == _NOP:
            at += 1
        elif code.startswith(_PAUSE, at) or opcode & 0xF0 == 0x70 or opcode == 0xEB:
            return Block(at + 2, tuple(operands))
        elif opcode == 0xE9:
            return Block(at + 5, tuple(operands))
        elif opcode == 0x0F and code[at + 1] & 0xF0 == 0x80:
            return Block(at + 6, tuple(operands))
        elif opcode in _LOADS:
            operands.append((NO_BASE, int.from_bytes(code[at + 1 : at + 5], "little")))
            at += 5
        elif opcode in _ACCUMULATOR:
            at += 1 + _ACCUMULATOR[opcode]
        else:
            immediate = 0
            if opcode == 0x0F and code[at + 1] in _READS_0F:
                at += 1
            elif opcode in _CMP_IMMEDIATE and code[at + 1] >> 3 & 7 == 7:
                immediate = _CMP_IMMEDIATE[opcode]
            elif opcode in _TEST_IMMEDIATE and code[at + 1] >> 3 & 7 == 0:
                immediate = _TEST_IMMEDIATE[opcode]
            elif opcode not in _READS:
                return None
            mode, base = code[at + 1] >> 6, code[at + 1] & 7
            at += 2
            if mode != 3:
                if base == 4 or (base == 5 and mode):  # with an index, or relative to SS
                    return None
                size = 4 if mode == 2 or base == 5 else mode
                displacement = int.from_bytes(code[at : at + size], "little", signed=True)
                operands.append((NO_BASE if base == 5 else base, displacement))
                at += size
            at += immediate
    return None
