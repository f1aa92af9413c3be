# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel comes up: memory map, CPUs, ticks on each of them."""

from __future__ import annotations

import pytest
from arch_machine import BOOTED, Guest

from kdumpsim.board.machine import MachineConfig

MIB = 1 << 20


@pytest.mark.parametrize("cpus", [1, 2, 5, 8])
def test_every_cpu_comes_up_and_ticks(cpus: int) -> None:
    guest = Guest(MachineConfig(cpus=cpus))
    guest.until(BOOTED)
    assert f"Total of {cpus} processors activated." in guest.console
    before = [guest.word("apic_timer_irqs", cpu) for cpu in range(cpus)]
    jiffies = guest.word("jiffies")
    guest.run(1)
    assert guest.word("jiffies") - jiffies == pytest.approx(100, abs=2)
    for cpu in range(cpus):
        assert guest.word("apic_timer_irqs", cpu) - before[cpu] == pytest.approx(100, abs=2)


def test_maxcpus_leaves_cpus_alone() -> None:
    guest = Guest(MachineConfig(cpus=4), "console=ttyS0 maxcpus=2")
    guest.until(BOOTED)
    assert "Total of 2 processors activated." in guest.console
    assert [cpu.waiting_for_sipi for cpu in guest.machine.cpus] == [False, False, True, True]


def test_nosmp_boots_one_cpu() -> None:
    guest = Guest(MachineConfig(cpus=2), "console=ttyS0 nosmp")
    guest.until(BOOTED)
    assert "Booting processor" not in guest.console


@pytest.mark.parametrize("memory", [4 * MIB, 16 * MIB, 61 * MIB + 0x5000, 512 * MIB, 1024 * MIB])
def test_memory_sizes(memory: int) -> None:
    guest = Guest(MachineConfig(memory=memory))
    guest.until(BOOTED)
    assert f"{min(memory, 896 * MIB) >> 20}MB LOWMEM available." in guest.console


def test_a_hole_in_memory_is_not_touched() -> None:
    guest = Guest(MachineConfig(memory=64 * MIB, holes=((20 * MIB + 0x3000, 6 * MIB),)))
    guest.until(BOOTED)
    directory = guest.kernel.symbols["swapper_pg_dir"] - 0xC0000000
    entry = int.from_bytes(guest.machine.memory.view[directory + 4 * (768 + 5) :][:4], "little")
    assert entry & 0x81 == 1, "the 4 MiB around the hole's begin have a page table"
    table = entry & 0xFFFFF000
    present = [guest.machine.memory.view[table + 4 * i] & 1 for i in range(1024)]
    assert present == [1] * 3 + [0] * 1021
    hole = guest.machine.memory.view[directory + 4 * (768 + 6)]
    assert hole & 0x80 == 0


def test_exactmap_keeps_the_kernel_inside() -> None:
    guest = Guest(MachineConfig(memory=64 * MIB), "console=ttyS0 memmap=exactmap memmap=640K@0 memmap=7M@1M")
    before = bytes(guest.machine.memory.view[8 * MIB :])
    guest.until(BOOTED)
    assert "8MB LOWMEM available." in guest.console
    assert bytes(guest.machine.memory.view[8 * MIB :]) == before


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("16M@16M", "Reserving 16MB of memory at 16MB for crashkernel"),
        ("16M@0x80000", "crashkernel reservation failed"),
        ("16M@60M", "crashkernel reservation failed"),
        ("4M@1M", "crashkernel reservation failed"),
    ],
)
def test_crashkernel_reservation(option: str, line: str) -> None:
    guest = Guest(cmdline=f"console=ttyS0 crashkernel={option}")
    guest.until(BOOTED)
    assert line in guest.console


def test_a_kernel_linked_elsewhere() -> None:
    guest = Guest(cmdline="console=ttyS0 memmap=exactmap memmap=640K@0 memmap=16M@16M", base=16 * MIB)
    guest.until(BOOTED)
    assert "Total of 2 processors activated." in guest.console
