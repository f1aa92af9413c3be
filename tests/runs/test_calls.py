# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a kernel crashed: the callers across its stacks, and what the CPU was at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kdumpsim import boot
from kdumpsim.api import Machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """With stacks of 4 KiB interrupts and softirqs have stacks of their own."""
    with boot(profile="2.6.16") as machine:
        yield machine


@pytest.mark.parametrize(
    ("point", "context", "callers"),
    [
        ("INT_HARDWARE_ENTRY", "IRQ ", ["__do_IRQ", "call_on_stack", "do_IRQ", "common_interrupt"]),
        ("TASKLET", "softirq", ["run_tasklets", "run_softirqs", "call_on_stack", "do_softirq", "irq_exit"]),
        ("FS_DEVRW", "task", ["ll_rw_block", "sys_fsync", "system_call"]),
    ],
)
def test_callers_and_context_of_a_crash(machine: Machine, point: str, context: str, callers: list[str]) -> None:
    crash = machine.crash(point, "panic").crash
    assert crash is not None
    assert crash.context is not None
    assert crash.context.startswith(context)  # which IRQ is a matter of the build
    # An interrupt may have come on top of another.
    assert [name for name in crash.calls if name in callers][-len(callers) :] == callers
    interrupted = {
        "the idle task": "enable_paging", "a system call": "system_call",
        "a program": "apic_timer_interrupt" if context == "softirq" else "common_interrupt",
    }  # fmt: skip
    assert crash.calls[-1] in ({"system_call"} if context == "task" else interrupted.values())
