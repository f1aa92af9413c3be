# SPDX-License-Identifier: GPL-2.0-or-later
"""Fault campaigns: what is run, that the same faults strike again, and what is counted."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.campaign import Campaign, campaign_table, fault_tallies, latencies, run_campaign
from kdumpsim.sweeps.comparing import compare, compare_all, side
from kdumpsim.sweeps.plan import Arm, Group, Plan
from kdumpsim.sweeps.report import page
from kdumpsim.sweeps.row import WORKER_DIED, Row
from kdumpsim.sweeps.running import Progress, Runner
from kdumpsim.sweeps.store import Store

from .rows import captured, failed

COMPARED = {"panic_on_oops": ("1", "0")}


def ends(asked: Scenario) -> Row:
    """Seed 0, draw 0 is quiet, draw 1 needs panic_on_oops, draw 2 never strikes without it; seed 1 loses its worker."""
    if asked.seed == 1 and asked.draw == 1:
        return Row.without_outcome(asked, WORKER_DIED, "killed")
    (fault,) = asked.fault
    struck = fault if "@" in fault else f"text-bit:0x{0xC0100000 + asked.draw:x}.1@1.{asked.seed + 1}"
    draw = int(struck[struck.index("0xc01") + 9], 16)
    row = replace(captured(asked), struck=struck, activated=1, effect="O", latency_ns=2_000_000)
    if draw == 0:
        return replace(row, effect="converged", latency_ns=None)
    if asked.options["panic_on_oops"] == "1":
        return row
    lost = replace(failed(asked), struck=struck, activated=1, effect="X", latency_ns=2_000_000)
    return replace(row, activated=0, effect="not activated", latency_ns=None) if draw == 2 else lost


class Runs:
    """A runner that runs nothing, and remembers what it was given."""

    def __init__(self) -> None:
        self.scenarios: list[Scenario] = []

    def __call__(self, plan: Plan) -> Runner:
        return self.run

    def run(self, groups: Iterable[Group]) -> Generator[tuple[Arm, Row], None, None]:
        for group in groups:
            for scenario in group.scenarios:
                self.scenarios.append(scenario)
                yield group.arm, ends(scenario)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.sqlite", create=True) as store:
        yield store


def test_the_very_faults_that_were_drawn_strike_again(store: Store) -> None:
    campaign = Campaign.of(["text-bit"], boots=2, runs=6, compared=COMPARED)
    progress, runs = Progress(campaign.total), Runs()
    assert campaign.total == 12
    list(run_campaign(campaign, store, runs, progress))
    drawn, again = runs.scenarios[:6], runs.scenarios[6:]
    assert {scenario.fault for scenario in drawn} == {("text-bit:executed",)}
    assert {(s.fault, s.options["panic_on_oops"]) for s in again} == {
        ((f"text-bit:0xc010000{draw}.1@1.{seed + 1}",), "0") for seed, draw in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2))
    }, "a fault whose drawing run died cannot strike again"
    assert (progress.before, progress.done, progress.left) == (1, 11, 0)

    pairs = compare(store, side("panic_on_oops=1"), side("panic_on_oops=0"))
    assert (pairs.both, pairs.only_a, pairs.only_b, pairs.neither) == (2, 1, 0, 0)
    assert pairs.unpaired == 11 - 2 * 3, "a fault that mattered on one side only tells nothing of the option"
    (example,) = pairs.differing
    assert example.command_b == "kdumpsim run --fault text-bit:0xc0100001.1@1.1 --kernel-option panic_on_oops=0"


def test_what_is_there_is_not_run_again(store: Store) -> None:
    campaign = Campaign.of(["text-bit"], boots=2, runs=6, compared=COMPARED)
    list(run_campaign(campaign, store, Runs(), Progress(campaign.total)))
    progress, runs = Progress(campaign.total), Runs()
    list(run_campaign(campaign, store, runs, progress))
    assert [(scenario.seed, scenario.draw) for scenario in runs.scenarios] == [(1, 1)], "whose worker died"
    assert progress.left == 0


def test_classes_are_counted_with_the_rate_of_those_that_called_for_a_dump(store: Store) -> None:
    campaign = Campaign.of(["text-bit"], boots=2, runs=6, compared=COMPARED)
    list(run_campaign(campaign, store, Runs(), Progress(campaign.total)))
    found = fault_tallies(store)
    drawn, again = found["text-bit:executed"], found["text-bit:executed, panic_on_oops=0"]
    assert drawn.classes == {"converged": 2, "O": 3, WORKER_DIED: 1}
    assert again.classes == {"converged": 2, "not activated": 2, "X": 1}
    assert (drawn.captured, drawn.harmful, again.captured, again.harmful) == (3, 3, 0, 1)
    assert "100 % [43.9, 100.0]" in "\n".join(campaign_table(found))
    assert latencies(store)["text-bit:executed"] == [(2.0, 3)]
    text = page(store)
    assert "What came of the faults" in text
    assert "From the fault to the crash" in text


def test_two_faults_or_two_profiles_make_no_pair(store: Store) -> None:
    for profile in ("default", "2.6.16"):
        campaign = Campaign.of(["text-bit", "text-nop"], boots=1, runs=2, profile=profile)
        list(run_campaign(campaign, store, Runs(), Progress(campaign.total)))
    assert [(one.a, one.b) for one in compare_all(store)] in ([], [("profile=default", "profile=2.6.16")])


@pytest.mark.parametrize(
    ("words", "options", "complaint"),
    [
        ([], {}, "no fault is given"),
        (["text"], {"boots": 9}, "9 boots for 6 runs of each fault: choose 1 to 6"),
        (["text"], {"compared": {"stack": ("4k", "8k")}}, "stack is compiled in"),
        (["text"], {"compared": {"sysrq": ("1",)}}, "sysrq has only one value"),
        (["text"], {"compared": {"sysrk": ("1", "0")}}, "did you mean sysrq"),
        (["txt"], {}, "did you mean text"),
        (["instant:panik"], {}, "did you mean panic"),
    ],
)
def test_what_cannot_be_is_said(words: list[str], options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        Campaign.of(words, **{"boots": 2, "runs": 6, **options})  # type: ignore[arg-type]
