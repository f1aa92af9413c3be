# SPDX-License-Identifier: GPL-2.0-or-later
"""The MC146818, by its datasheet."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import Probe, run_for, run_until, transplant
from kdumpsim.board.clock import Clock
from kdumpsim.board.rtc import CENTURY, EPOCH, Rtc

SECOND = 1_000_000_000
A, B, C, D = 0x0A, 0x0B, 0x0C, 0x0D
UIE, AIE, PIE, SET, BINARY, HOURS_24 = 0x10, 0x20, 0x40, 0x80, 0x04, 0x02


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.irq8 = Probe()
        self.rtc = Rtc(self.clock, self.irq8)

    def read(self, index: int) -> int:
        self.rtc.port_write(0x70, 1, index)
        return self.rtc.port_read(0x71, 1)

    def write(self, index: int, value: int) -> None:
        self.rtc.port_write(0x70, 1, index)
        self.rtc.port_write(0x71, 1, value)

    def time(self) -> str:
        return "{:02x}{:02x}-{:02x}-{:02x} {:02x}:{:02x}:{:02x}".format(
            *(self.read(index) for index in (CENTURY, 9, 8, 7, 4, 2, 0))
        )


def test_power_on_is_always_the_same_day() -> None:
    bench = Bench()
    assert bench.time() == "2006-03-20 00:00:00"
    assert bench.read(6) == 2  # a Monday
    assert (bench.read(A), bench.read(B), bench.read(C), bench.read(D)) == (0x26, 0x02, 0x00, 0x80)
    run_until(bench.clock, 86_399 * SECOND)
    assert bench.time() == "2006-03-20 23:59:59"
    run_for(bench.clock, SECOND)
    assert bench.time() == "2006-03-21 00:00:00"


@pytest.mark.parametrize(
    ("mode", "hour", "expected"),
    [(HOURS_24, 0, 0x00), (HOURS_24, 21, 0x21), (0, 0, 0x12), (0, 9, 0x09), (0, 12, 0x92), (0, 23, 0x91),
     (BINARY, 23, 0x8B), (BINARY | HOURS_24, 23, 23)],
)  # fmt: skip
def test_hour_formats(mode: int, hour: int, expected: int) -> None:
    bench = Bench()
    bench.write(B, SET | mode)
    for index, value in ((0, 0), (2, 0), (4, 0 if mode & HOURS_24 else 12 if mode & BINARY else 0x12)):
        bench.write(index, value)
    bench.write(B, mode)
    run_for(bench.clock, hour * 3600 * SECOND)
    assert bench.read(4) == expected


def test_setting_the_clock() -> None:
    bench = Bench()
    bench.write(B, SET | HOURS_24)
    for index, value in ((CENTURY, 0x19), (9, 0x99), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x58)):
        bench.write(index, value)
    run_for(bench.clock, 5 * SECOND)
    assert bench.time() == "1999-12-31 23:59:58"  # held
    bench.write(B, HOURS_24)
    run_for(bench.clock, 2 * SECOND)
    assert bench.time() == "2000-01-01 00:00:00"


def test_divider_reset_starts_half_a_second_before_an_update() -> None:
    bench = Bench()
    run_for(bench.clock, 300_000_000)
    bench.write(A, 0x76)
    assert bench.read(A) == 0x76
    run_for(bench.clock, 3 * SECOND)
    bench.write(A, 0x26)
    run_for(bench.clock, SECOND // 2 - 1)
    assert bench.time().endswith(":00")
    run_for(bench.clock, 1)
    assert bench.time().endswith(":01")


def test_update_in_progress_before_every_second() -> None:
    bench = Bench()
    run_until(bench.clock, SECOND - 2_228_001)
    assert not bench.read(A) & 0x80
    run_until(bench.clock, SECOND - 2_228_000)
    assert bench.read(A) & 0x80
    run_until(bench.clock, SECOND)
    assert not bench.read(A) & 0x80


@pytest.mark.parametrize(("rate", "hertz"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)])
def test_periodic_interrupt_rates(rate: int, hertz: int) -> None:
    bench = Bench()
    bench.write(A, 0x20 | rate)
    bench.write(B, HOURS_24 | PIE)
    count = 0
    while (deadline := bench.clock.next_deadline()) is not None and deadline <= SECOND:
        run_until(bench.clock, deadline)
        assert bench.irq8.level
        assert bench.read(C) & 0xC0 == 0xC0
        assert not bench.irq8.level
        count += 1
    assert count == hertz


def test_flags_are_there_without_their_interrupts() -> None:
    bench = Bench()
    for index in (1, 3, 5):
        bench.write(index, 0xFF)  # an alarm every second
    run_for(bench.clock, SECOND)
    assert bench.read(C) == 0x40 | 0x20 | 0x10
    assert bench.read(C) == 0
    assert bench.irq8.changes == []


def test_update_ended_interrupt() -> None:
    bench = Bench()
    bench.read(C)
    bench.write(B, HOURS_24 | UIE)
    run_until(bench.clock, SECOND - 1)
    assert not bench.irq8.level
    run_until(bench.clock, SECOND)
    assert bench.irq8.level
    run_for(bench.clock, 5 * SECOND)
    assert bench.irq8.rises == 1  # until register C is read
    assert bench.read(C) & 0x90 == 0x90
    run_for(bench.clock, SECOND)
    assert bench.irq8.rises == 2


def test_enabling_an_interrupt_whose_flag_is_up_raises_it() -> None:
    bench = Bench()
    run_for(bench.clock, 2 * SECOND)
    bench.write(B, HOURS_24 | UIE)
    assert bench.irq8.level
    bench.write(B, HOURS_24)
    assert not bench.irq8.level


@pytest.mark.parametrize(
    ("alarm", "after"),
    [((0x01, 0x30, 0x15), 5415), ((0xFF, 0xFF, 0x10), 10), ((0xFF, 0x02, 0x00), 120), ((0x00, 0x00, 0x00), 86400)],
)
def test_alarm(alarm: tuple[int, int, int], after: int) -> None:
    bench = Bench()
    for index, value in zip((5, 3, 1), alarm, strict=True):
        bench.write(index, value)
    bench.write(B, HOURS_24 | AIE)
    run_until(bench.clock, after * SECOND - 1)
    assert not bench.irq8.level
    run_until(bench.clock, after * SECOND)
    assert bench.irq8.level
    assert bench.read(C) & 0xA0 == 0xA0


def test_an_impossible_alarm_never_comes() -> None:
    bench = Bench()
    bench.write(3, 0x75)
    bench.write(B, HOURS_24 | AIE)
    assert bench.clock.next_deadline() is None


def test_cmos_memory_and_nmi_mask() -> None:
    bench = Bench()
    bench.rtc.set_cmos(0x15, 0x80)
    assert bench.read(0x15) == 0x80
    assert not bench.rtc.nmi_masked
    bench.write(0x80 | 0x0F, 0x0A)
    assert bench.rtc.nmi_masked
    assert bench.rtc.cmos(0x0F) == 0x0A
    with pytest.raises(ValueError, match="belongs to the clock"):
        bench.rtc.set_cmos(0x04, 0)


def test_reset_keeps_time_and_memory_and_ends_interrupts() -> None:
    bench = Bench()
    bench.rtc.set_cmos(0x40, 0x55)
    bench.write(B, HOURS_24 | UIE)
    run_for(bench.clock, 3 * SECOND)
    assert bench.irq8.level
    bench.rtc.reset()
    assert not bench.irq8.level
    assert bench.read(B) == HOURS_24
    assert bench.rtc.cmos(0x40) == 0x55
    assert bench.time() == "2006-03-20 00:00:03"


@given(st.integers(0, 20 * 365 * 86400))
def test_the_calendar_is_pythons(seconds: int) -> None:
    bench = Bench()
    run_until(bench.clock, seconds * SECOND + 123)
    assert bench.time() == f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"


@given(st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31)), st.booleans(), st.booleans())
def test_a_time_that_is_set_is_read_back(moment: datetime, binary: bool, hours_24: bool) -> None:
    bench = Bench()
    mode = BINARY * binary | HOURS_24 * hours_24

    def code(value: int) -> int:
        return value if binary else int(str(value), 16)

    hour = code(moment.hour) if hours_24 else code((moment.hour + 11) % 12 + 1) | 0x80 * (moment.hour >= 12)
    values = {0: code(moment.second), 2: code(moment.minute), 4: hour, 7: code(moment.day), 8: code(moment.month)}
    values |= {9: code(moment.year % 100), CENTURY: code(moment.year // 100)}
    bench.write(B, SET | mode)
    for index, value in values.items():
        bench.write(index, value)
    bench.write(B, mode)
    assert bench.rtc.now() == moment.replace(microsecond=0)
    assert {index: bench.read(index) for index in values} == values
    assert bench.read(6) == moment.isoweekday() % 7 + 1


steps = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 255), st.integers(0, 255)),
    st.tuples(st.just("read"), st.integers(0, 127), st.none()),
    st.tuples(st.just("run"), st.integers(0, 5 * 10**8), st.none()),
)


@given(st.lists(steps, max_size=40))
def test_state_round_trips_and_the_line_is_the_flag(script: list[tuple[str, int, Any]]) -> None:
    bench = Bench()
    for kind, first, second in script:
        if kind == "write":
            bench.write(first, second)
        elif kind == "read":
            assert 0 <= bench.read(first) <= 0xFF
        else:
            run_for(bench.clock, min(first, 10**7) if bench.rtc._b.periodic_enabled else first)
        assert bench.irq8.level == bool(bench.rtc._c.interrupt)
    copy = transplant(bench.rtc, bench.clock, lambda clock: Rtc(clock, Probe()))
    assert copy.state() == bench.rtc.state()
    for index in range(128):
        copy.port_write(0x70, 1, index)
        assert copy.port_read(0x71, 1) == bench.read(index)
