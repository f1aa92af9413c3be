# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim open`, and the commands that gdb has then, beside what the guest itself said."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
Gdb = Callable[..., str]


@pytest.fixture
def gdb(crash: Crash, require_tool: Callable[[str], str]) -> Gdb:
    """`gdb("kd-ps")`: what gdb, opened on the dump of FS_DEVRW/panic, prints for these commands."""
    require_tool("gdb")

    def ask(*commands: str, options: tuple[str, ...] = ()) -> str:
        run = crash("FS_DEVRW", "panic", *options)
        words = [word for command in commands for word in ("-ex", command)]
        process = kdumpsim("open", str(run.directory), "gdb", "--", "-nx", "-batch", *words)
        assert process.returncode == 0, process.stderr
        return process.stdout + process.stderr

    return ask


def test_gdb_begins_at_the_crash_with_source_lines(gdb: Gdb, crash: Crash) -> None:
    text = gdb("bt 1")
    thread = next(c["thread"] for c in crash("FS_DEVRW", "panic").result["registers"] if c["role"] == "crashing")
    assert f"Switching to thread {thread} " in text
    assert re.search(r"^\d+\s+crash_setup_regs\(", text, re.MULTILINE)


def test_kd_ps_lists_every_task_and_marks_those_that_ran(gdb: Gdb) -> None:
    rows = re.findall(r"^([> ]) *(\d+) ([RSDZX]) +(\d+) 0x[0-9a-f]+ (\S+)$", gdb("kd-ps"), re.MULTILINE)
    tasks = {int(pid): (mark, state, comm) for mark, pid, state, _, comm in rows}
    assert len(rows) == len(tasks) >= 8
    assert tasks[0] == (">", "R", "swapper")
    assert tasks[1] == (" ", "S", "init")
    (diskio,) = (task for task in tasks.values() if task[2] == "diskio")
    assert diskio == (">", "R", "diskio")
    assert {"ksoftirqd/0", "ksoftirqd/1", "kswapd0", "agent"} <= {comm for _, _, comm in tasks.values()}


def test_kd_dmesg_prints_what_the_console_saw(gdb: Gdb, crash: Crash) -> None:
    first_kernel = crash("FS_DEVRW", "panic").console.split("Kernel panic")[0]
    lines = [line.rstrip() for line in first_kernel.splitlines() if line.strip()]
    log = [line.rstrip() for line in gdb("kd-dmesg").splitlines()]
    later = iter(log)  # which has debugging messages as well
    assert [line for line in lines if line not in later] == []
    assert "Kernel panic - not syncing: LKDTT: crash point FS_DEVRW" in gdb("kd-dmesg panic")


def test_kd_irq_counts_interrupts(gdb: Gdb) -> None:
    rows = re.findall(r"^ *(\d+): +(\d+) +(\d+)  (\S+)  (\S+)$", gdb("kd-irq"), re.MULTILINE)
    lines = {name: (int(number), int(first), int(second)) for number, first, second, _, name in rows}
    assert lines["timer"][0] == 0
    assert lines["timer"][1] > 0
    assert lines["libata"][0] == 14
    assert sum(lines["libata"][1:]) > 10


def test_kd_cpu_goes_by_the_stack_not_by_gdbs_number(gdb: Gdb, crash: Crash) -> None:
    table = gdb("kd-cpu")
    assert re.search(r"^ {3}0 +1 +0 swapper +safe_halt$", table, re.MULTILINE), table
    assert re.search(r"^\* {2}1 +2 +\d+ diskio +crash_kexec$", table, re.MULTILINE), table
    assert "in safe_halt" in gdb("kd-cpu 0", "frame").partition("Switching to thread 1")[2]
    assert "no registers of CPU 7; choose from: 0, 1" in gdb("kd-cpu 7", "frame")


def test_kd_cpu_finds_a_cpu_whose_number_was_shifted(
    crash: Crash, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    require_tool("gdb")
    run = crash("FS_DEVRW", "panic")
    core = tmp_path / "core"
    words = ("convert", str(run.directory), "--to", "elf", "--drop-cpu", "0", "--output", str(core))
    assert kdumpsim(*words).returncode == 0
    (tmp_path / "vmlinux").symlink_to(run.directory / "vmlinux")
    process = kdumpsim("open", str(core), "gdb", "--", "-nx", "-batch", "-ex", "kd-cpu")
    assert re.search(r"^\* {2}1 +1 +\d+ diskio +crash_kexec$", process.stdout, re.MULTILINE), process.stdout


def test_without_a_dump_it_opens_the_machines_own_memory(crash: Crash, require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")
    run = crash("INT_HARDWARE_ENTRY", "overflow")
    assert f"kdumpsim open {run.directory}" in run.stdout
    process = kdumpsim("open", str(run.directory), "gdb", "--", "-nx", "-batch", "-ex", "kd-cpu")
    assert re.search(r"^\* {2}0 +1 .*dtt_induce$", process.stdout, re.MULTILINE), process.stdout


def test_gdb_says_which_commands_it_has_got(gdb: Gdb) -> None:
    assert "kd-ps, kd-dmesg, kd-irq, kd-cpu: the kernel's tasks, log, interrupt lines and CPUs" in gdb("frame")


def test_the_commands_do_without_registers(crash: Crash, require_tool: Callable[[str], str], tmp_path: Path) -> None:
    require_tool("gdb")
    run = crash("FS_DEVRW", "panic")
    core = tmp_path / "core"
    words = ("convert", str(run.directory), "--to", "elf", "--drop-notes", "--output", str(core))
    assert kdumpsim(*words).returncode == 0
    (tmp_path / "vmlinux").symlink_to(run.directory / "vmlinux")
    commands = ("kd-ps", "kd-cpu", "kd-irq", "kd-dmesg panic")
    words = ("open", str(core), "gdb", "--", "-nx", "-batch", *(w for command in commands for w in ("-ex", command)))
    process = kdumpsim(*words)
    assert re.search(r"^> +\d+ R +1 0x[0-9a-f]+ diskio$", process.stdout, re.MULTILINE), process.stdout
    assert re.search(r"^ *14: +\d+  IO-APIC-edge  libata$", process.stdout, re.MULTILINE)
    assert "Kernel panic - not syncing" in process.stdout
    assert "Python" not in process.stderr


def test_each_debugger_is_given_what_it_wants(crash: Crash, tmp_path: Path) -> None:
    """Debuggers that only say how they were called."""
    run = crash("FS_DEVRW", "panic")
    for name in ("gdb", "crash", "drgn", "lldb"):
        tool = tmp_path / name
        tool.write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
        tool.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    kernel, core = str(run.directory / "vmlinux"), str(run.directory / "vmcore")
    for name in ("gdb", "crash", "drgn", "lldb"):
        process = kdumpsim("open", str(run.directory), name, "--", "--more", environment=environment)
        words = process.stdout.splitlines()
        assert words[0] == name
        assert {kernel, "--more"} < set(words)
        assert core in words or (name, f"{core}.lldb") == ("lldb", words[2])
    printed = kdumpsim("open", str(run.directory), "drgn", "--print", environment=environment).stdout
    assert shlex.split(printed)[0] == str(tmp_path / "drgn")
    process = kdumpsim("open", str(run.directory), "--", "--more", "last", environment=environment)
    assert process.stdout.startswith("gdb\n"), process.stderr
    assert "--more\nlast\n" in process.stdout


def test_what_is_missing_is_said_in_a_line(crash: Crash, tmp_path: Path) -> None:
    run = crash("FS_DEVRW", "panic")
    (tmp_path / "crash").write_bytes(b"\x7fELF\x02" + bytes(100))
    (tmp_path / "crash").chmod(0o755)
    environment = {"PATH": str(tmp_path)}
    compressed = tmp_path / "compressed"
    (tmp_path / "vmlinux").symlink_to(run.directory / "vmlinux")
    words: tuple[str, ...] = ("convert", str(run.directory), "--to", "kdump-zlib", "--output", str(compressed))
    assert kdumpsim(*words).returncode == 0
    for words, message in (
        ((str(run.directory), "gdb"), "gdb is not installed; on Debian: sudo apt-get install gdb"),
        ((str(run.directory), "crash"), "reads no dump of i386"),
        ((str(run.directory), "gbd"), "unknown debugger 'gbd'; did you mean gdb?"),
        ((str(tmp_path), "gdb"), "has no vmcore"),
        ((str(run.directory / "result.json"), "crash"), "result.json is neither an ELF file nor in a format of"),
        ((str(run.directory / "vmlinux"), "gdb"), "vmlinux: an ELF file, but not a core file"),
        ((str(compressed), "gdb"), "in makedumpfile's compressed format, which gdb does not read; crash and drgn do"),
    ):
        process = kdumpsim("open", *words, environment=environment)
        assert process.returncode == 2
        assert message in process.stderr
        assert "Traceback" not in process.stderr
