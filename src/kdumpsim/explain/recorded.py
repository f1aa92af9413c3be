# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts that result.json and console.log hold, without running anything again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from kdumpsim.errors import KdumpsimError
from kdumpsim.explain.facts import (
    Armed,
    ByDma,
    Crash,
    Difference,
    Dump,
    Ended,
    Fact,
    Facts,
    Fault,
    Frame,
    Judged,
    Marked,
    Moment,
    Noted,
    Phase,
    RanOn,
    RegistersWrong,
    Role,
)
from kdumpsim.lkdtt.outcome import MARKS
from kdumpsim.runfiles import RESULT
from kdumpsim.runs.result import Result
from kdumpsim.scenario.points import crash_points


class Unreadable(KdumpsimError):
    """The directory does not hold the result of a run that could be explained; the text says what is wrong."""


def read_result(directory: Path) -> Result:
    """The result that a run has left in a directory.  Unreadable."""
    path = directory / RESULT
    if not path.exists():
        raise Unreadable(f"there is no {path}; `kdumpsim run --output {directory}` writes it")
    if not path.is_file():
        raise Unreadable(f"{path} is no regular file")
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict) or "options" not in data:
        raise Unreadable(f"{path} is not the result of a run")
    try:
        return Result.from_dict(data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"{path} is damaged, or of a version that cannot be read: {error!r}") from error


def recorded(result: Result) -> Facts:
    """What a result tells; moments have no number of an instruction."""
    scenario = result.scenario
    return Facts.of(scenario.title, scenario.command(), result.version, facts_of(result), replayed=False)


def facts_of(result: Result) -> Iterator[Fact]:
    """One by one."""
    yield armed(result)
    for phase in result.phases:
        begin = phase.virtual_end_ns - phase.virtual_ns
        yield Phase(Moment(phase.virtual_end_ns), phase.name, phase.detail, begin)
    for struck in result.struck:
        yield Fault(Moment(struck.at_ns or 0), str(struck))
    if result.crash is not None:
        crash = result.crash
        frames = tuple(Frame(0, name) for name in crash.calls)
        yield Crash(Moment(crash.at_ns, crash.cpu), crash.calls[0] if crash.calls else "", crash.context, frames)
    yield from outcome_of(result)


def armed(result: Result) -> Armed:
    """What was asked for."""
    scenario = result.scenario
    at = next((phase.virtual_end_ns for phase in result.phases if phase.name == "arm"), 0)
    point = scenario.crash_point or None
    return Armed(
        Moment(at),
        scenario.title,
        scenario.command(),
        point,
        scenario.crash_type if point else None,
        scenario.count if point else None,
        tuple(scenario.crash_part.load),
        crash_points(scenario.kernel.modules)[point].help if point else "",
    )


def outcome_of(result: Result) -> Iterator[Fact]:
    """What was seen, what the dump is worth, what it is called."""
    outcome, end = result.outcome, Moment(_end(result))
    for note in outcome.timeline:
        yield Noted(Moment(note.at_ns), note.seen.name.lower(), note.text)
    jump = next((note.at_ns for note in outcome.timeline if note.seen.name == "HANDED_OVER"), end.ns)
    for ran in result.ran_on:
        yield RanOn(Moment(jump, ran.cpu), ran.role, ran.code_bytes, ran.pages)
    if result.vmcore is not None:
        yield Dump(end, result.vmcore.bytes, result.vmcore.sha256)
    if (judgement := result.judgement) is not None:
        right = tuple(check.cpu for check in judgement.registers if check.ok)
        yield Judged(end, judgement.completeness, judgement.accuracy, judgement.pages.ram, right)
        for check in judgement.registers:
            yield Role(Moment(jump, check.cpu), check.role)
            for problem in check.problems:
                yield RegistersWrong(Moment(end.ns, check.cpu), problem)
        for one in judgement.differences:
            yield Difference(end, one.kind, one.start, one.end, one.owner, one.cause)
        for change in judgement.dma:
            yield ByDma(end, change.page, change.owner)
    for mark in outcome.details:
        at = end if mark.at_ns is None else Moment(mark.at_ns)
        yield Marked(at, mark.name, MARKS[mark.name], mark.seen)
    yield Ended(end, str(outcome), outcome.captured, outcome.recovered, outcome.reason)


def _end(result: Result) -> int:
    """When the run was over."""
    notes = [note.at_ns for note in result.outcome.timeline]
    return max([*(phase.virtual_end_ns for phase in result.phases), *notes], default=0)
