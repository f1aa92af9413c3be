# SPDX-License-Identifier: GPL-2.0-or-later
"""The PC that a scenario asks for."""

from __future__ import annotations

import pytest

from kdumpsim.board.machine import Machine
from kdumpsim.machines.pc import TRAFFIC_NS, new_pc
from kdumpsim.scenario.scenario import Scenario


@pytest.mark.parametrize(
    ("options", "traffic"),
    [
        ({}, None),
        ({"dma": ("disk",)}, None),
        ({"nic": True}, 0),
        ({"load": ("diskio", "netload")}, 0),
        ({"dma": ("disk", "net")}, TRAFFIC_NS),
    ],
)
def test_only_who_needs_a_network_card_has_one(options: dict[str, object], traffic: int | None) -> None:
    scenario = Scenario("FS_DEVRW", "panic", **options)  # type: ignore[arg-type]
    machine = new_pc(scenario.pc, {}, {})
    assert isinstance(machine, Machine)
    network = machine.config.network
    assert (None if network is None else network.traffic_ns) == traffic
    assert (scenario.boot_key() == Scenario("FS_DEVRW", "panic").boot_key()) == (traffic is None)
