# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupt descriptors, controllers and actions (include/linux/{irq,interrupt}.h of 2.6.16)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import Struct, array, cstr, fn, length, ptr, u32, void
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.spinlock_types import Spinlock

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

SA_INTERRUPT: Final = 0x20000000
"""The handler runs with interrupts off."""
SA_SHIRQ: Final = 0x04000000
"""The handler shares its line with others."""

IRQ_NONE: Final = 0
"""A handler's answer: it was not my device."""
IRQ_HANDLED: Final = 1


class IrqStatus(IntEnum):
    """Bits of IrqDesc.status."""

    IRQ_INPROGRESS = 1
    IRQ_DISABLED = 2
    IRQ_PENDING = 4
    IRQ_REPLAY = 8
    IRQ_LEVEL = 64


class HwInterruptType(Struct):
    """An interrupt controller, as the descriptors see it (hw_interrupt_type)."""

    typename: cstr
    startup: fn[[u32], u32]
    """Returns 1 if an interrupt was pending already."""
    shutdown: fn[[u32], None]
    enable: fn[[u32], None]
    disable: fn[[u32], None]
    ack: fn[[u32], None]
    end: fn[[u32], None]
    set_affinity: fn[[u32, u32], None]
    """Line and CPU mask; may be NULL."""


class Irqaction(Struct):
    """A handler of an interrupt line; request_irq() makes them."""

    handler: fn[[u32, ptr[void], ptr[PtRegs]], u32]
    flags: u32
    name: cstr
    dev_id: ptr[void]
    next: ptr[Irqaction]
    irq: u32


class IrqDesc(Struct):
    """An interrupt line."""

    handler: ptr[HwInterruptType]
    action: ptr[Irqaction]
    status: u32
    depth: u32
    """Nested disable_irq() calls."""
    irq_count: u32
    """Interrupts since note_interrupt() last looked at the line."""
    irqs_unhandled: u32
    lock: Spinlock
    affinity: u32
    kstat_irqs: array[u32] = length(NR_CPUS)
    """How often each CPU took it, for /proc/interrupts."""
