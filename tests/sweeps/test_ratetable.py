# SPDX-License-Identifier: GPL-2.0-or-later
"""The paper's table as rates: which cells are run, how they are counted, and what of them is the paper's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpsim.lkdtt.paper import COLUMNS, IDE_POINT, Agreement, cells
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.ratetable import CellRate, rate_plan, rate_summary, rates
from kdumpsim.sweeps.row import WORKER_DIED, Row
from kdumpsim.sweeps.store import Store

from .rows import captured, failed, fill


def by_count(scenario: Scenario) -> Row:
    """FS_DEVRW / panic is X (2c), as in the paper, at counts 1 to 3, else O; one run has no outcome."""
    if (scenario.crash_point, scenario.crash_type) == ("FS_DEVRW", "panic"):
        if scenario.count == 5:
            return Row.without_outcome(scenario, WORKER_DIED, "killed")
        if scenario.count <= 3:
            return replace(failed(scenario), context="IRQ 14")
    return captured(scenario)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.sqlite", create=True) as store:
        fill(store, rate_plan(["2.6.16"], "1-5", [0, 1], points=["FS_DEVRW"], types=["panic", "oops"]), by_count)
        yield store


def cell(found: list[CellRate], kind: str) -> CellRate:
    (one,) = (rate for rate in found if rate.cell.crash_type == kind)
    return one


def test_a_table_without_names_is_all_cells_of_every_profile() -> None:
    plan = rate_plan(["default", "2.6.16"], "9,10", [0])
    assert plan.total == 2 * 2 * len(cells())
    options = {s.options["combined_mode"] for g in plan.groups() for s in g.scenarios if s.crash_point == IDE_POINT}
    assert options == {"ide"}, "its driver has to be there to cross it"
    with pytest.raises(ScenarioError, match=r"unknown profile '2\.6\.61'; did you mean 2\.6\.16"):
        rate_plan(["2.6.61"], "10", [0])


def test_runs_are_counted_by_outcome_and_context_beside_the_papers(store: Store) -> None:
    panic, oops = (cell(rates(store), kind) for kind in ("panic", "oops"))
    assert (panic.tally.ok, panic.tally.n, panic.tally.without_outcome) == (2, 8, 2)
    assert (panic.usual, panic.agreement) == ("X (2c)", Agreement.FULL)
    assert panic.contexts == {"IRQ 14": 6, "task": 2}
    assert panic.agreeing(Agreement.FULL) == panic.agreeing(Agreement.FULL, Agreement.LETTER) == 6
    assert (oops.usual, oops.agreement) == ("O", Agreement.NONE)  # the paper: X (log, SysRq)


def test_a_summary_tells_how_often_a_single_run_agrees(store: Store) -> None:
    total = rate_summary(rates(store))
    assert (total.compared, total.full, total.letter, total.cells, total.captured) == (2, 1, 0, 2, 1)
    assert total.single == total.single_letter == pytest.approx((6 / 8 + 0) / 2)


def test_a_profile_of_another_kernel_has_its_own_column() -> None:
    name = ("INT_HARDWARE_ENTRY", "oops")
    usual, older = ({(c.crash_point, c.crash_type): c for c in cells(column)} for column in (None, *COLUMNS.values()))
    assert usual.keys() == older.keys()
    assert (usual[name].published, older[name].published) == ("O", "X (nmiw)")
