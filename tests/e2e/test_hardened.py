# SPDX-License-Identifier: GPL-2.0-or-later
"""The profile `hardened` (docs/hardened.md): what kills 2.6.16 for good is dumped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kdumpsim.runs.forking import run_all
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import parse_crashkernel

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


def test_a_relocatable_capture_kernel_runs_wherever_its_region_is(tmp_path: Path) -> None:
    """Where the first kernel finds a place, for the size that its memory calls for; the command line has no address."""
    region = parse_crashkernel("32M-128M:8M,128M-:16M")
    scenario = Scenario("FS_DEVRW", "exception", profile="hardened", crashkernel=region)
    (report,) = run_all([(scenario, tmp_path)], 1)
    assert report.result is not None, report.died
    told = report.result.as_dict()
    assert (told["outcome"], told["accuracy"], told["completeness"]) == ("O", 1, 1), told["evidence"]
    console = (tmp_path / "console.log").read_text()
    assert "Reserving 8MB of memory at 56MB for crashkernel" in console
    # One region that the capture kernel may use begins there, and so does its text.
    assert re.search(r"memmap=\d+K@57344K ", console)


def test_without_timer_interrupts_only_the_kernel_itself_saves_the_dump(tmp_path: Path) -> None:
    """Section 7.3: user space depends on a working scheduler, and that on the timer."""
    outcomes = {}
    for way in ("off", "fallback", "only"):
        scenario = Scenario("FS_DEVRW", "exception", breaks=("timer@handover",), kernel_options=(("kernel_dump", way),))
        (tmp_path / way).mkdir()
        (report,) = run_all([(scenario, tmp_path / way)], 1)
        assert report.result is not None, report.died
        told = report.result.as_dict()
        outcomes[way] = (told["outcome"], told["accuracy"], told["completeness"])
        assert "failed for good at the hand-over: timer@handover" in told["evidence"]
    assert outcomes == {"off": ("X (2c)", None, None), "fallback": ("O", 1, 1), "only": ("O", 1, 1)}
    consoles = {way: (tmp_path / way / "console.log").read_text() for way in outcomes}
    gave_up = "IO-APIC + timer doesn't work!"
    assert gave_up in consoles["off"]
    assert f"kernel_dump: user space cannot save the dump: {gave_up}" in consoles["fallback"]
    assert gave_up not in consoles["only"]


@pytest.mark.nightly
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
