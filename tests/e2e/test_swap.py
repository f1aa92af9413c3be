# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that need more memory than there is: what they get back from the disk is what they wrote."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.transport import MachineTransport, SocketTransport
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.disks.swaparea import mkswap
from kdumpsim.disks.toyfs import mkfs

from .conftest import Run

NS = 1_000_000_000
FS_SECTORS = 8192
RAM_MIB = 16
PATIENCE_S = 600  # for a QEMU that hangs, however busy the host


class Guest:
    """A machine of little memory, whose agent is there; `swap_mib` of the disk are a swap area."""

    def __init__(self, swap_mib: int, *, cpus: int = 2, seed: int = 0) -> None:
        disk = Disk.memory(FS_SECTORS + (swap_mib << 11))
        mkfs(disk, FS_SECTORS, images.userland())
        if swap_mib:
            mkswap(disk, FS_SECTORS, swap_mib << 11)
        self.machine = Machine(
            MachineConfig(cpus=cpus, memory=RAM_MIB << 20, disks=(disk, None, None, None), seed=seed)
        )
        self.console = ""
        self.machine.uarts[0].on_output = self._output
        self.machine.load_multiboot(images.kernel().stripped, "console=ttyS0,115200 root=/dev/sda")
        self.agent = AgentClient(MachineTransport(self.machine, 60 * NS), 60)
        self.agent.hello()

    def _output(self, data: bytes) -> None:
        self.console += data.decode("ascii", "replace").replace("\r", "")

    def run_until(self, text: str, *, times: int = 1, seconds: int = 120) -> None:
        """Run until the console has said something so many times."""
        until = self.machine.clock.now + seconds * NS
        self.machine.run(until=until, stop=lambda: self.console.count(text) >= times)
        assert self.console.count(text) >= times, self.console[-2000:]

    def settle(self) -> None:
        """Give a program that has said its last word the time to end."""
        self.machine.run(until=self.machine.clock.now + 2 * NS)

    def numbers(self, path: str) -> dict[str, int]:
        """A file of names and numbers."""
        lines = (line.replace(":", " ").split() for line in self.agent.read_file(path).decode().splitlines())
        return {words[0]: int(words[1]) for words in lines}


def test_what_is_swapped_out_comes_back_as_it_was() -> None:
    guest = Guest(16)
    before = guest.numbers("/proc/meminfo")
    assert before["SwapTotal"] == before["SwapFree"] == (16 << 10) - 4
    guest.agent.start("memdrain", "18", "1")
    guest.run_until("every page came back as it was\n")
    guest.settle()
    counts = guest.numbers("/proc/vmstat")
    assert counts["pswpout"] > 3 << 8
    assert counts["pswpin"] > 2 << 8
    assert "wrong" not in guest.console
    after = guest.numbers("/proc/meminfo")
    assert after["SwapFree"] > after["SwapTotal"] - 200, "a program that has ended leaves nothing in swap"
    assert after["MemFree"] > before["MemFree"] - 400


@pytest.mark.nightly
def test_two_programs_take_memory_from_each_other_on_four_cpus_while_files_are_written() -> None:
    guest = Guest(24, cpus=4, seed=1)
    guest.agent.start("diskio")
    for _ in range(2):
        guest.agent.start("memdrain", "9", "1")
    guest.run_until("every page came back as it was\n", times=2)
    assert guest.numbers("/proc/vmstat")["pswpin"] > 0
    assert "wrong" not in guest.console
    assert "failed" not in guest.console


def test_without_swap_the_program_that_wants_too_much_is_killed_and_the_system_lives() -> None:
    guest = Guest(0)
    free = guest.numbers("/proc/meminfo")["MemFree"]
    guest.agent.start("memdrain", "40", "1")
    guest.run_until("VM: killing process memdrain")
    guest.agent.start("memdrain", "2", "1")
    guest.run_until("every page came back as it was\n")
    guest.settle()
    assert guest.numbers("/proc/meminfo")["MemFree"] > free - 400
    assert guest.numbers("/proc/vmstat")["pswpout"] == 0


def test_when_swap_is_full_the_program_that_wants_more_is_killed() -> None:
    guest = Guest(4)
    guest.agent.start("memdrain", "40", "1")
    guest.run_until("VM: killing process memdrain")
    guest.agent.start("memdrain", "2", "1")
    guest.run_until("every page came back as it was\n")
    guest.settle()
    assert guest.numbers("/proc/meminfo")["SwapFree"] > (4 << 10) - 200


def test_a_shutdown_ends_programs_and_brings_back_what_others_have_in_swap() -> None:
    guest = Guest(16)
    guest.agent.start("memdrain", "18")
    guest.run_until("pages in use")
    guest.agent.start("shutdown")
    reason = guest.machine.run(until=guest.machine.clock.now + 60 * NS)
    assert reason is StopReason.RESET
    assert "swapoff: error" not in guest.console


@pytest.mark.parametrize("kind", ["panic", "exception"])
def test_a_crash_while_swapping_out_is_dumped_whole(crash: Callable[..., Run], kind: str) -> None:
    run = crash("MEM_SWAPOUT", kind, "--load", "memdrain", "--memory", "32M")
    assert run.status == 0
    assert run.result["outcome"] == "O"
    assert run.result["accuracy"] == run.result["completeness"] == 1
    assert "swap_out_page" in run.console or kind == "panic"


def test_qemu_swaps_too(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    tool = require_tool("qemu-system-i386")
    (tmp_path / "vmlinux").write_bytes(images.kernel().stripped)
    with (tmp_path / "system").open("wb") as file:
        file.truncate((FS_SECTORS + (16 << 11)) * 512)
    disk = Disk.file(tmp_path / "system")
    mkfs(disk, FS_SECTORS, images.userland())
    mkswap(disk, FS_SECTORS, 16 << 11)
    ours, theirs = socket.socketpair()
    words = [
        tool, "-kernel", "vmlinux", "-smp", "2", "-m", str(RAM_MIB), "-display", "none", "-no-reboot", "-net", "none",
        "-append", "console=ttyS0,115200 root=/dev/sda", "-drive", "file=system,format=raw,if=ide,index=0",
        "-serial", "file:console", "-chardev", f"socket,id=agent,fd={theirs.fileno()}", "-serial", "chardev:agent",
    ]  # fmt: skip
    with subprocess.Popen(words, cwd=tmp_path, pass_fds=[theirs.fileno()]) as qemu:
        theirs.close()
        try:
            agent = AgentClient(SocketTransport(ours), PATIENCE_S)
            agent.hello()
            agent.start("memdrain", "18", "1")
            deadline = time.monotonic() + PATIENCE_S
            while "came back" not in (text := (tmp_path / "console").read_text(errors="replace")):
                assert time.monotonic() < deadline, text
                time.sleep(0.2)
            assert "every page came back as it was" in text
            assert " 0\n" not in agent.read_file("/proc/vmstat").decode().partition("pswpin")[2]
        finally:
            qemu.kill()
            ours.close()
