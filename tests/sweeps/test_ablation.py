# SPDX-License-Identifier: GPL-2.0-or-later
"""What an option of a profile is worth: which runs are made, and what the pairs say."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpsim.scenario.profiles import PROFILES
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.ablation import Turn, ablations, plans, switches
from kdumpsim.sweeps.ratetable import rate_axes
from kdumpsim.sweeps.row import Row
from kdumpsim.sweeps.store import Store
from kdumpsim.sweeps.tally import labels

from .rows import captured, failed, fill

AXES = rate_axes(["FS_DEVRW", "TIMERADD"], ["oops"], "1-4", [0, 1])


def without_panic_on_oops(scenario: Scenario) -> Row:
    """An oops in process context is lost without panic_on_oops, as the paper has it, and nothing else matters."""
    lost = scenario.options["panic_on_oops"] == "0" and scenario.crash_point == "FS_DEVRW"
    return failed(scenario) if lost else captured(scenario)


def test_each_option_that_the_profile_has_on_is_switched_off_alone() -> None:
    chosen = switches("default")
    assert [switch.option for switch in chosen] == ["nmi_watchdog", "softlockup", "panic_on_oops", "reset_devices"]
    whole, *others = plans("default", chosen, **AXES)
    assert whole.total == 16
    for switch, plan in zip(chosen, others, strict=True):
        (options,) = {tuple(s.options.items()) for group in plan.groups() for s in group.scenarios}
        assert dict(options) == PROFILES["default"].options | dict(switch.off)


def test_what_cannot_be_without_an_option_goes_with_it() -> None:
    (switch,) = switches("hardened", ["safe_smp_processor_id"])
    assert dict(switch.off).keys() > {"safe_smp_processor_id", "crash_stacks"}
    assert len(list(plans("hardened", [switch], **AXES))) == 2, "no contradiction"


def test_there_is_something_to_switch_off() -> None:
    with pytest.raises(ScenarioError, match=r"crash_stacks=0 .* nothing to switch off; choose from: nmi_watchdog"):
        switches("default", ["crash_stacks"])
    with pytest.raises(ScenarioError, match="did you mean nmi_watchdog"):
        switches("default", ["nmi_watchdgo"])


def test_pairs_tell_what_an_option_turns(tmp_path: Path) -> None:
    chosen = switches("default")
    with Store(tmp_path / "s.sqlite", create=True) as store:
        for plan in plans("default", chosen, **AXES):
            fill(store, plan, without_panic_on_oops)
        found = {ablation.switch.option: ablation for ablation in ablations(store, "default", chosen)}
        named = labels(store.arms)
    pairs = found["panic_on_oops"].comparison
    assert (pairs.both, pairs.only_a, pairs.only_b, pairs.neither) == (8, 8, 0, 0)
    assert pairs.p == pytest.approx(2 * 0.5**8)
    assert pairs.adjusted == pytest.approx(4 * pairs.p)
    assert found["panic_on_oops"].turns == (Turn("FS_DEVRW", "oops", "O", "X (2c)", 8),)
    assert found["softlockup"].turns == ()
    assert set(named.values()) == {
        "unchanged", "nmi_watchdog=0", "softlockup=warn", "panic_on_oops=0", "reset_devices=0"
    }  # fmt: skip
