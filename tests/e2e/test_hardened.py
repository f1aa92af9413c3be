# SPDX-License-Identifier: GPL-2.0-or-later
"""The profile `hardened` (docs/hardened.md): what kills 2.6.16 for good is dumped."""

from __future__ import annotations

from pathlib import Path

from kdumpsim.runs.forking import run_all
from kdumpsim.scenario.scenario import Scenario

POINTS = (
    "INT_HARDWARE_ENTRY",
    "INT_HW_IRQ_EN",
    "INT_TASKLET_ENTRY",
    "TASKLET",
    "FS_DEVRW",
    "MEM_SWAPOUT",
    "TIMERADD",
    "SCSI_DISPATCH_CMD",
)

FOUND = {"double fault", "low stack detected by irq handler"}
"""By the page below the stack, or by an interrupt that came when little was left."""


def test_a_stack_that_runs_over_anywhere_is_dumped_whole_and_true(tmp_path: Path) -> None:
    """LKDTT's overflow at all of the paper's points; the paper has X for each (table 2)."""
    scenarios = [Scenario(point, "overflow", profile="hardened") for point in POINTS]
    jobs = [(each, tmp_path / str(each.crash_point)) for each in scenarios]
    for _, directory in jobs:
        directory.mkdir()
    for report in run_all(jobs, 2):
        assert report.result is not None, report.died
        told = report.result.as_dict()
        assert (told["outcome"], told["accuracy"], told["completeness"]) == ("O", 1, 1), told["evidence"]
        (reason,) = (line.partition(": ")[2] for line in told["evidence"] if "before it said why" in line)
        assert reason in FOUND
        assert all(check["ok"] for check in told["registers"]), told["registers"]


def test_without_a_stack_to_hand_over_on_a_double_fault_waits_for_the_watchdog(tmp_path: Path) -> None:
    """crash_stacks=0: 2.6.16's task prints and stops; what the watchdog then does, it does before it prints."""
    scenario = Scenario("FS_DEVRW", "overflow", profile="hardened", kernel_options=(("crash_stacks", "0"),))
    (report,) = run_all([(scenario, tmp_path)], 1)
    assert report.result is not None, report.died
    told = report.result.as_dict()
    assert told["outcome"] == "X (nmiw)", told["evidence"]
    assert any(
        line.endswith('the kernel left in its memory "NMI Watchdog detected LOCKUP"') for line in told["evidence"]
    )
