# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a sweep that nothing ran."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.row import Row
from kdumpsim.sweeps.store import Store

PLAN = {"points": ["FS_DEVRW", "TIMERADD"], "types": ["panic", "overflow"], "counts": "1-5", "seeds": "0-9"}
STACKS = {**PLAN, "options": {"stack": ["4k", "8k"]}}


def captured(scenario: Scenario) -> Row:
    """A run that brought its dump home."""
    empty = Row.without_outcome(scenario, "O", "the dump was captured")
    return replace(
        empty, ok=True, captured=True, ended_in="dump", accuracy=1.0, completeness=1.0, wrong_registers=0,
        crash_ns=10**9, hand_over_ns=10**9 + 2_500_000 + scenario.seed * 10_000,
        calls="dtt_crossed < ll_rw_block", context="task", host_s=0.1,
    )  # fmt: skip


def failed(scenario: Scenario) -> Row:
    """One that did not: the capture kernel was entered."""
    row = captured(scenario)
    reason = f"purgatory was entered and no dump was brought home; the machine was still running at {scenario.seed}.5 s"
    return replace(
        row, end="X (2c)", ok=False, captured=False, ended_in="capture kernel", reason=reason, accuracy=None,
        completeness=None, wrong_registers=None, evidence=f"FS_DEVRW on CPU {scenario.seed % 2}\n2c: it began",
    )  # fmt: skip


def fill(store: Store, plan: Plan, ends: Callable[[Scenario], Row] = captured) -> None:
    """All runs of a plan."""
    store.keep_plan(plan)
    for group in plan.groups():
        store.add(group.arm, [ends(scenario) for scenario in group.scenarios])
