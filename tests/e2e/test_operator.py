# SPDX-License-Identifier: GPL-2.0-or-later
"""Crashes that need somebody at the machine, as a user gets them."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
PAPER = ("--profile", "2.6.16")


def test_a_survived_oops_that_holds_the_file_systems_lock_makes_logging_in_impossible(crash: Crash) -> None:
    run = crash("FS_DEVRW", "bug", *PAPER)
    assert run.result["outcome"] == "X (log, SysRq)"
    assert run.status == 1
    marks = {mark["mark"]: mark for mark in run.result["marks"]}
    assert "brought no prompt" in marks["log"]["seen"]
    assert "SysRq : Trigger a crashdump" in marks["SysRq"]["seen"]
    assert marks["log"]["at_ns"] <= marks["SysRq"]["at_ns"]
    assert "SysRq : Trigger a crashdump" in run.console


@pytest.mark.nightly
def test_a_program_that_hangs_in_the_kernel_cannot_be_killed(crash: Crash) -> None:
    result = crash("MEM_SWAPOUT", "loop", *PAPER, "--patience", "6").result
    assert result["outcome"] == "X (unk, SysRq)"
    assert any("memdrain" in mark["seen"] and "is still there" in mark["seen"] for mark in result["marks"])


def test_a_dump_that_took_the_key_is_kept_and_judged(crash: Crash) -> None:
    run = crash("FS_DEVRW", "bug", *PAPER)
    vmcore = (run.directory / "vmcore").read_bytes()
    assert run.result["vmcore"] == {"sha256": hashlib.sha256(vmcore).hexdigest(), "bytes": len(vmcore)}
    assert run.result["accuracy"] == 1
    assert run.result["completeness"] == 1


def test_the_option_responsible_changes_the_outcome(crash: Crash) -> None:
    assert crash("FS_DEVRW", "bug", *PAPER, "--kernel-option", "panic_on_oops=1").result["outcome"] == "O"


def test_a_point_that_is_survived_leaves_a_system_that_works_and_reboots(crash: Crash) -> None:
    run = crash("FS_DEVRW", "none")
    assert run.status == 0, run.stdout + run.stderr
    assert run.result["outcome"] == "O"
    assert run.result["recovered"] is True
    assert run.result["vmcore"] is None
    assert "login: root logged in" in run.console
    assert run.console.rstrip().endswith("Restarting system.")


def test_the_printed_command_ends_the_same_byte_for_byte(crash: Crash, tmp_path: Path) -> None:
    run = crash("FS_DEVRW", "bug", *PAPER)
    words = shlex.split(run.result["command"])[1:]
    again = kdumpsim(*words, "--output", str(tmp_path / "again"))
    assert again.returncode == run.status
    assert (tmp_path / "again" / "vmcore").read_bytes() == (run.directory / "vmcore").read_bytes()
    timeline = json.loads((tmp_path / "again" / "result.json").read_text())["timeline"]
    assert timeline == run.result["timeline"]


def test_without_a_load_nothing_crosses_the_point_and_the_operator_says_so(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic", "--load", "none", "--patience", "4")
    assert run.result["outcome"] == "X"
    assert any("is not being crossed: its counter is 10" in line for line in run.result["evidence"])


def test_a_load_that_the_guest_does_not_have_is_refused_with_what_there_is(tmp_path: Path) -> None:
    words = ("--crashpoint", "FS_DEVRW", "--type", "panic", "--load", "fishing", "--output", str(tmp_path / "dump"))
    refused = kdumpsim("run", *words)
    assert refused.returncode == 2
    assert "unknown load 'fishing'" in refused.stderr
    assert "diskio" in refused.stderr
    assert not (tmp_path / "dump").exists(), "nothing boots for it"
