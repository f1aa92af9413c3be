# SPDX-License-Identifier: GPL-2.0-or-later
"""The two crash points in disk drivers, as a user runs them: each with the driver it lies in."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Run

Crash = Callable[..., Run]


def test_a_crash_at_scsi_command_dispatch_is_dumped_from_the_sata_disk(crash: Crash) -> None:
    run = crash("SCSI_DISPATCH_CMD", "panic")
    assert run.status == 0, run.stdout + run.stderr
    assert (run.result["outcome"], run.result["accuracy"]) == ("O", 1)
    assert "Attached scsi disk sda" in run.console
    assert "Kernel panic - not syncing: LKDTT: crash point SCSI_DISPATCH_CMD" in run.console


def test_ide_core_cp_is_added_first_and_crossed_on_an_ide_disk(crash: Crash) -> None:
    run = crash("IDE_CORE_CP", "exception")
    assert run.status == 0, run.stdout + run.stderr
    assert (run.result["outcome"], run.result["accuracy"]) == ("O", 1)
    assert "hda: KDUMPSIM HARDDISK, ATA DISK drive" in run.console
    assert "ide_start_request+0x" in run.console


def test_the_driver_that_never_crosses_a_point_is_refused(crash: Crash) -> None:
    run = crash("IDE_CORE_CP", "panic", "--kernel-option", "combined_mode=libata")
    assert run.status == 2
    assert "IDE_CORE_CP is never crossed with kernel option combined_mode=libata" in run.stderr
    assert not run.directory.exists()
