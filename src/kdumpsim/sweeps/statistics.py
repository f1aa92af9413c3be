# SPDX-License-Identifier: GPL-2.0-or-later
"""Rates with intervals, paired tests, sample sizes, and looks that were declared beforehand.

Wilson's interval, sample sizes and Holm's adjustment need the standard library alone; the rest needs scipy (extra
``sweep``).  Sources: E. B. Wilson, JASA 22 (1927); Q. McNemar, Psychometrika 12 (1947), in its exact form; S. Holm,
Scand. J. Stat. 6 (1979); K. K. G. Lan and D. L. DeMets, Biometrika 70 (1983); B. Efron and R. Tibshirani, An
Introduction to the Bootstrap (1993).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.extras import extra

CONFIDENCE = 0.95
ALPHA = 0.05
RESAMPLES = 10_000
_GRID = 2001
"""Points of the density between two looks; the levels are good to five digits."""


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, fractions of 1."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ScenarioError(f"confidence {confidence:g} is out of range: choose more than 0 and less than 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a rate; 0 to 1 where nothing was tried.  Takes the tries as independent."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a rate")
    z = _z(confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Interval(max(0.0, centre - half) if successes else 0.0, min(1.0, centre + half) if successes < n else 1.0)


def cluster_bootstrap(
    clusters: Iterable[tuple[int, int]], confidence: float = CONFIDENCE, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The percentile interval of a rate whose tries come in clusters (successes, tries): whole clusters are drawn.

    Where every cluster has the same rate, drawing shows no spread; each then counts as one try of Wilson's interval.
    The same data and seed give the same interval.
    """
    kinds = Counter((s, n) for s, n in clusters if n)
    total = sum(kinds.values())
    if not total:
        return Interval(0.0, 1.0)
    if len({s / n for s, n in kinds}) == 1:
        successes, tries = next(iter(kinds))
        return wilson(round(total * successes / tries), total, confidence)
    return _drawn(kinds, confidence, resamples, seed)


def cluster_difference(
    clusters: Iterable[tuple[int, int]], confidence: float = CONFIDENCE, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The same for the difference of two rates on pairs: a cluster is (only A - only B, pairs)."""
    kinds = Counter((d, n) for d, n in clusters if n)
    return _drawn(kinds, confidence, resamples, seed) if kinds else Interval(-1.0, 1.0)


def _drawn(kinds: Counter[tuple[int, int]], confidence: float, resamples: int, seed: int) -> Interval:
    """Percentiles of sum / sum over clusters drawn with replacement; clusters that are alike are drawn together."""
    numpy, pairs, total = extra("numpy"), sorted(kinds.items()), kinds.total()
    drawn = numpy.random.default_rng(seed).multinomial(total, [count / total for _, count in pairs], size=resamples)
    rates = drawn @ numpy.array([s for (s, _), _ in pairs]) / (drawn @ numpy.array([n for (_, n), _ in pairs]))
    tail = 50 * (1 - confidence)
    low, high = numpy.percentile(rates, [tail, 100 - tail])
    return Interval(float(low), float(high))


def mcnemar(only_a: int, only_b: int) -> float:
    """The two-sided p-value of McNemar's exact test, from the pairs in which only one side succeeded."""
    if only_a + only_b == 0:
        return 1.0
    return float(extra("scipy.stats").binomtest(only_a, only_a + only_b, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being that many, in the order given."""
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def sample_size(precision: float, confidence: float = CONFIDENCE, rate: float = 0.5) -> int:
    """Runs for an interval of ± `precision`, a fraction of 1, at the rate that is the hardest to tell, or another.

    By the normal approximation; 385 for ± 5 % at 95 %.  ScenarioError for a precision that is none.
    """
    if not 0 < precision < 0.5:
        raise ScenarioError(
            f"precision {precision:g} is out of range: choose more than 0 and less than 0.5, as in 0.05"
        )
    return math.ceil(_z(confidence) ** 2 * rate * (1 - rate) / precision**2)


def spent(fraction: float, alpha: float = ALPHA) -> float:
    """How much of a two-sided `alpha` may be spent up to a fraction of the data, half of it on each side.

    Lan and DeMets' function after O'Brien and Fleming.
    """
    normal = NormalDist()
    return 4 * normal.cdf(-normal.inv_cdf(1 - alpha / 4) / math.sqrt(min(fraction, 1.0)))


def looks(fractions: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """The level for the p-value at each declared look, so that all looks together are wrong with at most `alpha`.

    `fractions` of the data at each look, ascending, the last one 1.  Computed by Armitage, McPherson and Rowe's
    recursion over the density of the test statistic at those who went on.
    """
    if not fractions or list(fractions) != sorted(set(fractions)) or not (fractions[0] > 0 and fractions[-1] == 1):
        raise ScenarioError("looks must be fractions that increase to 1")
    if not 0 < alpha < 1:
        raise ScenarioError(f"alpha {alpha:g} is out of range: choose more than 0 and less than 1")
    numpy, norm, optimize = extra("numpy"), extra("scipy.stats").norm, extra("scipy.optimize")
    levels: list[float] = []
    points: Any = None
    density: Any = None
    before, information = 0.0, 0.0
    for fraction in fractions:
        wanted = (spent(fraction, alpha) - before) / 2
        step = math.sqrt(fraction - information)

        def beyond(bound: float, points: Any = points, density: Any = density, step: float = step) -> float:
            """Probability of going on up to here and then being above a bound of the score (B = Z * sqrt(t))."""
            if points is None:
                return float(norm.sf(bound / step))
            return float(numpy.trapezoid(density * norm.sf((bound - points) / step), points))

        bound = float(optimize.brentq(lambda b, beyond=beyond, w=wanted: beyond(b) - w, 0, 40 * math.sqrt(fraction)))
        levels.append(float(2 * norm.sf(bound / math.sqrt(fraction))))
        grid = numpy.linspace(-bound, bound, _GRID)
        if points is None:
            density = norm.pdf(grid / step) / step
        else:
            kernel = norm.pdf((grid[:, None] - points[None, :]) / step) / step
            density = numpy.trapezoid(kernel * density[None, :], points, axis=1)
        points = grid
        before, information = spent(fraction, alpha), fraction
    return levels
