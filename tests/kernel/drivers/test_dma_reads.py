# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a driver hands to a device, the machine sees the device read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim.board.network import NetworkConfig


def reads(guest: Any) -> list[bytes]:
    """What devices read from now on, as it was then."""
    memory, seen = guest.machine.memory, []
    memory.read = lambda begin, end: seen.append(bytes(memory.view[begin:end]))
    return seen


def test_what_gets_to_the_disk_was_read_by_its_bus_master(boot: Callable[..., Any]) -> None:
    guest = boot()
    seen = reads(guest)
    before = guest.system.written
    guest.agent.start("diskio")
    guest.run(0.5)
    assert guest.system.written > before
    assert sum(len(data) for data in seen if len(data) >= 512) >= guest.system.written - before


def test_what_is_sent_was_read_by_the_network_card(boot: Callable[..., Any]) -> None:
    guest = boot("ip=10.0.2.15::10.0.2.2:255.255.255.0", network=NetworkConfig())
    seen, sent = reads(guest), []
    wire = guest.machine.nic.on_transmit

    def transmit(frame: bytes) -> None:
        sent.append(frame)
        wire(frame)

    guest.machine.nic.on_transmit = transmit
    guest.agent.start("netload")
    guest.run(0.5)
    assert sent
    assert all(frame in seen for frame in sent)
