# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions that are carried out here, on the saved context (SDM vol. 2): SYSENTER, SMSW into a register, SYSCALL,
which this processor lacks, and those of `msr.py`. The slice has ended in front of the instruction (`sites.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from . import descriptors as x86
from .delivery import Delivery
from .engine import Engine
from .layout import CR0, CS, EFLAGS, EIP, ESP, FLAGS, HF_INHIBIT_IRQ, HFLAGS, SS
from .msr import ModelSpecificRegisters
from .sites import MSR_OPCODES, PREFIXES, SMSW, SYSCALL, SYSENTER, SYSTEM_CALLS, smsw_register

MAX_INSTRUCTION: Final = 15
_OPERAND_SIZE: Final = 0x66
_FLAT: Final = 0xFFFFFFFF


class Instruction(NamedTuple):
    """One of them. `opcode`: its second byte; `register`: SMSW's destination."""

    opcode: int
    register: int
    other_size: bool  # has the operand size prefix
    length: int


def decode(code: bytes) -> Instruction | None:
    """The instruction that begins here, if it is one of them."""
    at = 0
    while at < len(code) and code[at] in PREFIXES:
        at += 1
    other_size = _OPERAND_SIZE in code[:at]
    if len(code) < at + 2 or code[at] != 0x0F:
        return None
    opcode = code[at + 1]
    if opcode in MSR_OPCODES or opcode in SYSTEM_CALLS:
        return Instruction(opcode, 0, other_size, at + 2)
    if opcode == SMSW and len(code) > at + 2 and smsw_register(code[at + 2]):
        return Instruction(opcode, code[at + 2] & 7, other_size, at + 3)
    return None


class Instructions:
    """Carries them out for one CPU. `read_linear(address, size)` reads its memory; None where nothing is mapped."""

    def __init__(
        self,
        engine: Engine,
        delivery: Delivery,
        registers: ModelSpecificRegisters,
        read_linear: Callable[[int, int], bytes | None],
    ) -> None:
        self._engine = engine
        self._delivery = delivery
        self._registers = registers
        self._read_linear = read_linear

    def execute(self) -> int | None:
        """The instruction at EIP; the vector of the exception it raises, if any, whose error code is 0."""
        engine, shared = self._engine, self._engine.slice
        q, d = engine.context.q, engine.context.d
        at = engine.linear_eip()
        instruction = decode(self._code(at))
        if instruction is None:  # this was the place of one, and is no longer
            engine.sites.forget(at, at + MAX_INSTRUCTION)
            engine.flush_code_pending = True
            return None
        eip = q[EIP]
        wide = bool(d[FLAGS[CS]] & x86.BIG)
        q[EIP] = eip + instruction.length & (0xFFFFFFFF if wide else 0xFFFF)
        shared.retired += instruction.length
        vector: int | None = None
        if instruction.opcode == SYSENTER:
            vector = self._sysenter()
        elif instruction.opcode == SYSCALL:
            vector = x86.UD
        elif instruction.opcode == SMSW:
            self._smsw(instruction.register, wide is not instruction.other_size)
        else:
            vector = self._registers.execute(instruction.opcode)
        if vector is not None:
            q[EIP] = eip
            shared.retired -= instruction.length
            return vector
        q[EFLAGS] &= ~x86.RF
        d[HFLAGS] &= ~HF_INHIBIT_IRQ
        engine.dirty = True
        if q[EFLAGS] & x86.TF:
            engine.set_single_stepped()
            return x86.DB
        return None

    def _sysenter(self) -> int | None:
        """Flat segments out of nowhere: no table is read, whatever the descriptors of these selectors say."""
        engine, delivery = self._engine, self._delivery
        context, offsets = engine.context, engine.offsets
        q, d = context.q, context.d
        selector = d[offsets.sysenter_cs] & 0xFFFC
        if not q[CR0] & x86.CR0_PE or not selector:
            return x86.GP
        q[EFLAGS] &= ~(x86.VM | x86.IF | x86.RF) & 0xFFFFFFFF
        delivery.set_segment(CS, selector, 0, _FLAT, x86.FLAT_CODE)
        delivery.set_segment(SS, selector + 8 & 0xFFFF, 0, _FLAT, x86.FLAT_DATA)
        q[ESP] = q[offsets.sysenter_esp] & 0xFFFFFFFF
        q[EIP] = q[offsets.sysenter_eip] & 0xFFFFFFFF
        delivery.refresh_hflags(0)
        return None

    def _smsw(self, register: int, wide: bool) -> None:
        """All of CR0 into 32 bits, where the engine stores 16 whatever the operand size."""
        q = self._engine.context.q
        q[register] = q[CR0] & 0xFFFFFFFF if wide else q[register] & 0xFFFF0000 | q[CR0] & 0xFFFF

    def _code(self, address: int) -> bytes:
        """As much of an instruction as is mapped."""
        room = min(MAX_INSTRUCTION, 0x1000 - (address & 0xFFF))
        rest = self._read_linear(address + room & 0xFFFFFFFF, MAX_INSTRUCTION - room)
        return (self._read_linear(address, room) or b"") + (rest or b"")
