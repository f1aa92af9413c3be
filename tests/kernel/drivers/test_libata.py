# SPDX-License-Identifier: GPL-2.0-or-later
"""The SATA disk behind the SCSI mid-layer: who drives what, and what happens when the drive or its interrupt fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SATA = "console=ttyS0,115200 root=/dev/sda panic_on_oops=1"
SOFTIRQ_COUNT = 0xFF00
THREAD_INFO_PREEMPT_COUNT = 12


@pytest.fixture
def sata(boot: Callable[..., Any]) -> Any:
    return boot(command_line=SATA)


def test_in_combined_mode_libata_has_the_primary_channel_and_the_ide_driver_the_secondary(sata: Any) -> None:
    told = [
        sata.console.index(words)
        for words in (
            "ata1: SATA cmd 0x1F0 ctl 0x3F6 bmdma 0xC000 irq 14",
            "ata1: dev 0 configured for UDMA mode 5",
            "scsi0 : ata_piix",
            "  Vendor: ATA       Model: KDUMPSIM HARDDIS  Rev: 1.0",
            "SCSI device sda: 16384 512-byte hdwr sectors (8 MB)",
            "sd 0:0:0:0: Attached scsi disk sda",
            "hdc: KDUMPSIM HARDDISK, ATA DISK drive",
            "VFS: Mounted root (toyfs filesystem) on /dev/sda",
        )
    ]
    assert told == sorted(told)
    owners = {row.split()[0]: row.split()[-1] for row in sata.text("/proc/interrupts").splitlines()[1:] if row.strip()}
    assert (owners["14:"], owners["15:"]) == ("libata", "ide1")


def test_combined_mode_ide_leaves_both_to_the_ide_driver(boot: Callable[..., Any]) -> None:
    guest = boot()
    assert "VFS: Mounted root (toyfs filesystem) on /dev/hda" in guest.console
    assert "ata1" not in guest.console
    assert "scsi" not in guest.console


def test_files_on_the_sata_disk_are_whole(sata: Any) -> None:
    sata.agent.start("diskio")
    sata.run(1)
    assert "diskio:" not in sata.console
    assert len(sata.toyfs().read_file("/diskio")) == 65536
    assert sata.toyfs().check() == []


def test_a_lost_interrupt_is_a_timeout_after_30_seconds_and_the_command_is_sent_again(sata: Any) -> None:
    channel = sata.machine.ide.channels[0]
    wire, raised = channel._irq, [0]

    def leaky(level: bool) -> None:
        raised[0] += level
        if not (level and raised[0] == 5):
            wire(level)

    channel._irq = leaky
    begin = sata.machine.clock.now
    sata.agent.start("diskio")
    sata.run(29)
    assert "timeout" not in sata.console
    sata.run(3)
    assert sata.console.count("timeout, stat 0x50 host_stat 0x") == 1
    assert sata.machine.clock.now - begin < 33 * 10**9
    assert raised[0] > 100
    assert "diskio:" not in sata.console
    assert "I/O error" not in sata.console


def test_a_medium_error_is_tried_again(sata: Any) -> None:
    seen = sata.fail_dma({5})
    sata.agent.start("diskio")
    sata.run(1)
    assert sata.console.count("failed, error=0x40") == 1
    assert seen[0] > 20
    assert "diskio:" not in sata.console


def test_five_failures_in_a_row_are_an_io_error(sata: Any) -> None:
    seen = sata.fail_dma(set(range(5, 10)))
    sata.agent.start("diskio")
    sata.run(1)
    assert sata.console.count("failed, error=0x40") == 5
    assert "sd 0:0:0:0: SCSI error: return code = 0x2" in sata.console
    assert "end_request: I/O error, dev sda, sector" in sata.console
    assert seen[0] >= 9


def test_commands_are_dispatched_by_the_task_that_submits_and_by_the_softirq_that_ends_the_one_before(
    sata: Any,
) -> None:
    contexts: set[bool] = set()

    def crossed(cpu: Any) -> None:
        info = cpu.registers().esp & ~0x1FFF
        count = int.from_bytes(cpu.read_linear(info + THREAD_INFO_PREEMPT_COUNT, 4), "little")
        contexts.add(bool(count & SOFTIRQ_COUNT))

    sata.machine.watch(sata.first.symbols["scsi_dispatch_cmd"], crossed)
    sata.agent.start("diskio")
    sata.run(0.2)
    assert contexts == {True, False}
