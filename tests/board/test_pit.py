# SPDX-License-Identifier: GPL-2.0-or-later
"""The 8254, by its datasheet and against a counter that really counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devices import Probe, run_until, transplant
from kdumpsim.board.clock import Clock
from kdumpsim.board.pit import PIT_HZ, Channel, ControlWord, Pit, ns_at, ticks_at
from properties import examples


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.irq0 = Probe()
        self.nmi = Probe()
        self.pit = Pit(self.clock, self.irq0, self.nmi)

    def out(self, port: int, *values: int) -> None:
        for value in values:
            self.pit.port_write(port, 1, value)

    def read(self, port: int) -> int:
        return self.pit.port_read(port, 1)

    def word(self, port: int) -> int:
        return self.read(port) | self.read(port) << 8

    def to_tick(self, tick: int) -> None:
        run_until(self.clock, ns_at(tick))


@given(st.integers(0, 10**15))
def test_ticks_and_nanoseconds_are_exact(tick: int) -> None:
    assert ticks_at(ns_at(tick)) == tick
    assert tick == 0 or ticks_at(ns_at(tick) - 1) == tick - 1


def test_a_year_of_ticks_does_not_drift() -> None:
    assert ticks_at(365 * 86400 * 10**9) == 365 * 86400 * PIT_HZ


# -- channel 0 and its line --------------------------------------------------------------------------------------------


def test_rate_generator_interrupts_at_its_rate() -> None:
    bench = Bench()
    bench.out(0x43, 0x34)
    bench.out(0x40, 11932 & 0xFF, 11932 >> 8)  # 100 Hz
    run_until(bench.clock, 1_000_000_000)
    assert bench.irq0.rises == 1 + 99  # the first when the output went high with the control word
    assert bench.irq0.level


def test_interrupt_on_terminal_count() -> None:
    bench = Bench()
    bench.out(0x43, 0x30)
    bench.out(0x40, 100, 0)
    bench.to_tick(100)
    assert not bench.irq0.level
    bench.to_tick(101)  # N + 1 clocks after the write
    assert bench.irq0.level
    assert bench.clock.next_deadline() is None
    bench.out(0x40, 50, 0)
    assert not bench.irq0.level


def test_square_wave_has_two_edges_a_period() -> None:
    bench = Bench()
    bench.out(0x43, 0x36)
    bench.out(0x40, 0, 0)  # 65536: the BIOS's 18.2 Hz
    run_until(bench.clock, 1_000_000_000)
    assert bench.irq0.rises == 19
    assert bench.irq0.changes[:4] == [True, False, True, False]


def test_nothing_is_armed_for_the_other_channels() -> None:
    bench = Bench()
    bench.out(0x61, 1)
    for control, port in ((0x54, 0x41), (0xB6, 0x42)):
        bench.out(0x43, control)
        bench.out(port, 18, 0)
    assert bench.clock.next_deadline() is None


def test_an_edge_that_is_due_is_not_lost_to_a_register_write() -> None:
    bench = Bench()
    bench.out(0x43, 0x34)
    bench.out(0x40, 100, 0)
    bench.clock.advance(ns_at(105))
    before = bench.irq0.rises
    bench.out(0x40, 200, 0)
    assert bench.irq0.rises == before + 1


# -- reading -----------------------------------------------------------------------------------------------------------


def test_latched_count_stands_still() -> None:
    bench = Bench()
    bench.out(0x43, 0x34)
    bench.out(0x40, 0xE8, 0x03)
    bench.to_tick(101)
    bench.out(0x43, 0x00)
    bench.to_tick(301)
    bench.out(0x43, 0x00)  # a second latch command is ignored
    assert bench.word(0x40) == 900
    assert bench.word(0x40) == 700


def test_read_back_latches_status_before_count_and_several_channels() -> None:
    bench = Bench()
    bench.out(0x43, 0x34)
    bench.out(0x40, 0x00, 0x10)
    bench.to_tick(1)
    bench.out(0x43, 0xB4)
    bench.out(0x43, 0xC2 | 0x08)  # channels 0 and 2: count and status
    assert bench.read(0x40) == 0x80 | 0x34
    assert bench.word(0x40) == 0x1000
    assert bench.read(0x42) == 0x80 | 0x40 | 0x34  # no count loaded yet


def test_null_count_until_the_next_clock() -> None:
    bench = Bench()
    bench.out(0x43, 0x30)
    bench.out(0x40, 10, 0)
    bench.out(0x43, 0xE2)
    assert bench.read(0x40) == 0x40 | 0x30
    bench.to_tick(1)
    bench.out(0x43, 0xE2)
    assert bench.read(0x40) == 0x30
    bench.to_tick(11)
    bench.out(0x43, 0xE2)
    assert bench.read(0x40) == 0x80 | 0x30


@pytest.mark.parametrize(("access", "written", "count"), [(1, (0x20,), 0x20), (2, (0x20,), 0x2000)])
def test_single_byte_access(access: int, written: tuple[int, ...], count: int) -> None:
    bench = Bench()
    bench.out(0x43, access << 4 | 4)
    bench.out(0x40, *written)
    bench.to_tick(1)
    assert bench.read(0x40) == (count & 0xFF if access == 1 else count >> 8)


def test_bcd() -> None:
    bench = Bench()
    bench.out(0x43, 0x31)
    bench.out(0x40, 0x34, 0x12)
    bench.to_tick(1)
    assert bench.word(0x40) == 0x1234
    bench.to_tick(1 + 235)
    assert bench.word(0x40) == 0x0999
    bench.to_tick(1 + 1235)
    assert bench.word(0x40) == 0x9999  # wraps at ten thousand


# -- channel 2 and port 0x61 -------------------------------------------------------------------------------------------


def test_a_system_error_is_an_nmi_until_software_has_seen_to_it() -> None:
    """PIIX3 data sheet, NMISC: bit 7 is SERR#'s, and bit 2 clears and disables it."""
    bench = Bench()
    assert bench.pit.system_error()
    assert bench.read(0x61) & 0x80
    assert bench.nmi.level
    bench.out(0x61, bench.read(0x61) & 0xF | 4)
    assert not bench.read(0x61) & 0x80
    assert not bench.nmi.level
    assert not bench.pit.system_error(), "disabled"
    assert not bench.nmi.level
    bench.out(0x61, 0)
    assert bench.pit.system_error()
    bench.pit.reset()
    assert not bench.nmi.level


def test_calibration_loop_of_a_kernel() -> None:
    """Gate off, mode 0, count, gate on, wait for OUT2: what every TSC or APIC timer calibration does."""
    bench = Bench()
    bench.out(0x61, 0)
    bench.out(0x43, 0xB0)
    bench.out(0x42, 0x9C, 0x2E)  # 11932
    bench.to_tick(1000)
    bench.out(0x61, 1)
    bench.to_tick(1000 + 11931)
    assert not bench.read(0x61) & 0x20
    bench.to_tick(1000 + 11932)
    assert bench.read(0x61) & 0x20


def test_gate_restarts_the_rate_generator() -> None:
    bench = Bench()
    bench.out(0x61, 1)
    bench.out(0x43, 0xB4)
    bench.out(0x42, 10, 0)
    bench.to_tick(10)
    assert not bench.read(0x61) & 0x20
    bench.out(0x61, 0)
    assert bench.read(0x61) & 0x20
    bench.out(0x61, 1)
    bench.to_tick(11)
    assert bench.word(0x42) == 10


def test_hardware_retriggerable_one_shot() -> None:
    bench = Bench()
    bench.out(0x43, 0xB2)
    bench.out(0x42, 5, 0)
    assert bench.read(0x61) & 0x20
    bench.to_tick(50)
    bench.out(0x61, 1)
    seen = []
    for tick in range(50, 60):
        bench.to_tick(tick)
        seen.append(bench.read(0x61) >> 5 & 1)
    assert seen == [1, 0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_refresh_bit_toggles_every_15_microseconds() -> None:
    bench = Bench()
    toggles, last = 0, 0
    for microsecond in range(1000):
        run_until(bench.clock, microsecond * 1000)
        bit = bench.read(0x61) & 0x10
        toggles += bit != last
        last = bit
    assert toggles == 66


def test_control_bits_of_port_61() -> None:
    bench = Bench()
    bench.out(0x61, 0xFF)
    assert bench.read(0x61) & 0xCF == 0x0F


# -- against a counter that counts -------------------------------------------------------------------------------------


class Counter:
    """The datasheet's counter, one clock at a time."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.out = mode != 0
        self.register = 0
        self.element: int | None = None
        self.load = False
        self.gate = True

    def write(self, count: int) -> None:
        self.register = count
        if self.mode == 0:
            self.out = False
        if self.mode in (0, 4) or (self.mode in (2, 3) and self.element is None):
            self.load = True

    def set_gate(self, level: bool) -> None:
        rising = level and not self.gate
        self.gate = level
        if rising and self.mode not in (0, 4) and self.register:
            self.load = True
        if not level and self.mode in (2, 3):
            self.out = True

    def clock(self) -> None:
        if self.load and (self.gate or self.mode not in (2, 3)):
            self.load = False
            self.element = self.register & ~1 if self.mode == 3 else self.register
            self.out = self.mode > 1
        elif self.element is not None and (self.gate or self.mode in (1, 5)):
            self._count()

    def _count(self) -> None:
        assert self.element is not None
        if self.mode == 2:
            self.element = self.register if self.element == 1 else self.element - 1
            self.out = self.element != 1
        elif self.mode == 3:
            self._square()
        else:
            self.element = (self.element - 1) % 65536
            if self.mode in (0, 1):
                self.out = self.out or self.element == 0
            else:
                self.out = self.element != 0

    def _square(self) -> None:
        assert self.element is not None
        if self.odd and self.out:
            expired = self.element == 0
            self.element -= 2
        else:
            self.element -= 2
            expired = self.element == 0
        if expired:
            self.out = not self.out
            self.element = self.register & ~1
            self.period = self.register

    period = 0

    @property
    def odd(self) -> bool:
        return bool((self.period or self.register) & 1)


def compare(mode: int, events: dict[int, tuple[str, int]], ticks: int) -> None:
    channel, counter = Channel(), Counter(mode)
    word = ControlWord()
    word.mode, word.access = mode, 3
    channel.control(word, 0)
    for tick in range(ticks):
        if tick:
            counter.clock()
        kind, value = events.get(tick, ("", 0))
        if kind == "count":
            channel.write(value & 0xFF, tick)
            channel.write(value >> 8, tick)
            counter.write(value)
        elif kind == "gate":
            channel.set_gate(bool(value), tick)
            counter.set_gate(bool(value))
        where = (mode, events, tick)
        assert channel.output(tick) == counter.out, where
        if counter.element is not None and counter.gate and not counter.load:
            assert channel.value(tick) == counter.element, where


counts = st.integers(2, 23).map(lambda value: ("count", value))


@given(st.sampled_from([0, 2, 4]), st.dictionaries(st.integers(0, 120), counts, min_size=1, max_size=4))
@example(4, {0: ("count", 23), 24: ("count", 2)})  # in the tick of the strobe
def test_counting_with_new_counts_on_the_way(mode: int, events: dict[int, tuple[str, int]]) -> None:
    compare(mode, events, 160)


@given(st.integers(2, 40))
def test_square_wave_of_every_length(count: int) -> None:
    compare(3, {3: ("count", count)}, 200)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(5, 90))
def test_square_wave_changes_at_half_periods(first: int, second: int, moment: int) -> None:
    """Even counts, whose halves are alike: the new count is taken at the end of the present half."""
    compare(3, {0: ("count", 2 * first), moment: ("count", 2 * second)}, 200)


gates = st.integers(0, 1).map(lambda value: ("gate", value))


@given(st.sampled_from([0, 1, 2, 4, 5]), st.integers(2, 23), st.dictionaries(st.integers(1, 120), gates, max_size=8))
@example(1, 2, {1: ("gate", 0), 2: ("gate", 1), 3: ("gate", 0), 4: ("gate", 1)})  # in the middle of a pulse
def test_the_gate_in_every_mode(mode: int, count: int, events: dict[int, tuple[str, int]]) -> None:
    compare(mode, {0: ("count", count), **events}, 160)


# -- state -------------------------------------------------------------------------------------------------------------

steps = st.one_of(
    st.tuples(st.just("out"), st.sampled_from([0x40, 0x41, 0x42, 0x43, 0x61]), st.integers(0, 255)),
    st.tuples(st.just("in"), st.sampled_from([0x40, 0x41, 0x42, 0x61]), st.none()),
    st.tuples(st.just("run"), st.integers(0, 10**6), st.none()),
)


@given(st.lists(steps, max_size=40))
def test_state_round_trips(script: list[tuple[str, int, Any]]) -> None:
    bench = Bench()
    for kind, first, second in script:
        if kind == "out":
            bench.out(first, second)
        elif kind == "in":
            assert 0 <= bench.read(first) <= 0xFF
        else:
            run_until(bench.clock, bench.clock.now + first)
    copy = transplant(bench.pit, bench.clock, lambda clock: Pit(clock, Probe(), Probe()))
    assert copy.state() == bench.pit.state()
    for port in (0x40, 0x41, 0x42, 0x61):
        assert copy.port_read(port, 1) == bench.pit.port_read(port, 1)


def test_a_control_word_leaves_the_counting_elements_bits_as_they_are() -> None:
    """From binary to BCD and back: they are read as 16 bits, whatever the counter takes them for."""
    bench = Bench()
    bench.pit.port_write(0x43, 1, 0x70)  # channel 1, mode 0, binary
    bench.pit.port_write(0x41, 1, 0xF7)
    bench.pit.port_write(0x41, 1, 0xFE)
    run_until(bench.clock, ns_at(8))
    for word in (0x71, 0x70, 0x75):
        bench.pit.port_write(0x43, 1, word)
        assert (bench.pit.port_read(0x41, 1), bench.pit.port_read(0x41, 1)) == (0xF0, 0xFE)


programs = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from([0x40, 0x41, 0x42, 0x43, 0x61]), st.integers(0, 255)),
        st.tuples(st.just("read"), st.sampled_from([0x40, 0x41, 0x42, 0x43, 0x61]), st.just(1)),
        st.tuples(st.just("wait"), st.just(0), st.integers(0, 200_000_000)),
    ),
    max_size=40,
)


@examples(300)
@given(programs)
def test_a_byte_is_a_byte_whatever_is_programmed(program: list[tuple[str, int, int]]) -> None:
    bench = Bench()
    for what, port, value in program:
        if what == "write":
            bench.pit.port_write(port, 1, value)
        elif what == "read":
            assert 0 <= bench.pit.port_read(port, 1) <= 0xFF
        else:
            run_until(bench.clock, bench.clock.now + value)
        now = ticks_at(bench.clock.now)
        assert all(0 <= channel.value(now) <= 0xFFFF for channel in bench.pit._channels)
