# SPDX-License-Identifier: GPL-2.0-or-later
"""What a scenario leaves to chance, drawn from its seed: the scenario that has it all, and is the same run.

Instants and targets are drawn from a survey of a copy of the machine under its load (`faults.survey`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kdumpsim.agent.errors import AgentFailure
from kdumpsim.faults.draw import Draw
from kdumpsim.faults.models import Place
from kdumpsim.faults.strikes import MODELS, TEXT_MODELS
from kdumpsim.faults.survey import Survey, look
from kdumpsim.machines.pc import capable, system_place
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.strikes import TEXT, At, Fault
from kdumpsim.scenario.values import ScenarioError

MAX_COUNT = 40
MAX_PHASE_US = 100_000
LATENCIES = (25, 50, 100, 200, 400)
MORE_LOAD: tuple[tuple[str, ...], ...] = ((), ("diskio",), ("memdrain",), ("dmaread",))
"""Programs beside those that cross the point."""

if TYPE_CHECKING:
    from kdumpsim.runs.session import Session


@dataclass(frozen=True)
class SurveyKey:
    """What decides a survey of a booted machine: scenarios with equal keys share it."""

    crash: tuple[object, ...]

    @classmethod
    def of(cls, scenario: Scenario) -> SurveyKey:
        """That of a scenario."""
        part = scenario.crash_part
        kind = part.crash_type if part.at else ""
        return cls(
            (
                kind,
                part.load,
                part.crash_cpu,
                part.other_cpus,
                part.dma,
                part.timeout,
                part.breaks,
                part.latency,
                part.phase,
            )
        )


def wants_survey(scenario: Scenario) -> bool:
    """Is something to be drawn, or a control needed to tell whether a fault had any effect?"""
    return bool(scenario.fault) or any(strike.to_draw for strike in scenario.strikes)


def survey(copy: Session, scenario: Scenario) -> Survey | None:
    """What is to be seen on a copy of the booted machine under the scenario's load; the copy is over then.

    None where it comes to harm by itself.
    """
    reserved = copy.oracle.reserved
    try:
        copy.arm(_undrawn(scenario).crash_part)
        return look(
            capable(copy.machine.striking, copy.pc, "struck"),
            copy.first,
            range(reserved.start, reserved.end) if reserved is not None else range(0),
            (scenario.seed, *SurveyKey.of(scenario).crash),
            control=bool(scenario.fault),
            lives=lambda: not copy.gone and not copy.crashed,
        )
    except AgentFailure:
        return None  # the run itself will tell
    finally:
        copy.close()


def _undrawn(scenario: Scenario) -> Scenario:
    """The same load and conditions, and nothing that strikes."""
    if scenario.fault:
        return replace(scenario, fault=(TEXT,))
    return replace(scenario, at=str(At("")))


def drawn(scenario: Scenario, survey: Survey | None, session: Session) -> Scenario:
    """The scenario with all that was left to chance.  ScenarioError where there is nothing to draw from."""
    if scenario.vary:
        return _varied(scenario)
    if not any(strike.to_draw for strike in scenario.strikes):
        return scenario
    if survey is None or not survey.samples:
        raise ScenarioError("no CPU was busy in the kernel while the load ran: there is no instant to draw")
    if scenario.at is not None:
        sample = Draw("instant", scenario.seed, scenario.draw).of(survey.samples)
        return replace(scenario, at=str(At(scenario.crash_type, sample.cpu, sample.time)), draw=0)
    faults: list[str] = []
    for number, fault in enumerate(map(Fault.parse, scenario.fault)):
        if not fault.to_draw:
            faults.append(str(fault))
            continue
        for turn in range(scenario.faults):
            draw = Draw("fault", scenario.seed, scenario.draw, number, turn)
            sample, drive = draw.of(survey.samples), system_place(session.pc)
            place = Place(survey, session.first, session.pc.memory, sample, drive)
            faults.append(str(_fault(fault, place, draw)))
    return replace(scenario, fault=tuple(faults), faults=1, draw=0)


def _varied(scenario: Scenario) -> Scenario:
    """The crash at a point, with what was to be varied."""
    changes: dict[str, Any] = {"vary": (), "draw": 0}
    for what in scenario.vary:
        draw = Draw("vary", what, scenario.seed, scenario.draw)
        if what == "count":
            changes[what] = 1 + draw.below(MAX_COUNT)
        elif what == "phase":
            changes[what] = draw.below(MAX_PHASE_US)
        elif what == "latency":
            changes[what] = draw.of(LATENCIES)
        else:
            changes[what] = scenario.load + draw.of(MORE_LOAD)
    return replace(scenario, **changes)


def _fault(fault: Fault, place: Place, draw: Draw) -> Fault:
    name = draw.of(TEXT_MODELS).name if fault.model == TEXT else fault.model
    return Fault(name, MODELS[name].draw(fault.target, place, draw), place.sample.time)
