# SPDX-License-Identifier: GPL-2.0-or-later
"""The paper's table, and how runs are set beside it."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.lkdtt.paper import Agreement, agreement, cells, marks
from kdumpsim.runs.forking import Report
from kdumpsim.runs.result import Result
from kdumpsim.scenario.points import crash_points
from kdumpsim.sweeps import table2
from kdumpsim.sweeps.table2 import CellRuns, plan, scenarios_of, summary


def ended(planned: CellRuns, *outcomes: Outcome | str) -> CellRuns:
    """The cell with these outcomes for its seeds, in order; a string is how a worker died."""
    for scenario, end in zip(planned.scenarios, outcomes, strict=True):
        result = Result(scenario, end) if isinstance(end, Outcome) else None
        planned.reports.append(Report(scenario, Path(), result, end if isinstance(end, str) else None))
    return planned


def test_the_table_has_the_papers_forty_cells_and_the_five_of_the_ide_driver() -> None:
    published = [cell for cell in cells() if cell.published is not None]
    assert len(published) == 40
    assert len({(cell.crash_point, cell.crash_type) for cell in cells()}) == 45
    assert {cell.crash_point for cell in cells() if cell.published is None} == {"IDE_CORE_CP"}
    letters = Counter(marks(cell.published)[0] for cell in published if cell.published)
    assert letters == {"O": 23, "X": 17}
    assert all(cell.published == "X" for cell in published if cell.crash_type == "overflow")


@pytest.mark.parametrize(
    ("ours", "paper", "word"),
    [
        ("O", "O", Agreement.FULL),
        ("X (SysRq, det)", "X (det, SysRq)", Agreement.FULL),
        ("X", "X (2c)", Agreement.LETTER),
        ("O (nrbt)", "O", Agreement.LETTER),
        ("O", "X", Agreement.NONE),
    ],
)
def test_an_outcome_agrees_in_letter_and_marks_whatever_their_order(ours: str, paper: str, word: str) -> None:
    assert agreement(ours, paper) == word


def test_what_is_no_outcome_of_the_legend_is_no_outcome() -> None:
    with pytest.raises(ValueError, match="legend"):
        marks("worker died")


def test_a_point_the_kernel_lacks_is_shown_as_not_built_and_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: text for name, text in crash_points().items() if name != "TIMERADD"}
    monkeypatch.setattr(table2, "crash_points", lambda: known)
    planned = plan([0], points=["TIMERADD", "FS_DEVRW"], types=["panic"])
    assert {cell.cell.crash_point: cell.shown for cell in planned if not cell.built} == {"TIMERADD": "-"}
    assert [scenario.crash_point for scenario in scenarios_of(planned)] == ["FS_DEVRW"]
    (entry,) = (entry for cell in planned if not cell.built for entry in cell.as_dicts())
    assert entry["outcome"] is None
    assert "not built" in entry["evidence"][0]


def test_every_cell_has_the_same_kernel_options_and_its_own_seed() -> None:
    planned = plan([4, 5], points=["FS_DEVRW", "TIMERADD", "TASKLET"], profile="2.6.16")
    scenarios = scenarios_of(planned)
    assert [scenario.seed for scenario in scenarios] == [4] * 15 + [5] * 15
    assert len({tuple(scenario.options.items()) for scenario in scenarios}) == 1


def test_of_each_seed_the_runs_that_take_long_come_first() -> None:
    scenarios = scenarios_of(plan([4, 5], points=["FS_DEVRW", "MEM_SWAPOUT"], types=["panic", "hang"]))
    last_of_each = [scenarios[3], scenarios[7]]
    assert [(s.seed, s.crash_point, s.crash_type) for s in last_of_each] == [
        (4, "FS_DEVRW", "panic"),
        (5, "FS_DEVRW", "panic"),
    ]


def test_seeds_that_disagree_are_shown_with_their_outcomes() -> None:
    (cell,) = plan([0, 1, 2], points=["FS_DEVRW"], types=["panic"])
    second = Outcome(False)
    second.mark("2c", "it crashed")
    ended(cell, Outcome(True), second, Outcome(True))
    assert cell.shown == "O [seed 0,2]; X (2c) [seed 1]"
    assert cell.agreement == "1 of 3 runs"
    assert summary([cell]).unequal_seeds == 1


def test_a_worker_that_died_is_no_outcome_and_agrees_with_nothing() -> None:
    (cell,) = plan([0], points=["FS_DEVRW"], types=["overflow"])
    ended(cell, "the worker was killed by SIGSEGV")
    assert (cell.shown, cell.agreement) == ("worker died", "")
    (entry,) = cell.as_dicts()
    assert entry["outcome"] is None
    assert entry["seed"] == 0
    assert entry["command"] == "kdumpsim run --crashpoint FS_DEVRW --type overflow"
    assert "SIGSEGV" in entry["evidence"][0]
    assert summary([cell]) == table2.Summary(0, 0, 0, 0, dead=1, not_built=0)


def test_only_what_prints_the_table_reads_the_papers_outcomes() -> None:
    package = Path(str(resources.files("kdumpsim")))
    readers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "lkdtt.paper" in path.read_text() or "table2.csv" in path.read_text()
    }
    printing = {f"{room}/{name}.py" for room in ("commands", "sweeps") for name in ("table2", "ratetable")}
    assert readers == {"lkdtt/paper.py", "commands/matrix.py", *printing}
