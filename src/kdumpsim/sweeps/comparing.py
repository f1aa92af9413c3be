# SPDX-License-Identifier: GPL-2.0-or-later
"""Two arms beside each other: pairs of runs that differ in nothing but what is compared.

The same seed is the same machine up to its power-on, so a pair tells more than two rates do.  Where faults strike, a
pair has the same one, and it mattered on both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from kdumpsim.choices import unknown
from kdumpsim.scenario.options import OPTIONS
from kdumpsim.sweeps.plan import STRIKES
from kdumpsim.sweeps.statistics import ALPHA, Interval, cluster_difference, holm, mcnemar, wilson
from kdumpsim.sweeps.store import Store, StoredArm, StoreError
from kdumpsim.sweeps.tally import shown, varied

EXAMPLES = 5
Side = Mapping[str, str]
"""What is compared: settings by name, each with a value as text."""


@dataclass(frozen=True)
class Example:
    """A pair that ended differently."""

    end_a: str
    end_b: str
    pairs: int
    """How many ended so."""
    command_a: str
    command_b: str


@dataclass(frozen=True)
class Comparison:
    """What came of the pairs of A and B."""

    a: str
    b: str
    both: int
    """Pairs of which both are O."""
    only_a: int
    only_b: int
    neither: int
    p: float
    """Of McNemar's exact test, two-sided."""
    adjusted: float
    """The same after Holm, for as many comparisons as were made."""
    difference: Interval
    """95 % of the rate of A less that of B, by drawing boots."""
    differing: tuple[Example, ...]
    """How pairs ended differently, the most frequent ways first."""
    unpaired: int
    """Runs without a partner that has an outcome."""

    @property
    def pairs(self) -> int:
        """All of them."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def rate_a(self) -> Interval:
        """Wilson's interval of A's rate."""
        return wilson(self.both + self.only_a, self.pairs)

    @property
    def rate_b(self) -> Interval:
        """Wilson's interval of B's rate."""
        return wilson(self.both + self.only_b, self.pairs)

    @property
    def verdict(self) -> str:
        """In a sentence."""
        if self.adjusted > ALPHA:
            return f"no difference is shown (p = {self.adjusted:.2g})"
        better = self.a if self.only_a > self.only_b else self.b
        return f"{better} brings more dumps home (p = {self.adjusted:.2g})"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"pairs": self.pairs, "verdict": self.verdict}


def side(text: str) -> Side:
    """``stack=4k`` or ``stack=4k,cpus=2``.  StoreError for anything else."""
    found = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise StoreError(f"'{text}' is not a side: write NAME=VALUE, such as stack=4k")
        found[name.strip().replace("-", "_")] = value.strip()
    return found


def compare(store: Store, a: Side, b: Side) -> Comparison:
    """Compare two sides.  StoreError where the store has not both, or no pairs of them."""
    arms = store.arms
    for name, value in (*a.items(), *b.items()):
        if not arms or name not in arms[0].settings:
            raise StoreError(unknown("setting", name, varied(arms) or (arms[0].settings if arms else ())))
        values = list(dict.fromkeys(shown(arm.settings[name]) for arm in arms))
        if value not in values:
            raise StoreError(f"the store has no runs with {name}={value}; choose from: {', '.join(values)}")
    if a.keys() != b.keys():
        raise StoreError(f"{_text(a)} and {_text(b)} name different settings: name the same settings on both sides")
    pairs = list(_pairs(arms, a, b))
    if not pairs:
        raise StoreError(f"{_text(a)} and {_text(b)} have no runs that are otherwise alike")
    return _compared(store, pairs, _text(a), _text(b))


def compare_all(store: Store) -> list[Comparison]:
    """Every two values of everything that is varied, adjusted for being so many."""
    arms, made = store.arms, []
    for name in varied(arms):
        if name in STRIKES:  # two faults make no pair
            continue
        values = list(dict.fromkeys(shown(arm.settings[name]) for arm in arms))
        for one, other in combinations(values, 2):
            a, b = {name: one}, {name: other}
            if pairs := list(_pairs(arms, a, b)):
                made.append(_compared(store, pairs, _text(a), _text(b)))
    made = [comparison for comparison in made if comparison.pairs]
    adjusted = holm([comparison.p for comparison in made])
    return [replace(comparison, adjusted=p) for comparison, p in zip(made, adjusted, strict=True)]


def ends_by_cell(store: Store, a: Side, b: Side) -> Iterator[tuple[str, str, str, str, int]]:
    """Crash point, crash type, how it ended with A and with B, and how many pairs ended so."""
    for one, other in _pairs(store.arms, a, b):
        yield from store.query(
            f'SELECT a.crash_point, a.crash_type, a."end", b."end", count(*) {_JOINED} GROUP BY 1, 2, 3, 4',
            (other.id, one.id),
        )


def _text(one: Side) -> str:
    return ", ".join(f"{name}={value}" for name, value in one.items())


def _pairs(arms: list[StoredArm], a: Side, b: Side) -> Iterator[tuple[StoredArm, StoredArm]]:
    """Arms that differ in nothing but what is compared."""
    compared = {*a, *b} | (set(OPTIONS) if "profile" in {*a, *b} else set())

    def there(arm: StoredArm, one: Side) -> bool:
        return all(shown(arm.settings[name]) == value for name, value in one.items())

    def rest(arm: StoredArm) -> dict[str, Any]:
        return {name: value for name, value in arm.settings.items() if name not in compared}

    for one in arms:
        for other in arms:
            if one is not other and there(one, a) and there(other, b) and rest(one) == rest(other):
                yield one, other


_JOINED = (
    "FROM runs a JOIN runs b ON b.arm = ? AND b.crash_point = a.crash_point AND b.crash_type = a.crash_type "
    "AND b.count = a.count AND b.seed = a.seed AND b.draw = a.draw AND b.ok IS NOT NULL "
    "AND b.struck = a.struck AND (a.struck = '' OR (a.activated > 0 AND b.activated > 0)) "
    "WHERE a.arm = ? AND a.ok IS NOT NULL "
)


def _compared(store: Store, pairs: list[tuple[StoredArm, StoredArm]], a: str, b: str) -> Comparison:
    counted, runs = Counter[tuple[int, int]](), 0
    clusters: list[tuple[int, int]] = []
    examples: list[Example] = []
    for one, other in pairs:
        by_boot: dict[int, tuple[int, int]] = {}
        for boot, ok_a, ok_b, number in store.query(
            f"SELECT a.boot, a.ok, b.ok, count(*) {_JOINED} GROUP BY 1, 2, 3", (other.id, one.id)
        ):
            counted[ok_a, ok_b] += number
            difference, tried = by_boot.get(boot, (0, 0))
            by_boot[boot] = difference + (ok_a - ok_b) * number, tried + number
        clusters += by_boot.values()
        if any(difference for difference, _ in by_boot.values()) or counted[1, 0]:
            examples += _examples(store, one, other)
        ((number,),) = store.query("SELECT count(*) FROM runs WHERE arm IN (?, ?)", (one.id, other.id))
        runs += number
    p = mcnemar(counted[1, 0], counted[0, 1])
    return Comparison(
        a,
        b,
        counted[1, 1],
        counted[1, 0],
        counted[0, 1],
        counted[0, 0],
        p,
        p,
        cluster_difference(clusters),
        tuple(sorted(examples, key=lambda example: -example.pairs)[:EXAMPLES]),
        runs - 2 * counted.total(),
    )


def _examples(store: Store, one: StoredArm, other: StoredArm) -> Iterator[Example]:
    found = store.query(
        f'SELECT a."end", b."end", count(*), a.crash_point, a.crash_type, a.count, min(a.seed), a.draw, a.struck '
        f"{_JOINED} "
        'AND a.ok != b.ok GROUP BY 1, 2 ORDER BY 3 DESC LIMIT ?',
        (other.id, one.id, EXAMPLES),
    )  # fmt: skip
    for end_a, end_b, number, *run in found:
        yield Example(end_a, end_b, number, one.command(*run), other.command(*run))
