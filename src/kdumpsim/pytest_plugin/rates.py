# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sweep of a test came to: how many of its runs ended in O, and what is to be said of the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.statistics import CONFIDENCE, Interval, wilson

MAX_COMMANDS = 20


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep."""

    scenario: Scenario
    outcome: Outcome | None
    """None for a run whose process died or took too long: it says nothing of the guest."""
    end: str
    """The outcome, or why there is none."""
    explanation: str = field(default="", repr=False)
    """As by `Result.explain`, of a run that did not end in O."""

    @property
    def ok(self) -> bool:
        """Did it end in O?"""
        return self.outcome is not None and self.outcome.ok


@dataclass(frozen=True)
class Rates:
    """The runs of a sweep, in the order of the sweep.  A run without an outcome counts as one that did not end in O."""

    runs: Sequence[SweptRun]

    @property
    def n(self) -> int:
        """How many runs there were."""
        return len(self.runs)

    @property
    def successes(self) -> int:
        """How many ended in O."""
        return sum(run.ok for run in self.runs)

    @property
    def failures(self) -> list[SweptRun]:
        """The others."""
        return [run for run in self.runs if not run.ok]

    @property
    def rate(self) -> float:
        """Share of the runs that ended in O, a fraction of 1."""
        return self.successes / self.n

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Wilson's score interval of the rate, two-sided, fractions of 1.  Takes the runs as independent."""
        return wilson(self.successes, self.n, confidence)

    def assert_at_least(self, rate: float, confidence: float = CONFIDENCE) -> None:
        """AssertionError unless the whole interval lies at `rate` or above; it names what to run again."""
        __tracebackhide__ = True
        if not 0 < rate < 1:
            raise ScenarioError(f"a rate of {rate:g} cannot be shown by runs: choose more than 0 and less than 1")
        if self.interval(confidence).low >= rate:
            return
        wanted = f"{self.summary(confidence)}: not at least {_percent(rate)}"
        if not self.failures:
            wanted += f"; too few runs to show it: {_needed(rate, confidence)} without a failure would"
        raise AssertionError("\n".join([wanted, *self._details()]))

    def summary(self, confidence: float = CONFIDENCE) -> str:
        """The rate with its interval, in a line."""
        interval = f"{_percent(confidence)} interval {self.interval(confidence)}"
        return f"{self.successes} of {self.n} runs ended in O: {_percent(self.rate)}, {interval}"

    def __str__(self) -> str:
        return "\n".join([self.summary(), *self._details()])

    def _details(self) -> Iterator[str]:
        """A line for each cell; then the failures: their seeds, how to run them again, how the first one ended."""
        good = Counter(run.scenario.title for run in self.runs if run.ok)
        for title, number in Counter(run.scenario.title for run in self.runs).items():
            yield f"  {title}: {good[title]} of {number}"
        failures = self.failures
        if not failures:
            return
        yield f"failing seeds: {', '.join(map(str, sorted({run.scenario.seed for run in failures})))}"
        yield "run them again:"
        yield from (f"  {run.scenario.command()}  # {run.end}" for run in failures[:MAX_COMMANDS])
        if len(failures) > MAX_COMMANDS:
            yield f"  and {len(failures) - MAX_COMMANDS} more"
        if explanation := failures[0].explanation:
            yield "the first of them:"
            yield from (f"  {line}" for line in explanation.splitlines())


def _needed(rate: float, confidence: float) -> int:
    """The fewest runs whose interval lies at `rate` or above if all of them end in O."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return math.ceil(z * z * rate / (1 - rate))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4g} %"
