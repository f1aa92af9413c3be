# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim table2` as a user starts it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import kdumpsim

OBJECT = {"crash_point", "crash_type", "outcome", "paper", "seed", "command", "evidence"}
FEW = ("--point", "FS_DEVRW", "--point", "TIMERADD", "--type", "panic", "--type", "exception")
LONG = ("--point", "MEM_SWAPOUT", "--type", "hang", "--runs", "4")
"""A cell of which some run is going on whenever one looks."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers through /proc")


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kdumpsim.cli", "table2", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(pid: int) -> list[int]:
    """Forked runs of a table2 process, once there are any."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return [int(child) for child in children]
        time.sleep(0.005)
    raise AssertionError("no worker was forked")


def kill_a_worker(pid: int) -> None:
    """Kill one that had not ended when it was seen."""
    while True:
        try:
            os.kill(workers(pid)[0], signal.SIGKILL)
        except ProcessLookupError:
            continue
        return


def test_every_cell_is_printed_beside_the_papers_with_agreement_in_sum() -> None:
    process = kdumpsim("table2", *FEW, "--jobs", "2", "--verbose")
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0].startswith("[1/4] ")  # plain lines, since this is no terminal
    (row,) = (line for line in lines if line.split()[:2] == ["TIMERADD", "exception"])
    assert row.split()[2:5] == ["O", "O", "yes"]
    (total,) = (line for line in lines if "agree with the paper" in line)
    assert " of 4 cells" in total


def test_json_is_a_list_of_objects_and_a_command_reruns_its_cell_to_the_same_dump(tmp_path: Path) -> None:
    process = kdumpsim("table2", *FEW, "--seed", "6", "--json")
    assert process.returncode == 0, process.stderr
    objects = json.loads(process.stdout)
    assert len(objects) == 4
    for entry in objects:
        assert set(entry) >= OBJECT
        assert (entry["seed"], entry["outcome"]) == (6, "O")
    entry = next(e for e in objects if (e["crash_point"], e["crash_type"]) == ("TIMERADD", "exception"))
    name, *words = shlex.split(entry["command"])
    assert name == "kdumpsim"
    alone = kdumpsim(*words, "--output", str(tmp_path / "alone"))
    assert alone.returncode == 0, alone.stderr
    assert hashlib.sha256((tmp_path / "alone" / "vmcore").read_bytes()).hexdigest() == entry["vmcore_sha256"]
    assert json.loads((tmp_path / "alone" / "result.json").read_text())["evidence"] == entry["evidence"]


def test_runs_repeats_cells_with_the_seeds_that_follow_and_csv_has_a_line_each() -> None:
    process = kdumpsim("table2", "--point", "FS_SUBMIT_BH", "--type", "bug", "--runs", "2", "--seed", "3", "--csv")
    assert process.returncode == 0, process.stderr
    rows = list(csv.DictReader(io.StringIO(process.stdout)))
    assert [(row["crash_point"], row["crash_type"], row["seed"]) for row in rows] == [
        ("FS_DEVRW", "oops", "3"),
        ("FS_DEVRW", "oops", "4"),
    ]
    assert set(rows[0]) == OBJECT


def test_counts_and_profiles_make_rates_that_are_kept_and_gone_on_with(tmp_path: Path) -> None:
    words = ("table2", "--point", "FS_DEVRW", "--type", "oops", "--store", str(tmp_path / "s.sqlite"))
    first = kdumpsim(*words, "--profile", "default,2.6.16", "--counts", "9-10", "--json")
    assert first.returncode == 0, first.stderr
    objects = json.loads(first.stdout)
    assert [(entry["profile"], entry["ok"], entry["n"]) for entry in objects] == [("default", 2, 2), ("2.6.16", 0, 2)]
    assert [(entry["paper"], entry["runs_that_agree"]) for entry in objects] == [
        ("X (log, SysRq)", 0),
        ("X (log, SysRq)", 2),
    ]
    assert objects[1]["contexts"] == {"task": 2}
    assert "exists: continue it with --resume" in kdumpsim(*words).stderr
    again = kdumpsim(*words, "--profile", "default,2.6.16", "--counts", "9-10", "--resume", "--verbose")
    assert "FS_DEVRW / oops: O in 0 of 2, 0 % [0.0, 65.8]" in again.stdout
    assert "paper  X (log, SysRq): 2 of 2 runs are that, 2 have its letter" in again.stdout


def test_an_option_is_switched_off_and_what_it_turns_is_counted(tmp_path: Path) -> None:
    words = ("ablate", "--profile", "default", "--option", "panic_on_oops", "--point", "FS_DEVRW", "--counts", "9,10")
    process = kdumpsim(*words, "--type", "oops", "--html", str(tmp_path / "page.html"))
    assert process.returncode == 0, process.stderr
    assert "panic_on_oops  2 of 2  0          2          0             0.5" in process.stdout
    assert "  2 x FS_DEVRW / oops: O to X (log, SysRq)" in process.stdout
    assert "panic_on_oops=0" in (tmp_path / "page.html").read_text()


def test_output_keeps_result_and_console_of_each_run(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    process = kdumpsim("table2", "--point", "TIMERADD", "--type", "panic", "--output", str(kept))
    assert process.returncode == 0, process.stderr
    (directory,) = kept.iterdir()
    assert directory.name == "TIMERADD-panic-seed0"
    assert json.loads((directory / "result.json").read_text())["outcome"] == "O"
    assert "Kernel panic - not syncing" in (directory / "console.log").read_text()


@needs_proc
def test_a_worker_that_dies_is_reported_with_seed_and_command_and_the_status_is_5() -> None:
    process = start("--point", "MEM_SWAPOUT", "--type", "panic", "--runs", "2", "--seed", "2", "--json")
    kill_a_worker(process.pid)
    output, complaint = process.communicate(timeout=600)
    assert process.returncode == 5
    (entry,) = (entry for entry in json.loads(output) if entry["outcome"] is None)
    assert f"seed {entry['seed']}" in complaint
    assert "kdumpsim run --crashpoint MEM_SWAPOUT --type" in complaint
    assert "SIGKILL" in complaint


@needs_proc
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_a_kill_end_the_workers_and_leave_no_files(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    process = start(*LONG, "--output", str(tmp_path / "kept"))
    started = workers(process.pid)
    os.kill(process.pid, number)
    _, complaint = process.communicate(timeout=600)
    assert process.returncode == status
    assert "Traceback" not in complaint
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert list((tmp_path / "kept").iterdir()) == []


@needs_proc
def test_a_table_that_is_killed_outright_takes_its_workers_along_and_the_next_clears_its_files(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    process = start(*LONG, "--output", str(kept))
    started = workers(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=600)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/exe").exists() for pid in started):  # a zombie has none
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.01)
    assert list(kept.glob("kdumpsim-scratch-*"))
    again = kdumpsim("table2", "--point", "TIMERADD", "--type", "panic", "--output", str(kept))
    assert again.returncode == 0, again.stderr
    assert not list(kept.glob("kdumpsim-scratch-*"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--point", "NOWHERE"), "FS_DEVRW"),
        (("--type", "explode"), "overflow"),
        (("--runs", "0"), "1 or more"),
        (("--jobs", "0"), "1 or more"),
        (("--seed", "-1"), "seed -1 is out of range"),
        (("--json", "--csv"), "exclude each other"),
        (("--profile", "9.9"), "2.6.16"),
        (("--kernel-option", "stack=5k"), "stack"),
    ],
)
def test_bad_input_is_one_clear_message(options: tuple[str, ...], complaint: str) -> None:
    process = kdumpsim("table2", *options)
    assert process.returncode == 2
    assert complaint in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""
