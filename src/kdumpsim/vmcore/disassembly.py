# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine code of the target as text, in AT&T syntax, as kernel people and gdb write it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from kdumpsim.target import TARGET

if TYPE_CHECKING:
    import capstone

MAX_INSTRUCTION = 15
"""Bytes of the longest x86 instruction (SDM vol. 2, 2.3.11)."""


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` is ``(bad)`` for a byte that begins none."""

    address: int
    code: bytes
    text: str


@cache
def _engine() -> capstone.Cs:
    import capstone  # every run knows how long an instruction can be, few disassemble

    mode = {32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[TARGET.elf.bits]
    engine = capstone.Cs(capstone.CS_ARCH_X86, mode)
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
        if len(code) - at < MAX_INSTRUCTION:
            break  # what is left may be one's beginning
        instructions.append(Instruction(address + at, code[at : at + 1], "(bad)"))
        at += 1
    return instructions
