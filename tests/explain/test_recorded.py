# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts that a run's own files hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdumpsim.explain.facts import Armed, CpuException, CpuState, Crash, Ended, Facts, Frame, Judged, Message, Moment
from kdumpsim.explain.page import text
from kdumpsim.explain.recorded import Unreadable, read_result, recorded
from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.runs.calls import Crash as RecordedCrash
from kdumpsim.runs.result import Result
from kdumpsim.scenario.scenario import Scenario


def result() -> Result:
    """A run that failed."""
    scenario = Scenario(crash_point="FS_DEVRW", crash_type="hang")
    crash = RecordedCrash(1_000_000, 1, ("dtt_induce", "dtt_crossed"), "IRQ 14")
    return Result(scenario, Outcome(False, reason="nobody noticed"), crash=crash)


def test_facts_of_a_result_are_in_order_of_time_and_have_marks() -> None:
    facts = recorded(result())
    assert [fact.at.ns for fact in facts.facts] == sorted(fact.at.ns for fact in facts.facts)
    assert [facts.mark(fact) for fact in facts.facts] == list(range(1, len(facts.facts) + 1))
    assert len(facts.all(Armed)) == 1
    assert facts.first(Judged) is None
    assert [(crash.at.cpu, crash.context) for crash in facts.all(Crash)] == [(1, "IRQ 14")]
    assert [ended.outcome for ended in facts.all(Ended)] == ["X"]
    json.dumps(facts.as_dict())


@pytest.mark.parametrize(
    ("state", "handles", "why"),
    [
        ("runs", True, "it was in an NMI handler"),
        ("shut down", False, "it had shut down"),
        ("waits for SIPI", False, "it waited for a SIPI, and takes nothing else then"),
        ("runs", False, "why is unknown, it ran"),
    ],
)
def test_why_an_nmi_was_not_taken_is_what_the_cpu_was_at(state: str, handles: bool, why: str) -> None:
    sent = Message(Moment(1, 0), "NMI", 2, (1,))
    stood = CpuState(Moment(2, 1), "hand-over", state, False, handles, 0, {})
    told = text(Facts.of("", "", "", [sent, stood], replayed=True))
    assert f"CPU 1 did not take it: {why}." in " ".join(told.split())
    assert ("in an NMI handler" in told) == handles


def test_an_instruction_that_could_not_be_fetched_is_told() -> None:
    for linear, fetched in ((0x1000, False), (0x1004, True)):
        met = CpuException(Moment(1, 0, address=0x1000), 14, "#PF", linear, (Frame(0x1000),))
        told = text(Facts.of("", "", "", [met], replayed=True))
        assert ("the instruction there could not be fetched" in " ".join(told.split())) != fetched


def test_what_is_no_result_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"there is no .*result\.json; `kdumpsim run"):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(Unreadable, match="damaged"):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text("[1]")
    with pytest.raises(Unreadable, match="not the result of a run"):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text(result().dumps())
    assert read_result(tmp_path).crash == result().crash
