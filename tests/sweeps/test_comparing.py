# SPDX-License-Identifier: GPL-2.0-or-later
"""Arms beside each other: pairs, their test, and looks that were declared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.comparing import compare, compare_all, side
from kdumpsim.sweeps.plan import Arm, Group, Plan
from kdumpsim.sweeps.row import WORKER_DIED, Row
from kdumpsim.sweeps.running import Progress, run_plan
from kdumpsim.sweeps.statistics import looks
from kdumpsim.sweeps.store import Store, StoreError
from kdumpsim.sweeps.tally import by_arm, cells, clusters, failures, labels, table

from .rows import PLAN, STACKS, captured, failed, fill


def small_stacks_fail(scenario: Scenario) -> Row:
    """With 4k, half of the seeds fail at TIMERADD; one run has no outcome."""
    if (scenario.seed, scenario.count, scenario.crash_point) == (9, 5, "FS_DEVRW"):
        return Row.without_outcome(scenario, WORKER_DIED, "the worker was killed by SIGKILL")
    small = scenario.options["stack"] == "4k" and scenario.crash_point == "TIMERADD" and scenario.seed % 2
    return failed(scenario) if small else captured(scenario)


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "stacks.sqlite", create=True) as store:
        fill(store, Plan.from_dict({**STACKS, "types": ["panic"]}), small_stacks_fail)
        yield store


def test_pairs_differ_in_what_is_compared_and_in_nothing_else(stacks: Store) -> None:
    found = compare(stacks, side("stack=4k"), side("stack=8k"))
    assert (found.both, found.only_a, found.only_b, found.neither) == (74, 0, 25, 0)
    assert found.unpaired == 2  # the runs without an outcome, and none besides
    assert found.p == pytest.approx(2 * 0.5**25)
    assert "stack=8k brings more dumps home" in found.verdict
    (example,) = found.differing
    assert (example.end_a, example.end_b, example.pairs) == ("X (2c)", "O", 25)
    assert example.command_a.endswith("--seed 1 --kernel-option stack=4k --count 1")
    assert example.command_a.replace("4k", "8k") == example.command_b
    assert found.difference.high < 0


def test_the_difference_is_as_uncertain_as_the_boots_are_few(stacks: Store) -> None:
    found = compare(stacks, side("stack=4k"), side("stack=8k"))
    width = found.difference.high - found.difference.low
    assert width > 0.25, "ten boots that agree within are ten, not a hundred"


def test_everything_varied_is_compared_and_adjusted_for_being_so_many(tmp_path: Path) -> None:
    plan = {**PLAN, "points": "TIMERADD", "types": "panic", "cpus": [2, 4], "options": {"stack": "4k,8k"}}
    with Store(tmp_path / "s.sqlite", create=True) as store:
        fill(store, Plan.from_dict(plan), small_stacks_fail)
        by_name = {comparison.a: comparison for comparison in compare_all(store)}
    assert set(by_name) == {"stack=4k", "cpus=2"}
    assert by_name["stack=4k"].pairs == 100
    assert by_name["stack=4k"].adjusted == pytest.approx(2 * by_name["stack=4k"].p)
    assert (by_name["cpus=2"].adjusted, by_name["cpus=2"].only_a) == (1, 0)


def test_profiles_are_compared_whatever_options_they_bring(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite", create=True) as store:
        fill(store, Plan.from_dict({**PLAN, "profile": ["default", "2.6.16"]}))
        (found,) = compare_all(store)
        assert (found.a, found.pairs) == ("profile=default", 200)
        assert set(labels(store.arms).values()) == {"profile=default", "profile=2.6.16"}


@pytest.mark.parametrize(
    ("a", "b", "complaint"),
    [
        ("stack", "stack=8k", "write NAME=VALUE"),
        ("stak=4k", "stack=8k", "did you mean stack"),
        ("stack=5k", "stack=8k", "choose from: 4k, 8k"),
        ("stack=4k", "cpus=2", "name the same settings"),
    ],
)
def test_sides_that_are_none_say_what_there_is(stacks: Store, a: str, b: str, complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint):
        compare(stacks, side(a), side(b))


def test_rates_are_counted_by_cell_by_arm_and_by_boot(stacks: Store) -> None:
    small, large = sorted(by_arm(cells(stacks)).values(), key=lambda tally: tally.ok)
    assert (small.ok, small.n, small.without_outcome) == (74, 99, 1)
    assert (large.ok, large.n) == (99, 99)
    assert all(len(boots) == 10 for boots in clusters(stacks).values())
    assert sorted(sum(ok for ok, _ in boots) for boots in clusters(stacks).values()) == [74, 99]
    lines = list(table(cells(stacks), stacks.arms))
    assert lines[0].split()[:3] == ["arm", "crash", "point"]
    assert any("stack=4k  TIMERADD     panic  50    50.0 %" in line for line in lines)


def test_failures_are_grouped_by_end_and_call_chain_with_a_command_each(stacks: Store) -> None:
    largest, *others = failures(stacks)
    assert (largest.end, largest.runs, largest.calls) == ("X (2c)", 25, "dtt_crossed < ll_rw_block")
    assert "still running at …" in largest.reason  # the time, in which they differ
    assert (
        largest.command == "kdumpsim run --crashpoint TIMERADD --type panic --seed 1 --kernel-option stack=4k --count 1"
    )
    assert largest.evidence[1] == "2c: it began"
    assert {group.end for group in others} == {WORKER_DIED}


def ends_by(ends: dict[str, int]) -> object:
    """A runner that counts what it runs."""

    def runner(groups: Iterable[Group]) -> Iterator[tuple[Arm, Row]]:
        for group in groups:
            for scenario in group.scenarios:
                ends[scenario.options["stack"]] = ends.get(scenario.options["stack"], 0) + 1
                yield group.arm, small_stacks_fail(scenario)

    return runner


def test_declared_looks_end_a_sweep_when_the_arms_differ_and_never_earlier(tmp_path: Path) -> None:
    plan = Plan.from_dict({**STACKS, "points": "TIMERADD", "types": "panic", "seeds": "0-19", "looks": 4})
    ran: dict[str, int] = {}
    with Store(tmp_path / "s.sqlite", create=True) as store:
        list(run_plan(plan, store, ends_by(ran)))  # type: ignore[arg-type]
        first, second = store.looks
        assert [look.pairs for look in (first, second)] == [25, 50]
        assert first.level == pytest.approx(looks([0.25, 0.5, 0.75, 1.0])[0])
        assert first.p == pytest.approx(2 * 0.5**10)
        assert (first.decided, second.decided) == (False, True)
        assert ran == {"4k": 50, "8k": 50}
        list(run_plan(plan, store, ends_by(ran)))  # type: ignore[arg-type]
        assert sum(ran.values()) == 100, "a sweep that has ended goes on"
        with pytest.raises(StoreError, match="begun with 4 looks"):
            list(run_plan(Plan.from_dict({**STACKS, "looks": 5}), store, ends_by(ran), Progress(1)))  # type: ignore[arg-type]


def test_a_precision_gives_the_seeds_and_refuses_too_few() -> None:
    plan = {"points": "FS_DEVRW", "types": "panic", "counts": "1-20", "precision": 0.05}
    assert len(Plan.from_dict(plan).seeds) == 20  # 400 runs, where 385 are wanted
    assert len(Plan.from_dict({**plan, "seeds": "0-49"}).seeds) == 50
    with pytest.raises(ScenarioError, match="wants 385 runs of each arm, and the plan has 200: give 20 seeds"):
        Plan.from_dict({**plan, "seeds": "0-9"})
    with pytest.raises(ScenarioError, match="looks compare two arms"):
        Plan.from_dict({**plan, "looks": 3})
    again = Plan.from_dict({**plan, "looks": 3, "options": {"stack": "4k,8k"}})
    assert Plan.from_dict(again.to_dict()) == again
