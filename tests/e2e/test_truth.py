# SPDX-License-Identifier: GPL-2.0-or-later
"""truth.core: the machine's own memory and registers, for gdb, where no dump came home and where it is asked for."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from kdumpsim.vmcore.reader import Vmcore

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
OVERFLOW = ("INT_HARDWARE_ENTRY", "overflow")


def backtraces(tool: str, directory: Path, core: str) -> dict[int, list[str]]:
    """Function names by CPU, innermost first, as gdb has them."""
    files = [str(directory / "vmlinux"), str(directory / core)]
    words = [tool, "-nx", "-batch", "-ex", "set width 0", "-ex", "thread apply all bt 16", *files]
    text = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False).stdout
    blocks = re.split(r"\nThread (\d+) \(LWP \d+\):\n", text)
    return {
        int(number) - 1: re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+) \(", frames, re.MULTILINE)
        for number, frames in zip(blocks[1::2], blocks[2::2], strict=True)
    }


def test_after_an_overflow_gdb_shows_where_it_began_and_where_it_ended(
    crash: Crash, require_tool: Callable[[str], str]
) -> None:
    run = crash(*OVERFLOW)
    assert run.status == 1
    began = backtraces(require_tool("gdb"), run.directory, "truth.core")
    crashing = began[0]
    assert crashing[0] == "dtt_induce"
    for inner, outer in (("cpoint", "__do_IRQ"), ("__do_IRQ", "do_IRQ"), ("do_IRQ", "start_kernel")):
        assert crashing.index(inner) < crashing.index(outer), crashing
    assert "default_idle" in began[1]
    ended = backtraces(require_tool("gdb"), run.directory, "truth-end.core")
    assert ended[0] != crashing
    assert ended[0][0] != "??", "a kernel function faulted last"


def test_a_run_with_a_dump_writes_them_on_request_only(crash: Crash) -> None:
    assert not list(crash("FS_DEVRW", "panic").directory.glob("truth*"))
    run = crash("FS_DEVRW", "panic", "--truth")
    changed = {int(change["page"], 16) for change in run.result["changed_by_crash_path"]}
    with Vmcore(run.directory / "truth.core") as truth, Vmcore(run.directory / "vmcore") as dump:
        assert len(truth.cpus) == 2
        whole = dict(truth.pages())
        different = {page for page, data in dump.pages() if whole[page] != data[: len(whole[page])]}
        stopped = {cpu.registers["eip"] for cpu in truth.cpus} & {cpu.registers["eip"] for cpu in dump.cpus}
    assert different <= changed
    assert 16 << 20 in whole, "the reserved region, too"
    assert stopped, "the other CPU stayed where it was"


def test_no_truth_where_it_is_not_wanted(tmp_path: Path) -> None:
    for name in ("vmcore", "vmcore.elf", "truth.core"):  # of an earlier run
        (tmp_path / name).touch()
    words = ("run", "--crashpoint", OVERFLOW[0], "--type", OVERFLOW[1], "--no-truth", "--output", str(tmp_path))
    assert kdumpsim(*words).returncode == 1
    assert {file.name for file in tmp_path.iterdir()} == {"console.log", "result.json", "vmlinux"}


def test_table2_keeps_it_for_the_cells_without_a_dump(tmp_path: Path) -> None:
    cell = ("--point", OVERFLOW[0], "--jobs", "2", "--json")
    process = kdumpsim("table2", *cell, "--type", "overflow", "--type", "panic", "--keep", str(tmp_path))
    assert process.returncode == 0, process.stderr
    kept = {directory.name: {file.name for file in directory.iterdir()} for directory in tmp_path.iterdir()}
    logs = {"console.log", "result.json"}
    assert kept == {
        "INT_HARDWARE_ENTRY-overflow-seed0": logs | {"truth.core", "truth-end.core", "vmlinux"},
        "INT_HARDWARE_ENTRY-panic-seed0": logs,
    }
