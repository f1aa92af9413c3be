# SPDX-License-Identifier: GPL-2.0-or-later
"""The paper's Table 2 as rates: every cell over counts and seeds, in a sweep's store, beside what the paper has.

One run of a cell is an anecdote: which crossing of the point it comes at decides it (docs/table2.md).  So the paper's
outcome, one run each, is set beside how often a single run here would have been it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdumpsim.lkdtt.paper import COLUMN, Agreement, Cell, agreement, cells, column_of
from kdumpsim.scenario.mechanisms import DEFAULT_MECHANISM
from kdumpsim.scenario.points import crash_points, crash_types
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.store import Store
from kdumpsim.sweeps.tally import Tally


@dataclass
class CellRate:
    """A cell of one profile, and how its runs ended."""

    profile: str
    cell: Cell
    """With the outcome that the paper's column for this profile has, if there is one."""
    column: str = COLUMN
    """That column."""
    tally: Tally = field(default_factory=Tally)
    contexts: Counter[str] = field(default_factory=Counter)
    """What the CPU that crashed was at (`runs.calls.CONTEXTS`)."""

    @property
    def usual(self) -> str | None:
        """The outcome that most runs had, of several the first by name; None where no run has one."""
        outcomes = self.outcomes
        return min(outcomes, key=lambda outcome: (-outcomes[outcome], outcome)) if outcomes else None

    @property
    def outcomes(self) -> Counter[str]:
        """Runs by outcome, those without one left out."""
        return Counter({end: runs for end, runs in self.tally.ends.items() if end[0] in "OX"})

    @property
    def agreement(self) -> str | None:
        """A word of `Agreement` for the usual outcome; None where the paper has none, or no run."""
        published, usual = self.cell.published, self.usual
        return agreement(usual, published) if published is not None and usual is not None else None

    def agreeing(self, *words: str) -> int:
        """Runs whose agreement with the paper is one of these words."""
        published = self.cell.published
        if published is None:
            return 0
        return sum(runs for outcome, runs in self.outcomes.items() if agreement(outcome, published) in words)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "profile": self.profile, "crash_point": self.cell.crash_point, "crash_type": self.cell.crash_type,
            "runs": self.tally.ends.total(), "ok": self.tally.ok, "n": self.tally.n, "rate": self.tally.rate,
            "interval": [self.tally.interval.low, self.tally.interval.high],
            "ends": dict(self.tally.ends.most_common()), "contexts": dict(self.contexts.most_common()),
            "paper": self.cell.published, "usual": self.usual, "agreement": self.agreement,
            "runs_that_agree": self.agreeing(Agreement.FULL),
            "runs_that_agree_in_letter": self.agreeing(Agreement.FULL, Agreement.LETTER),
        }  # fmt: skip


def rate_axes(points: Sequence[str], types: Sequence[str], counts: str, seeds: Sequence[int]) -> dict[str, Any]:
    """The lines of a plan for the cells asked for (all, where none are named), as far as the kernel has them."""
    built_points = [point for point in dict.fromkeys(c.crash_point for c in cells()) if point in crash_points()]
    built_types = [kind for kind in dict.fromkeys(c.crash_type for c in cells()) if kind in crash_types()]
    return {
        "points": list(points) or built_points,
        "types": list(types) or built_types,
        "counts": counts,
        "seeds": list(seeds),
    }


def rate_plan(
    profiles: Sequence[str],
    counts: str,
    seeds: Sequence[int],
    *,
    points: Sequence[str] = (),
    types: Sequence[str] = (),
    **fields: Any,
) -> Plan:
    """The sweep of the cells asked for (all, where none are named).  ScenarioError for what cannot be."""
    if not profiles:
        raise ScenarioError("profile is empty: name one or more, such as default,2.6.16")
    data = {**rate_axes(points, types, counts, seeds), "profile": list(profiles)}
    options = dict(fields.pop("kernel_options", ()))
    return Plan.from_dict({**data, "options": {name: [value] for name, value in options.items()}, **fields})


def rates(store: Store) -> list[CellRate]:
    """The cells of a store, profile by profile, in the table's order."""
    arms = {arm.id: arm.settings["profile"] for arm in store.arms}
    columns = {
        arm.settings["profile"]: column_of(arm.settings["profile"], arm.settings.get("mechanism", DEFAULT_MECHANISM))
        for arm in store.arms
    }
    published = {
        profile: {(cell.crash_point, cell.crash_type): cell for cell in cells(column)}
        for profile, column in columns.items()
    }
    found: dict[tuple[str, str, str], CellRate] = {}
    counted = store.counted('SELECT arm, crash_point, crash_type, "end", ok, context FROM runs')
    for (arm, point, kind, end, ok, context), runs in counted.items():
        profile = arms[arm]
        cell = published[profile].get((point, kind)) or Cell(point, kind, None)
        rate = found.setdefault((profile, point, kind), CellRate(profile, cell, columns[profile]))
        rate.tally.add(end, None if ok is None else bool(ok), runs)
        if context:
            rate.contexts[context] += runs
    order = {key: number for number, key in enumerate(next(iter(published.values()), ()))}
    profiles = list(dict.fromkeys(arms.values()))
    last = len(order)
    return sorted(
        found.values(),
        key=lambda r: (profiles.index(r.profile), order.get((r.cell.crash_point, r.cell.crash_type), last)),
    )


@dataclass(frozen=True)
class RateSummary:
    """One profile in numbers, of the cells that the paper has."""

    compared: int
    full: int
    """Cells whose usual outcome is the paper's."""
    letter: int
    """Cells more whose usual outcome agrees in O or X, not in the marks."""
    single: float
    """How often, on average, a single run of each cell is the paper's outcome; a fraction of 1."""
    single_letter: float
    """The same for O or X alone."""
    captured: int
    """Cells, with or without a counterpart in the paper, whose every run is O."""
    cells: int


def rate_summary(found: Iterable[CellRate]) -> RateSummary:
    """Count."""
    found = list(found)
    there = [rate for rate in found if rate.agreement is not None]
    words = [rate.agreement for rate in there]

    def share(*which: str) -> float:
        return sum(rate.agreeing(*which) / rate.tally.n for rate in there) / len(there) if there else 0.0

    return RateSummary(
        compared=len(there),
        full=words.count(Agreement.FULL),
        letter=words.count(Agreement.LETTER),
        single=share(Agreement.FULL),
        single_letter=share(Agreement.FULL, Agreement.LETTER),
        captured=sum(rate.tally.ok == rate.tally.ends.total() for rate in found),
        cells=len(found),
    )
