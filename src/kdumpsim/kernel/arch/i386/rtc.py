# SPDX-License-Identifier: GPL-2.0-or-later
"""The date in the real-time clock (include/asm-i386/mach-default/mach_time.h of 2.6.16; Motorola MC146818A)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import guest, u8, u32
from kdumpsim.kernel.arch.i386.processor import inb, outb

RTC_INDEX: Final = 0x70
RTC_DATA: Final = 0x71
RTC_SECONDS: Final = 0
RTC_MINUTES: Final = 2
RTC_HOURS: Final = 4
RTC_DAY_OF_MONTH: Final = 7
RTC_MONTH: Final = 8
RTC_YEAR: Final = 9
RTC_FREQ_SELECT: Final = 10
RTC_UIP: Final = 0x80
"""The next second is about to come: what is read may be half old."""
RTC_CONTROL: Final = 11
RTC_DM_BINARY: Final = 0x04
UIP_READS: Final = 10_000
"""An update takes 2.2 ms at most; a clock that does not end it is read all the same."""


@guest
def cmos_read(index: u8) -> u8:
    """A byte of the clock's memory."""
    outb(index, RTC_INDEX)
    return inb(RTC_DATA)


@guest
def rtc_number(index: u8) -> u32:
    """A number of the clock's, decimal digits or binary as it is set up."""
    value: u32 = cmos_read(index)
    if cmos_read(RTC_CONTROL) & RTC_DM_BINARY:
        return value
    return (value >> 4) * 10 + (value & 0xF)


@guest
def mktime(year: u32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> u32:
    """Seconds from 1970 on, by the Gregorian calendar (Gauss: a year begins with March)."""
    if month <= 2:
        month += 12
        year -= 1
    days = year // 4 - year // 100 + year // 400 + 367 * (month - 2) // 12 + day + year * 365 - 719499
    return ((days * 24 + hour) * 60 + minute) * 60 + second


@guest
def get_cmos_time() -> u32:
    """Seconds from 1970 on, read between two updates."""
    tries: u32 = 0
    while tries < UIP_READS and cmos_read(RTC_FREQ_SELECT) & RTC_UIP:
        tries += 1
    second = rtc_number(RTC_SECONDS)
    minute = rtc_number(RTC_MINUTES)
    hour = rtc_number(RTC_HOURS)
    day = rtc_number(RTC_DAY_OF_MONTH)
    month = rtc_number(RTC_MONTH)
    year = rtc_number(RTC_YEAR) + 1900
    if year < 1970:
        year += 100
    return mktime(year, month, day, hour, minute, second)
