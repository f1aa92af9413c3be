# SPDX-License-Identifier: GPL-2.0-or-later
"""The same tools on another machine: kexec and kdump of the kernel under QEMU, through the agent's socket."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.agent.client import AgentClient, Reboot
from kdumpsim.agent.transport import SocketTransport
from kdumpsim.board.disk import Disk
from kdumpsim.disks.dumpdisk import extract, find_dump
from kdumpsim.disks.toyfs import mkfs
from kdumpsim.vmcore.reader import Vmcore

SYSTEM_SECTORS = 16384
GUEST_PATH = "/boot/vmlinux-kdump"


@dataclass
class Qemu:
    """A running QEMU whose guest's agent waits at `address`."""

    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def address(self) -> str:
        return f"unix:{self.directory}/agent"

    def console(self) -> str:
        return (self.directory / "console").read_text(errors="replace")

    def kexec(self, *words: str) -> str:
        """Run `kdumpsim kexec` as a user does."""
        command = [sys.executable, "-m", "kdumpsim.cli", "kexec", *words, "--agent", self.address]
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def agent(self) -> AgentClient:
        return AgentClient(SocketTransport.connect(self.address), timeout=600)


@pytest.fixture
def qemu(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Qemu]:
    tool = require_tool("qemu-system-i386")
    first, capture = images.kernel(), images.kernel(16 << 20)
    (tmp_path / "vmlinux").write_bytes(first.elf)
    (tmp_path / "vmlinux-kdump").write_bytes(capture.stripped)
    (tmp_path / "system").write_bytes(bytes(SYSTEM_SECTORS * 512))
    (tmp_path / "dump").write_bytes(bytes(64 << 20))
    mkfs(Disk.file(tmp_path / "system"), SYSTEM_SECTORS, {GUEST_PATH: capture.stripped, **images.userland()})
    process = subprocess.Popen(
        [
            tool, "-kernel", "vmlinux", "-smp", "2", "-m", "64", "-display", "none", "-no-reboot", "-net", "none",
            "-append", "console=ttyS0,115200 root=/dev/sda panic_on_oops=1 crashkernel=16M@16M",
            "-serial", "file:console", "-serial", "unix:agent,server=on,wait=off",
            "-drive", "file=system,format=raw,if=ide,index=0", "-drive", "file=dump,format=raw,if=ide,index=2",
        ],
        cwd=tmp_path,
    )  # fmt: skip
    running = Qemu(process, tmp_path)
    try:
        deadline = time.monotonic() + 600
        while not (tmp_path / "console").exists() or "agent: listening" not in running.console():
            assert process.poll() is None, running.console()
            assert time.monotonic() < deadline, running.console()
            time.sleep(0.05)
        yield running
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("options", [[], ["--guest-path", GUEST_PATH]], ids=["inline", "file-in-guest"])
def test_kdump(qemu: Qemu, options: list[str], require_tool: Callable[[str], str]) -> None:
    text = qemu.kexec("-p", str(qemu.directory / "vmlinux-kdump"), "--append", "console=ttyS0,115200", *options)
    assert "elfcorehdr" in text
    agent = qemu.agent()
    assert agent.read_file("/sys/kernel/kexec_crash_loaded").strip() == b"1"
    agent.write_file("/proc/dtt/ctrl", b"set FS_DEVRW panic 10\n")
    agent.start("diskio")
    qemu.process.wait(600)
    assert "I'm in purgatory" in qemu.console()
    disk = Disk.file(qemu.directory / "dump", readonly=True)
    header = find_dump(disk)
    assert header is not None, qemu.console()
    extract(disk, header, qemu.directory / "vmcore")
    with Vmcore(qemu.directory / "vmcore") as core:
        assert len(core.cpus) == 2
        assert [load.paddr for load in core.loads] == [0, 0x100000, 0x2000000]
    files = (qemu.directory / "vmlinux", qemu.directory / "vmcore")
    gdb = subprocess.run(
        [require_tool("gdb"), "-nx", "-batch", "-ex", "thread apply all bt", *files],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    threads = gdb.stdout.split("\nThread ")[1:]
    (crashed,) = (text for text in threads if "in crash_kexec (" in text)
    assert crashed.index("crash_kexec") < crashed.index("panic") < crashed.index("ll_rw_block")


def test_load_and_execute(qemu: Qemu) -> None:
    qemu.kexec("-l", str(qemu.directory / "vmlinux"), "--append", "console=ttyS0,115200 root=/dev/sda second=1")
    agent = qemu.agent()
    agent.reboot(Reboot.KEXEC)
    assert "toy" in agent.hello()
    assert b"second=1" in agent.read_file("/proc/cmdline")
    maps = [line for line in qemu.console().splitlines() if line.startswith(" BIOS-e820: ")]
    assert len(maps) >= 8
    assert maps[: len(maps) // 2] == maps[len(maps) // 2 :], "SeaBIOS's map, reserved ranges and all"
    assert qemu.console().count("Total of 2 processors activated") == 2
