# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim sweep` as a user starts it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdumpsim.commands.sweep import sweep

from .conftest import kdumpsim

AXES = ("--points", "FS_DEVRW,TIMERADD", "--types", "panic", "--counts", "1-2", "--seeds", "0-1")


def rows(store: Path) -> list[tuple[str, int, int, str]]:
    with sqlite3.connect(store) as connection:
        return connection.execute('SELECT crash_point, count, seed, "end" FROM runs ORDER BY 1, 2, 3').fetchall()


def test_a_sweep_that_is_interrupted_shows_what_it_has_and_is_resumed(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    command = [
        sys.executable,
        "-m",
        "kdumpsim.cli",
        "sweep",
        *AXES,
        "--counts",
        "1-30",
        "--jobs",
        "1",
        "--store",
        str(store),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (store.exists() and _count(store) >= 2):
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    output, complaint = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Traceback" not in complaint
    there = rows(store)
    assert 2 <= len(there) < 120
    assert re.search(rf"{len(there)} of 120 runs are in .*--resume", output)
    assert "FS_DEVRW" in output  # the partial table
    again = kdumpsim("sweep", *AXES, "--jobs", "2", "--store", str(store), "--resume", "--json")
    assert again.returncode == 0, again.stderr
    after = rows(store)
    assert {row[:3] for row in after} >= {(p, c, s) for p in ("FS_DEVRW", "TIMERADD") for c in (1, 2) for s in (0, 1)}
    assert set(there) <= set(after)
    (cell,) = (cell for cell in json.loads(again.stdout) if cell["crash_point"] == "TIMERADD")
    assert (cell["rate"], cell["ends"]) == (1.0, {"O": cell["runs"]})


def _count(store: Path) -> int:
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "give PLAN.toml, or --points and --types"),
        ("--points FS_DEVRW", "the plan has no types"),
        ("--points FS_DEVWR --types panic", "did you mean FS_DEVRW"),
        ("--points FS_DEVRW --types panic --counts 5-1", "write 1-5"),
        ("--points FS_DEVRW --types panic --option stack=4k --option stack=8k", "given twice"),
        ("--points FS_DEVRW --types panic --option stack", "write NAME=VALUE"),
        ("--points FS_DEVRW --types panic --cpus 2 --crash-cpu 3", "crash-cpu 3 does not exist"),
        ("plan.toml --points FS_DEVRW", "cannot be combined with the plan"),
        ("--resume", "does not exist"),
    ],
)
def test_plans_that_cannot_be_are_one_clear_message(
    words: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.toml").touch()
    answer = CliRunner().invoke(sweep, shlex.split(words), obj=None)
    assert answer.exit_code == 2
    assert complaint in " ".join(answer.stderr.split())
    assert list(tmp_path.glob("*.sqlite")) == []


def test_a_store_that_is_there_is_not_begun_again(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    store.touch()
    answer = CliRunner().invoke(sweep, [*AXES, "--store", str(store)], obj=None)
    assert answer.exit_code == 2
    assert "--resume" in answer.stderr


def test_a_campaign_counts_what_came_of_its_faults_and_is_gone_on_with(tmp_path: Path) -> None:
    words = ("campaign", "--fault", "mce", "--boots", "1", "--patience", "2", "--store", str(tmp_path / "c.sqlite"))
    first = kdumpsim(*words, "--runs", "1", "--json")
    assert first.returncode == 0, first.stderr
    (faults,) = json.loads(first.stdout)["faults"]
    assert (faults["faults"], faults["classes"], faults["right_dumps"]) == ("mce:busy", {"X": 1}, 0)
    assert "exists: continue it with --resume" in kdumpsim(*words).stderr
    again = kdumpsim(*words, "--runs", "2", "--resume", "--html", str(tmp_path / "c.html"))
    assert again.returncode == 0, again.stderr
    assert "2 runs in " in again.stdout
    assert "What came of the faults" in (tmp_path / "c.html").read_text()
