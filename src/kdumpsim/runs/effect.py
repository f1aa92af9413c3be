# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of a strike: a comparison with the control while the run goes on, and the class when it is over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdumpsim.faults.survey import Survey, checkpoints, digest_of
from kdumpsim.lkdtt.effect import Effect, EffectClass
from kdumpsim.lkdtt.outcome import NS, Note, Seen
from kdumpsim.machines.pc import capable

if TYPE_CHECKING:
    from kdumpsim.runs.account import Conclusion
    from kdumpsim.runs.session import Session

FIRST_KERNEL = "first kernel"
_REPORTS = (Seen.OOPS, Seen.PANIC, Seen.NMI_WATCHDOG, Seen.SOFT_LOCKUP)
_PROGRAM_DIED = re.compile(r"\] trap |segfault at")
"""What the kernel says of a program that it sends a deadly signal."""


def without_effect(session: Session, seen: Survey) -> bool:
    """Leave the machine to its load until well after the last fault; whether it is then the one without it, but for the
    fault itself.  Not later than a crash, and not where the control was not kept."""
    strikes = session.strikes
    if strikes is None or not seen.control:
        return False
    machine = capable(session.machine.striking, session.pc, "struck")
    session.clock.begin("fault", f"waiting for {', '.join(record.what for record in strikes.struck)} to show")
    last = checkpoints(strikes.last)[-1]
    for time in checkpoints(strikes.last):
        session.run_to(time)
        control = seen.control.get(time)
        if session.gone or session.crashed or session.now < time:
            break
        if control is None:  # a time in the window, of which the control tells nothing
            continue
        mine = digest_of(machine)
        pages = mine.differing_pages(control)
        if mine.differing_devices(control) or not pages <= strikes.pages:
            continue
        if not pages or time == last:
            after = (session.now - strikes.last) / NS
            left = ", but for the fault in memory," if pages else ""
            text = f"{after:.3f} s after the fault the machine{left} is the one without it"
            session.notes.append(Note(session.now, Seen.NO_EFFECT, text))
            session.no_effect = _class(session, bool(pages))
            session.clock.end(text)
            return True
    session.clock.end("the machine is no longer the one without the fault")
    return False


def _class(session: Session, left: bool) -> EffectClass:
    assert session.strikes is not None
    if all(record.activated_ns is None for record in session.strikes.struck):
        return EffectClass.NOT_ACTIVATED
    return EffectClass.LATENT if left else EffectClass.CONVERGED


def effect_of(session: Session, conclusion: Conclusion) -> Effect:
    """The class of a run that is over."""
    outcome, judgement = conclusion.outcome, conclusion.judgement
    seen = {note.seen for note in outcome.timeline}
    latency = _latency(session)
    if session.no_effect is not None:
        return Effect(session.no_effect)
    if outcome.captured and outcome.ok:
        right = judgement is not None and judgement.accuracy == 1 and all(check.ok for check in judgement.registers)
        return Effect(EffectClass.CAPTURED if right else EffectClass.WRONG, None, latency)
    if outcome.ok:
        lines = [line for _, line in session.lines_since_arming()]
        program = any(map(_PROGRAM_DIED.search, lines)) and not seen & set(_REPORTS)
        return Effect(EffectClass.LOAD_ONLY if program else EffectClass.SURVIVED, None, latency)
    if outcome.captured:
        return Effect(EffectClass.FAILED, None, latency)
    place = session.mechanism.stage(session) if session.jumped else FIRST_KERNEL
    return Effect(EffectClass.FAILED, place, latency)


def _latency(session: Session) -> int | None:
    strikes, crash = session.strikes, session.oracle.led_to_dump
    if strikes is None or crash is None:
        return None
    activated = [record.activated_ns for record in strikes.struck if record.activated_ns is not None]
    return crash.time_ns - min(activated) if activated else None
