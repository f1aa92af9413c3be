# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts that a run's own files hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdumpsim.explain.facts import Armed, Crash, Ended, Judged
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
