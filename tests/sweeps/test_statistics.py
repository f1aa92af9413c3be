# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics, held to scipy's and to values that were published."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps import statistics
from kdumpsim.sweeps.statistics import cluster_bootstrap, holm, looks, mcnemar, sample_size, wilson


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 10), (1, 10), (5, 10), (10, 10), (81, 263), (15, 148)])
def test_wilsons_interval_is_scipys(successes: int, n: int, confidence: float) -> None:
    ours = wilson(successes, n, confidence)
    theirs = stats.binomtest(successes, n).proportion_ci(confidence, "wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilsons_interval_is_newcombes_example() -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, n), expected in published.items():
        interval = wilson(successes, n)
        assert (interval.low, interval.high) == pytest.approx(expected, abs=5e-5)


def test_nothing_tried_is_nothing_known() -> None:
    assert wilson(0, 0) == cluster_bootstrap([]) == statistics.Interval(0.0, 1.0)


def test_mcnemars_exact_test_is_the_trials_and_scipys() -> None:
    assert mcnemar(33, 0) == pytest.approx(2.3e-10, rel=0.02)  # panic_on_oops in the trial: 33 pairs against none
    assert mcnemar(5, 3) == pytest.approx(stats.binomtest(5, 8).pvalue)
    assert mcnemar(0, 0) == mcnemar(4, 4) == 1


def test_holms_adjustment_is_rs_p_adjust() -> None:
    """R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") and c(0.01, 0.04, 0.03)."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_five_percent_want_385_runs_and_ten_percent_97() -> None:
    assert sample_size(0.05) == 385
    assert sample_size(0.1) == 97
    assert sample_size(0.05, rate=0.9) == 139
    for nonsense in (0, -1, 0.5, 5):
        with pytest.raises(ScenarioError, match="out of range"):
            sample_size(nonsense)


def test_clusters_that_agree_within_make_the_interval_wider_than_wilsons() -> None:
    alike = [(10, 10)] * 30 + [(0, 10)] * 10
    by_boot, by_run = cluster_bootstrap(alike), wilson(300, 400)
    assert by_boot.high - by_boot.low > 2 * (by_run.high - by_run.low)
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 40)  # of a mean of 40 boots
    assert (by_boot.low, by_boot.high) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.02)
    assert by_boot == cluster_bootstrap(alike)


def test_clusters_of_one_run_are_independent_runs() -> None:
    interval = cluster_bootstrap([(1, 1)] * 300 + [(0, 1)] * 100)
    independent = wilson(300, 400)
    assert (interval.low, interval.high) == pytest.approx((independent.low, independent.high), abs=0.01)


def test_clusters_that_are_all_alike_count_as_a_try_each() -> None:
    assert cluster_bootstrap([(20, 20)] * 30) == wilson(30, 30)


def test_the_bootstrap_is_scipys() -> None:
    draw = random.Random(3)
    clusters = [(draw.randint(0, 8), draw.randint(8, 12)) for _ in range(60)]
    ours = cluster_bootstrap(clusters)
    theirs = stats.bootstrap(
        ([s for s, _ in clusters], [n for _, n in clusters]),
        lambda s, n, axis: s.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_levels_of_declared_looks_are_the_published_bounds() -> None:
    """Lan and DeMets' bounds for five equal looks after O'Brien and Fleming, two-sided 5 %: the ones that ldbounds and
    Reboussin et al. (Controlled Clinical Trials 21, 2000) give."""
    bounds = [stats.norm.isf(level / 2) for level in looks([0.2, 0.4, 0.6, 0.8, 1.0])]
    assert bounds == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)


def test_one_look_spends_all_and_many_never_more() -> None:
    assert looks([1.0]) == pytest.approx([0.05])
    assert sum(looks([0.5, 1.0], 0.01)) > 0.01 > max(looks([0.5, 1.0], 0.01))
    for nonsense in ([], [0.5], [0.5, 0.5, 1], [1.0, 0.5], [0.0, 1.0]):
        with pytest.raises(ScenarioError):
            looks(nonsense)


def test_what_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scipy.stats", None)
    with pytest.raises(
        statistics.extra("kdumpsim.sweeps.extras").MissingExtra, match=r"pip install 'kdumpsim\[sweep\]'"
    ):
        mcnemar(3, 1)
