# SPDX-License-Identifier: GPL-2.0-or-later
"""What preempt_count says of the context (include/linux/hardirq.h).

Bits 0-7 count preempt_disable(), bits 8-15 softirqs, bits 16-27 hardware interrupts; bit 28 is PREEMPT_ACTIVE.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import guest, i32
from kdumpsim.kernel.architecture import current_thread_info

PREEMPT_OFFSET: Final = 1 << 0
SOFTIRQ_OFFSET: Final = 1 << 8
HARDIRQ_OFFSET: Final = 1 << 16
PREEMPT_ACTIVE: Final = 1 << 28

SOFTIRQ_MASK: Final = 0xFF << 8
HARDIRQ_MASK: Final = 0xFFF << 16


@guest
def preempt_count() -> i32:
    """The running context's count."""
    return current_thread_info().preempt_count


@guest
def in_irq() -> bool:
    """Inside a hardware interrupt's handler."""
    return preempt_count() & HARDIRQ_MASK != 0


@guest
def in_softirq() -> bool:
    """Inside a softirq, or with softirqs disabled."""
    return preempt_count() & SOFTIRQ_MASK != 0


@guest
def in_interrupt() -> bool:
    """Inside either."""
    return preempt_count() & (HARDIRQ_MASK | SOFTIRQ_MASK) != 0


@guest
def in_atomic() -> bool:
    """Where sleeping is forbidden."""
    return preempt_count() & ~PREEMPT_ACTIVE != 0
