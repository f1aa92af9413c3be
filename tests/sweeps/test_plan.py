# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans: axes and what they multiply out to."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.plan import Plan, numbers, ranges
from kdumpsim.sweeps.store import StoredArm

TOML = """
points = ["FS_DEVRW", "TIMERADD"]
types = ["panic", "bug"]
counts = "1-3,7"
seeds = "0-4"
profile = "2.6.16"
cpus = [2, 4]

[options]
stack = ["4k", "8k"]
"""


def test_a_plan_is_every_combination_boot_by_boot(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(TOML)
    plan = Plan.read(path)
    groups = list(plan.groups())
    scenarios = [scenario for group in groups for scenario in group.scenarios]
    assert len(scenarios) == len(set(scenarios)) == plan.total == 2 * 2 * 4 * 5 * 2 * 2
    assert all(len({scenario.boot_key() for scenario in group.scenarios}) == 1 for group in groups)
    assert {scenario.crash_type for scenario in scenarios} == {"panic", "oops"}
    assert {scenario.profile for scenario in scenarios} == {"2.6.16"}
    assert [scenario.seed for scenario in scenarios] == sorted(scenario.seed for scenario in scenarios)
    assert [arm.label for arm in plan.arms] == [
        "stack=4k, cpus=2", "stack=4k, cpus=4", "stack=8k, cpus=2", "stack=8k, cpus=4",
    ]  # fmt: skip


def test_a_plan_survives_being_written_and_read() -> None:
    data = {"points": "FS_DEVRW", "types": "panic", "memory": "96M", "dma": ["net", "disk"], "nic": True, "timeout": 60}
    plan = Plan.from_dict({**data, "crash_cpu": 1, "options": {"panic_on_oops": "1,0"}})
    assert Plan.from_dict(plan.to_dict()) == plan


def test_the_command_of_a_run_makes_its_scenario() -> None:
    plan = Plan.from_dict(
        {"points": "FS_DEVRW", "types": "panic", "counts": "1,10", "seeds": "3", "memory_holes": "40M:1M", "nic": True,
         "options": {"stack": "4k"}}
    )  # fmt: skip
    from click.testing import CliRunner

    from kdumpsim.commands import run as run_command

    for group in plan.groups():
        for scenario in group.scenarios:
            stored = StoredArm(1, group.arm.settings, group.arm.words)
            text = stored.command(scenario.crash_point, scenario.crash_type, scenario.count, scenario.seed, 0, "")
            made: list[Scenario] = []

            def taken(found: Scenario, *_: Any, made: list[Scenario] = made, **__: Any) -> None:
                made.append(found)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(run_command, "_run", taken)
                CliRunner().invoke(run_command.run, shlex.split(text)[2:], obj=None)
            assert made == [scenario]


def test_instants_and_faults_strike_in_place_of_a_point() -> None:
    for what in ({"at": "instant", "types": "bug"}, {"fault": ["text:executed"]}):
        plan = Plan.from_dict({**what, "seeds": "0-1", "draws": "0,5"})
        assert Plan.from_dict(plan.to_dict()) == plan
        scenarios = [scenario for group in plan.groups() for scenario in group.scenarios]
        assert [(s.crash_point, s.seed, s.draw) for s in scenarios] == [("", 0, 0), ("", 0, 5), ("", 1, 0), ("", 1, 5)]
        (arm,) = plan.arms
        stored, asked = StoredArm(1, arm.settings, arm.words), scenarios[3]
        again = stored.command("", asked.crash_type, asked.count, 1, 5, "")
        assert sorted(shlex.split(again)) == sorted(shlex.split(asked.command()))


@given(st.sets(st.integers(0, 300), min_size=1))
def test_numbers_are_written_and_read(found: set[int]) -> None:
    assert set(numbers("seeds", ranges(sorted(found)))) == found


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ({"types": "panic"}, "no points"),
        ({"points": "FS_DEVRW"}, "no types"),
        ({"points": "FS_DEVWR", "types": "panic"}, "did you mean FS_DEVRW"),
        ({"points": "FS_DEVRW", "types": "panics"}, "did you mean panic"),
        ({"points": [], "types": "panic"}, "points is empty"),
        ({"points": "FS_DEVRW", "types": "panic", "counts": "9-3"}, "write 3-9"),
        ({"points": "FS_DEVRW", "types": "panic", "counts": "0-3"}, "count 0 is out of range"),
        ({"points": "FS_DEVRW", "types": "panic", "seeds": "few"}, "such as 1-20"),
        ({"points": "FS_DEVRW", "types": "panic", "seeds": "0-99999999"}, "at most"),
        ({"points": "FS_DEVRW", "types": "panic", "seeds": -1}, "numbers and ranges"),
        ({"points": "FS_DEVRW", "types": "panic", "precision": 1e-9}, "more than 1000000 seeds: choose a coarser"),
        ({"points": "FS_DEVRW", "types": "panic", "seed": 1}, "did you mean seeds"),
        ({"points": "FS_DEVRW", "types": "panic", "options": {"stak": "4k"}}, "did you mean stack"),
        ({"points": "FS_DEVRW", "types": "panic", "options": {"stack": "4k,5k"}}, "cannot be '5k'"),
        ({"points": "FS_DEVRW", "types": "panic", "options": ["stack=4k"]}, "is a table"),
        ({"points": "FS_DEVRW", "types": "panic", "cpus": [2, 4], "crash_cpu": 3}, "with cpus=2: crash-cpu 3"),
        ({"points": "IDE_CORE_CP", "types": "panic", "options": {"combined_mode": "ide,libata"}}, "never crossed with"),
        ({"points": "FS_DEVRW", "types": "panic", "memory": []}, "memory is empty"),
    ],
)
def test_a_plan_that_contradicts_itself_says_where(plan: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        Plan.from_dict(plan)


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("points = [")
    with pytest.raises(ScenarioError, match=r"plan\.toml is not a TOML file"):
        Plan.read(path)
