# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs in ring 3 of the guest: they start, print, die of their mistakes alone, and are caught by a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.errors import AgentError
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.disks.dumpdisk import extract, find_dump
from kdumpsim.disks.toyfs import mkfs
from kdumpsim.kexec.load import kexec_load_panic
from kdumpsim.vmcore.reader import Vmcore

MEMORY = 64 << 20
SECTORS = 16384
CAPTURE = "/boot/vmlinux-kdump"
LINE = "console=ttyS0,115200 root=/dev/sda panic_on_oops=1 crashkernel=16M@16M"
EPERM, ENOENT, ESRCH, EIO, ENOEXEC = 1, 2, 3, 5, 8
SIGKILL = 9
USER_CS = 0x73


class Guest:
    """A machine with two disks; `files` lie on the system disk beside the programs."""

    def __init__(self, append: str = "", files: dict[str, bytes] | None = None) -> None:
        self.system, self.dump = Disk.memory(SECTORS), Disk.memory(2 * MEMORY // SECTOR)
        self.capture = images.kernel(16 << 20)
        mkfs(self.system, SECTORS, {CAPTURE: self.capture.stripped, **images.userland(), **(files or {})})
        self.machine = Machine(MachineConfig(cpus=2, memory=MEMORY, disks=(self.system, None, self.dump, None)))
        self.console = ""
        self.machine.uarts[0].on_output = self._print
        self.agent = AgentClient(MachineTransport(self.machine, 30 * 10**9), 30)
        self.machine.load_multiboot(images.kernel().stripped, f"{LINE} {append}")

    def _print(self, data: bytes) -> None:
        self.console += data.decode("latin-1").replace("\r", "")

    def run(self, seconds: float) -> StopReason:
        return self.machine.run(until=self.machine.clock.now + round(seconds * 1e9))

    def processes(self) -> dict[int, str]:
        lines = self.agent.read_file("/proc/ps").decode().splitlines()[1:]
        return {int(line.split()[0]): line.split()[-1] for line in lines}


@pytest.fixture(scope="module")
def guest() -> Guest:
    guest = Guest(files={"/bin/text": b"no program\n", "/bin/stump": images.userland()["/bin/hello"][:200]})
    guest.agent.hello()
    return guest


def free_memory(guest: Guest) -> int:
    text = guest.agent.read_file("/proc/meminfo").decode()
    return int(text.split("MemFree:")[1].split()[0])


def test_a_program_gets_its_arguments_and_prints_on_the_console(guest: Guest) -> None:
    pid = guest.agent.start("hello", "brave", "new world")
    guest.run(0.1)
    assert f"hello from pid {pid} brave new world\n" in guest.console


def test_a_child_of_fork_has_a_copy_of_its_own(guest: Guest) -> None:
    before = free_memory(guest)
    guest.agent.start("hello", "fork")
    guest.run(0.2)
    assert "child of fork: 2\nparent: 1, its child ended with 3\n" in guest.console
    assert free_memory(guest) == before


def test_uname_names_linux_2_6_16(guest: Guest) -> None:
    guest.agent.start("hello", "uname")
    guest.run(0.1)
    assert "\nLinux 2.6.16-toy\n" in guest.console


def test_nothing_is_left_of_a_program_that_has_ended(guest: Guest) -> None:
    guest.agent.start("hello")
    guest.run(0.1)
    before = free_memory(guest)
    for _ in range(5):
        pid = guest.agent.start("hello")
        guest.run(0.1)
        assert pid not in guest.processes()
    assert free_memory(guest) == before


def test_a_bad_pointer_kills_the_program_alone(guest: Guest) -> None:
    pid = guest.agent.start("hello", "crash")
    guest.run(0.1)
    line = next(line for line in guest.console.splitlines() if "segfault" in line)
    assert line.startswith(f"hello[{pid}]: segfault at 00000010 ip 0804")
    assert pid not in guest.processes()
    assert "init" in guest.processes().values()


def kill(guest: Guest, pid: int, signal: int) -> int:
    """kill(2) in the guest: 0 or the errno."""
    try:
        guest.agent.kill(pid, signal)
    except AgentError as error:
        return error.errno
    return 0


def test_a_killed_program_is_gone_whether_it_computes_or_sleeps(guest: Guest) -> None:
    spinner, sleeper = guest.agent.start("hello", "spin"), guest.agent.start("diskio", "/scratch")
    guest.run(0.2)
    assert {spinner, sleeper} <= set(guest.processes())
    assert kill(guest, spinner, 0) == 0
    assert [kill(guest, pid, SIGKILL) for pid in (spinner, sleeper)] == [0, 0]
    guest.run(0.2)
    assert not {spinner, sleeper} & set(guest.processes())
    assert kill(guest, spinner, 0) == ESRCH


def test_init_and_the_kernels_own_threads_cannot_be_killed(guest: Guest) -> None:
    (ksoftirqd,) = [pid for pid, name in guest.processes().items() if name == "ksoftirqd/0"]
    assert [kill(guest, pid, SIGKILL) for pid in (1, ksoftirqd)] == [EPERM, EPERM]


def test_ports_are_not_for_programs(guest: Guest) -> None:
    pid = guest.agent.start("hello", "port")
    guest.run(0.1)
    assert f"hello[{pid}] trap general protection fault ip 0804" in guest.console


@pytest.mark.parametrize(("name", "errno"), [("text", ENOEXEC), ("stump", EIO)])
def test_what_is_no_program_is_refused(guest: Guest, name: str, errno: int) -> None:
    with pytest.raises(AgentError) as caught:
        guest.agent.start(name)
    assert caught.value.errno == errno


def test_what_is_not_there_is_refused(guest: Guest) -> None:
    with pytest.raises(AgentError) as caught:
        guest.agent.start("nosuch")
    assert caught.value.errno == ENOENT


def test_the_end_of_init_is_the_end_of_the_kernel() -> None:
    guest = Guest("init=/bin/hello")
    guest.run(2)
    assert "hello from pid 1\nKernel panic - not syncing: Attempted to kill init!\n" in guest.console


def test_without_init_the_kernel_says_so_and_runs_on() -> None:
    guest = Guest("init=/sbin/nosuch")
    assert guest.run(2) is StopReason.UNTIL
    assert "No init found: /sbin/nosuch: error 2.  Try passing init= option to kernel.\n" in guest.console


def test_a_cpu_that_a_crash_finds_in_ring_3_shows_the_programs_registers(tmp_path: Path) -> None:
    guest = Guest()
    guest.agent.hello()
    kexec_load_panic(guest.agent, guest.capture.stripped, CAPTURE, "console=ttyS0,115200")
    pid = guest.agent.start("hello", "spin")
    guest.run(0.3)
    guest.agent.write_file("/proc/dtt/ctrl", b"set FS_DEVRW panic 3\n")
    guest.agent.start("diskio")
    assert guest.run(10) is StopReason.RESET
    header = find_dump(guest.dump)
    assert header is not None
    extract(guest.dump, header, tmp_path / "vmcore")
    program = images.user_program("/bin/hello")
    begin, end = 0x08048000, 0x08048000 + len(program)
    with Vmcore(tmp_path / "vmcore") as core:
        caught = next(cpu for cpu in core.cpus if cpu.pid == pid)
    assert caught.registers["cs"] == USER_CS
    assert begin <= caught.registers["eip"] < end
    assert 0xBFF00000 <= caught.registers["esp"] < 0xC0000000
