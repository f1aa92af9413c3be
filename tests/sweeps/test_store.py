# SPDX-License-Identifier: GPL-2.0-or-later
"""The store: nothing lost, nothing double, whatever ends the process that writes."""

from __future__ import annotations

import random
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpsim.files import HostFailure
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps import row as rows_module
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.row import WORKER_DIED, Row, identity
from kdumpsim.sweeps.running import Progress, missing, run_plan
from kdumpsim.sweeps.store import VERSION, Store, StoreError
from kdumpsim.sweeps.tally import cells

from .rows import PLAN, STACKS, captured, failed, fill

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from sweeps.rows import STACKS, captured
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.running import run_plan
from kdumpsim.sweeps.store import Store
plan = Plan.from_dict(STACKS)
def runner(groups):
    for group in groups:
        for scenario in group.scenarios:
            yield group.arm, captured(scenario)
with Store(Path(sys.argv[1]), create=True) as store:
    print("open", flush=True)
    for row in run_plan(plan, store, runner):
        print(row.key.hex(), flush=True)
"""


def start(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(Path(__file__).parents[1])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_kill_9_at_random_moments_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    path, draw, told, rounds = tmp_path / "s.sqlite", random.Random(11), Counter[str](), 0
    total = Plan.from_dict(STACKS).total
    while len(told) < total and rounds < 30:
        rounds += 1
        process = start(path)
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(draw.randrange(150)):  # a moment that does not depend on the host's load
            told.update([process.stdout.readline().strip()])
        time.sleep(draw.random() / 100)
        process.send_signal(signal.SIGKILL)
        told.update(line.strip() for line in process.stdout if len(line) == 33)
        process.wait()
        process.stdout.close()
        told.pop("", None)
        with Store(path) as store:
            there = {key.hex() for (key,) in store.query("SELECT key FROM runs")}
            assert store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert told.keys() <= there, "a run that was told of is lost"
        assert len(there - told.keys()) <= rounds, "more than the one that was being told of"
    assert rounds > 2
    assert set(told.values()) == {1}, "a run was run again"


def test_what_is_there_is_not_run_again(tmp_path: Path) -> None:
    plan = Plan.from_dict(PLAN)
    with Store(tmp_path / "s.sqlite", create=True) as store:
        half = replace(plan, seeds=plan.seeds[::2])
        fill(store, half)
        progress = Progress(plan.total)
        left = [scenario for group in missing(plan, store, progress) for scenario in group.scenarios]
        assert {scenario.seed for scenario in left} == set(plan.seeds[1::2])
        assert progress.before + len(left) == plan.total
        fill(store, plan)
        assert list(missing(plan, store, Progress(plan.total))) == []
        assert len(store) == plan.total


def test_a_changed_kernel_is_another_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario("FS_DEVRW", "panic")
    before = identity(scenario)
    assert identity(replace(scenario, kernel_options=(("stack", "8k"),))) == before, "what a profile has anyway"
    assert identity(replace(scenario, seed=1))[0] != before[0]
    monkeypatch.setattr(rows_module, "_code", lambda boot: "another")
    assert identity(scenario)[0] != before[0]
    assert identity(scenario)[1] != before[1]


def test_runs_share_a_boot_where_their_machines_do() -> None:
    boots = [identity(Scenario("FS_DEVRW", "panic", count=count, seed=seed))[1] for seed in (0, 1) for count in (1, 2)]
    assert boots[0] == boots[1] != boots[2] == boots[3]


def test_a_run_without_an_outcome_is_run_again_and_its_outcome_stays(tmp_path: Path) -> None:
    plan = Plan.from_dict({"points": "FS_DEVRW", "types": "panic"})
    ((group,),) = (list(plan.groups()),)
    (scenario,) = group.scenarios
    with Store(tmp_path / "s.sqlite", create=True) as store:
        store.add(group.arm, [Row.without_outcome(scenario, WORKER_DIED, "the worker was killed by SIGKILL")])
        assert len(list(missing(plan, store, Progress(1)))) == 1
        (dead,) = cells(store).values()
        assert (dead.n, dead.without_outcome) == (0, 1)
        store.add(group.arm, [failed(scenario)])
        store.add(group.arm, [captured(scenario)])
        (tally,) = cells(store).values()
        assert tally.ends == {"X (2c)": 1}


def test_what_an_iteration_gave_is_kept_when_it_is_left(tmp_path: Path) -> None:
    plan = Plan.from_dict(PLAN)
    closed = []

    def runner(groups):  # type: ignore[no-untyped-def]
        try:
            for group in groups:
                yield from ((group.arm, captured(scenario)) for scenario in group.scenarios)
        finally:
            closed.append(True)

    with Store(tmp_path / "s.sqlite", create=True) as store:
        rows = run_plan(plan, store, runner)
        for _ in range(7):
            next(rows)
        rows.close()
        assert closed == [True]
        assert len(store) == 7
        assert store.plans == [plan]


def test_other_files_and_other_versions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        Store(tmp_path / "none.sqlite")
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at" * 50)
    with pytest.raises(StoreError, match="is no store"):
        Store(text, create=True)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    with pytest.raises(StoreError, match="is no store"):
        Store(other, create=True)
    begun = tmp_path / "begun.sqlite"
    with sqlite3.connect(begun) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # and killed before there were tables
    with Store(begun, create=True) as store:
        assert len(store) == 0
    ours = tmp_path / "ours.sqlite"
    with Store(ours, create=True) as store:
        store.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=f"version 99, and this kdumpsim has version {VERSION}"):
        Store(ours)


def test_a_full_disk_is_the_hosts_failure_and_what_is_kept_is_whole(tmp_path: Path) -> None:
    path, plan = tmp_path / "s.sqlite", Plan.from_dict(PLAN)
    with Store(path, create=True) as store:
        fill(store, replace(plan, seeds=(0,)))
        kept = len(store)
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(HostFailure, match=r"disk is full; free some space and continue with --resume"):
            fill(store, plan)
        there = len(store)
    assert there >= kept
    with Store(path) as store:
        assert len(store) == there
        fill(store, plan)
        assert len(store) == plan.total


def test_a_limit_of_file_sizes_is_one_too(tmp_path: Path) -> None:
    program = WRITER.replace(
        'print("open"', 'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (150000, 150000)); print("open"'
    )
    command = [sys.executable, "-c", program, str(tmp_path / "s.sqlite"), str(Path(__file__).parents[1])]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in process.stdout.splitlines() if len(line) == 32]
    assert "HostFailure" in process.stderr
    assert "--resume" in process.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 150000
    with Store(tmp_path / "s.sqlite") as store:
        assert {key.hex() for (key,) in store.query("SELECT key FROM runs")} >= set(told)
