# SPDX-License-Identifier: GPL-2.0-or-later
"""Crashes of a PC whose SATA controller is in native mode, as a user asks for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
PAPER = ("--profile", "2.6.16", "--kernel-option", "watchdog_thresh=1", "--patience", "4")


def test_a_hang_in_the_disks_level_triggered_interrupt_is_seen_by_nobody(crash: Crash) -> None:
    """The paper's INT_HW_IRQ_EN / hang: until the line is ended, the timer and the keyboard wait behind it."""
    run = crash("INT_HW_IRQ_EN", "hang", *PAPER, "--sata", "native")
    assert run.result["outcome"] == "X"
    assert "irq 18" in run.console
    for watchdog in ("soft lockup detected", "NMI Watchdog detected", "SysRq : Trigger"):
        assert watchdog not in run.console
    by_edge = crash("INT_HW_IRQ_EN", "hang", *PAPER)
    assert by_edge.result["outcome"] == "X (det, SysRq)"


@pytest.mark.parametrize("disk", ["hdc", "sdb"])
def test_the_capture_kernel_begins_with_the_disks_interrupt_in_service(crash: Crash, disk: str) -> None:
    run = crash("INT_HW_IRQ_EN", "panic", "--sata", "native", "--dump-disk", disk)
    assert run.result["outcome"] == "O"
    assert run.result["accuracy"] == 1
    assert f"savecore: vmcore saved to {disk}" in run.console or f"to {disk}" in run.console
    assert run.console.count("irq 18") == (4 if disk == "sdb" else 2)


@pytest.mark.nightly
def test_a_card_that_nobody_stopped_takes_the_disks_line_with_it(crash: Crash) -> None:
    """Section 5.2.4: the capture kernel's libata requests the line that the card, which still receives, holds."""
    words = ("--sata", "native", "--dump-disk", "sdb", "--dma", "net")
    shared = crash("FS_DEVRW", "panic", *words)
    assert shared.result["outcome"] == "X (2c)"
    assert "irq 18: nobody cared" in shared.console
    assert "Disabling IRQ #18" in shared.console
    apart = crash("FS_DEVRW", "panic", *words, "--nic-slot", "4")
    assert apart.result["outcome"] == "O"
    assert "nobody cared" not in apart.console


def test_dma_in_flight_is_named_by_its_port(crash: Crash) -> None:
    result = crash("FS_DEVRW", "panic", "--sata", "native", "--dma", "disk").result
    assert "DMA in flight at the hand-over: sata0" in result["evidence"]
    assert result["outcome"] == "O"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dump-disk", "sdb"), "add --sata native"),
        (("--sata", "native", "--dump-disk", "hdb"), "absent with --sata native"),
        (("--sata", "native", "--kernel-option", "combined_mode=ide"), "no effect with --sata native"),
        (("--sata", "native", "--machine", "qemu"), "machine qemu does not support sata native"),
        (("--sata", "ahci"), "legacy, native"),
        (("--nic-slot", "7"), "choose 3 to 6"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], said: str) -> None:
    refused = kdumpsim("run", "--crashpoint", "FS_DEVRW", "--type", "panic", *words)
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.split())
