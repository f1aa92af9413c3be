# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands say to mistyped words, to a width of nothing, and where their documentation is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from kdumpsim.cli import main
from kdumpsim.commands import run as run_command
from kdumpsim.commands.help import topics
from kdumpsim.commands.matrix import details, matrix
from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.lkdtt.paper import Cell
from kdumpsim.runs.forking import Report
from kdumpsim.runs.result import Result as RunResult
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps.table2 import CellRuns, plan

RUN = ("run", "--crashpoint", "FS_DEVRW", "--type", "panic")


def kdumpsim(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.mark.parametrize("command", ["", *main.list_commands(click.Context(main))])
def test_help_fits_a_terminal_of_80_columns(command: str) -> None:
    text = kdumpsim(*command.split(), "--help").output
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rnu",), "unknown command 'rnu'; did you mean run? choose from: run, options"),
        (
            ("run", "--crashpoint", "FS_DEVWR", "--type", "panic"),
            "did you mean FS_DEVRW? choose from: INT_",
        ),
        (("run", "--crashpoint", "FS_DEVRW", "--type", "panik"), "did you mean panic? choose from: none"),
        (("run", "--crash-point", "FS_DEVRW"), "--crashpoint"),
        ((*RUN, "--profile", "2.6.61"), "did you mean 2.6.16?"),
        ((*RUN, "--kernel-option", "nmi_watchdgo=1"), "did you mean nmi_watchdog?"),
        ((*RUN, "--kernel-option", "stack=4"), "choose from: 4k, 8k"),
        ((*RUN, "--dma", "dsik"), "did you mean disk?"),
        ((*RUN, "--memory", "64"), "memory 64 bytes (did you mean 64M?) is out of range: choose 16M to 512M"),
        ((*RUN, "--crashkernel", "16@16"), "crashkernel 16@16 is in bytes: did you mean 16M@16M?"),
        (("run",), "'--at', '--fault' or '--mce'. Crash points: INT_HARDWARE_ENTRY"),
        (("run", "--mce", "--type", "panic"), "a fault has no crash type"),
        (("table2", "--point", "TIMERAD"), "did you mean TIMERADD?"),
        (("table2", "--type", "hagn"), "did you mean hang?"),
        (("boot", "/dev/null", "--memory", "64"), "memory of 64 bytes: choose 2M to"),
        (("help", "outcome"), "did you mean outcomes?"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_likely_one(words: tuple[str, ...], says: str) -> None:
    result = kdumpsim(*words)
    assert result.exit_code == 2
    assert says in result.output


def test_oops_and_hang_are_the_words_and_ttutils_words_are_accepted() -> None:
    """The paper's text (section 3.2.2) and its Table 2 have these; section 3.3 has ttutils' own, bug and loop."""
    for theirs, ours in (("bug", "oops"), ("loop", "hang")):
        scenario = Scenario("FS_DEVRW", theirs)
        assert scenario.crash_type == ours
        assert f"--type {ours}" in scenario.command()
        assert scenario == Scenario("FS_DEVRW", ours)


@pytest.mark.parametrize("columns", ["0", "1", "", "nonsense"])
def test_a_terminal_without_a_width_does_not_silence_a_command(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    output = kdumpsim("options").output
    assert "nmi_watchdog" in output
    assert "panic_on_oops" in output


def test_a_missing_gdb_is_noticed_where_it_is_recommended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "console.log").touch()
    (tmp_path / "vmcore").write_bytes(b"\x7fELF\x01\x01\x01")
    monkeypatch.setenv("PATH", str(tmp_path))
    lines = run_command.next_steps(tmp_path, None, captured=True)
    assert any("gdb is not installed; on Debian: sudo apt-get install gdb" in line for line in lines)
    tool = tmp_path / "gdb"
    tool.touch(mode=0o755)
    assert not any("not installed" in line for line in run_command.next_steps(tmp_path, None, captured=True))


def test_gdb_is_told_where_a_users_guest_modules_are(tmp_path: Path) -> None:
    (tmp_path / "console.log").touch()
    (tmp_path / "vmcore").write_bytes(b"\x7fELF\x01\x01\x01")
    modules = (str(tmp_path / "drivers" / "one.py"), str(tmp_path / "drivers" / "two.py"))
    lines = run_command.next_steps(tmp_path, None, captured=True, modules=modules)
    (gdb,) = (line for line in lines if "gdb -d" in line)
    assert gdb.count(f" -d {tmp_path}/drivers ") == 1


def test_the_documentation_that_help_texts_cite_is_there() -> None:
    listed = kdumpsim("help").output
    for name, path in topics().items():
        assert re.search(rf"(?m)^{name} ", listed)
        assert kdumpsim("help", name).output == path.read_text()
    for command in ("run", "table2", "console", "boot", "kexec", "decode", "options", "help"):
        text = " ".join(kdumpsim(command, "--help").output.split())
        assert "docs/" not in text
        for topic in re.findall(r"`kdumpsim help ([\w-]+)`", text):
            assert topic in topics()
    assert kdumpsim("help", "run").output.startswith("Usage: ")


def cell(point: str, kind: str, paper: str | None, *outcomes: Outcome) -> CellRuns:
    scenarios = tuple(Scenario(point, kind, seed=seed) for seed in range(len(outcomes)))
    reports = [
        Report(scenario, Path(), RunResult(scenario, outcome))
        for scenario, outcome in zip(scenarios, outcomes, strict=True)
    ]
    return CellRuns(Cell(point, kind, paper), scenarios, reports)


def test_the_matrix_has_points_by_types_and_says_where_it_is_not_the_papers() -> None:
    found = Outcome(True, ["det", "SysRq"], success=False, reason="the reason")
    planned = [
        cell("TASKLET", "panic", "O", Outcome(True)),
        cell("TASKLET", "hang", "X (SysRq)", found),
        cell("FS_DEVRW", "panic", "X", Outcome(True)),
        cell("FS_DEVRW", "hang", "X", Outcome(False), Outcome(True)),
    ]
    lines = [line.plain for line in matrix(planned)]
    assert [line.split() for line in lines[:3]] == [
        ["crash", "point", "panic", "hang"],
        ["TASKLET", "O", "Xa", "~"],
        ["FS_DEVRW", "O", "*", "X/O", "~"],
    ]
    assert "a = det, SysRq" in lines
    assert "TASKLET / hang: X (det, SysRq); paper: X (SysRq)" in lines
    assert "FS_DEVRW / panic: O; paper: X" in lines
    assert "FS_DEVRW / hang: X [seed 0]; O [seed 1]; paper: X" in lines
    assert "    the reason" in [line.plain for line in details(planned)]


def test_the_whole_matrix_fits_60_columns() -> None:
    found = Outcome(True, ["det", "SysRq"], success=False)
    planned = [
        cell(runs.cell.crash_point, runs.cell.crash_type, "O", found) for runs in plan([0]) if runs.cell.published
    ]
    screen = Console(width=60)
    for line in list(matrix(planned))[:9]:
        assert len(line) <= screen.width
