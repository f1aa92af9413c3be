# SPDX-License-Identifier: GPL-2.0-or-later
"""Count a store's runs: rates by arm and by cell, clusters by boot, groups of similar failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from kdumpsim.scenario.options import OPTIONS
from kdumpsim.scenario.profiles import PROFILES
from kdumpsim.sweeps.row import without_times
from kdumpsim.sweeps.statistics import Interval, wilson
from kdumpsim.sweeps.store import Store, StoredArm


@dataclass
class Tally:
    """Runs, counted by how they ended."""

    ok: int = 0
    n: int = 0
    """Runs that have an outcome."""
    ends: Counter[str] = field(default_factory=Counter)
    """By the outcome in the paper's legend, and by what ended a run without one."""

    def add(self, end: str, ok: bool | None, runs: int) -> None:
        """Count some runs more."""
        self.ends[end] += runs
        if ok is not None:
            self.n += runs
            self.ok += runs if ok else 0

    @property
    def rate(self) -> float | None:
        """Share of O; None where no run has an outcome."""
        return self.ok / self.n if self.n else None

    @property
    def interval(self) -> Interval:
        """Wilson's, as if the runs were independent."""
        return wilson(self.ok, self.n)

    @property
    def without_outcome(self) -> int:
        """Runs whose worker died or did not answer in time."""
        return self.ends.total() - self.n


CellKey = tuple[int, str, str]
"""Arm, crash point, crash type."""


def cells(store: Store) -> dict[CellKey, Tally]:
    """By arm, crash point and crash type."""
    found: dict[CellKey, Tally] = {}
    counted = store.counted('SELECT arm, crash_point, crash_type, "end", ok FROM runs')
    for (arm, point, kind, end, ok), runs in counted.items():
        found.setdefault((arm, point, kind), Tally()).add(end, None if ok is None else bool(ok), runs)
    return found


def by_arm(tallies: Mapping[CellKey, Tally]) -> dict[int, Tally]:
    """Cells summed over points and types."""
    found: dict[int, Tally] = {}
    for (arm, _, _), tally in sorted(tallies.items()):
        total = found.setdefault(arm, Tally())
        total.ok, total.n = total.ok + tally.ok, total.n + tally.n
        total.ends += tally.ends
    return found


def clusters(store: Store) -> dict[int, list[tuple[int, int]]]:
    """Of each arm, (O, runs) of each boot."""
    found: dict[int, list[tuple[int, int]]] = {}
    text = "SELECT arm, sum(ok), count(ok) FROM runs WHERE ok IS NOT NULL GROUP BY arm, boot"
    for arm, ok, runs in store.query(text):
        found.setdefault(arm, []).append((ok, runs))
    return found


def waits(store: Store, named: Mapping[int, str], what: str, bucket_ns: int) -> dict[str, list[tuple[float, int]]]:
    """Of each arm that is `named`, (ms, runs) ascending; `what`: virtual ns as SQL, negative ones are left out."""
    found: dict[str, list[tuple[float, int]]] = {}
    counted = store.counted(f"SELECT arm, ({what}) / {bucket_ns} FROM runs WHERE {what} >= 0")
    for (arm, bucket), runs in sorted(counted.items()):
        if arm in named:
            found.setdefault(named[arm], []).append((max(bucket, 1) * bucket_ns / 1e6, runs))
    return found


def varied(arms: Sequence[StoredArm]) -> list[str]:
    """Names of the settings in which arms differ; options that a profile brings with it are not named."""
    first = arms[0].settings if arms else {}
    names = [name for name in first if any(arm.settings.get(name) != first[name] for arm in arms)]
    if "profile" in names:
        names = [name for name in names if name not in OPTIONS or any(_asked(arm, name) for arm in arms)]
    return names


def _asked(arm: StoredArm, option: str) -> bool:
    """Is an option's value another than its profile's?"""
    profile = PROFILES.get(arm.settings["profile"])
    return profile is None or profile.options.get(option) != arm.settings.get(option)


def labels(arms: Sequence[StoredArm]) -> dict[int, str]:
    """What tells each arm from the others, by its number.

    Where arms are not all combinations of what was varied, as in an ablation, each is named by what is unusual in it.
    """
    names = varied(arms)
    values = {name: Counter(shown(arm.settings[name]) for arm in arms) for name in names}
    if len(arms) >= prod(map(len, values.values())):
        return {arm.id: _named(arm, names) or "all runs" for arm in arms}
    usual = {name: counted.most_common(1)[0][0] for name, counted in values.items()}
    unusual = {arm.id: [name for name in names if shown(arm.settings[name]) != usual[name]] for arm in arms}
    return {arm.id: _named(arm, unusual[arm.id]) or "unchanged" for arm in arms}


def _named(arm: StoredArm, names: Iterable[str]) -> str:
    return ", ".join(f"{name}={shown(arm.settings[name])}" for name in names)


def shown(value: Any) -> str:
    """A setting's value in a label."""
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


@dataclass(frozen=True)
class Failures:
    """Runs that ended alike, with the same call chain at the crash."""

    arm: int
    end: str
    ended_in: str | None
    reason: str
    """Without the times in which they differ."""
    calls: str
    runs: int
    command: str
    """Runs one of them again."""
    evidence: tuple[str, ...]
    """What was seen in that one."""


def failures(store: Store, most: int | None = None) -> list[Failures]:
    """Runs that are not O, grouped by how they ended and by their call chain; the largest groups first."""
    arms = {arm.id: arm for arm in store.arms}
    grouped: dict[tuple[int, str, str | None, str, str], tuple[int, tuple[Any, ...]]] = {}
    text = (
        'SELECT arm, "end", ended_in, r.text, c.text, count(*), crash_point, crash_type, count, min(seed), draw, '
        "struck, evidence "
        "FROM runs JOIN texts r ON r.id = reason JOIN texts c ON c.id = calls WHERE ok IS NOT 1 "
        "GROUP BY arm, reason, calls, 2, 3"
    )
    for arm, end, ended_in, reason, calls, runs, *one in store.query(text):
        key = (arm, end, ended_in, without_times(reason), calls)
        so_far, example = grouped.get(key, (0, tuple(one)))
        grouped[key] = so_far + runs, min(example, tuple(one), key=lambda e: (e[3], e[2]))
    found = [
        Failures(
            *key,
            runs=runs,
            command=arms[key[0]].command(*run),
            evidence=tuple(evidence.splitlines()),
        )
        for key, (runs, (*run, evidence)) in grouped.items()
    ]
    return sorted(found, key=lambda group: (-group.runs, group.command))[:most]


def table(tallies: Mapping[CellKey, Tally], arms: Sequence[StoredArm]) -> Iterator[str]:
    """Lines: each cell's runs and rate with Wilson's interval, and how they ended."""
    named = labels(arms)
    rows: list[tuple[str, ...]] = [("arm", "crash point", "type", "runs", "O", "95 % interval", "ends")]
    for (arm, point, kind), tally in sorted(tallies.items(), key=lambda item: (item[0][1:], item[0][0])):
        rows.append((named[arm], point, kind, *_figures(tally)))
    for arm, tally in by_arm(tallies).items():
        rows.append((named[arm], "together", "", *_figures(tally)))
    if len(arms) == 1:
        rows = [row[1:] for row in rows]
    return columns(rows)


def _figures(tally: Tally) -> tuple[str, ...]:
    ends = ", ".join(f"{end} {runs}" for end, runs in tally.ends.most_common())
    if tally.rate is None:
        return str(tally.ends.total()), "-", "-", ends
    return str(tally.ends.total()), f"{100 * tally.rate:.1f} %", str(tally.interval), ends


def columns(rows: Sequence[Iterable[str]]) -> Iterator[str]:
    """Lines of rows of as many words, set in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
