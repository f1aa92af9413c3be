# SPDX-License-Identifier: GPL-2.0-or-later
"""The I/O APIC, as a reader of the 82093AA datasheet expects it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.apic.ioapic import IOREGSEL, IOWIN, IoApic
from kdumpsim.apic.messages import DeliveryMode, Message

LEVEL, MASKED, ACTIVE_LOW, REMOTE_IRR, LOGICAL = 1 << 15, 1 << 16, 1 << 13, 1 << 14, 1 << 11


class Bench:
    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.chip = IoApic(2, self.sent.append)

    def read(self, index: int) -> int:
        self.chip.write(IOREGSEL, index)
        return self.chip.read(IOWIN)

    def write(self, index: int, value: int) -> None:
        self.chip.write(IOREGSEL, index)
        self.chip.write(IOWIN, value)

    def program(self, pin: int, low: int, destination: int = 0) -> None:
        self.write(0x11 + 2 * pin, destination << 24)
        self.write(0x10 + 2 * pin, low)

    def pulse(self, pin: int) -> None:
        self.chip.set_pin(pin, True)
        self.chip.set_pin(pin, False)


def test_identification_version_arbitration() -> None:
    bench = Bench()
    assert (bench.read(0), bench.read(1), bench.read(2)) == (2 << 24, 0x00170011, 2 << 24)
    bench.write(0, 0xFFFFFFFF)
    assert bench.read(0) == bench.read(2) == 0x0F000000
    bench.write(1, 0)
    assert bench.read(1) == 0x00170011
    assert bench.chip.read(IOREGSEL) == 1


def test_every_entry_is_masked_after_reset() -> None:
    bench = Bench()
    assert [bench.read(0x10 + index) for index in range(48)] == [MASKED, 0] * 24
    bench.pulse(4)
    assert bench.sent == []


def test_read_only_bits_of_an_entry() -> None:
    bench = Bench()
    bench.program(5, 0xFFFFFFFF, 0xFF)
    assert bench.read(0x1A) == 0x1AFFF  # neither delivery status nor remote IRR
    assert bench.read(0x1B) == 0xFF000000


def test_an_edge_is_one_message() -> None:
    bench = Bench()
    bench.program(4, 0x34 | LOGICAL | 0x100, 0x03)
    bench.chip.set_pin(4, True)
    bench.chip.set_pin(4, True)
    assert bench.sent == [Message(DeliveryMode.LOWEST, 0x34, 3, logical=True)]
    bench.chip.set_pin(4, False)
    assert len(bench.sent) == 1
    bench.pulse(4)
    assert len(bench.sent) == 2


def test_an_edge_at_a_masked_entry_is_lost() -> None:
    bench = Bench()
    bench.program(4, 0x34 | MASKED)
    bench.chip.set_pin(4, True)
    bench.program(4, 0x34)
    assert bench.sent == []


def test_a_level_waits_for_its_eoi() -> None:
    bench = Bench()
    bench.program(10, 0x5A | LEVEL)
    bench.chip.set_pin(10, True)
    assert bench.sent == [Message(DeliveryMode.FIXED, 0x5A, 0, trigger_level=True)]
    assert bench.read(0x24) & REMOTE_IRR
    bench.chip.set_pin(10, False)
    bench.chip.set_pin(10, True)
    assert len(bench.sent) == 1
    bench.chip.eoi(0x5A)
    assert len(bench.sent) == 2  # the line is still high
    bench.chip.set_pin(10, False)
    bench.chip.eoi(0x5A)
    assert len(bench.sent) == 2
    assert not bench.read(0x24) & REMOTE_IRR


def test_a_level_at_a_masked_entry_is_seen_when_it_is_unmasked() -> None:
    bench = Bench()
    bench.chip.set_pin(10, True)
    bench.program(10, 0x5A | LEVEL)
    assert len(bench.sent) == 1


def test_an_eoi_ends_every_pin_of_that_vector_and_no_other() -> None:
    bench = Bench()
    for pin, vector in ((9, 0x50), (10, 0x50), (11, 0x51)):
        bench.program(pin, vector | LEVEL)
        bench.chip.set_pin(pin, True)
        bench.chip.set_pin(pin, False)
    bench.chip.eoi(0x50)
    assert [bool(bench.read(0x10 + 2 * pin) & REMOTE_IRR) for pin in (9, 10, 11)] == [False, False, True]


def test_becoming_edge_triggered_clears_a_stuck_remote_irr() -> None:
    bench = Bench()
    bench.program(10, 0x5A | LEVEL)
    bench.chip.set_pin(10, True)
    bench.program(10, 0x5A | MASKED)
    assert not bench.read(0x24) & REMOTE_IRR


def test_active_low() -> None:
    bench = Bench()
    bench.chip.set_pin(16, True)
    bench.program(16, 0x61 | LEVEL | ACTIVE_LOW)
    assert bench.sent == []
    bench.chip.set_pin(16, False)
    assert len(bench.sent) == 1


@pytest.mark.parametrize("mode", [DeliveryMode.SMI, DeliveryMode.NMI, DeliveryMode.INIT, DeliveryMode.EXTINT])
def test_special_modes_go_by_edge_whatever_the_trigger_says(mode: DeliveryMode) -> None:
    bench = Bench()
    bench.program(0, mode << 8 | LEVEL, 1)
    bench.pulse(0)
    bench.pulse(0)
    assert bench.sent == [Message(mode, 0, 1)] * 2


steps = st.one_of(
    st.tuples(st.just("pin"), st.integers(0, 23), st.booleans()),
    st.tuples(st.just("write"), st.integers(0, 0x40), st.integers(0, 0xFFFFFFFF)),
    st.tuples(st.just("eoi"), st.integers(0, 255), st.none()),
)


@given(st.lists(steps, max_size=60))
def test_state_round_trips_and_remote_irr_means_level(script: list[tuple[str, int, Any]]) -> None:
    bench = Bench()
    for kind, first, second in script:
        if kind == "pin":
            bench.chip.set_pin(first, second)
        elif kind == "write":
            bench.write(first, second)
        else:
            bench.chip.eoi(first)
    for pin in range(24):
        low = bench.read(0x10 + 2 * pin)
        assert not low & REMOTE_IRR or low & LEVEL
    copy = Bench()
    copy.chip.restore(bench.chip.state())
    assert copy.chip.state() == bench.chip.state()
    assert [copy.read(index) for index in range(0x40)] == [bench.read(index) for index in range(0x40)]
