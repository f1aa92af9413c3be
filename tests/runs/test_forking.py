# SPDX-License-Identifier: GPL-2.0-or-later
"""Forked, rewound and cold runs are the same run; workers that die are told from guests that do."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.files import HostFailure
from kdumpsim.runfiles import CONSOLE_LOG
from kdumpsim.runs import forking
from kdumpsim.runs.forking import Booted, Report, run_all
from kdumpsim.runs.hosttime import HostTimeout
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import run_scenario
from kdumpsim.runs.session import Attendant, Session
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps.sweep import sweep
from kdumpsim.sweeps.workers import Ways, run_group

PANIC = Scenario("FS_DEVRW", "panic", seed=3)
EXCEPTION = Scenario("TIMERADD", "exception", seed=3, count=4)

needs_fork = pytest.mark.skipif(not forking.CAN_FORK, reason="this host has no fork")


@pytest.fixture(scope="module")
def booted() -> Booted:
    return Booted(PANIC)


@pytest.fixture(scope="module", params=[PANIC, EXCEPTION], ids=lambda scenario: str(scenario.crash_point))
def cold(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A run from power-on, as `kdumpsim run` does it."""
    directory = tmp_path_factory.mktemp("cold")
    return run_scenario(request.param, directory, cached_boot=False), directory


def same_run(one: tuple[Result, Path], other: tuple[Result, Path]) -> None:
    for name in ("vmcore", "console.log"):
        assert (one[1] / name).read_bytes() == (other[1] / name).read_bytes(), name
    facts = [
        (str(result.outcome), result.outcome.evidence, [(p.name, p.detail, p.virtual_end_ns) for p in result.phases])
        for result, _ in (one, other)
    ]
    assert facts[0] == facts[1]
    assert one[0].judgement == other[0].judgement


@needs_fork
def test_a_forked_run_is_the_cold_run_byte_for_byte(booted: Booted, cold: tuple[Result, Path], tmp_path: Path) -> None:
    report = booted.fork(cold[0].scenario, tmp_path).report()
    assert report.result is not None, report.died
    same_run(cold, (report.result, tmp_path))


def test_without_fork_a_booted_machines_state_gives_the_cold_run_byte_for_byte(
    booted: Booted,
    cold: tuple[Result, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(forking, "CAN_FORK", False)
    monkeypatch.setattr(booted, "_state", None)
    caplog.set_level("INFO")
    same_run(cold, (booted.again(cold[0].scenario, tmp_path), tmp_path))
    assert "has no fork" in caplog.text


def test_a_machine_that_has_crashed_and_was_put_back_is_the_booted_one(booted: Booted) -> None:
    before, disk = booted.session.state(), booted.session.dump_disk
    booted.warm(PANIC)
    assert booted.session.state() == before
    assert booted.session.dump_disk is disk
    assert not booted.session.jumped


def test_a_machine_that_crashes_itself_does_the_cold_run_and_is_the_booted_one_again(
    booted: Booted, cold: tuple[Result, Path], tmp_path: Path
) -> None:
    before = booted.session.state()
    report = booted.itself(cold[0].scenario, tmp_path)
    assert report.result is not None, report.died
    same_run(cold, (report.result, tmp_path))
    assert booted.session.state() == before


@pytest.mark.parametrize(
    ("settings", "itself"),
    [({}, True), ({"crash_type": "hang"}, True), ({"breaks": ("disk",)}, False), ({"latency": 200}, False)],
    ids=str,
)
def test_the_machine_itself_is_crashed_only_where_putting_it_back_undoes_all(
    booted: Booted, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], itself: bool
) -> None:
    monkeypatch.setattr(booted, "_forks", 0)
    monkeypatch.setattr(booted, "_warm_at", 1)
    assert booted.may_crash_itself(replace(PANIC, **settings)) is itself
    monkeypatch.setattr(booted, "_warm_at", None)
    assert not booted.may_crash_itself(replace(PANIC, **settings))


def test_a_fault_or_an_instant_never_strikes_the_machine_itself(
    booted: Booted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(booted, "_forks", 0)
    monkeypatch.setattr(booted, "_warm_at", 1)
    assert not booted.may_crash_itself(Scenario(fault=("text:executed",), seed=PANIC.seed))
    assert not booted.may_crash_itself(Scenario(at="instant", crash_type="panic", seed=PANIC.seed))


@needs_fork
def test_what_a_put_back_machine_has_translated_changes_nothing(
    booted: Booted, cold: tuple[Result, Path], tmp_path: Path
) -> None:
    booted.warm(PANIC)
    report = booted.fork(cold[0].scenario, tmp_path).report()
    assert report.result is not None, report.died
    same_run(cold, (report.result, tmp_path))


@pytest.mark.parametrize(
    "settings", [{"fault": ("text:executed",)}, {"crash_point": "TIMERADD", "crash_type": "panic", "vary": ("count",)}]
)
def test_the_machine_is_crashed_beforehand_whichever_draw_comes_first(
    booted: Booted, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    drive, reached = forking.drive, list[bool]()

    def driven(session: Session, *rest: Any) -> str | None:
        failed = drive(session, *rest)
        reached.append(session.jumped)
        return failed

    monkeypatch.setattr(forking, "drive", driven)
    monkeypatch.setattr(forking, "WARMING_S", 600.0)  # the host may be busy
    booted.warm(Scenario(seed=PANIC.seed, draw=3, **settings))
    assert reached == [True]


def test_a_machine_that_was_booted_with_another_seed_is_refused(booted: Booted, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="booted differently"):
        booted.again(Scenario("FS_DEVRW", "panic", seed=4), tmp_path)


@needs_fork
def test_a_worker_that_is_killed_is_reported_with_its_signal_and_without_an_outcome(
    booted: Booted, tmp_path: Path
) -> None:
    worker = booted.fork(PANIC, tmp_path)
    os.kill(worker.pid, signal.SIGKILL)
    report = worker.report()
    assert report.result is None
    assert report.died == "the worker was killed by SIGKILL"
    assert report.scenario == PANIC


def test_a_run_whose_host_time_is_up_has_no_outcome_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HostTimeout, match=r"more than 1e-06 s of the host's time"):
        run_scenario(PANIC, tmp_path, host_timeout=1e-6)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["boot", "worker"])
@pytest.mark.parametrize("fork", [pytest.param(True, marks=needs_fork), False])
def test_a_sweeps_run_whose_host_time_is_up_is_reported_as_such(
    fork: bool, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = 1e-6
    if where == "worker":
        crash, limit = Booted._crash, 1e6

        def late(booted: Booted, *rest: Any) -> Result:
            booted._host_timeout = 1e-6
            return crash(booted, *rest)

        monkeypatch.setattr(Booted, "_crash", late)
    (report,) = sweep([PANIC], 1, tmp_path / "kept", fork=fork, host_timeout=limit)
    assert report.result is None
    assert report.timed_out
    assert report.end == "host time-out"
    assert report.died is not None
    assert "the host's time" in report.died


@pytest.mark.parametrize("fork", [pytest.param(True, marks=needs_fork), False])
def test_an_exception_in_a_worker_is_reported_and_the_others_go_on(
    fork: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crash = Session.crash

    def broken(session: Session, operator: Attendant) -> None:
        if session.armed is not None and session.armed.crash_point == "TIMERADD":
            raise RuntimeError("a bug of ours")
        crash(session, operator)

    monkeypatch.setattr(Session, "crash", broken)
    reports = {report.scenario: report for report in sweep([EXCEPTION, PANIC], 2, tmp_path / "kept", fork=fork)}
    died = reports[EXCEPTION].died
    assert died is not None
    assert "RuntimeError: a bug of ours" in died
    survivor = reports[PANIC].result
    assert survivor is not None
    assert str(survivor.outcome) == "O"


@pytest.mark.parametrize("fork", [pytest.param(True, marks=needs_fork), False])
def test_what_could_not_be_written_is_named_by_where_it_would_have_been(
    fork: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == CONSOLE_LOG:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    (report,) = sweep([PANIC], 1, tmp_path, fork=fork)
    place = tmp_path / "FS_DEVRW-panic-seed3"
    assert report.directory == place
    assert report.died is not None
    assert report.died.startswith(f"cannot write {place}/console.log: No space left on device")
    with pytest.raises(
        HostFailure, match=r"cannot write .*/FS_DEVRW-panic-count10-seed3-[0-9a-f]{8}/console\.log: "
    ) as told:
        list(run_group([PANIC], Ways(keep=tmp_path)))
    assert "scratch" not in str(told.value)


def test_a_sweep_keeps_the_small_files_of_each_run_and_nothing_else(tmp_path: Path) -> None:
    reports = list(sweep([PANIC], 1, tmp_path))
    assert [report.died for report in reports] == [None]
    (kept,) = tmp_path.iterdir()
    assert kept.name == "FS_DEVRW-panic-seed3"
    assert sorted(path.name for path in kept.iterdir()) == ["console.log", "result.json"]


@needs_fork
def test_a_sweep_that_is_broken_off_leaves_neither_workers_nor_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = []
    fork = Booted.fork

    def remembered(
        self: Booted, scenario: Scenario, directory: Path, workers: set[forking.Worker] | None = None
    ) -> forking.Worker:
        worker = fork(self, scenario, directory, workers)
        pids.append(worker.pid)
        return worker

    monkeypatch.setattr(Booted, "fork", remembered)
    with closing(sweep([PANIC, EXCEPTION, Scenario("TIMERADD", "panic", seed=3)], 2, tmp_path)) as reports:
        assert isinstance(next(reports), Report)
    assert len(pids) >= 2
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, 0)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("kdumpsim-scratch-")] == []


def test_different_seeds_are_booted_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[int] = []
    boot = Booted.__init__

    def counted(self: Booted, scenario: Scenario, *rest: Any) -> None:
        started.append(scenario.seed)
        boot(self, scenario, *rest)

    monkeypatch.setattr(Booted, "__init__", counted)
    scenarios = [Scenario("FS_DEVRW", kind, seed=seed) for seed in (1, 2) for kind in ("panic", "bug")]
    jobs = [(scenario, tmp_path / str(number)) for number, scenario in enumerate(scenarios)]
    for _, directory in jobs:
        directory.mkdir()
    reports = list(run_all(jobs, 2))
    assert started == [1, 2]
    assert {str(report.result and report.result.outcome) for report in reports} == {"O"}
