# SPDX-License-Identifier: GPL-2.0-or-later
"""check_timer(): every way of the timer's interrupt to the boot CPU, tried on boards that lack the better ones."""

from __future__ import annotations

import pytest
from arch_machine import BOOTED, Guest


def without_pin_2(guest: Guest) -> None:
    """A board whose timer is not connected to the I/O APIC, whatever its MP table says."""
    set_pin = guest.machine.ioapic.set_pin
    guest.machine.ioapic.set_pin = lambda pin, level: None if pin == 2 else set_pin(pin, level)  # type: ignore[method-assign]


def ticks(guest: Guest) -> int:
    before = guest.word("jiffies")
    guest.run(1)
    return guest.word("jiffies") - before


def test_io_apic_pin() -> None:
    guest = Guest()
    guest.until(BOOTED)
    assert "MP-BIOS bug" not in guest.console
    assert ticks(guest) == pytest.approx(100, abs=2)


def test_virtual_wire_if_the_pin_is_dead() -> None:
    guest = Guest()
    without_pin_2(guest)
    guest.until(BOOTED, 10)
    assert "..MP-BIOS bug: 8254 timer not connected to IO-APIC" in guest.console
    assert "...trying to set up timer as Virtual Wire IRQ... works." in guest.console
    assert ticks(guest) == pytest.approx(100, abs=2)


def test_delay_loop_is_calibrated() -> None:
    guest = Guest()
    guest.until("Calibrating delay loop... ")
    guest.until(BOOTED)
    # One round of the loop is 10 bytes of code, 32 ns each.
    assert guest.word("loops_per_jiffy") == pytest.approx(10_000_000 / 320, rel=0.01)
