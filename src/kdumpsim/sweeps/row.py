# SPDX-License-Identifier: GPL-2.0-or-later
"""A run of a sweep as a row: what its result says, in figures that can be counted, and which boot it shared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from kdumpsim._version import __version__
from kdumpsim.compiler.cache import digest
from kdumpsim.lkdtt.outcome import Outcome, Seen
from kdumpsim.runs.events import Phase
from kdumpsim.runs.forking import Report
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import images_digest
from kdumpsim.scenario.scenario import BootKey, Scenario

KEY_BYTES = 16
WORKER_DIED, HOST_TIMEOUT = "worker died", "host time-out"
"""How a run without an outcome ended."""
_TIMES = re.compile(r"\d+\.\d+ m?s|\b0x[0-9a-f]+\b|\b\d{3,}\b")


@dataclass(frozen=True)
class Row:
    """A run and what came of it."""

    key: bytes
    """Stands for the scenario and all guest code: another kernel is another experiment."""
    boot: str
    """Stands for the boot: runs with the same are not independent of each other."""
    crash_point: str
    crash_type: str
    count: int
    seed: int
    draw: int
    """Which draw of an instant, a fault or a variation (`Scenario.draw`)."""
    struck: str
    """What struck other than at a crash point, a line each, as ``--at`` and ``--fault`` take it; empty otherwise."""
    activated: int | None
    """How many of these mattered; None where none struck."""
    effect: str | None
    """The class of what came of it (`lkdtt.effect.EffectClass`), where something struck."""
    latency_ns: int | None
    """Virtual time from the first strike that mattered to the crash."""
    end: str
    """The outcome in the paper's legend, or `WORKER_DIED` or `HOST_TIMEOUT`."""
    ok: bool | None
    """Whether the outcome is O; None for a run without one."""
    captured: bool | None
    ended_in: str | None
    """How far it got: first kernel, where the mechanism's own code begins, capture kernel, dump."""
    reason: str
    accuracy: float | None
    completeness: float | None
    wrong_registers: int | None
    """CPUs whose registers the dump does not have as they were; None without a dump."""
    crash_ns: int | None
    """Virtual time at which the kernel began to die."""
    hand_over_ns: int | None
    """Virtual time at which it handed over to its dump mechanism."""
    calls: str
    """The functions that were being called at the crash, innermost first."""
    context: str
    """What the CPU that crashed was at (`runs.calls.CONTEXTS`)."""
    evidence: str
    """What was seen, a line each; only of runs that are not O."""
    host_s: float | None
    """Seconds of the host's time from the arming on; the boot is shared."""
    version: str = __version__

    @classmethod
    def of(cls, report: Report) -> Row:
        """The row of a run that ended."""
        result = report.result
        if result is None:
            return cls.without_outcome(report.scenario, report.end, report.died or "")
        return _of_result(result, report.scenario)

    @classmethod
    def without_outcome(cls, scenario: Scenario, end: str, why: str) -> Row:
        """The row of a run whose worker died or did not answer in time."""
        return cls(
            *identity(scenario), **_named(scenario),
            struck="", activated=None, effect=None, latency_ns=None, end=end,
            ok=None, captured=None, ended_in=None, reason=why, accuracy=None, completeness=None, wrong_registers=None,
            crash_ns=None, hand_over_ns=None, calls="", context="", evidence="", host_s=None,
        )  # fmt: skip


def _named(scenario: Scenario) -> dict[str, Any]:
    return {name: getattr(scenario, name) for name in ("crash_point", "crash_type", "count", "seed", "draw")}


def identity(scenario: Scenario) -> tuple[bytes, str]:
    """Key and boot of a run.  GuestError where there is no kernel to boot, ScenarioError where it does not fit."""
    boot = scenario.boot_key()
    code = _code(boot._replace(pc=replace(boot.pc, seed=0)))
    plain = scenario.to_dict()
    del plain["asked_kernel_options"]  # all of them are there
    return bytes.fromhex(digest([sorted(plain.items()), code]))[:KEY_BYTES], digest([repr(boot), code])[: 2 * KEY_BYTES]


@cache
def _code(boot: BootKey) -> str:
    return images_digest(*boot)


def _of_result(result: Result, asked: Scenario) -> Row:
    """The row of a result whose scenario was `asked` for: the result's own has what was left to chance."""
    outcome, judgement, crash, effect = result.outcome, result.judgement, result.crash, result.effect
    at = {note.seen: note.at_ns for note in reversed(outcome.timeline)}
    return Row(
        *identity(asked),
        **_named(asked),
        struck="\n".join(strike.what for strike in result.struck),
        activated=sum(strike.activated_ns is not None for strike in result.struck) if result.struck else None,
        effect=effect.name.value if effect else None,
        latency_ns=effect.latency_ns if effect else None,
        end=str(outcome),
        ok=outcome.ok,
        captured=outcome.captured,
        ended_in=ended_in(outcome),
        reason=outcome.reason,
        accuracy=judgement.accuracy if judgement else None,
        completeness=judgement.completeness if judgement else None,
        wrong_registers=sum(not check.ok for check in judgement.registers) if judgement else None,
        crash_ns=crash.at_ns if crash else None,
        hand_over_ns=at.get(Seen.HANDED_OVER),
        calls=" < ".join(crash.calls) if crash else "",
        context=crash.context if crash else "",
        evidence="" if outcome.ok else "\n".join(outcome.evidence),
        host_s=round(sum(phase.host_s for phase in _own(result.phases)), 3),
        version=result.version,
    )


def _own(phases: Sequence[Phase]) -> Sequence[Phase]:
    """The phases that a run does not share with others of its boot."""
    names = [phase.name for phase in phases]
    return phases[names.index("arm") :] if "arm" in names else ()


def ended_in(outcome: Outcome) -> str:
    """How far a run got on its way to a dump."""
    seen = {note.seen: note.text for note in outcome.timeline}
    if outcome.captured:
        return "dump"
    if Seen.CAPTURE_STARTED in seen:
        return "capture kernel"
    return seen.get(Seen.HANDED_OVER, "first kernel").removesuffix(" was entered")


def without_times(text: str) -> str:
    """A sentence without the times and addresses by which alike failures differ."""
    return _TIMES.sub("…", text)
