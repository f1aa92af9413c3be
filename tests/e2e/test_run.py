# SPDX-License-Identifier: GPL-2.0-or-later
"""The first dump, as a user gets it."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.runs.result import Result
from kdumpsim.vmcore.reader import MAX_NOTES, Vmcore, VmcoreError

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]


def test_the_first_dump_is_captured_and_right(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic")
    assert run.status == 0, run.stdout + run.stderr
    result = run.result
    assert result["outcome"] == "O"
    assert result["completeness"] == 1
    assert result["accuracy"] == 1
    assert [check["ok"] for check in result["registers"]] == [True, True]
    vmcore = (run.directory / "vmcore").read_bytes()
    assert result["vmcore"] == {"sha256": hashlib.sha256(vmcore).hexdigest(), "bytes": len(vmcore)}
    assert result["pages"]["ram"] == result["pages"]["present"] == result["pages"]["equal"] > 0
    assert Result.from_dict(result).as_dict() == result


def test_a_damaged_dump_is_read_or_refused(crash: Crash, tmp_path: Path) -> None:
    path = Path(shutil.copy(crash("FS_DEVRW", "panic").directory / "vmcore", tmp_path))
    chance, opened = random.Random(1), 0
    with open(path, "r+b") as file:
        head = file.read(300)
        for _ in range(300):
            damaged = bytearray(head)
            for _ in range(chance.randint(1, 3)):
                value = chance.choice([0, 1, 4, 0xFFFF, 0xFFFFFFFF, chance.getrandbits(32)])
                struct.pack_into("<I", damaged, chance.randrange(4, 240), value)
            file.seek(0)
            file.write(damaged)
            file.flush()
            try:
                with Vmcore(path) as core:
                    opened += 1
                    assert sum(load.size for load in core.loads) <= path.stat().st_size
                    assert sum(len(note.data) for note in core.notes) <= MAX_NOTES
            except VmcoreError:
                continue
    assert 0 < opened < 300


def test_the_saved_disk_boots_the_kernel_again(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic", "--save-disks")
    (told,) = re.findall(r"disk again: kdumpsim (boot .*)", run.stdout)
    again = kdumpsim(*shlex.split(told), "--timeout", "1.5")
    assert "VFS: Mounted root (toyfs filesystem)" in again.stdout
    assert "agent: listening" in again.stdout
    assert "--disk" not in again.stderr
    assert (run.directory / "dump.img").stat().st_size > (run.directory / "vmcore").stat().st_size
    assert (run.directory / "dump.img").stat().st_blocks * 512 < 64 << 20  # holes for what is zero
    assert not (crash("FS_DEVRW", "panic").directory / "system.img").exists()


def test_a_kernel_without_its_disk_is_told_where_to_get_it(crash: Crash) -> None:
    done = kdumpsim("boot", str(crash("FS_DEVRW", "panic").directory / "vmlinux"), "--timeout", "1.5")
    assert "No init found" in done.stdout
    assert "name one with --disk" in done.stderr
    assert "--save-disks" in done.stderr


def test_the_output_says_what_to_type_next(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic")
    assert f"Next: kdumpsim open {run.directory}" in run.stdout.splitlines()[-2]
    assert f"-ex bt {run.directory}/vmlinux {run.directory}/vmcore" in run.stdout.splitlines()[-1]


def test_the_console_tells_the_story_in_order(crash: Crash) -> None:
    console = crash("FS_DEVRW", "panic").console
    told = [console.index(words) for words in ("Kernel panic - not syncing", "memmap=exactmap", "savecore")]
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("options", "environment", "prefix"),
    [
        (("--console",), {"PYTHONHASHSEED": "1"}, ()),
        (("--json",), {"PYTHONHASHSEED": "2"}, ("taskset", "-c", "0")),
        pytest.param(
            (),
            {"PYTHONHASHSEED": "3", "XDG_CACHE_HOME": "{tmp_path}", "TZ": "Asia/Tokyo"},
            (),
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["console", "json-on-one-host-cpu", "empty-cache"],
)
def test_the_same_seed_gives_the_same_vmcore_in_another_process(
    crash: Crash,
    options: tuple[str, ...],
    environment: dict[str, str],
    prefix: tuple[str, ...],
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    for tool in prefix[:1]:
        require_tool(tool)
    again = kdumpsim(
        "run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--output", str(tmp_path / "again"), *options,
        environment={name: value.format(tmp_path=tmp_path) for name, value in environment.items()}, prefix=prefix,
    )  # fmt: skip
    assert again.returncode == 0
    first = crash("FS_DEVRW", "panic")
    for name in ("vmcore", "vmlinux", "console.log"):
        assert (first.directory / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_another_seed_gives_another_vmcore(crash: Crash) -> None:
    first, other = crash("FS_DEVRW", "panic"), crash("FS_DEVRW", "panic", "--seed", "1")
    assert other.result["outcome"] == "O"
    assert first.result["vmcore"]["sha256"] != other.result["vmcore"]["sha256"]


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        ("FS_DEVRW", "bug"),
        ("FS_DEVRW", "exception"),
        ("INT_HARDWARE_ENTRY", "panic"),
        ("INT_HARDWARE_ENTRY", "bug"),
        ("INT_HARDWARE_ENTRY", "exception"),
        ("TIMERADD", "panic"),
        ("TIMERADD", "bug"),
        ("TIMERADD", "exception"),
    ],
)
def test_every_point_and_type_gives_a_right_dump(crash: Crash, point: str, kind: str) -> None:
    run = crash(point, kind)
    assert run.status == 0, run.stdout + run.stderr + run.console
    assert (run.result["outcome"], run.result["accuracy"], run.result["completeness"]) == ("O", 1, 1)


@pytest.mark.parametrize("options", [("--cpus", "1"), ("--cpus", "4", "--seed", "3"), ("--memory", "128M")])
def test_other_machines_dump_too(crash: Crash, options: tuple[str, ...]) -> None:
    run = crash("FS_DEVRW", "panic", *options)
    assert run.status == 0, run.stdout + run.stderr + run.console
    assert (run.result["outcome"], run.result["accuracy"], run.result["completeness"]) == ("O", 1, 1)
    assert len(run.result["registers"]) == run.result["options"]["cpus"]


def test_the_reserved_region_can_lie_elsewhere(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic", "--crashkernel", "12M@32M")
    assert run.status == 0, run.stdout + run.stderr + run.console
    assert (run.result["outcome"], run.result["accuracy"], run.result["completeness"]) == ("O", 1, 1)


def test_a_crash_while_the_agent_still_answers_is_a_crash(crash: Crash) -> None:
    run = crash("INT_HARDWARE_ENTRY", "panic", "--count", "1", "--seed", "9")
    assert run.status == 0, run.stdout + run.stderr + run.console
    assert (run.result["outcome"], run.result["accuracy"], run.result["completeness"]) == ("O", 1, 1)


def test_json_prints_the_result_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path / "dump"
    process = kdumpsim(
        "run", "--crashpoint", "TIMERADD", "--type", "panic", "--json", "--seed", "5", "--output", str(directory)
    )
    assert json.loads(process.stdout) == json.loads((directory / "result.json").read_text())
    assert json.loads(process.stdout)["seed"] == 5


def test_console_streams_what_console_log_keeps(tmp_path: Path) -> None:
    directory = tmp_path / "dump"
    process = kdumpsim("run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--console", "--output", str(directory))
    for line in (directory / "console.log").read_text().splitlines():
        assert line in process.stdout


def test_a_corrupted_capture_kernel_is_refused_by_purgatory(tmp_path: Path) -> None:
    directory = tmp_path / "dump"
    process = kdumpsim(
        "run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--inject", "corrupt-capture-kernel",
        "--output", str(directory),
    )  # fmt: skip
    assert process.returncode == 1
    result = json.loads((directory / "result.json").read_text())
    assert result["outcome"] == "X"
    assert "sha256" in result["reason"]
    assert not (directory / "vmcore").exists()
    assert "purgatory" in (directory / "console.log").read_text()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--crashpoint", "NOWHERE", "--type", "panic"), "FS_DEVRW"),
        (("--crashpoint", "FS_DEVRW", "--type", "explode"), "exception"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--crashkernel", "16M@60M"), "outside the 64M of RAM"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--crashkernel", "1M@16M"), "too small"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--crashkernel", "16M@1M"), "overlaps the first kernel"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--crashkernel", "16M@512K"), "below 1M"),
        (("--crashpoint", "FS_DEVRW", "--type", "panic", "--cpus", "0"), "1 to 8"),
    ],
)
def test_bad_input_is_one_clear_message_and_nothing_written(
    options: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    directory = tmp_path / "dump"
    process = kdumpsim("run", *options, "--output", str(directory))
    assert process.returncode == 2
    assert complaint in process.stderr
    assert "Traceback" not in process.stderr
    assert not directory.exists()


def test_an_output_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    process = kdumpsim("run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--output", str(blocker / "dump"))
    assert process.returncode == 5
    assert "cannot write to output directory" in process.stderr


@pytest.mark.parametrize(
    ("number", "moment", "status", "says"),
    [
        (signal.SIGINT, "boot", 130, "Interrupted"),
        (signal.SIGINT, "save", 130, "Interrupted"),
        (signal.SIGTERM, "boot", 143, "Terminated"),
        (signal.SIGTERM, "save", 143, "Terminated"),
    ],
)
def test_an_interrupt_or_a_kill_leaves_nothing_half_written(
    number: signal.Signals, moment: str, status: int, says: str, tmp_path: Path
) -> None:
    """The signal comes from within, when the display is told of the moment: no clock decides whether it is in time.

    What an earlier run left is still there.
    """
    directory = tmp_path / "dump"
    directory.mkdir()
    (directory / "vmcore").write_text("an earlier one")
    told = {"boot": "begin", "save": "progress"}[moment]
    script = f"""
import os, sys
from kdumpsim.cli import main
from kdumpsim.commands.display import PlainDisplay
def killed(*_):
    os.kill(os.getpid(), {int(number)})
PlainDisplay.{told} = killed
main(["run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--output", {str(directory)!r}])
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.returncode == status
    assert process.stderr.strip() == f"{says}; nothing half-written was left behind."
    assert [path.read_text() for path in directory.iterdir()] == ["an earlier one"]


def test_a_runaway_guest_is_bounded_by_the_timeout(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic", "--count", "1000000", "--timeout", "1")
    assert run.status == 1
    assert run.result["outcome"] == "X"
    assert "the crash point was not crossed often enough until the timeout of 1 s" in run.result["reason"]
    assert any(re.search(r"ran out before the crash: 99\d+ crossings", line) for line in run.result["evidence"])
    assert run.result["phases"][-1]["virtual_end_ns"] < 1_100_000_000
    assert not (run.directory / "vmcore").exists()


def test_a_crash_of_type_none_is_soon_over(crash: Crash) -> None:
    run = crash("FS_DEVRW", "none")
    assert run.status == 0
    assert run.result["outcome"] == "O"
    assert run.result["vmcore"] is None
    assert run.result["phases"][-1]["virtual_end_ns"] < 10_000_000_000
    assert "of type none survived" in run.console


def test_json_with_console_keeps_stdout_pure(tmp_path: Path) -> None:
    directory = tmp_path / "dump"
    process = kdumpsim(
        "run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--json", "--console", "--output", str(directory)
    )
    assert json.loads(process.stdout)["outcome"] == "O"
    for line in (directory / "console.log").read_text().splitlines():
        assert line in process.stderr
