# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent and the files it reads and writes on a booted guest."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from errno import E2BIG, EBADF, EINVAL, ENOENT, ENOSYS
from typing import Any

import pytest

from kdumpsim.agent.client import Reboot
from kdumpsim.agent.errors import AgentError
from kdumpsim.board.machine import StopReason


def frame(op: int, payload: bytes, tag: int = 7) -> bytes:
    return struct.pack("<BBHI", ord("K"), op, tag, len(payload)) + payload


def answer(guest: Any, request: bytes) -> tuple[int, int, int]:
    """Op, tag and status of the reply to raw bytes."""
    transport = guest.agent.transport
    transport.send(request)
    reply = transport.receive(transport.now() + 5_000_000_000, 12)
    magic, op, tag, _, status = struct.unpack_from("<BBHIi", reply)
    assert magic == ord("K")
    return op, tag, status


def test_files(boot: Callable[..., Any]) -> None:
    guest = boot()
    iomem = guest.text("/proc/iomem")
    assert "01000000-01ffffff : Crash kernel" in iomem
    assert "System RAM" in iomem
    assert "crashkernel=16M@16M" in guest.text("/proc/cmdline")
    assert guest.text("/proc/version").startswith("Linux version 2.6.16")
    assert guest.text("/proc/cpuinfo").count("processor") == 2
    assert "MemTotal:" in guest.text("/proc/meminfo")
    assert guest.text("/sys/kernel/kexec_crash_size") == f"{16 << 20}\n"
    notes = [int(guest.text(f"/sys/devices/system/cpu/cpu{cpu}/crash_notes"), 16) for cpu in range(2)]
    assert notes[1] - notes[0] == 1024
    assert int(guest.text("/sys/kernel/crash_notes"), 16) == notes[0]
    place, size = (int(word, 16) for word in guest.text("/sys/kernel/vmcoreinfo").split())
    assert (place % 4096, size) == (0, 4096)
    note = bytes(guest.machine.memory.view[place : place + 40])
    assert note[12:23] == b"VMCOREINFO\0"
    assert note[24:].startswith(b"OSRELEASE=2.6.16")
    assert guest.text("/sys/kernel/kexec_crash_loaded") == "0\n"
    guest.kexec_p()
    assert guest.text("/sys/kernel/kexec_crash_loaded") == "1\n"
    assert guest.text("/sys/kernel/kexec_loaded") == "0\n"
    assert guest.agent.read_file("/boot/vmlinux-kdump") == guest.capture.stripped


def test_tasks_memory_and_load(boot: Callable[..., Any]) -> None:
    guest = boot("log_buf_len=40K")
    maps = [line.split() for line in guest.text("/proc/maps").splitlines()]
    assert ["agent", "08048000", "r-xp", "/sbin/agent"] in [[m[0], m[1][:8], m[2], m[-1]] for m in maps]
    averages, runnable, last = (text := guest.text("/proc/loadavg").split())[:3], text[3], text[4]
    assert all(re.fullmatch(r"\d+\.\d\d", average) for average in averages)
    tasks = guest.text("/proc/ps").splitlines()[1:]
    assert int(runnable.split("/")[1]) == len(tasks)
    assert last == tasks[-1].split()[0]
    assert guest.text("/proc/modules") == ""
    assert guest.text("/proc/sys/kernel/tainted") == "0\n"
    assert "log_buf_len: 65536" in guest.console
    assert guest.text("/proc/kmsg").startswith("<4>Linux version 2.6.16")


def test_interrupts_are_counted(boot: Callable[..., Any]) -> None:
    guest = boot()

    def counts() -> dict[str, list[int]]:
        lines = [line.split() for line in guest.text("/proc/interrupts").splitlines()[1:]]
        return {words[0]: [int(word) for word in words[1:3]] for words in lines}

    assert guest.text("/proc/interrupts").splitlines()[0].split() == ["CPU0", "CPU1"]
    first = counts()
    guest.machine.i8042.chord("a")
    guest.run(1)
    second = counts()
    assert sum(second["1:"]) - sum(first["1:"]) == 2  # pressed and released
    assert 95 <= sum(second["0:"]) - sum(first["0:"]) <= 110
    for name in ("timer", "i8042", "ide0", "serial", "IO-APIC-edge"):
        assert name in guest.text("/proc/interrupts")


def test_errors(boot: Callable[..., Any]) -> None:
    guest = boot()
    for path in ("/nothing", "/proc/nothing", "/sys/devices/system/cpu/cpu2/crash_notes", "/proc/vmcore"):
        with pytest.raises(AgentError) as caught:
            guest.agent.read_file(path)
        assert caught.value.errno == ENOENT
    with pytest.raises(AgentError):
        guest.agent.write_file("/proc/iomem", b"x")
    with pytest.raises(AgentError) as caught:
        guest.agent.start("no-such-workload")
    assert caught.value.errno == ENOENT


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (frame(99, b""), -ENOSYS),
        (frame(2, b"abc"), -EINVAL),
        (frame(2, struct.pack("<II", 31, 10)), -EBADF),
        (frame(4, struct.pack("<I", 0xFFFFFFFF)), -EBADF),
        (frame(1, b"\0\0\0\0"), -EINVAL),
        (frame(3, b"x" * 20000), -E2BIG),
        (frame(5, b""), -EINVAL),
        (frame(5, struct.pack("<III", 0, 1, 17)), -EINVAL),
        (frame(5, struct.pack("<IIIIIII", 0, 1, 1, 0, 0x1000000, 4096, 4096) + b"short"), -EINVAL),
        (frame(6, struct.pack("<I", 3)), -EINVAL),
        (b"noise" + frame(0, b""), 0),
    ],
)
def test_frames_that_are_wrong(boot: Callable[..., Any], request_bytes: bytes, status: int) -> None:
    guest = boot()
    op = request_bytes[request_bytes.index(b"K") + 1]
    assert answer(guest, request_bytes) == (op | 0x80, 7, status)
    assert "crashkernel" in guest.text("/proc/cmdline")


def test_reboot(boot: Callable[..., Any]) -> None:
    guest = boot()
    guest.agent.reboot(Reboot.RESTART)
    assert guest.run(5) is StopReason.RESET
    assert "Restarting system." in guest.console


def test_three_workloads_side_by_side(boot: Callable[..., Any]) -> None:
    guest = boot()
    for path in ("/one", "/two", "/three"):
        guest.agent.start("diskio", path)
    guest.run(2)
    assert "diskio:" not in guest.console
    files = guest.toyfs().files()
    assert {path: len(files[path]) for path in ("/one", "/two", "/three")} == dict.fromkeys(
        ("/one", "/two", "/three"), 65536
    )
    assert guest.toyfs().check() == []
