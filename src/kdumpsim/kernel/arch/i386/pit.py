# SPDX-License-Identifier: GPL-2.0-or-later
"""The 8254 timer chip: channel 0 ticks HZ times a second (Intel 82C54 datasheet; arch/i386/kernel/timers)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import guest, u8, u32
from kdumpsim.kernel.arch.i386.processor import inb, outb_p
from kdumpsim.kernel.core.config import HZ

PIT_CH0: Final = 0x40
PIT_MODE: Final = 0x43
PIT_CH0_RATE: Final = 0x34
"""Control word: channel 0, low byte then high byte, mode 2, binary."""
PIT_CH0_LATCH: Final = 0x00
"""Control word: hold channel 0's count for reading."""

CLOCK_TICK_RATE: Final = 1193182
LATCH: Final = (CLOCK_TICK_RATE + HZ // 2) // HZ
"""Input clocks in a jiffy."""


@guest
def setup_pit_timer() -> None:
    """Have channel 0 count LATCH clocks over and over."""
    outb_p(PIT_CH0_RATE, PIT_MODE)
    outb_p(u8(LATCH & 0xFF), PIT_CH0)
    outb_p(u8(LATCH >> 8), PIT_CH0)


@guest
def pit_count() -> u32:
    """What channel 0 has still to count in this period."""
    outb_p(PIT_CH0_LATCH, PIT_MODE)
    low: u32 = inb(PIT_CH0)
    high: u32 = inb(PIT_CH0)
    return high << 8 | low


@guest
def pit_wait_tick() -> None:
    """Wait until channel 0 starts a new period: its count jumps up."""
    last = pit_count()
    while True:
        now = pit_count()
        if now > last:
            return
        last = now
