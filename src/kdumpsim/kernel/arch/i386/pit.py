# SPDX-License-Identifier: GPL-2.0-or-later
"""The 8254 timer chip: channel 0 ticks HZ times a second (Intel 82C54 datasheet; arch/i386/kernel/timers)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import guest, u8, u32
from kdumpsim.kernel.arch.i386.processor import inb, outb, outb_p
from kdumpsim.kernel.core.config import HZ

PIT_CH0: Final = 0x40
PIT_CH2: Final = 0x42
PIT_MODE: Final = 0x43
PIT_CH0_RATE: Final = 0x34
"""Control word: channel 0, low byte then high byte, mode 2, binary."""
PIT_CH0_LATCH: Final = 0x00
"""Control word: hold channel 0's count for reading."""
PIT_CH2_ONCE: Final = 0xB0
"""Control word: channel 2, low byte then high byte, mode 0, binary."""
PIT_CH2_LATCH: Final = 0x80
PIT_CH2_COUNT: Final = 0xFFFF

SYSTEM_CONTROL_PORT: Final = 0x61
GATE2: Final = 0x01
SPEAKER: Final = 0x02
OUTPUT2: Final = 0x20

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
def stopwatch_start() -> None:
    """Let channel 2 count down once from its greatest count, 55 ms long (Linux mach_prepare_counter)."""
    outb(inb(SYSTEM_CONTROL_PORT) & ~u8(SPEAKER) | GATE2, SYSTEM_CONTROL_PORT)
    outb_p(PIT_CH2_ONCE, PIT_MODE)
    outb_p(PIT_CH2_COUNT & 0xFF, PIT_CH2)
    outb_p(PIT_CH2_COUNT >> 8, PIT_CH2)


@guest
def stopwatch_elapsed() -> u32:
    """Input clocks since stopwatch_start(); PIT_CH2_COUNT if it has run out."""
    outb_p(PIT_CH2_LATCH, PIT_MODE)
    low: u32 = inb(PIT_CH2)
    high: u32 = inb(PIT_CH2)
    if inb(SYSTEM_CONTROL_PORT) & OUTPUT2:
        return PIT_CH2_COUNT
    return PIT_CH2_COUNT - (high << 8 | low)
