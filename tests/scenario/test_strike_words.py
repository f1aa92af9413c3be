# SPDX-License-Identifier: GPL-2.0-or-later
"""What strikes, as it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.strikes import FAULTS, At, Fault, format_time, parse_time
from kdumpsim.scenario.values import ScenarioError

POINT = {"crash_point": "FS_DEVRW", "crash_type": "panic"}


@given(st.integers(0, 999_999 * 10**9))
def test_times_are_exact(ns: int) -> None:
    assert parse_time(format_time(ns)) == ns


def test_an_instant_and_a_fault_can_be_given_as_such() -> None:
    assert Scenario(crash=At("bug")) == Scenario(at="instant", crash_type="oops")
    assert Scenario(crash=At("panic", 1, 3_125_000_000)).at == "instant:1@3.125"
    assert Scenario(crash=Fault("text", "executed")) == Scenario(fault=("text",))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "choose exactly one of: a crash point"),
        ({"at": "instant", "crash_type": "panic", "crash_point": "FS_DEVRW"}, "choose exactly one of"),
        ({"at": "instant"}, "--type.*choose from: none, panic, oops"),
        ({"at": "sometime", "crash_type": "panic"}, "unknown value of --at: 'sometime'; choose from: instant"),
        ({"at": "instant:x@1", "crash_type": "panic"}, "write instant, or instant:CPU@TIME"),
        ({"at": "instant:1@soon", "crash_type": "panic"}, "write virtual seconds"),
        ({"fault": ("text",), "crash_type": "panic"}, "a fault has no crash type"),
        ({"fault": ("txet",)}, "did you mean text"),
        ({"fault": ("text:everywhere",)}, "one of executed, uniform"),
        ({"fault": ("stack:0xc0001000.3",)}, "has no time: write stack:0xc0001000.3@TIME"),
        ({"fault": ("stack:live@2",)}, "write stack:ADDRESS.BIT@TIME"),
        ({"fault": ("register:0.eax@2",)}, "busy, or CPU.REGISTER.BIT"),
        ({"fault": ("text",), "machine": "qemu"}, "machine qemu does not support fault"),
        ({"at": "instant:9@1", "crash_type": "panic"}, "CPU 9 does not exist; with --cpus 2, choose 0 to 1"),
        ({"at": "instant:0@1000", "crash_type": "panic"}, "after the run's end: --timeout is 120 seconds"),
        ({"fault": ("register:9.eax.3@1.0",)}, "CPU 9 does not exist"),
        ({"fault": ("mce:9@1",)}, "CPU 9 does not exist"),
        ({"fault": ("text",), "breaks": ("x",)}, "unknown device of --break: 'x'"),
        ({"fault": ("text",), "faults": 0}, "choose 1 to 1000"),
        ({**POINT, "draw": 3}, "nothing is drawn for a crash at a point; add --vary"),
        ({**POINT, "faults": 3}, "faults 3 is the number to draw for each --fault"),
        ({**POINT, "vary": ("count",), "count": 3}, "count 3 contradicts vary count"),
        ({**POINT, "vary": ("phase",), "phase": 3}, "phase 3 contradicts vary phase"),
        ({**POINT, "breaks": ("nic",)}, "no network card; add --nic"),
    ],
)
def test_what_cannot_strike_is_refused_with_what_can(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        Scenario(**options)


def test_the_docs_table_of_faults_is_what_can_be_asked_for() -> None:
    text = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    _, _, rest = text.partition("<!-- faults -->\n")
    rows = [line.strip("| ").split(" | ") for line in rest.partition("<!-- end of faults -->")[0].splitlines()[2:]]
    assert {name: (what, words, target) for name, what, words, target in rows} == {
        name: (row.help, ", ".join(row.drawn), row.target) for name, row in FAULTS.items()
    }
