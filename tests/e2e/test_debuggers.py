# SPDX-License-Identifier: GPL-2.0-or-later
"""drgn, lldb and eu-stack on our dumps, opened as `kdumpsim open` opens them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.vmcore.debuginfo import DebugInfo
from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.reader import Vmcore
from kdumpsim.vmcore.values import KernelMemory

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
DRGN = """
import json
import drgn
from drgn.helpers.linux.list import list_for_each_entry
tasks = list_for_each_entry("struct task_struct", prog["init_task"].tasks.address_of_(), "tasks")
linux = bool(prog.flags & drgn.ProgramFlags.IS_LINUX_KERNEL)
print(json.dumps({
    "threads": [[thread.tid, thread.name] for thread in prog.threads()] if linux else None,
    "crashed": prog.crashed_thread().tid if linux else None,
    "size": prog.type("struct task_struct").size,
    "tasks": [[task.pid.value_(), bytes(task.comm.value_()).partition(b"\\0")[0].decode()] for task in tasks],
    "address": prog.symbol("panic").address,
    "memory": prog.read(prog.symbol("init_task").address, 64).hex(),
}))
"""
VARIABLES = re.compile(r"^\((.+?)\) (\w+) = (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def panic(crash: Crash) -> Path:
    return crash("FS_DEVRW", "panic", "--truth").directory


FILTERED = ("--filter", "31")
CONVERTED = {
    "kdump-zstd": ("--to", "kdump-zstd", *FILTERED),
    "flattened": ("--to", "flattened", *FILTERED),
    "truncated": ("--to", "elf", "--truncate"),
}


@pytest.fixture(scope="module")
def cores(panic: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`cores("flattened")`: a file that drgn is to open, with vmlinux beside it."""
    scratch = tmp_path_factory.mktemp("cores")
    (scratch / "vmlinux").symlink_to(panic / "vmlinux")

    def find(name: str) -> Path:
        if name not in CONVERTED:
            return panic / name
        words = ("convert", str(panic), "--output", str(scratch / name), *CONVERTED[name])
        assert kdumpsim(*words).returncode == 0
        return scratch / name

    return find


@pytest.mark.parametrize("core", ["vmcore", "truth.core", *CONVERTED])
def test_drgn_reads_types_variables_and_lists(core: str, panic: Path, cores: Callable[[str], Path]) -> None:
    drgn = Path(sys.executable).with_name("drgn")
    if not drgn.exists():
        pytest.skip("drgn is not installed")
    process = kdumpsim("open", str(cores(core)), "drgn", "--", "-q", "-e", DRGN)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    layout = Layout((panic / "vmlinux").read_bytes())
    with Vmcore(panic / (core if core == "truth.core" else "vmcore")) as dump:
        memory = KernelMemory(dump, layout)
        first = memory["init_task"]
        tasks = [
            [int(task["pid"]), task["comm"].text] for task in memory.entries(first["tasks"], "task_struct", "tasks")
        ]
        crashed = [cpu.pid for cpu in dump.cpus]
        assert found["memory"] == dump.read_virtual(first.address, 64).hex()
    assert found["tasks"] == tasks
    if core != "truth.core":
        assert found["threads"] == tasks
        assert found["crashed"] == crashed[1]
    assert found["size"] == layout.structures["task_struct"].size
    assert found["address"] == layout.symbols["panic"]


def test_lldb_shows_every_cpu_with_lines_and_variables(panic: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("lldb")
    commands = ("-b", "-o", "bt all", "-o", "frame select 6", "-o", "frame variable")
    text = kdumpsim("open", str(panic), "lldb", "--", *commands).stdout
    # lldb tells at any moment, in the middle of a backtrace, too, that a thread has stopped, with its innermost frame.
    frames = re.findall(r"frame #(\d+): 0x[0-9a-f]+ vmlinux`(\w+).* at (\w+\.py):\d+", text)
    names = [name for _, name, _ in frames]
    for inner, outer in (("crash_kexec", "panic"), ("panic", "ll_rw_block"), ("ll_rw_block", "do_system_call")):
        assert names.index(inner) < names.index(outer)
    assert ("1", "default_idle", "process.py") in frames
    variables = {name: value for _, name, value in VARIABLES.findall(text)}
    assert ("6", "ll_rw_block", "ll_rw_block.py") in frames
    assert (variables["rw"], variables["nr"], variables["i"]) == ("1", "1", "0")
    assert variables["bh"].startswith("0xc")


@pytest.mark.parametrize(("core", "innermost"), [("vmcore", "crash_kexec"), ("truth.core", "dtt_induce")])
def test_eu_stack_follows_the_crashing_cpus_stack(
    core: str, innermost: str, panic: Path, require_tool: Callable[[str], str]
) -> None:
    tool = require_tool("eu-stack")
    process = subprocess.run(
        [tool, "--core", str(panic / core), "-e", str(panic / "vmlinux")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    info = DebugInfo((panic / "vmlinux").read_bytes())
    stacks = [
        [
            function.name
            for word in re.findall(r"#\d+ +(0x[0-9a-f]+)", stack)
            if (function := info.function(int(word, 16)))
        ]
        for stack in process.stdout.split("TID ")[1:]
    ]
    assert len(stacks) == 2
    (crashing,) = (stack for stack in stacks if stack[0] == innermost)
    assert crashing.index("ll_rw_block") < crashing.index("do_system_call")
