# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a plan and keep its runs in a store: skip those that are in it, and store each one as it ends."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from kdumpsim.runs.hosttime import Poll
from kdumpsim.scenario.settings import to_plain
from kdumpsim.sweeps.comparing import compare
from kdumpsim.sweeps.plan import Arm, Group, Plan
from kdumpsim.sweeps.row import Row, identity
from kdumpsim.sweeps.statistics import looks
from kdumpsim.sweeps.store import Look, Store
from kdumpsim.sweeps.tally import shown
from kdumpsim.sweeps.workers import Ways, pieces, run_locally

Runner = Callable[[Iterable[Group]], Generator[tuple[Arm, Row], None, None]]
"""Runs groups, by local workers (`workers.run_locally`) or others; rows come as runs end."""
RATE_OVER_S = 60.0


def runner(plan: Plan, jobs: int | None, dask: str | None, ways: Ways, poll: Poll | None = None) -> Runner:
    """Where a plan is run: `jobs` workers of this machine (None: one for each of its CPUs), or a Dask scheduler's."""
    if dask is not None:
        from kdumpsim.sweeps.remote import run_remotely

        return lambda groups: run_remotely(groups, dask, ways, poll)
    workers = jobs or os.cpu_count() or 1
    return lambda groups: run_locally(pieces(groups, plan.total, workers), workers, ways, poll)


@dataclass
class Progress:
    """How a sweep gets on."""

    total: int
    before: int = 0
    """Runs that were in the store before."""
    done: int = 0
    """Runs that ended in this sweep."""
    ends: Counter[str] = field(default_factory=Counter)
    """How they ended, by O, X and what has no outcome."""
    _began: float = field(default_factory=time.monotonic)
    _marks: list[tuple[float, int]] = field(default_factory=list)

    def tell(self, row: Row) -> None:
        """One run more."""
        self.done += 1
        self.ends[row.end if row.ok is None else "O" if row.ok else "X"] += 1
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] >= 1:
            self._marks.append((now, self.done))
            while now - self._marks[0][0] > RATE_OVER_S:
                del self._marks[0]

    @property
    def rate(self) -> float:
        """Runs a minute of the host's time, over the last minute; 0 at first."""
        now, (since, done) = time.monotonic(), self._marks[0] if len(self._marks) > 1 else (self._began, 0)
        return 60 * (self.done - done) / (now - since) if now > since else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds of the host's time that are left, by the rate; None before there is one."""
        return 60 * self.left / self.rate if self.rate else None

    @property
    def left(self) -> int:
        """Runs still to do."""
        return self.total - self.before - self.done


def run_plan(plan: Plan, store: Store, runner: Runner, progress: Progress | None = None) -> Generator[Row, None, None]:
    """Run what the store has not, and keep each run when it ends.

    Runs that are there without an outcome, since their worker died, are run again.  Whatever ends the iteration,
    the store has all that came out of it.  A plan with looks ends at the first one that shows a difference.
    """
    progress = progress or Progress(plan.total)
    store.keep_plan(plan)
    for part, look in _parts(plan):
        with closing(runner(missing(part, store, progress))) as rows:
            for arm, row in rows:
                store.add(arm, [row])
                progress.tell(row)
                yield row
        if look is not None and _taken(plan, store, *look).decided:
            return


def _parts(plan: Plan) -> Iterator[tuple[Plan, tuple[int, float] | None]]:
    """The plan in parts, seed by seed, each with the look after it: its number and the level for its p-value."""
    if not plan.looks:
        yield plan, None
        return
    ends = [-(-number * len(plan.seeds) // plan.looks) for number in range(1, plan.looks + 1)]
    levels = looks([end / len(plan.seeds) for end in ends])
    for number, (begin, end, level) in enumerate(zip([0, *ends], ends, levels, strict=False), 1):
        yield replace(plan, seeds=plan.seeds[begin:end]), (number, level)


def _taken(plan: Plan, store: Store, number: int, level: float) -> Look:
    """The look as it is kept: the first time that it is taken counts."""
    earlier = {look.number: look for look in store.looks}
    if number not in earlier:
        (name, values), *_ = [axis for axis in (*plan.options, *plan.fields) if len(axis[1]) > 1]
        a, b = ({name: shown(to_plain(value))} for value in values)
        found = compare(store, a, b)
        earlier[number] = Look(number, found.pairs, found.p, level)
        store.keep_look(earlier[number])
    return earlier[number]


def missing(plan: Plan, store: Store, progress: Progress) -> Iterator[Group]:
    """The groups of a plan less what is in the store."""
    for group in plan.groups():
        keys = {identity(scenario)[0]: scenario for scenario in group.scenarios}
        there = store.has(list(keys))
        progress.before += len(there)
        if left := tuple(scenario for key, scenario in keys.items() if key not in there):
            yield replace(group, scenarios=left)
