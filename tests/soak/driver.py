# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw cases of a kind, check each, and make what fails as small as it gets.

Case number `n` of a kind depends on the seed, the kind and `n` alone: the time there is decides how many are drawn,
not which.
"""

from __future__ import annotations

import random
import shlex
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from soak.isolation import Counts, Fault, isolated

Case = TypeVar("Case")
MOST_FAULTS = 10
"""A soak that has found so many different faults has found enough for a night."""
MOST_ATTEMPTS = 200
"""Checks that one fault may cost before it is reported as it is."""
REPEAT_EVERY = 20
"""Every so many cases, one is run a second time."""


class Kind(ABC, Generic[Case]):
    """One kind of case: how it is drawn, checked, made smaller and written down."""

    name: ClassVar[str]
    share: ClassVar[float]
    """Of the soak's time."""
    cpu_s: ClassVar[int]
    """CPU seconds that a check may take in one process."""

    def prepare(self) -> None:
        """What all checks share, done once before the first."""

    @abstractmethod
    def draw(self, dice: random.Random, number: int) -> Case:
        """Case `number`."""

    @abstractmethod
    def check(self, case: Case, repeat: bool) -> Counts:
        """How much was done; an exception is a fault. With `repeat`, do it twice and compare."""

    @abstractmethod
    def smaller(self, case: Case) -> Iterator[Case]:
        """Cases that are simpler by one step, the boldest steps first."""

    @abstractmethod
    def text(self, case: Case) -> str:
        """The case in words that `parse` understands."""

    @abstractmethod
    def parse(self, text: str) -> Case:
        """The case of a text."""

    def command(self, case: Case) -> str:
        """What to type to see it again."""
        return f"PYTHONPATH=tests python -m soak {self.name} {shlex.quote(self.text(case))}"


def drawn(kind: Kind[Case], text: str) -> Case:
    """The case of a text, or of `@SEED/NUMBER`: the one that a soak with this seed draws at this place."""
    if not text.startswith("@"):
        return kind.parse(text)
    seed, number = map(int, text[1:].split("/"))
    return kind.draw(dice_for(seed, kind.name, number), number)


@dataclass
class Found:
    """A fault, where it came up, and the shortest way to it that was found."""

    number: int
    fault: Fault
    drawn: str
    """What to type to see the case as it was drawn."""
    shortest: str

    def __str__(self) -> str:
        return (
            f"case {self.number}: {self.fault.signature}\n  shortest: {self.shortest}\n  as drawn: {self.drawn}\n"
            f"{self.fault.text}"
        )


@dataclass
class Summary:
    """What a soak of one kind did."""

    kind: str
    seed: int
    cases: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)

    def __str__(self) -> str:
        rates = ", ".join(
            f"{count:,} {what} ({3600 * count / self.seconds:,.0f} an hour)"
            for what, count in sorted(self.counts.items())
        )
        faults = f"{len(self.found)} fault{'' if len(self.found) == 1 else 's'}"
        return f"{self.kind}: {self.cases:,} cases in {self.seconds:.0f} s; {rates or 'nothing'}; {faults}"


def dice_for(seed: int, kind: str, number: int) -> random.Random:
    """The random numbers of one case."""
    return random.Random(f"{seed}/{kind}/{number}")


def soak(kind: Kind[Case], seed: int, enough: Callable[[Summary], bool], tell: Callable[[Found], None]) -> Summary:
    """Check cases of a kind, at least one, until that is enough or MOST_FAULTS different faults were found.

    Each one is told at once: a night may end early.
    """
    summary = Summary(kind.name, seed)
    begun = time.monotonic()
    kind.prepare()
    known: set[str] = set()
    while len(summary.found) < MOST_FAULTS:
        number = summary.cases
        case = kind.draw(dice_for(seed, kind.name, number), number)
        repeat = number % REPEAT_EVERY == 0
        result = isolated(lambda case=case, repeat=repeat: kind.check(case, repeat), kind.cpu_s)  # type: ignore[misc]
        summary.cases += 1
        if isinstance(result, Fault):
            if result.signature not in known:
                known.add(result.signature)
                small, fault = shrink(kind, case, result, repeat)
                again = f"PYTHONPATH=tests python -m soak {kind.name} @{seed}/{number}"
                summary.found.append(Found(number, fault, again, kind.command(small)))
                tell(summary.found[-1])
            summary.counts["failed"] += 1
        else:
            summary.counts.update(result)
        summary.seconds = time.monotonic() - begun
        if enough(summary):
            break
    return summary


def shrink(kind: Kind[Case], case: Case, fault: Fault, repeat: bool) -> tuple[Case, Fault]:
    """Take the first smaller case that fails the same way, again and again."""
    attempts = 0
    while True:
        for candidate in kind.smaller(case):
            attempts += 1
            if attempts > MOST_ATTEMPTS:
                return case, fault
            result = isolated(lambda candidate=candidate: kind.check(candidate, repeat), kind.cpu_s)  # type: ignore[misc]
            if isinstance(result, Fault) and result.signature == fault.signature:
                case, fault = candidate, result
                break
        else:
            return case, fault


Item = TypeVar("Item")


def without_pieces(items: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    """The sequence without one of its halves, quarters … single items."""
    size = len(items)
    while size > 1 or (size == 1 and items):
        size = max(size // 2, 1)
        for start in range(0, len(items), size):
            yield (*items[:start], *items[start + size :])
        if size == 1:
            return
