# SPDX-License-Identifier: GPL-2.0-or-later
"""A crash at an instant: a CPU that is busy in the kernel is made to call `dtt_strike` between two instructions.

Nothing is scripted: the address of the instruction that comes next is pushed on the CPU's stack, EIP becomes the stub's
(`kernel/lkdtt/instant.py`), and all that follows is the kernel's own code, on the stack and with the locks and
interrupts that the CPU had at that instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.faults.survey import busy_in_kernel
from kdumpsim.target import PROGRAM_COUNTER, STACK_POINTER, TARGET, hex_address, stack_pointer

if TYPE_CHECKING:
    from kdumpsim.images import KernelImage
    from kdumpsim.machines.pc import Striking

STUB = "dtt_strike"


def call_stub(machine: Striking, kernel: KernelImage, index: int) -> str | None:
    """Strike a CPU, between rounds; where it was, or None if it is not there, not busy in the kernel, or without a
    stack."""
    if index >= len(machine.cpus):
        return None
    cpu = machine.cpus[index]
    if not busy_in_kernel(cpu):
        return None
    registers = cpu.registers()
    back = int(getattr(registers, PROGRAM_COUNTER))
    stack = stack_pointer(registers) - TARGET.word
    place = cpu.translate(stack)
    if place is None or cpu.translate(stack + TARGET.word - 1) is None:
        return None
    machine.memory.dma_write(place, back.to_bytes(TARGET.word, "little"))
    cpu.set_registers(**{STACK_POINTER: stack, PROGRAM_COUNTER: kernel.symbols[STUB]})
    return f"CPU {index} was at {hex_address(back)}"
