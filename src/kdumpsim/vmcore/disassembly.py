# SPDX-License-Identifier: GPL-2.0-or-later
"""i386 machine code as text, in AT&T syntax, as kernel people and gdb write it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import capstone


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` is ``(bad)`` for a byte that begins none."""

    address: int
    code: bytes
    text: str


@cache
def _engine() -> capstone.Cs:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    return engine


def disassemble(code: bytes, address: int) -> list[Instruction]:
    """All of `code`, which lies at `address`; an instruction that is cut off at the end is left out."""
    instructions: list[Instruction] = []
    at = 0
    while at < len(code):
        for start, size, mnemonic, operands in _engine().disasm_lite(code[at:], address + at):
            text = f"{mnemonic} {operands}".rstrip()
            instructions.append(Instruction(start, code[at : at + size], text))
            at += size
        if len(code) - at < 15:
            break  # 15 bytes hold every instruction: what is left may be one's beginning
        instructions.append(Instruction(address + at, code[at : at + 1], "(bad)"))
        at += 1
    return instructions
