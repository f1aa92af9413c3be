# SPDX-License-Identifier: GPL-2.0-or-later
"""The IDE driver when things go wrong: lost interrupts, failing drives, no DMA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_without_dma(boot: Callable[..., Any]) -> None:
    guest = boot("ide=nodma")
    assert "LBA48, PIO" in guest.console
    guest.agent.start("diskio")
    guest.run(1)
    assert "diskio:" not in guest.console
    assert len(guest.toyfs().read_file("/diskio")) == 65536


def test_a_lost_interrupt_is_found_by_the_timer(boot: Callable[..., Any]) -> None:
    guest = boot()
    channel = guest.machine.ide.channels[0]
    wire, raised = channel._irq, [0]

    def leaky(level: bool) -> None:
        raised[0] += level
        if not (level and raised[0] == 5):
            wire(level)

    channel._irq = leaky
    guest.agent.start("diskio")
    guest.run(12)
    assert guest.console.count("hda: lost interrupt") == 1
    assert raised[0] > 100
    assert "diskio:" not in guest.console


def test_one_failure_is_tried_again(boot: Callable[..., Any]) -> None:
    guest = boot()
    seen = guest.fail_dma({5})
    guest.agent.start("diskio")
    guest.run(1)
    assert guest.console.count("hda: dma_intr: status=0x51 { DriveReady SeekComplete Error }") == 1
    assert "DMA disabled" not in guest.console
    assert seen[0] > 20
    assert "diskio:" not in guest.console


def test_more_failures_reset_the_channel_and_go_on_without_dma(boot: Callable[..., Any]) -> None:
    guest = boot()
    seen = guest.fail_dma(set(range(5, 100)))
    guest.agent.start("diskio")
    guest.run(1)
    assert "ide0: reset: success" in guest.console
    assert "hda: DMA disabled" in guest.console
    assert seen[0] == 6
    assert "diskio:" not in guest.console
    assert guest.toyfs().check() == []


def test_sysrq_by_keyboard(boot: Callable[..., Any]) -> None:
    guest = boot()
    for key in ("leftalt", "sysrq", "h"):
        guest.machine.i8042.press(key)
    guest.run(0.1)
    assert "SysRq : HELP" in guest.console
    for key in ("h", "sysrq", "leftalt"):
        guest.machine.i8042.release(key)
    guest.machine.i8042.press("t")
    guest.run(0.1)
    assert "Show State" not in guest.console
