# SPDX-License-Identifier: GPL-2.0-or-later
"""The SATA disk in native mode: a level-triggered PCI interrupt, shared lines, and lines that nobody wants."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from kdumpsim import images
from kdumpsim.agent.errors import AgentGone, AgentTimeout
from kdumpsim.apic.lapic import LocalApic
from kdumpsim.board import firmware
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine
from kdumpsim.board.network import NetworkConfig

CONSOLE = "console=ttyS0,115200 panic_on_oops=1"
SATA = f"{CONSOLE} root=/dev/sda"
NETWORK = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off"
COMMAND, INTERRUPT_DISABLE = 0x04, 0x400
ISR, IRR = 0x100, 0x200
IRQ0, IRQ1, IRQ18 = (0x31 + 8 * irq for irq in (0, 1, 18))
"""Vectors, as the guest gives them."""
Boot = Callable[..., Any]


def interrupts(guest: Any) -> dict[str, tuple[int, str]]:
    """/proc/interrupts: by line, how often it came, its controller and its handlers."""
    rows = (row.split(maxsplit=3) for row in guest.text("/proc/interrupts").splitlines()[1:] if "PIC" in row)
    return {line.rstrip(":"): (int(first) + int(second), rest) for line, first, second, rest in rows}


def test_libata_finds_it_by_its_base_addresses_and_takes_its_pin_of_the_io_apic(boot: Boot) -> None:
    guest = boot(command_line=SATA, sata=())
    told = [
        guest.console.index(words)
        for words in (
            "ata1: SATA cmd 0xC200 ctl 0xC20A bmdma 0xC220 irq 18",
            "ata1: dev 0 configured for UDMA mode 5",
            "SCSI device sda: 16384 512-byte hdwr sectors (8 MB)",
            "hdc: KDUMPSIM HARDDISK, ATA DISK drive",
            "VFS: Mounted root (toyfs filesystem) on /dev/sda",
        )
    ]
    assert told == sorted(told)
    assert "ata2" not in guest.console  # PCS: no drive there
    guest.agent.start("diskio")
    guest.run(1)
    count, who = interrupts(guest)["18"]
    assert who == "IO-APIC-level  libata"
    assert count > 50
    assert "14" not in interrupts(guest)
    assert len(guest.toyfs().read_file("/diskio")) == 65536


def test_without_an_io_apic_it_has_the_irq_that_pirqrc_routes_to(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware, "mp_floating_pointer", lambda table: bytes(16))
    guest = boot(command_line=SATA, sata=(), cpus=1)
    assert "bmdma 0xC220 irq 11" in guest.console
    (row,) = [row for row in guest.text("/proc/interrupts").splitlines() if "libata" in row]
    assert row.split()[0] == "11:"
    assert "XT-PIC" in row
    guest.agent.start("diskio")
    guest.run(0.5)
    assert len(guest.toyfs().read_file("/diskio")) == 65536


@pytest.mark.parametrize(
    ("slot", "lines"),
    [
        (3, {"18": "IO-APIC-level  libata, eth0"}),
        (4, {"18": "IO-APIC-level  libata", "19": "IO-APIC-level  eth0"}),
    ],
)
def test_disk_and_card_share_a_line_or_not(boot: Boot, slot: int, lines: dict[str, str]) -> None:
    network = NetworkConfig(traffic_ns=2_000_000)
    guest = boot(NETWORK, command_line=SATA, sata=(), network=network, nic_slot=slot)
    guest.agent.start("diskio")
    guest.run(1)
    assert {line: who for line, (_, who) in interrupts(guest).items() if line in ("18", "19")} == lines
    assert "nobody cared" not in guest.console
    assert len(guest.toyfs().read_file("/diskio")) == 65536
    (row,) = (row for row in guest.text("/proc/net/dev").splitlines() if "eth0" in row)
    assert int(row.split(":")[1].split()[1]) > 200  # packets


def test_firmware_that_has_disabled_the_interrupt_pin_is_overruled(boot: Boot) -> None:
    def disabled(machine: Machine) -> None:
        assert machine.sata is not None
        machine.sata.pci.registers._initial[COMMAND] |= INTERRUPT_DISABLE

    guest = boot(command_line=SATA, sata=(), prepare=disabled)
    assert "Mounted root" in guest.console
    assert not guest.machine.sata.pci.read(COMMAND, 2) & INTERRUPT_DISABLE


def test_disable_pci_intx_disables_the_pins_that_can_be_until_a_driver_takes_its_function(boot: Boot) -> None:
    at_probe: list[int] = []

    def watched(machine: Machine) -> None:
        sata = machine.sata
        assert sata is not None
        machine.watch(images.kernel().symbols["piix_init_one"], lambda cpu: at_probe.append(sata.pci.read(COMMAND, 2)))

    guest = boot("disable_pci_intx", command_line=SATA, sata=(), network=NetworkConfig(0), prepare=watched)
    assert "PCI: interrupt pins of 1 of 5 functions disabled" in guest.console  # the card is older than PCI 2.3
    assert [command & INTERRUPT_DISABLE for command in at_probe] == [INTERRUPT_DISABLE]
    assert not guest.machine.sata.pci.read(COMMAND, 2) & INTERRUPT_DISABLE


def vectors(lapic: LocalApic, register: int) -> set[int]:
    """The bits of ISR or IRR (SDM vol. 3, 10.8.4)."""
    words = [lapic.read(register + 0x10 * at) for at in range(8)]
    return {32 * at + bit for at, word in enumerate(words) for bit in range(32) if word >> bit & 1}


def test_what_waits_behind_a_hang_in_the_disks_handler(boot: Boot) -> None:
    """The level's vector is in service until it is ended: timer and keyboard, of lower classes, are held back."""
    guest = boot(command_line=SATA, sata=())
    guest.dtt("set INT_HW_IRQ_EN loop 5")
    guest.agent.timeout = 1
    with contextlib.suppress(AgentGone, AgentTimeout):
        guest.agent.start("diskio")
    guest.run(1)
    guest.machine.i8042.press("a")
    guest.run(0.1)
    boot_cpu = guest.machine.lapics[0]
    assert vectors(boot_cpu, ISR) == {IRQ18}
    assert {IRQ0, IRQ1} <= vectors(boot_cpu, IRR)


def stuck(machine: Machine) -> None:
    """Somebody in slot 3, for whom there is no driver, holds PIRQC#."""
    machine.pci.interrupt_line(3, 1)(True)


@pytest.mark.nightly
def test_a_line_that_nobody_wants_is_shut_off_at_the_100000th_interrupt_and_its_drivers_wait(
    boot: Boot,
) -> None:
    guest = boot(sata=(Disk.memory(1024), None), prepare=stuck, timeout=60)
    assert 'irq 18: nobody cared (try booting with the "irqpoll" option)' in guest.console
    assert "(ata_interrupt+0x0/" in guest.console
    assert "Disabling IRQ #18" in guest.console
    assert interrupts(guest)["18"][0] == 100_000
    assert "ata1: qc timeout (cmd 0xef)" in guest.console
    assert "ata1: disabling port" in guest.console
    assert "Attached scsi disk" not in guest.console


def test_irqpoll_asks_at_every_tick_a_device_whose_interrupts_do_not_arrive(boot: Boot) -> None:
    def not_wired(machine: Machine) -> None:
        assert machine.sata is not None
        machine.sata._inta = lambda level: None

    guest = boot("irqpoll", command_line=SATA, sata=(), prepare=not_wired)
    assert "Misrouted IRQ fixup and polling support enabled" in guest.console
    assert "VFS: Mounted root (toyfs filesystem) on /dev/sda" in guest.console
    assert interrupts(guest)["18"][0] == 0
    guest.agent.start("diskio")
    guest.run(1)
    assert len(guest.toyfs().read_file("/diskio")) == 65536
