# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupt controllers on the way to a capture kernel that needs the legacy timer (LKDTT paper, section 5.2.5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpsim.runs.forking import run_all
from kdumpsim.scenario.scenario import Scenario

RELOCATED = (("relocate_cpu", "1"), ("safe_smp_processor_id", "1"))


def test_the_kernel_space_way_waits_for_no_tick(tmp_path: Path) -> None:
    """kernel_dump=only, where any other capture kernel would wait for ever."""
    options = {"calibrate": "ticks", "apic_restore": "none", "nmi_watchdog": "0", "kernel_dump": "only"}
    scenario = Scenario("FS_DEVRW", "panic", kernel_options=tuple(options.items()))
    (report,) = run_all([(scenario, tmp_path)], 1)
    assert report.result is not None, report.died
    told = report.result.as_dict()
    assert (told["outcome"], told["accuracy"], told["completeness"]) == ("O", 1, 1)


@pytest.mark.parametrize(
    ("i8259", "restore", "outcomes"),
    [
        ("lint0", "none", "X X"),
        ("lint0", "partial", "O O"),
        pytest.param("lint0", "full", "O X", marks=pytest.mark.nightly),
        pytest.param("ioapic-unlisted", "none", "X X", marks=pytest.mark.nightly),
        pytest.param("ioapic-unlisted", "partial", "O O", marks=pytest.mark.nightly),
        pytest.param("lint0-mislisted", "partial", "X X", marks=pytest.mark.nightly),
        ("lint0-mislisted", "full and relocated", "O O"),
    ],
)
def test_which_cpu_gets_the_timer_after_a_hand_over(tmp_path: Path, i8259: str, restore: str, outcomes: str) -> None:
    """A panic on CPU 0, and one on CPU 1, of kernels that count ticks before they set up an APIC, as 2.6.16."""
    way, _, relocated = restore.partition(" and ")
    options = (("calibrate", "ticks"), ("apic_restore", way), ("nmi_watchdog", "0"), *(RELOCATED if relocated else ()))
    jobs = []
    for cpu in (0, 1):
        (tmp_path / str(cpu)).mkdir()
        scenario = Scenario(
            "FS_DEVRW", "panic", crash_cpu=cpu, patience=3, timeout=8, i8259=i8259, kernel_options=options
        )
        jobs.append((scenario, tmp_path / str(cpu)))
    seen = []
    for report, (_, directory) in zip(run_all(jobs, 1), jobs, strict=True):
        assert report.result is not None, report.died
        told = report.result.as_dict()
        seen.append(told["outcome"][0])
        if told["outcome"] == "O":
            assert (told["accuracy"], told["completeness"]) == (1, 1)
        else:  # waiting for a tick
            console = (directory / "console.log").read_text()
            assert told["outcome"] == "X (2c)"
            assert console.count("Calibrating delay loop against ticks...") == 1
    assert " ".join(seen) == outcomes
