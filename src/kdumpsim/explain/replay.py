# SPDX-License-Identifier: GPL-2.0-or-later
"""Explaining the run that left a directory: it is run again and watched, and has to end as it did."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpsim._version import __version__
from kdumpsim.errors import KdumpsimError
from kdumpsim.explain.facts import Crash, Fact, Facts, Moment, RanOn, Role, Unknown
from kdumpsim.explain.guest import Guest
from kdumpsim.explain.recorded import facts_of, read_result, recorded
from kdumpsim.explain.watching import Watching
from kdumpsim.runfiles import VMLINUX
from kdumpsim.runs.account import outcome_of
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import drive, look_ahead, power_on, start
from kdumpsim.runs.session import Session
from kdumpsim.scenario.conditions import KDUMPSIM
from kdumpsim.vmcore.debuginfo import build_id
from kdumpsim.vmcore.owners import OwnerMap

if TYPE_CHECKING:
    from kdumpsim.explain.pictures.recorder import Recorder
    from kdumpsim.explain.pictures.svg import Drawing


class NotTheSame(KdumpsimError):
    """The run cannot be repeated here; the text says why."""


def explain(directory: Path, poll: Callable[[], None] | None = None) -> Facts:
    """All that can be known of the run that left a directory.  `poll` is asked often, and ends it by raising.

    Unreadable where there is none; NotTheSame where it cannot be run again, or does not end the same.
    """
    return _explain(*_left_in(directory), poll, draw=False)[0]


def explain_and_draw(directory: Path, poll: Callable[[], None] | None = None) -> tuple[Facts, list[Drawing]]:
    """The same, with pictures of the run."""
    return _explain(*_left_in(directory), poll, draw=True)


def _left_in(directory: Path) -> tuple[Result, bytes | None]:
    """The result of a run, and the kernel that it was run with."""
    kernel = directory / VMLINUX
    return read_result(directory), kernel.read_bytes() if kernel.is_file() else None


def explain_result(result: Result, kernel: bytes | None = None, poll: Callable[[], None] | None = None) -> Facts:
    """The same of a result; `kernel` is the file of the first kernel that it was run with."""
    return _explain(result, kernel, poll, draw=False)[0]


def _explain(
    result: Result, kernel: bytes | None, poll: Callable[[], None] | None, *, draw: bool
) -> tuple[Facts, list[Drawing]]:
    _check_version(result)
    scenario = result.scenario
    with closing(power_on(scenario.pc, scenario.kernel)) as session:
        if kernel is not None and kernel != session.first.elf:
            raise NotTheSame(
                f"it was left by another build of kdumpsim's kernel: {VMLINUX} has the build-id {build_id(kernel)}, "
                f"and this one has {build_id(session.first.elf)}"
            )
        session.give(scenario.timeout)
        session.machine.poll = poll
        recorders: list[Recorder] = []
        found = list(_watched(session, result, recorders if draw else None))
        facts = Facts.of(scenario.title, scenario.command(), result.version, found, replayed=True)
        if not recorders:
            return facts, []
        from kdumpsim.explain.pictures.gallery import drawings

        return facts, [drawing for recorder in recorders for drawing in drawings(recorder.record(), facts)]


def known_without_running(directory: Path) -> Facts:
    """What its own files tell of a run that cannot be repeated."""
    return recorded(read_result(directory))


def _check_version(result: Result) -> None:
    if result.version != __version__:
        raise NotTheSame(f"it was run by kdumpsim {result.version}, and this is {__version__}")
    if result.scenario.machine != KDUMPSIM:
        raise NotTheSame(f"it was run on machine {result.scenario.machine}, of which no two runs are alike")


def _watched(session: Session, result: Result, recorders: list[Recorder] | None) -> Iterator[Fact]:
    """Run it again; with a list for it, a recorder takes down what pictures need."""
    folders = [Path(path).absolute().parent for path in result.scenario.guest_modules]
    guest = Guest(session, folders)
    differences = result.judgement.differences if result.judgement is not None else []
    watching = Watching(session, guest, [one.start for one in differences if one.kind == "differs"])
    if recorders is not None:
        from kdumpsim.explain.pictures.recorder import Recorder  # what draws is imported where it is to be drawn

        recorders.append(Recorder(session))
    try:
        _run(session, result)
        _check_ending(session, result)
        seen = watching.over()
    except BaseException:
        if watching.is_twin:
            os._exit(1)
        watching.stop()
        raise
    crash = result.crash
    for fact in seen:
        yield replace(fact, context=crash.context) if isinstance(fact, Crash) and crash is not None else fact
    roles = {fact.at.cpu for fact in seen if isinstance(fact, Role)}
    owners = OwnerMap.of(session.oracle)
    for fact in facts_of(result):
        if isinstance(fact, Crash) or (isinstance(fact, Role) and fact.at.cpu in roles):
            continue
        if isinstance(fact, RanOn):
            fact = replace(fact, owners=tuple(owners.owner(page) for page in fact.pages))
        yield fact
    yield from _unknown(seen)


def _run(session: Session, result: Result) -> None:
    failed = start(session)
    if failed is None:
        drive(session, result.scenario, look_ahead(session, result.scenario))


def _check_ending(session: Session, result: Result) -> None:
    """NotTheSame if it is another run."""
    outcome = str(outcome_of(session))
    if outcome != str(result.outcome):
        raise NotTheSame(f"it ended in {result.outcome}, and ends in {outcome} when it is run again")
    if result.vmcore is not None and result.vmcore.sha256 is not None:
        dump = session.mechanism.extract(session, None)
        sha256 = None if dump is None else dump[1]
        if sha256 != result.vmcore.sha256:
            raise NotTheSame(f"its dump had the SHA-256 {result.vmcore.sha256}, and has {sha256} when it is run again")


def _unknown(seen: list[Fact]) -> Iterator[Fact]:
    """What a reader would ask and these do not tell."""
    if not any(isinstance(fact, Crash) for fact in seen):
        yield Unknown(
            Moment(0), "where the kernel crashed", "the machine saw it call nothing that a dying kernel calls"
        )
