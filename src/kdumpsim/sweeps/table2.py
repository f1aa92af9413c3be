# SPDX-License-Identifier: GPL-2.0-or-later
"""The paper's Table 2 run on this machine: which scenario is which cell, and what came of it beside what was published.

Every cell is run with the same kernel options, those of the profile.  What differs is what the paper's testers changed
too: the auxiliary tool that leads the kernel over the crash point (section 3.4), and for IDE_CORE_CP the disk
controller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdumpsim.lkdtt.paper import Agreement, Cell, agreement, cells, column_of
from kdumpsim.runs.forking import Report
from kdumpsim.scenario.mechanisms import DEFAULT_MECHANISM
from kdumpsim.scenario.points import crash_points, crash_types
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps.plan import ranges


@dataclass
class CellRuns:
    """A cell and what came of its runs."""

    cell: Cell
    scenarios: tuple[Scenario, ...]
    """One a seed; empty if the kernel has no such crash point or type."""
    reports: list[Report] = field(default_factory=list)

    @property
    def built(self) -> bool:
        """Whether the kernel has this point and this type."""
        return bool(self.scenarios)

    @property
    def outcomes(self) -> dict[int, str]:
        """Outcome by seed, of the runs that came home."""
        return {r.scenario.seed: str(r.result.outcome) for r in self.reports if r.result is not None}

    @property
    def dead(self) -> list[Report]:
        """Runs without an outcome: their worker died, or the host's time for them was up."""
        return [report for report in self.reports if report.result is None]

    @property
    def shown(self) -> str:
        """For the table: the outcome, or every outcome with its seeds where they differ."""
        if not self.built:
            return "-"
        seeds: dict[str, list[int]] = {}
        for seed, outcome in sorted(self.outcomes.items()):
            seeds.setdefault(outcome, []).append(seed)
        for report in self.dead:
            seeds.setdefault(report.end, []).append(report.scenario.seed)
        if len(seeds) == 1:
            return next(iter(seeds))
        return "; ".join(f"{outcome} [seed {ranges(which)}]" for outcome, which in seeds.items())

    @property
    def agreement(self) -> str:
        """With the published outcome: a word of `Agreement`, or how many of the runs agree; empty if none can be."""
        published, outcomes = self.cell.published, self.outcomes
        if published is None or not outcomes:
            return ""
        words = Counter(agreement(outcome, published) for outcome in outcomes.values())
        if len(words) == 1:
            return next(iter(words))
        return f"{words[Agreement.FULL]} of {len(outcomes)} runs"

    def as_dicts(self) -> Iterator[dict[str, Any]]:
        """One object a run for ``--json``; one with no outcome for a cell that is not built."""
        cell = {"crash_point": self.cell.crash_point, "crash_type": self.cell.crash_type}
        if not self.built:
            empty = {"outcome": None, "paper": self.cell.published, "seed": None, "command": None}
            yield {**cell, **empty, "evidence": ["not built: the kernel has no such crash point or type"]}
        for report in sorted(self.reports, key=lambda report: report.scenario.seed):
            result = report.result
            yield {
                **cell,
                "outcome": str(result.outcome) if result else None,
                "paper": self.cell.published,
                "seed": report.scenario.seed,
                "command": report.scenario.command(),
                "evidence": result.outcome.evidence if result else [f"{report.end}: {report.died}"],
                "reason": result.outcome.reason if result else None,
                "accuracy": result.judgement.accuracy if result and result.judgement else None,
                "vmcore_sha256": result.vmcore.sha256 if result and result.vmcore else None,
            }


def plan(
    seeds: Sequence[int],
    *,
    points: Sequence[str] = (),
    types: Sequence[str] = (),
    **common: Any,
) -> list[CellRuns]:
    """The cells asked for (all, where none are named), with a scenario a seed; `common` are fields of every scenario.

    Beside them stands what the paper's column for the mechanism has, or else that for the profile.

    ScenarioError for a scenario that cannot be.
    """
    chosen = []
    for cell in cells(column_of(common.get("profile", ""), common.get("mechanism", DEFAULT_MECHANISM))):
        if (points and cell.crash_point not in points) or (types and cell.crash_type not in types):
            continue
        scenarios: tuple[Scenario, ...] = ()
        if cell.crash_point in crash_points() and cell.crash_type in crash_types():
            scenarios = tuple(Scenario(cell.crash_point, cell.crash_type, seed=seed, **common) for seed in seeds)
        chosen.append(CellRuns(cell, scenarios))
    return chosen


def scenarios_of(planned: Iterable[CellRuns]) -> list[Scenario]:
    """All runs, seed by seed, and of each seed those first that are likely to take long, so that none is left alone.

    The operator waits for what hangs and for what goes on faulting; swapping takes its time.
    """

    def quick(scenario: Scenario) -> bool:
        return scenario.crash_type not in ("hang", "overflow") and not scenario.point.load

    return sorted((s for cell in planned for s in cell.scenarios), key=lambda s: (s.seed, quick(s)))


@dataclass(frozen=True)
class Summary:
    """The table in numbers: of the cells that ran and that the paper has."""

    compared: int
    full: int
    letter: int
    unequal_seeds: int
    """Cells whose runs ended differently from seed to seed."""
    dead: int
    """Runs whose worker died."""
    not_built: int


def summary(planned: Iterable[CellRuns]) -> Summary:
    """Count."""
    planned = list(planned)
    words = [cell.agreement for cell in planned if cell.agreement]
    return Summary(
        compared=len(words),
        full=words.count(Agreement.FULL),
        letter=words.count(Agreement.LETTER),
        unequal_seeds=sum(len(set(cell.outcomes.values())) > 1 for cell in planned),
        dead=sum(len(cell.dead) for cell in planned),
        not_built=sum(not cell.built for cell in planned),
    )
