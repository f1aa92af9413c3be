# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash points of interrupts and tasklets; hangs and who finds them (LKDTT paper, sections 4.1 and 5.2.3)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from .conftest import Run

Crash = Callable[..., Run]
LOCKUP, SOFT_LOCKUP = "NMI Watchdog detected LOCKUP on CPU", "BUG: soft lockup detected on CPU#"
INTERRUPT_FLAG = 0x200


def options(**chosen: str) -> list[str]:
    return [word for name, value in chosen.items() for word in ("--kernel-option", f"{name}={value}")]


def assert_right_dump(run: Run) -> None:
    assert run.status == 0, run.stdout + run.stderr + run.console
    assert run.result["outcome"].startswith("O")
    assert (run.result["accuracy"], run.result["completeness"]) == (1, 1)
    assert all(check["ok"] for check in run.result["registers"]), run.result["registers"]


def seconds_to_purgatory(run: Run) -> float:
    found = re.search(r"purgatory ([\d.]+) ms later", str(run.result["evidence"]))
    assert found, run.result["evidence"]
    return float(found[1]) / 1000


@pytest.mark.parametrize("kind", ["panic", "bug", "exception"])
@pytest.mark.parametrize("point", ["INT_HW_IRQ_EN", "TASKLET", "INT_TASKLET_ENTRY"])
def test_a_crash_in_an_interrupt_or_tasklet_gives_a_right_dump(crash: Crash, point: str, kind: str) -> None:
    assert_right_dump(crash(point, kind))


@pytest.mark.parametrize(
    ("point", "enabled", "function"),
    [
        ("INT_HARDWARE_ENTRY", False, "__do_IRQ"),
        ("INT_HW_IRQ_EN", True, "handle_IRQ_event"),
        ("TASKLET", False, "tasklet_action"),
        ("INT_TASKLET_ENTRY", True, "tasklet_action"),
    ],
)
def test_a_point_is_where_the_paper_has_it(crash: Crash, point: str, enabled: bool, function: str) -> None:
    console = crash(point, "exception").console
    flags = re.search(r"EFLAGS: ([0-9a-f]{8})", console)
    assert flags
    assert bool(int(flags[1], 16) & INTERRUPT_FLAG) is enabled
    trace = console[console.index("Call Trace:") : console.index("Code:")]
    assert f"] {function}+" in trace


@pytest.mark.parametrize("point", ["INT_HARDWARE_ENTRY", "TASKLET"])
def test_a_hang_with_interrupts_off_is_found_by_the_nmi_watchdog_after_five_seconds(crash: Crash, point: str) -> None:
    run = crash(point, "loop", *options(nmi_watchdog="1"))
    assert_right_dump(run)
    assert LOCKUP in run.console
    assert 4.9 < seconds_to_purgatory(run) < 5.2
    assert "EIP is at dtt_loop" in run.console


def test_the_watchdog_of_the_performance_counter_finds_it_too(crash: Crash) -> None:
    run = crash("INT_HARDWARE_ENTRY", "loop", *options(nmi_watchdog="2"))
    assert_right_dump(run)
    assert LOCKUP in run.console
    assert "EIP is at dtt_loop" in run.console
    assert 4 < seconds_to_purgatory(run) < 6.2  # the fifth or sixth overflow since the CPU's last timer interrupt
    again = crash("INT_HARDWARE_ENTRY", "loop", "--timeout", "30", *options(nmi_watchdog="2"))
    assert (again.directory / "vmcore").read_bytes() == (run.directory / "vmcore").read_bytes()


def test_the_nmi_watchdog_looks_at_every_cpu(crash: Crash) -> None:
    run = crash("INT_HARDWARE_ENTRY", "loop", "--cpus", "4", "--seed", "3")
    assert_right_dump(run)
    assert "testing NMI watchdog ... OK." in run.console
    assert len(run.result["registers"]) == 4


def test_without_the_nmi_watchdog_nobody_finds_it(crash: Crash) -> None:
    run = crash("TASKLET", "loop", "--timeout", "25", *options(nmi_watchdog="0"))
    assert run.result["outcome"].startswith("X")
    assert LOCKUP not in run.console
    assert SOFT_LOCKUP not in run.console


def test_the_thresholds_can_be_set(crash: Crash) -> None:
    run = crash("INT_HARDWARE_ENTRY", "loop", *options(watchdog_thresh="2"))
    assert 1.9 < seconds_to_purgatory(run) < 2.2


def test_a_tasklet_that_hangs_with_interrupts_on_is_noticed_once_and_nothing_is_done(crash: Crash) -> None:
    run = crash("INT_TASKLET_ENTRY", "loop", "--timeout", "40", *options(softlockup="warn"))
    assert run.console.count(SOFT_LOCKUP) == 1
    assert LOCKUP not in run.console
    assert not run.result["outcome"].startswith("O")


def test_softlockup_panic_makes_a_dump_of_it(crash: Crash) -> None:
    run = crash("INT_TASKLET_ENTRY", "loop", *options(softlockup="panic"))
    assert_right_dump(run)
    assert "Kernel panic - not syncing: softlockup" in run.console
    assert 9 < seconds_to_purgatory(run) < 11.2


def test_the_nmi_watchdog_does_not_find_a_hang_with_interrupts_on(crash: Crash) -> None:
    run = crash("INT_HW_IRQ_EN", "loop", "--timeout", "25", *options(softlockup="off"))
    assert not run.result["outcome"].startswith("O")
    assert LOCKUP not in run.console


def test_nobody_finds_a_hang_that_can_be_preempted(crash: Crash) -> None:
    run = crash("FS_DEVRW", "loop", "--timeout", "25")
    assert LOCKUP not in run.console
    assert SOFT_LOCKUP not in run.console


def test_a_kernel_without_preemption_has_its_hang_in_process_context_found(crash: Crash) -> None:
    run = crash("FS_DEVRW", "loop", *options(preempt="0", watchdog_thresh="2"))
    assert SOFT_LOCKUP in run.console
    assert_right_dump(run)


@pytest.mark.parametrize(("stack", "survived"), [("8k", True), ("4k", False)])
def test_five_kilobytes_overflow_a_small_stack_only(crash: Crash, stack: str, survived: bool) -> None:
    run = crash("FS_DEVRW", "overflow", "--timeout", "30", *options(rec_num="5", stack=stack))
    assert ("Unable to handle kernel" not in run.console and "reset" not in run.result["reason"]) is survived
    assert not (survived and run.result["vmcore"])
