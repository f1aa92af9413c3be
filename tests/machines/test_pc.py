# SPDX-License-Identifier: GPL-2.0-or-later
"""The PC that a scenario asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.board.machine import Machine
from kdumpsim.machines.pc import TRAFFIC_NS, new_pc
from kdumpsim.runs.forking import Booted
from kdumpsim.runs.run import run_scenario
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError


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
    machine = new_pc(scenario.pc, {}, {}, "crash_kexec")
    assert isinstance(machine, Machine)
    network = machine.config.network
    assert (None if network is None else network.traffic_ns) == traffic
    assert (scenario.boot_key() == Scenario("FS_DEVRW", "panic").boot_key()) == (traffic is None)


def test_what_a_pc_cannot_do_is_said_before_it_is_powered_on(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("qemu-system-i386")
    scenario = Scenario("FS_DEVRW", "panic", machine="qemu")
    with pytest.raises(ScenarioError, match="machine qemu cannot be copied; kdumpsim can"):
        Booted(scenario)
    with pytest.raises(ScenarioError, match="machine qemu cannot be traced; kdumpsim can"):
        run_scenario(scenario, tmp_path / "dump", trace=10)
    assert not (tmp_path / "dump").exists()
