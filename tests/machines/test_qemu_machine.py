# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made of a PC in QEMU that stands still: frames of NMIs, the firmware's map, its disks."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from kdumpsim.board.disk import Disk, DiskError
from kdumpsim.cpu import Registers
from kdumpsim.machines import qemu_machine
from kdumpsim.machines.qemu_machine import E820, QemuClock, QemuCpu, QemuMachine

AT_HANDLER = Registers(**{field.name: 7 for field in fields(Registers)})


@dataclass
class StandingStill:
    """The gdbstub of a PC whose CPU is about to run the NMI's handler."""

    held: Registers
    stack: bytes

    def registers(self, cpu: int) -> Registers:
        return self.held

    def read_linear(self, cpu: int, address: int, size: int) -> bytes | None:
        return self.stack[:size] if address == self.held.esp else None


@pytest.mark.parametrize(
    ("frame", "interrupted"),
    [
        ((0xC0105234, 0x60, 0x246, 0xAAAA, 0xBBBB, 0), {"cs": 0x60, "esp": 0xC0300F8C, "ss": 0x68}),
        ((0xC0105234, 0x73, 0x246, 0xBFFFF000, 0x7B, 0), {"cs": 0x73, "esp": 0xBFFFF000, "ss": 0x7B}),
    ],
    ids=["from-the-kernel", "from-ring-3"],
)
def test_an_nmi_shows_what_the_cpu_held_when_it_came(frame: tuple[int, ...], interrupted: dict[str, int]) -> None:
    machine = QemuMachine(2, 1 << 20, {})
    now = replace(AT_HANDLER, esp=0xC0300F80, ss=0x68, eip=0xC0102000, cs=0x60, eflags=0x46)
    machine.gdb = StandingStill(now, struct.pack("<6I", *frame))  # type: ignore[assignment]
    seen: list[tuple[int, Registers]] = []

    def take(cpu: QemuCpu) -> None:
        seen.append((cpu.index, cpu.registers()))

    machine.cpus[1].on_nmi = take
    machine.watch_nmi(0xC0102000)
    for told in machine.watched(0xC0102000):
        told(machine.cpus[1])
    assert seen == [(1, replace(now, eip=0xC0105234, eflags=0x246, **interrupted))]
    assert machine.cpus[1].registers() == now


def test_the_firmwares_map_is_read_from_what_the_kernel_is_entered_with() -> None:
    machine = QemuMachine(1, 1 << 20, {})
    entries = [(0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (0xFFFC0000, 0x40000, 2)]
    text = b"".join(struct.pack("<IQQI", 20, *entry) for entry in entries)
    machine.memory.dma_write(0x9000, text)
    machine.memory.dma_write(0x500 + 44, struct.pack("<II", len(text), 0x9000))
    assert machine.memory.multiboot_map(0x500) == [E820(*entry) for entry in entries]


def test_a_shared_disk_is_what_another_process_reads_and_writes() -> None:
    disk = Disk.shared(8)
    disk.write(1, b"\x01" * 512)
    other = Path(f"/proc/self/fd/{disk.fileno()}")
    assert other.read_bytes() == bytes(512) + b"\x01" * 512 + bytes(6 * 512)
    os.pwrite(disk.fileno(), b"\x02" * 512, 512)
    assert disk.read(0, 2) == bytes(512) + b"\x02" * 512
    with pytest.raises(DiskError, match="no file"):
        Disk.memory(8).fileno()


def test_what_the_host_keeps_the_pc_waiting_for_is_no_time_of_the_pc(monkeypatch: pytest.MonkeyPatch) -> None:
    host = waited = 1000
    monkeypatch.setattr(qemu_machine.time, "monotonic_ns", lambda: host)
    clock = QemuClock()
    clock.waited = lambda: waited
    clock.go()
    host += 50
    assert clock.now == 50
    host, waited = host + 100, waited + 90  # it had a tenth of the CPU
    assert clock.now == 60
    waited += 30  # a wait that had begun before is over: the clock stands, and does not go back
    assert clock.now == 60
    clock.stand()
    host += 500
    assert clock.now == 60
    clock.go()
    host += 5
    assert clock.now == 65
