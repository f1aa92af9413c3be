# SPDX-License-Identifier: GPL-2.0-or-later
"""The pair of i8259s, as a reader of the 8259A datasheet expects it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from devices import Probe
from kdumpsim.apic.i8259 import I8259, I8259Pair

NON_SPECIFIC_EOI, SPECIFIC_EOI, ROTATE_ON_EOI, ROTATE_ON_SPECIFIC_EOI = 0x20, 0x60, 0xA0, 0xE0
SET_PRIORITY, ROTATE_IN_AEOI, NO_ROTATE_IN_AEOI = 0xC0, 0x80, 0x00
READ_IRR, READ_ISR, POLL, SET_SPECIAL_MASK, RESET_SPECIAL_MASK = 0x0A, 0x0B, 0x0C, 0x68, 0x48


class Bench:
    def __init__(self, *, icw4: int = 0x01, initialise: bool = True) -> None:
        self.intr = Probe()
        self.pair = I8259Pair(self.intr)
        if initialise:
            for port, icw2, icw3 in ((0x20, 0x20, 0x04), (0xA0, 0x28, 0x02)):
                self.out(port, 0x11)
                self.out(port + 1, icw2)
                self.out(port + 1, icw3)
                self.out(port + 1, icw4)

    def out(self, port: int, value: int) -> None:
        self.pair.port_write(port, 1, value)

    def read(self, port: int, command: int | None = None) -> int:
        if command is not None:
            self.out(port, command)
        return self.pair.port_read(port, 1)

    def raise_irqs(self, *irqs: int) -> None:
        for irq in irqs:
            self.pair.set_irq(irq, True)


def test_nothing_comes_through_before_initialisation() -> None:
    bench = Bench(initialise=False)
    bench.raise_irqs(0, 1, 9)
    assert not bench.pair.intr


def test_initialisation_unmasks_and_sets_the_base() -> None:
    bench = Bench()
    assert (bench.read(0x21), bench.read(0xA1)) == (0, 0)
    bench.raise_irqs(1)
    assert bench.pair.intr
    assert bench.pair.acknowledge() == 0x21
    assert not bench.pair.intr
    assert bench.read(0x20, READ_ISR) == 0x02


def test_initialisation_forgets_edges_and_keeps_lines() -> None:
    bench = Bench()
    bench.raise_irqs(3)
    bench.out(0x20, 0x11)
    for value in (0x20, 0x04, 0x01):
        bench.out(0x21, value)
    assert bench.read(0x20, READ_IRR) == 0
    bench.raise_irqs(3)
    assert not bench.pair.intr  # no new edge
    bench.pair.set_irq(3, False)
    bench.raise_irqs(3)
    assert bench.pair.intr


def test_single_mode_without_icw4_takes_one_word() -> None:
    bench = Bench(initialise=False)
    bench.out(0x20, 0x12)
    bench.out(0x21, 0x40)
    bench.out(0x21, 0xAA)
    assert bench.read(0x21) == 0xAA
    assert bench.pair.master.base == 0x40


def test_fixed_priority_and_nesting() -> None:
    bench = Bench()
    bench.raise_irqs(5, 3)
    assert bench.pair.acknowledge() == 0x23
    assert not bench.pair.intr  # 5 waits for the EOI
    bench.raise_irqs(1)
    assert bench.pair.intr
    assert bench.pair.acknowledge() == 0x21
    bench.out(0x20, NON_SPECIFIC_EOI)
    assert bench.read(0x20, READ_ISR) == 0x08
    bench.out(0x20, NON_SPECIFIC_EOI)
    assert bench.pair.acknowledge() == 0x25


def test_cascade() -> None:
    bench = Bench()
    bench.raise_irqs(14)
    assert bench.read(0x20, READ_IRR) == 0x04
    assert bench.pair.acknowledge() == 0x2E
    assert bench.read(0x20, READ_ISR) == 0x04
    assert bench.read(0xA0, READ_ISR) == 0x40
    bench.raise_irqs(8)
    assert not bench.pair.intr  # fully nested: IR2 is in service at the master
    bench.out(0x20, NON_SPECIFIC_EOI)
    assert bench.pair.acknowledge() == 0x28
    for _ in range(2):
        bench.out(0xA0, NON_SPECIFIC_EOI)
        bench.out(0x20, NON_SPECIFIC_EOI)
    assert bench.read(0xA0) == 0


def test_the_mask_holds_requests_back_and_keeps_them() -> None:
    bench = Bench()
    bench.out(0x21, 0x02)
    bench.raise_irqs(1)
    assert not bench.pair.intr
    assert bench.read(0x20, READ_IRR) == 0x02
    bench.out(0x21, 0x00)
    assert bench.pair.intr


def test_a_request_that_goes_away_is_answered_with_ir7() -> None:
    bench = Bench()
    bench.raise_irqs(4)
    bench.pair.set_irq(4, False)
    assert not bench.pair.intr
    assert bench.pair.acknowledge() == 0x27
    assert bench.read(0x20, READ_ISR) == 0  # which is how a handler tells it from a real one


def test_a_slave_request_that_goes_away_is_answered_with_ir15() -> None:
    """Between the two INTA pulses; the model has them at once, so the chips are taken by themselves."""
    bench = Bench()
    bench.raise_irqs(10)
    bench.pair.slave.set_line(2, False)
    assert bench.pair.acknowledge() == 0x2F
    assert bench.read(0xA0, READ_ISR) == 0
    assert bench.read(0x20, READ_ISR) == 0x04  # so the master wants its EOI


def test_specific_eoi() -> None:
    bench = Bench()
    bench.raise_irqs(5)
    bench.pair.acknowledge()
    bench.raise_irqs(3)
    bench.pair.acknowledge()
    bench.out(0x20, SPECIFIC_EOI | 5)
    assert bench.read(0x20, READ_ISR) == 0x08


def test_automatic_eoi() -> None:
    bench = Bench(icw4=0x03)
    bench.raise_irqs(4)
    assert bench.pair.acknowledge() == 0x24
    assert bench.read(0x20, READ_ISR) == 0
    assert not bench.pair.intr  # an edge is served once


def test_automatic_eoi_at_the_slave_does_not_lose_its_second_request() -> None:
    bench = Bench(icw4=0x03)
    bench.raise_irqs(8, 12)
    assert bench.pair.acknowledge() == 0x28
    assert bench.pair.intr
    assert bench.pair.acknowledge() == 0x2C


def test_rotation_on_eoi() -> None:
    bench = Bench()
    bench.raise_irqs(4, 6)
    assert bench.pair.acknowledge() == 0x24
    bench.out(0x20, ROTATE_ON_EOI)  # 4 is lowest now, 5 highest
    bench.raise_irqs(3)
    assert bench.pair.acknowledge() == 0x26
    bench.out(0x20, ROTATE_ON_SPECIFIC_EOI | 6)  # 7, 0, 1 ...
    bench.pair.set_irq(4, False)
    bench.raise_irqs(4)
    assert bench.pair.acknowledge() == 0x23


def test_set_priority() -> None:
    bench = Bench()
    bench.out(0x20, SET_PRIORITY | 3)
    bench.raise_irqs(0, 3, 4)
    assert bench.pair.acknowledge() == 0x24
    bench.out(0x20, NON_SPECIFIC_EOI)
    assert bench.pair.acknowledge() == 0x20


def test_rotation_in_automatic_eoi() -> None:
    bench = Bench(icw4=0x03)
    bench.out(0x20, ROTATE_IN_AEOI)
    bench.raise_irqs(0, 1)
    assert bench.pair.acknowledge() == 0x20
    bench.pair.set_irq(0, False)
    bench.raise_irqs(0)
    assert bench.pair.acknowledge() == 0x21  # 0 went to the end of the queue
    bench.out(0x20, NO_ROTATE_IN_AEOI)
    assert not bench.pair.master.rotate_auto_eoi


def test_special_mask_lets_lower_inputs_through() -> None:
    bench = Bench()
    bench.raise_irqs(1)
    bench.pair.acknowledge()
    bench.raise_irqs(6)
    assert not bench.pair.intr
    bench.out(0x21, 0x02)
    bench.out(0x20, SET_SPECIAL_MASK)
    assert bench.pair.acknowledge() == 0x26
    bench.out(0x20, NON_SPECIFIC_EOI)  # ends 6: the masked 1 is passed over
    assert bench.read(0x20, READ_ISR) == 0x02
    bench.out(0x20, RESET_SPECIAL_MASK)
    bench.raise_irqs(7)
    assert not bench.pair.intr


def test_poll() -> None:
    bench = Bench()
    assert bench.read(0x20, POLL) == 0x00
    bench.raise_irqs(5)
    assert bench.read(0x20, POLL) == 0x85
    assert bench.read(0x20, READ_ISR) == 0x20
    assert not bench.pair.intr


def test_elcr() -> None:
    bench = Bench()
    bench.out(0x4D0, 0xFF)
    bench.out(0x4D1, 0xFF)
    assert (bench.read(0x4D0), bench.read(0x4D1)) == (0xF8, 0xDE)
    bench.raise_irqs(5)
    assert bench.pair.acknowledge() == 0x25
    bench.out(0x20, NON_SPECIFIC_EOI)
    assert bench.pair.intr  # a level asks again
    bench.pair.set_irq(5, False)
    assert not bench.pair.intr


def test_intr_follows_the_timer_so_that_lint0_can_be_an_nmi() -> None:
    """The NMI watchdog through the 8259: nobody acknowledges, and INTR pulses with the timer."""
    bench = Bench()
    for _ in range(3):
        bench.pair.set_irq(0, False)
        bench.pair.set_irq(0, True)
    assert bench.intr.rises == 3


def test_intr_pulses_between_two_requests() -> None:
    bench = Bench(icw4=0x03)
    bench.raise_irqs(3, 4)
    bench.pair.acknowledge()
    assert bench.intr.changes == [True, False, True]


steps = st.one_of(
    st.tuples(st.just("irq"), st.integers(0, 15), st.booleans()),
    st.tuples(st.just("out"), st.sampled_from([0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1]), st.integers(0, 255)),
    st.tuples(st.just("in"), st.sampled_from([0x20, 0x21, 0xA0, 0xA1]), st.none()),
    st.tuples(st.just("ack"), st.none(), st.none()),
)


def naive_priority(chip: I8259, number: int) -> int:
    return (number - chip.lowest - 1) % 8


@given(st.lists(steps, max_size=60))
def test_state_round_trips_and_the_output_follows_the_rules(script: list[tuple[str, Any, Any]]) -> None:
    bench = Bench()
    for kind, first, second in script:
        if kind == "irq":
            bench.pair.set_irq(first, second)
        elif kind == "out":
            bench.out(first, second)
        elif kind == "in":
            bench.read(first)
        else:
            bench.pair.acknowledge()
        assert bench.intr.level == bench.pair.intr
        for chip in (bench.pair.master, bench.pair.slave):
            assert chip.irr & ~chip.lines == 0
            request = chip.request()
            if request is not None and not chip.special_mask:
                serving = [naive_priority(chip, number) for number in range(8) if chip.isr >> number & 1]
                assert all(naive_priority(chip, request) < other for other in serving)
    copy = Bench(initialise=False)
    copy.pair.restore(bench.pair.state())
    assert copy.pair.state() == bench.pair.state()
    for _ in range(4):
        assert copy.pair.acknowledge() == bench.pair.acknowledge()
