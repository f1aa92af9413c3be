# SPDX-License-Identifier: GPL-2.0-or-later
"""result.json says all that a result does: a result made of it says the same."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.lkdtt.outcome import MARKS, Note, Outcome, Seen
from kdumpsim.runs.calls import Crash
from kdumpsim.runs.events import Phase
from kdumpsim.runs.result import DumpFile, Result
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.vmcore.compare import Change, Difference, DmaChange, Judgement, PageCounts
from kdumpsim.vmcore.oracle import RanOn
from kdumpsim.vmcore.registers import RegisterCheck

NUMBERS = st.integers(0, 2**32 - 1)
TIMES = st.integers(0, 10**15)
PAGES = st.integers(0, 2**20 - 1).map(lambda page: page * 4096)
TEXTS = st.text(max_size=8)
NAMES = st.lists(TEXTS, max_size=3)


@st.composite
def outcomes(draw: st.DrawFn, captured: bool) -> Outcome:
    outcome = Outcome(captured, reason=draw(TEXTS), success=draw(st.booleans()), recovered=draw(st.booleans()))
    for name in draw(st.lists(st.sampled_from(list(MARKS)), unique=True, max_size=3)):
        outcome.mark(name, draw(TEXTS), draw(TIMES | st.none()))
    outcome.evidence += draw(NAMES)
    outcome.timeline = draw(st.lists(st.builds(Note, TIMES, st.sampled_from(Seen), TEXTS), max_size=3))
    return outcome


@st.composite
def judgements(draw: st.DrawFn) -> Judgement:
    ram, present, equal = sorted(draw(st.tuples(NUMBERS, NUMBERS, NUMBERS)), reverse=True)
    return Judgement(
        PageCounts(ram, present, equal),
        differences=draw(
            st.lists(st.builds(Difference, TEXTS, NUMBERS, NUMBERS, TEXTS, TEXTS | st.none()), max_size=3)
        ),
        crash_path=draw(st.lists(st.builds(Change, PAGES, NAMES.map(tuple)), max_size=3)),
        handed=draw(st.lists(st.builds(Change, PAGES, NAMES.map(tuple)), max_size=3)),
        dma=draw(st.lists(st.builds(DmaChange, PAGES, TEXTS), max_size=3)),
        registers=draw(
            st.lists(
                st.builds(
                    RegisterCheck, NUMBERS, TEXTS, st.booleans(), NAMES, NUMBERS | st.none(), TEXTS, NUMBERS | st.none()
                ),
                max_size=3,
            )
        ),
    )


@st.composite
def results(draw: st.DrawFn) -> Result:
    captured, filed = draw(st.booleans()), draw(st.booleans())  # a mechanism's dump need not be a file
    scenario = Scenario(
        draw(st.sampled_from(["FS_DEVRW", "TIMERADD"])),
        draw(st.sampled_from(["panic", "loop"])),
        seed=draw(NUMBERS),
        kernel_options=draw(st.sampled_from([(), (("stack", "4k"),)])),
        load=draw(st.sampled_from([(), ("usual",), ("memdrain", "netload")])),
    )
    written = st.sets(PAGES, max_size=5).map(lambda pages: tuple(sorted(pages)))
    host_s = st.floats(0, 1000).map(lambda seconds: round(seconds, 6))
    return Result(
        scenario,
        draw(outcomes(captured)),
        draw(st.lists(st.builds(Phase, TEXTS, TEXTS, TIMES, TIMES, host_s), max_size=3)),
        draw(judgements() | st.none()) if captured else None,
        DumpFile(draw(st.just("ab" * 32) | st.none()), draw(NUMBERS)) if captured and filed else None,
        draw(st.lists(st.builds(RanOn, NUMBERS, TEXTS, NUMBERS, written), max_size=3)),
        draw(st.builds(Crash, TIMES, NUMBERS, NAMES.map(tuple), TEXTS) | st.none()),
    )


@given(results())
def test_a_result_survives_being_written_and_read(result: Result) -> None:
    text = result.dumps()
    again = Result.from_dict(json.loads(text))
    assert again.dumps() == text
    assert again == result


def test_the_version_is_the_one_that_ran_it() -> None:
    result = Result(Scenario("FS_DEVRW", "panic"), Outcome(False), version="0.0.1")
    assert Result.from_dict(json.loads(result.dumps())).version == "0.0.1"
