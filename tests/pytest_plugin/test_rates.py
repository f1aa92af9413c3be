# SPDX-License-Identifier: GPL-2.0-or-later
"""When a sweep's rate is enough, and what an assertion says that fails."""

from __future__ import annotations

import pytest

from kdumpsim import Outcome, Scenario, ScenarioError
from kdumpsim.pytest_plugin.rates import Rates, SweptRun


def rates(failing: int, n: int) -> Rates:
    """The last of `n` runs fail, a seed each."""
    runs = []
    for seed in range(n):
        ok = seed < n - failing
        outcome = Outcome(ok, success=ok)
        scenario = Scenario("TIMERADD", "panic", seed=seed)
        runs.append(SweptRun(scenario, outcome, str(outcome), "" if ok else f"seed {seed}: it hung"))
    return Rates(runs)


def test_the_whole_interval_has_to_lie_at_the_rate_or_above() -> None:
    """Wilson's intervals at 95 %: 197 of 200 are [95.7, 99.5] %, 196 are [95.0, 99.2] % and begin below 95."""
    rates(3, 200).assert_at_least(0.95, confidence=0.95)
    with pytest.raises(AssertionError):
        rates(4, 200).assert_at_least(0.95, confidence=0.95)
    rates(4, 200).assert_at_least(0.95, confidence=0.9)


def test_a_rate_that_is_too_low_comes_with_interval_seeds_and_commands() -> None:
    with pytest.raises(AssertionError) as caught:
        rates(3, 100).assert_at_least(0.95)
    assert str(caught.value).splitlines() == [
        "97 of 100 runs ended in O: 97 %, 95 % interval [91.5, 99.0]: not at least 95 %",
        "  TIMERADD / panic: 97 of 100",
        "failing seeds: 97, 98, 99",
        "run them again:",
        "  kdumpsim run --crashpoint TIMERADD --type panic --seed 97  # X",
        "  kdumpsim run --crashpoint TIMERADD --type panic --seed 98  # X",
        "  kdumpsim run --crashpoint TIMERADD --type panic --seed 99  # X",
        "the first of them:",
        "  seed 97: it hung",
    ]


def test_too_few_runs_show_nothing_even_if_none_fails() -> None:
    with pytest.raises(AssertionError, match="too few runs to show it: 73 without a failure would"):
        rates(0, 72).assert_at_least(0.95)
    rates(0, 73).assert_at_least(0.95)


def test_a_run_without_an_outcome_is_no_success() -> None:
    died = SweptRun(Scenario("TIMERADD", "panic"), None, "worker died", "worker died: killed by SIGKILL")
    assert Rates([*rates(0, 3).runs, died]).rate == 0.75


@pytest.mark.parametrize("wrong", [(1, 0.95), (0, 0.95), (0.95, 1)])
def test_what_no_runs_can_show_is_refused(wrong: tuple[float, float]) -> None:
    with pytest.raises(ScenarioError):
        rates(0, 3).assert_at_least(*wrong)
