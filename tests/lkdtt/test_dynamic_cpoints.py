# SPDX-License-Identifier: GPL-2.0-or-later
"""IDE_CORE_CP, the crash point of the paper's Table 1: it comes by `add`, is crossed by disk I/O, goes by `rmv`."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.errors import AgentError
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.disks.toyfs import mkfs

NS = 1_000_000_000
SECTORS = 16384
INTERRUPT_FLAG = 0x200
CTRL, CPOINTS = "/proc/dtt/ctrl", "/proc/dtt/cpoints"


class Guest:
    """A machine whose system disk is the IDE driver's."""

    def __init__(self) -> None:
        disk = Disk.memory(SECTORS)
        mkfs(disk, SECTORS, images.userland())
        self.machine = Machine(MachineConfig(cpus=2, memory=64 << 20, disks=(disk,)))
        self.console = bytearray()
        self.machine.uarts[0].on_output = self.console.extend
        self.agent = AgentClient(MachineTransport(self.machine), timeout=20)
        self.machine.load_multiboot(
            images.kernel().stripped, "console=ttyS0,115200 combined_mode=ide root=/dev/hda crashkernel=16M@16M"
        )
        self.agent.hello()

    def ctrl(self, command: str) -> None:
        self.agent.write_file(CTRL, f"{command}\n".encode())

    def refused(self, command: str) -> int | None:
        with pytest.raises(AgentError) as caught:
            self.ctrl(command)
        return caught.value.errno

    def line(self, name: str) -> list[str] | None:
        """The words of a crash point's line in the list, or None."""
        rows = [row.split() for row in self.agent.read_file(CPOINTS).decode().splitlines()]
        return next((row for row in rows if name in row), None)

    def run(self, seconds: int, stop: Callable[[], bool]) -> None:
        self.machine.run(until=self.machine.clock.now + seconds * NS, stop=stop)


@pytest.fixture(scope="module")
def guest() -> Guest:
    return Guest()


def test_it_is_not_built_in(guest: Guest) -> None:
    assert guest.line("IDE_CORE_CP") is None
    assert guest.refused("set IDE_CORE_CP panic 10") == errno.ENOENT
    assert guest.refused("rmv IDE_CORE_CP") == errno.ENOENT


def test_add_makes_the_line_of_table_1_and_rmv_takes_it_away(guest: Guest) -> None:
    guest.ctrl("add IDE_CORE_CP 50")
    assert guest.line("IDE_CORE_CP") == ["50", "none", "IDE_CORE_CP", "0", "dyn"]
    guest.ctrl("rmv IDE_CORE_CP")
    assert guest.line("IDE_CORE_CP") is None


def test_in_kernel_points_cannot_be_deleted(guest: Guest) -> None:
    assert guest.refused("rmv FS_DEVRW") == errno.EPERM
    assert guest.line("FS_DEVRW") is not None


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("add IDE_CORE_CP 3", errno.EINVAL),
        ("add IDE_CORE_CP 0", errno.EINVAL),
        ("add IDE_CORE_CP 64", errno.EINVAL),
        ("add IDE_CORE_CP", errno.EINVAL),
        ("add FS_DEVRW 50", errno.EEXIST),
        ("add NOBODYS_POINT 50", errno.ENOENT),
    ],
    ids=["id taken", "id 0", "id too high", "no id", "name taken", "no driver has it"],
)
def test_what_add_refuses(guest: Guest, command: str, error: int) -> None:
    assert guest.refused(command) == error


def test_disk_io_crosses_it_with_interrupts_on(guest: Guest) -> None:
    flags: list[int] = []
    guest.machine.watch(images.kernel().symbols["dtt_induce"], lambda cpu: flags.append(cpu.registers().eflags))
    guest.ctrl("add IDE_CORE_CP 9")
    guest.ctrl("set IDE_CORE_CP panic 10")
    guest.agent.start("diskio")
    guest.run(10, lambda: b"IDE_CORE_CP" in guest.console)
    assert b"Kernel panic - not syncing: LKDTT: crash point IDE_CORE_CP" in guest.console
    assert len(flags) == 1
    assert flags[0] & INTERRUPT_FLAG
