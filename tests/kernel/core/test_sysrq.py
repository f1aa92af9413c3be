# SPDX-License-Identifier: GPL-2.0-or-later
"""SysRq on the booted guest: the key chord and /proc/sysrq-trigger, up to a whole dump."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.board.machine import StopReason
from kdumpsim.disks.dumpdisk import extract
from kdumpsim.mechanisms.kdump import Kdump
from kdumpsim.vmcore.compare import judge
from kdumpsim.vmcore.oracle import Oracle
from kdumpsim.vmcore.reader import Vmcore


def chord(guest: Any) -> None:
    guest.machine.i8042.chord("leftalt", "sysrq", "c")


def trigger(guest: Any) -> None:
    fd = guest.agent.open("/proc/sysrq-trigger", 1)
    guest.agent.timeout = 0.5
    with pytest.raises(Exception, match=r"no answer|machine stopped"):
        guest.agent.write(fd, b"c")


@pytest.mark.parametrize(
    ("crash", "path"),
    [
        (chord, ["default_idle", "cpu_idle"]),  # as in 2.6.16, the registers are those the key interrupted
        (
            trigger,
            ["crash_kexec", "try_crashdump", "sysrq_handle_crashdump", "handle_sysrq", "sys_write_user", "system_call"],
        ),
    ],
    ids=["keyboard", "trigger"],
)
def test_sysrq_c_dumps(
    boot: Callable[..., Any],
    crash: Callable[[Any], None],
    path: list[str],
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    guest = boot()
    oracle = Oracle(
        guest.machine, guest.first.symbols, guest.first.stack_size, Kdump.entry, save_cpu=Kdump.save_cpu,
        savers=Kdump.savers,
    )  # fmt: skip
    plan = guest.kexec_p()
    oracle.watch_jump(plan.entry, plan.crash, plan.crash_notes, where=Kdump.hand_over)
    crash(guest)
    assert guest.run(60) is StopReason.RESET
    assert "SysRq : Trigger a crashdump" in guest.console
    header = guest.dumped()
    assert header is not None
    (tmp_path / "vmlinux").write_bytes(guest.first.elf)
    extract(guest.dump, header, tmp_path / "vmcore")
    with Vmcore(tmp_path / "vmcore") as vmcore:
        judgement = judge(vmcore, oracle)
    assert (judgement.accuracy, judgement.completeness) == (1, 1)
    assert all(check.ok for check in judgement.registers)
    words = [
        require_tool("gdb"),
        "-nx",
        "-batch",
        "-ex",
        "thread apply all bt",
        tmp_path / "vmlinux",
        tmp_path / "vmcore",
    ]
    backtrace = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert " ".join(path) in " ".join(name for name in re.findall(r"(\w+) \(", backtrace) if name in path), backtrace


@pytest.mark.parametrize("crash", [chord, lambda guest: guest.agent.write_file("/proc/sysrq-trigger", b"c")])
def test_sysrq_c_without_a_capture_kernel_does_nothing(boot: Callable[..., Any], crash: Callable[[Any], None]) -> None:
    guest = boot()
    crash(guest)
    guest.run(0.5)
    assert "SysRq : Trigger a crashdump" in guest.console
    assert "crashkernel" in guest.text("/proc/cmdline")


def test_the_other_keys(boot: Callable[..., Any]) -> None:
    guest = boot()
    for key, words in (("m", "free"), ("t", "agent"), ("h", "reBoot"), ("?", "HELP")):
        before = len(guest.console)
        guest.agent.write_file("/proc/sysrq-trigger", key.encode())
        assert words in guest.console[before:], guest.console[before:]
    guest.machine.i8042.chord("leftalt", "sysrq", "b")
    assert guest.run(5) is StopReason.RESET
