# SPDX-License-Identifier: GPL-2.0-or-later
"""Local workers: what they tell, and what it costs when one dies or no longer answers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kdumpsim.files import HostFailure
from kdumpsim.runs.forking import CAN_FORK
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps import workers
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.row import HOST_TIMEOUT, WORKER_DIED, Row
from kdumpsim.sweeps.workers import Told, Ways, pieces, run_group, run_locally

from .rows import PLAN, captured

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="workers are forked")
QUICK = Plan.from_dict({**PLAN, "points": ["FS_DEVRW"], "types": ["panic"], "seeds": "0-2"})
"""Three boots, five counts each."""


def instead(monkeypatch: pytest.MonkeyPatch, at: Scenario, what: str) -> None:
    """Runs that end at once, but for one."""

    def group(scenarios: Sequence[Scenario], ways: Ways) -> Iterator[Told]:
        for number, scenario in enumerate(scenarios):
            yield number, None
            if scenario == at:
                if what == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                elif what == "hang":
                    os.kill(os.getpid(), signal.SIGSTOP)
                elif what == "no space":
                    raise HostFailure("no space")
                else:
                    raise RuntimeError("a bug")
            yield number, captured(scenario)

    monkeypatch.setattr(workers, "run_group", group)


def all_rows(ways: Ways = Ways(), grace: float = workers.GRACE_S) -> dict[Scenario, Row]:  # noqa: B008
    runs = run_locally(QUICK.groups(), 2, ways, grace=grace)
    return {arm.scenario(row.crash_point, row.crash_type, row.count, row.seed): row for arm, row in runs}


@pytest.mark.parametrize(
    ("what", "end", "why"),
    [
        ("die", WORKER_DIED, "SIGKILL"),
        ("hang", HOST_TIMEOUT, "told nothing for 4 s"),
        ("bug", WORKER_DIED, "RuntimeError: a bug"),
    ],
)
def test_a_worker_that_dies_or_hangs_is_a_row_and_the_rest_of_its_group_is_run(
    monkeypatch: pytest.MonkeyPatch, what: str, end: str, why: str
) -> None:
    scenarios = [scenario for group in QUICK.groups() for scenario in group.scenarios]
    victim = scenarios[6]
    instead(monkeypatch, victim, what)
    rows = all_rows(Ways(host_timeout=1), grace=3) if what == "hang" else all_rows()
    assert rows.keys() == set(scenarios)
    assert {scenario for scenario, row in rows.items() if row.end != "O"} == {victim}
    assert (rows[victim].end, rows[victim].ok) == (end, None)
    assert why in rows[victim].reason


def test_what_the_host_lacks_ends_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, next(QUICK.groups()).scenarios[2], "no space")
    with pytest.raises(HostFailure, match="no space"):
        all_rows()


def test_a_sweep_that_is_left_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, next(QUICK.groups()).scenarios[1], "hang")
    made: list[int] = []
    fork = os.fork

    def counted() -> int:
        made.append(fork())
        return made[-1]

    monkeypatch.setattr(os, "fork", counted)
    runs = run_locally(QUICK.groups(), 2, Ways())
    next(runs)
    runs.close()
    assert len(made) == 2
    for pid in made:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_ctrl_c_which_workers_hear_too_is_no_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked, heard = tmp_path / "asked", tmp_path / "heard"

    def group(scenarios: Sequence[Scenario], ways: Ways) -> Iterator[Told]:
        yield from ()  # a message would wake the parent before the end does
        while not asked.exists():
            time.sleep(0.001)
        heard.touch()
        os.kill(os.getpid(), signal.SIGINT)

    def poll() -> None:
        if heard.exists():
            raise KeyboardInterrupt
        asked.touch()

    monkeypatch.setattr(workers, "run_group", group)
    rows: list[Row] = []
    with pytest.raises(KeyboardInterrupt):
        rows.extend(row for _, row in run_locally(QUICK.groups(), 1, Ways(), poll))
    assert rows == []


def test_few_large_groups_are_cut_for_all_workers_and_many_stay_whole() -> None:
    one_boot = Plan.from_dict({**PLAN, "counts": "1-40", "seeds": 0})  # 160 runs
    cut = list(pieces(one_boot.groups(), one_boot.total, 2))
    assert [len(piece.scenarios) for piece in cut] == [20] * 8
    assert [s for piece in cut for s in piece.scenarios] == list(next(one_boot.groups()).scenarios)
    many = Plan.from_dict({**PLAN, "seeds": "0-29"})
    assert list(pieces(many.groups(), many.total, 2)) == list(many.groups())


def test_runs_are_judged_and_their_small_files_kept(tmp_path: Path) -> None:
    scenarios = [
        Scenario("FS_DEVRW", kind, count=count) for kind, count in (("panic", 1), ("panic", 3), ("overflow", 1))
    ]
    told = list(run_group(scenarios, Ways(keep=tmp_path)))
    assert [(number, row is None) for number, row in told] == [
        (n, begins) for n in range(3) for begins in (True, False)
    ]
    first, third, overflow = (row for _, row in told if row is not None)
    assert (first.end, first.accuracy, first.ended_in, first.wrong_registers) == ("O", 1.0, "dump", 0)
    assert first.crash_ns is not None
    assert third.crash_ns is not None
    assert first.crash_ns < third.crash_ns < (third.hand_over_ns or 0)
    assert third.calls.startswith("dtt_induce < dtt_crossed < cpoint < ll_rw_block < ")
    assert (overflow.ok, overflow.captured) == (False, False)
    assert overflow.ended_in in ("first kernel", "purgatory", "capture kernel")
    assert overflow.evidence
    assert first.boot == third.boot
    assert {path.name for path in tmp_path.iterdir()} == {
        workers.directory_name(row) for row in (first, third, overflow)
    }
    assert {path.name for path in (tmp_path / workers.directory_name(first)).iterdir()} == {
        "console.log",
        "result.json",
    }
