# SPDX-License-Identifier: GPL-2.0-or-later
"""Who could have noticed that a CPU hangs: what a watchdog goes by, and whether that came in the time there was.

The NMI watchdog counts the NMIs of a CPU between which its local timer's interrupt did not come. The soft-lockup
watchdog looks in that interrupt whether a thread of the CPU has run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kdumpsim.explain.facts import CpuState, Events, Fact, Facts, Watchdog
from kdumpsim.explain.sentences import Sentence, cpu, noun, said
from kdumpsim.explain.watchdogs import NMI_WATCHDOG, SOFT_LOCKUP

TIMER, NMI = "local timer", "NMI"


@dataclass(frozen=True)
class _Seen:
    """What is known of one CPU since the crash."""

    timer: Events
    nmis: Events
    state: CpuState


def noticing(facts: Facts) -> Iterator[Sentence]:
    """Each watchdog of each CPU, as it stood last, and what it could go by."""
    latest = {(dog.name, dog.at.cpu): dog for dog in facts.all(Watchdog)}
    for (name, index), dog in latest.items():
        yield said(dog)
        seen = _seen(facts, index)
        if dog.on and seen is not None and name in _CHANCES:
            yield _CHANCES[name](dog, seen)


def _seen(facts: Facts, index: int | None) -> _Seen | None:
    events = {each.name: each for each in facts.all(Events) if each.at.cpu == index}
    states = [state for state in facts.all(CpuState) if state.at.cpu == index and state.when in ("crash", "later")]
    if TIMER not in events or NMI not in events or not states:
        return None
    return _Seen(events[TIMER], events[NMI], states[-1])


def _nmi(dog: Watchdog, seen: _Seen) -> Sentence:
    used: tuple[Fact, ...] = (dog, seen.nmis, seen.timer)
    who = f"The {dog.name} of {cpu(dog)}"
    if not seen.nmis.count:
        return Sentence(f"{who} could not notice anything: the CPU took no NMI.", used)
    if not seen.timer.count:
        text = f"{who} could notice it: {seen.nmis.count} NMIs came, and no {noun(TIMER)} between them."
        return Sentence(text, used)
    return Sentence(
        f"{who} had nothing to notice as long as {noun(TIMER)} went on: it took {seen.nmis.count} NMIs, "
        f"and {seen.timer.count} of those.",
        used,
    )


def _soft_lockup(dog: Watchdog, seen: _Seen) -> Sentence:
    used: tuple[Fact, ...] = (dog, seen.timer, seen.state)
    who = f"The {dog.name} of {cpu(dog)}"
    if not seen.timer.count:
        off = "" if seen.state.interrupts else ", for its interrupts were off"
        return Sentence(f"{who} could not notice anything: it looks in the {TIMER}'s interrupt; none came{off}.", used)
    return Sentence(f"{who} looked {seen.timer.count} times: so often the {TIMER}'s interrupt came.", used)


_CHANCES = {NMI_WATCHDOG: _nmi, SOFT_LOCKUP: _soft_lockup}
