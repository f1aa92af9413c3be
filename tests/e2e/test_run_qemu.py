# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim run --machine qemu`: the same crash on another PC ends the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
QEMU = "qemu-system-i386"


def crash_path(run: Run, tool: str, point: str) -> list[str]:
    """Functions of the crashed CPU's backtrace in gdb, innermost first, up to the one that has the crash point."""
    files = [str(run.directory / name) for name in ("vmlinux", "vmcore")]
    gdb = subprocess.run(
        [tool, "-nx", "-batch", "-ex", "thread apply all bt", *files], capture_output=True, text=True, check=True
    )
    (crashed,) = (text for text in gdb.stdout.split("\nThread ")[1:] if " dtt_induce " in text)
    names = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+) \(", crashed, re.MULTILINE)
    return names[: names.index(point) + 1]


@pytest.mark.parametrize(
    ("point", "kind", "function", "dies_in"),
    [
        ("FS_DEVRW", "panic", "ll_rw_block", ["crash_kexec", "try_crashdump", "panic", "dtt_induce"]),
        ("TIMERADD", "exception", "hrtimer_start", ["dtt_induce"]),
        ("INT_HARDWARE_ENTRY", "loop", "__do_IRQ", ["dtt_loop", "dtt_induce"]),
    ],
)
def test_a_crash_ends_the_same_on_both_machines(
    crash: Crash, point: str, kind: str, function: str, dies_in: list[str], require_tool: Callable[[str], str]
) -> None:
    ends_the_same(crash, require_tool, point, kind, function, dies_in)


def test_a_hardened_kernel_hands_over_its_double_fault_on_both_machines(
    crash: Crash, require_tool: Callable[[str], str]
) -> None:
    """The page below the stack, the task gate, the NMI's new vector: QEMU's processor knows them, too."""
    profile = ("--profile", "hardened")
    ends_the_same(
        crash, require_tool, "FS_DEVRW", "overflow", "ll_rw_block", ["dtt_overflow", "dtt_overflow"], *profile
    )


def ends_the_same(
    crash: Crash,
    require_tool: Callable[[str], str],
    point: str,
    kind: str,
    function: str,
    dies_in: list[str],
    *options: str,
) -> None:
    require_tool(QEMU)
    gdb = require_tool("gdb")
    ours, theirs = crash(point, kind, *options), crash(point, kind, *options, "--machine", "qemu")
    assert theirs.status == ours.status == 0, theirs.stdout + theirs.stderr + theirs.console
    path = crash_path(theirs, gdb, function)
    assert path == crash_path(ours, gdb, function)
    assert path[: len(dies_in)] == dies_in
    result = theirs.result
    assert result["outcome"] == ours.result["outcome"] == "O"
    assert result["options"]["machine"] == "qemu"
    assert "--machine qemu" in result["command"]
    assert [phase["name"] for phase in result["phases"]] == [phase["name"] for phase in ours.result["phases"]]
    assert (result["accuracy"], result["completeness"]) == (1, 1)
    assert sorted(check["role"] for check in result["registers"]) == ["crashing", "stopped by NMI"]
    assert all(check["ok"] for check in result["registers"]), result["registers"]
    assert "\n\n\n" not in theirs.console
    assert "Kernel command line: vmlinux console=ttyS0,115200 " in theirs.console
    assert "hdc: QEMU HARDDISK" in theirs.console


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize(
    ("victim", "status", "says"),
    [
        ("run", 143, "Terminated; nothing half-written was left behind.\n"),
        ("qemu", 3, "Error: QEMU ended by itself: exit status -9\n"),
    ],
)
def test_neither_of_two_processes_outlives_the_other(
    victim: str, status: int, says: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool(QEMU)
    directory = tmp_path / "dump"
    with subprocess.Popen(
        [sys.executable, "-m", "kdumpsim.cli", "run", "--machine", "qemu", "--crashpoint", "FS_DEVRW", "--type",
         "panic", "--console", "--output", str(directory)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "Kernel command line" in line:
                break
        (qemu,) = children(process.pid)
        os.kill(*((process.pid, signal.SIGTERM) if victim == "run" else (qemu, signal.SIGKILL)))
        _, complaint = process.communicate(timeout=600)
    assert (process.returncode, complaint) == (status, says)
    assert gone(qemu)
    assert not any(directory.iterdir())


def test_a_run_that_is_killed_outright_takes_qemu_along(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    require_tool(QEMU)
    with subprocess.Popen(
        [sys.executable, "-m", "kdumpsim.cli", "run", "--machine", "qemu", "--crashpoint", "FS_DEVRW", "--type",
         "panic", "--console", "--output", str(tmp_path / "dump")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "Kernel command line" in line:
                break
        (qemu,) = children(process.pid)
        process.kill()
    deadline = time.monotonic() + 60
    while not gone(qemu):
        assert time.monotonic() < deadline, "QEMU lives on"
        time.sleep(0.01)
    # RAM and disks are files without names (test_small_tmpfs.py: none is in /dev/shm).
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]


def test_without_qemu_it_says_which_package_has_it(tmp_path: Path) -> None:
    run = kdumpsim(
        "run", "--machine", "qemu", "--crashpoint", "FS_DEVRW", "--type", "panic", "--output", str(tmp_path / "dump"),
        environment={"PATH": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 2
    assert "on Debian it is in the package qemu-system-x86" in run.stderr
    assert not (tmp_path / "dump").exists()
