# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles: a value for every option, the same for every cell, each with its reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdumpsim.commands.options import options
from kdumpsim.scenario.options import OPTIONS, OptionError
from kdumpsim.scenario.profiles import MEASURES, PROFILES, effective
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError

DOCS = Path(__file__).parents[2] / "docs" / "options.md"


def test_every_profile_has_an_allowed_value_and_a_reason_for_every_option() -> None:
    for profile in PROFILES.values():
        assert list(profile.options) == list(OPTIONS)
        for name, value in profile.options.items():
            assert OPTIONS[name].check(value) == value
            assert profile.reason(name)


def test_2_6_16_is_the_kernel_the_paper_configured_and_started() -> None:
    chosen = PROFILES["2.6.16"].options
    assert (chosen["stack"], chosen["preempt"], chosen["nmi_watchdog"]) == ("4k", "1", "1")
    assert (chosen["softlockup"], chosen["panic_on_oops"], chosen["reset_devices"]) == ("warn", "0", "0")


def test_the_administrators_kernel_hands_over_whatever_is_wrong() -> None:
    chosen = PROFILES["default"].options
    assert (chosen["panic_on_oops"], chosen["softlockup"]) == ("1", "panic")
    assert (chosen["nmi_watchdog"], chosen["sysrq"], chosen["reset_devices"]) == ("1", "1", "1")


def test_hardened_is_the_administrators_kernel_with_every_measure_of_the_paper() -> None:
    default, hardened = PROFILES["default"].options, PROFILES["hardened"].options
    assert {name for name in OPTIONS if default[name] != hardened[name]} == set(MEASURES)
    assert all(PROFILES["2.6.16"].options[name] == OPTIONS[name].default for name in MEASURES)


def test_the_documented_table_is_the_one_in_force() -> None:
    values = r" \| (\w+)" * (1 + len(PROFILES))
    rows = re.findall(rf"^\| (\w+) \| [^|]+{values} \| [^|]+ \|$", DOCS.read_text(), re.M)
    documented = {name: values for name, *values in rows if name in OPTIONS}
    for name, option in OPTIONS.items():
        in_force = [option.default, *(profile.options[name] for profile in PROFILES.values())]
        assert documented[name] == in_force


def test_what_was_asked_for_changes_the_profile_and_nothing_else() -> None:
    changed = effective("2.6.16", {"panic_on_oops": "1"})
    assert {name for name in OPTIONS if changed[name] != PROFILES["2.6.16"].options[name]} == {"panic_on_oops"}


def test_unknown_profiles_and_options_without_effect_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(OptionError, match=r"choose from: default, 2\.6\.16"):
        effective("2.4", {})
    with pytest.raises(OptionError, match=r"nmi_watchdog=1\|2"):
        effective("default", {"watchdog_thresh": "9", "nmi_watchdog": "0", "softlockup": "off"})
    with pytest.raises(OptionError, match=r"required for crash_stacks, nmi_stacks: .* or crash_stacks=0 nmi_stacks=0"):
        effective("hardened", {"safe_smp_processor_id": "0", "crash_nmi": "0"})
    with pytest.raises(OptionError, match=r"softlockup_clock .* add softlockup=warn\|panic"):
        effective("default", {"softlockup_clock": "local", "softlockup": "off"})
    with pytest.raises(ScenarioError, match="unknown kernel option 'hz'"):
        Scenario("FS_DEVRW", "panic", kernel_options=(("hz", "100"),))


def test_the_table_shows_every_option_and_its_json_the_reasons_too() -> None:
    table = CliRunner().invoke(options, [])
    assert table.exit_code == 0
    assert all(name in table.output for name in OPTIONS)
    data = json.loads(CliRunner().invoke(options, ["--json"]).output)
    assert [option["name"] for option in data["options"]] == list(OPTIONS)
    stack = next(option for option in data["options"] if option["name"] == "stack")
    assert stack["profiles"]["2.6.16"] == {"value": "4k", "reason": "CONFIG_4KSTACKS is on (section 4)"}
