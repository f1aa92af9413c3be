#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What many runs cost.  ``python benchmarks/sweeps.py FIGURE [RUNS]``, on a host with nothing else to do

panics: judged dumps a minute of the host's time.  faults: executed-text faults a minute, with the survey of each boot.
memory: megabytes that this process, and the largest of its workers, had at most after each quarter of the runs.
report: seconds for the page of a store with so many rows.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from kdumpsim.sweeps.campaign import Campaign
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.report import page
from kdumpsim.sweeps.row import Row
from kdumpsim.sweeps.running import run_plan, runner
from kdumpsim.sweeps.store import Store
from kdumpsim.sweeps.workers import Ways

JOBS = os.cpu_count() or 1
COUNTS = 20
"""Runs that share a boot, as in a table of rates."""
DRAWS = 20
USUAL = {"panics": 600, "faults": 200, "memory": 2000, "report": 1_000_000}


def run(plan: Plan, tell: Callable[[int], object] = lambda done: None) -> int:
    """Run a plan into a store; how many runs that were."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "s.sqlite", create=True) as store:
        rows = run_plan(plan, store, runner(plan, JOBS, None, Ways()))
        for done, row in enumerate(rows, 1):
            if row.ok is None:
                raise SystemExit(f"a run without an outcome: {row.end}, {row.reason}")
            tell(done)
    return plan.total


def panics(runs: int) -> Iterator[str]:
    """Dumps a minute."""
    plan = Plan.from_dict({
        "points": "FS_DEVRW", "types": "panic", "counts": f"1-{COUNTS}", "seeds": f"0-{max(runs // COUNTS, 1) - 1}"
    })  # fmt: skip
    yield from _rate(plan, "judged dumps")


def faults(runs: int) -> Iterator[str]:
    """Faults a minute."""
    (plan,) = Campaign.of(["text:executed"], boots=max(runs // DRAWS, 1), runs=runs).drawing
    yield from _rate(plan, "executed-text faults")


def _rate(plan: Plan, what: str) -> Iterator[str]:
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(plan)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    yield f"{done} {what}: {60 * done / wall:.0f} a minute with {JOBS} workers, {cpu / done:.3f} s of CPU each"


def memory(runs: int) -> Iterator[str]:
    """Peaks so far, quarter by quarter."""
    plan = Plan.from_dict({
        "points": "FS_DEVRW", "types": "panic", "counts": f"1-{COUNTS}", "seeds": f"0-{max(runs // COUNTS, 4) - 1}"
    })  # fmt: skip
    peaks: list[str] = []

    def tell(done: int) -> None:
        if done % (plan.total // 4) == 0:
            own, workers = (
                resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            )
            peaks.append(f"{done} runs: {own:.0f} MB, workers {workers:.0f} MB")

    run(plan, tell)
    yield from peaks


def report(rows: int) -> Iterator[str]:
    """The page of a store that nothing ran."""
    plan = Plan.from_dict({
        "points": ["FS_DEVRW", "TIMERADD", "TASKLET", "INT_HW_IRQ_EN"], "types": ["panic", "oops", "hang", "overflow"],
        "counts": "1-20", "seeds": "0-1", "options": {"stack": ["4k", "8k"]},
    })  # fmt: skip
    group = next(plan.groups())
    made = [Row.without_outcome(scenario, "O", "the dump was captured") for scenario in group.scenarios]
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "s.sqlite", create=True) as store:
        for arm in plan.arms:
            for number in range(rows // (len(made) * len(plan.arms)) + 1):
                store.add(arm, (_ended(row, arm.label, number) for row in made))
        began = time.perf_counter()
        text = page(store)
        yield f"{len(store)} rows: {time.perf_counter() - began:.1f} s for {len(text) // 1024} KiB of page"


def _ended(row: Row, arm: str, number: int) -> Row:
    """Every third overflow fails, in ways of its own."""
    key = hash((arm, row.key, number)).to_bytes(8, "little", signed=True) + row.key[:8]
    bad = row.crash_type == "overflow" and number % 3 == 0
    return replace(
        row, key=key, boot=f"{arm}{number % 1000}", seed=number, ok=not bad, captured=not bad,
        end="X" if bad else "O", reason=f"the machine reset after {number % 50} ms" if bad else row.reason,
        crash_ns=10**9, hand_over_ns=10**9 + 10_000 * (number % 300), calls=f"dtt_crossed < place{number % 40}",
        context="task", accuracy=None if bad else 1.0,
    )  # fmt: skip


FIGURES: dict[str, Callable[[int], Iterator[str]]] = {
    "panics": panics, "faults": faults, "memory": memory, "report": report,
}  # fmt: skip


def main() -> None:
    """Measure one figure."""
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in FIGURES:
        raise SystemExit(__doc__)
    for line in FIGURES[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) == 3 else USUAL[sys.argv[1]]):
        print(line)


if __name__ == "__main__":
    main()
