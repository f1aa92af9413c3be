# SPDX-License-Identifier: GPL-2.0-or-later
"""A page for readers: facts in sections, each sentence with the marks of the facts that it is made of."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from kdumpsim.explain import facts as kinds
from kdumpsim.explain.facts import Fact, Facts, Frame, Line
from kdumpsim.explain.noticing import noticing
from kdumpsim.explain.sentences import Sentence, damaged, grown, overwritten, place, said, seconds, short
from kdumpsim.target import hex_address

WIDTH: Final = 80
LONG_NS: Final = 50_000_000
"""From the crash on: what takes longer, somebody could have noticed."""
MOST_OVERWRITTEN: Final = 8
"""Changes of the writer."""
MOST_DIFFERENCES: Final = 5
NOTICED: Final = ("NMI", "local timer", "IRQ 0", "IRQ 1")
"""Events by which a watchdog or a person could have noticed something."""


@dataclass(frozen=True)
class Listing:
    """Lines that are shown as they are, and the fact they belong to."""

    lines: tuple[str, ...]
    fact: Fact


@dataclass
class Section:
    """A part of the page."""

    title: str
    items: list[Sentence | Listing] = field(default_factory=list)


def sections(facts: Facts) -> list[Section]:
    """The page, without the sections in which there would be nothing."""
    found = [
        Section("What was armed", list(_armed(facts))),
        Section("Where it struck", list(_struck(facts))),
        Section("What each CPU was doing", list(_cpus(facts))),
        Section("Locks", list(_locks(facts))),
        Section("How the stack overflowed", list(_stack(facts))),
        Section("Exceptions", list(_exceptions(facts))),
        Section("Who noticed, and who could have", list(_noticed(facts))),
        Section("How the news travelled", list(_news(facts))),
        Section("From the hand-over to the dump", list(_after(facts))),
        Section("What the dump is worth", list(_worth(facts))),
        Section("What was seen, and what it is called", list(_outcome(facts))),
        Section("Unknown", [said(fact) for fact in facts.all(kinds.Unknown)]),
    ]
    return [section for section in found if section.items]


def heading(facts: Facts) -> str:
    """What was run, and how it ended."""
    ended = facts.first(kinds.Ended)
    return facts.title if ended is None else f"{facts.title}: {ended.outcome}"


def text(facts: Facts, width: int = WIDTH) -> str:
    """The page as plain text."""
    lines = [heading(facts), facts.command, ""]
    used: dict[int, Fact] = {}
    for section in sections(facts):
        lines += [section.title, "=" * len(section.title)]
        for item in section.items:
            if isinstance(item, Listing):
                used[facts.mark(item.fact)] = item.fact
                lines += [f"    {line}"[:width].rstrip() for line in item.lines]
            else:
                marks = [facts.mark(fact) for fact in item.facts]
                used |= dict(zip(marks, item.facts, strict=True))
                whole = f"{item.text} {''.join(f'[#{mark}]' for mark in marks)}"
                lines += textwrap.wrap(
                    whole, width, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
                )
        lines.append("")
    return "\n".join([*lines, *_references(facts, used), ""])


def summary(facts: Facts) -> list[str]:
    """How it ended and what the dump is worth, a sentence a line."""
    return [item.text for item in (*_outcome(facts), *_worth(facts)) if isinstance(item, Sentence)]


# Sections.


def _armed(facts: Facts) -> Iterator[Sentence]:
    yield from _say(facts.all(kinds.Armed))
    yield from (said(phase) for phase in facts.all(kinds.Phase) if phase.name in ("load", "arm"))
    yield from _say(facts.all(kinds.Fault))


def _struck(facts: Facts) -> Iterator[Sentence | Listing]:
    for crash in facts.all(kinds.Crash):
        yield said(crash)
        if crash.source and crash.source_file is not None:
            yield Listing(tuple(_excerpt(crash.source_file, crash.source, crash.source_line)), crash)
        if crash.frames:
            yield Listing(tuple(_calls(crash.frames)), crash)


def _cpus(facts: Facts) -> Iterator[Sentence]:
    """What each was at when the kernel began to die, and again where it has become another thing."""
    last: dict[int | None, tuple[object, ...]] = {}
    for state in facts.all(kinds.CpuState):
        top = state.frames[0].function if state.frames else None
        what = state.state, state.interrupts, state.nmi_blocked, top
        if last.get(state.at.cpu) != what:
            when = "At" if state.when == "crash" else f"Later, at {seconds(state.at.ns)}"
            one = said(state)
            yield one if when == "At" else Sentence(f"{when}: {one.text}", one.facts)
            last[state.at.cpu] = what


def _locks(facts: Facts) -> Iterator[Sentence]:
    taken: int | None = None
    for look in facts.all(kinds.LocksLookedAt):
        if look.taken != taken:
            taken = look.taken
            yield said(look)
    known: set[tuple[int, int]] = set()
    for held in facts.all(kinds.LockHeld):
        if (held.address, held.owner) not in known:
            known.add((held.address, held.owner))
            yield said(held)
    waiting: set[tuple[int | None, int]] = set()
    for wait in facts.all(kinds.LockWait):
        if (wait.at.cpu, wait.address) not in waiting:
            waiting.add((wait.at.cpu, wait.address))
            yield said(wait)


def _stack(facts: Facts) -> Iterator[Sentence]:
    if growth := facts.all(kinds.StackGrown):
        yield grown(growth)
    yield from _say(facts.all(kinds.StackLeft))
    yield from _say(facts.all(kinds.GuardPageMet))
    left: list[kinds.Overwritten] = []
    told = 0
    for run, shown in most_overwritten(facts.all(kinds.Overwritten), MOST_OVERWRITTEN):
        if shown:
            told += len(run)
            yield overwritten(run)
        else:
            left += run
    damage = facts.all(kinds.Damage)
    if left:
        count = sum(each.pieces for each in damage) - told
        yield Sentence(f"Left out here: later writes to {count} more pieces of memory.", (left[0], left[-1]))
    if damage:
        yield damaged(damage)
    yield from _say(facts.all(kinds.NotLookedAt))


def most_overwritten(facts: Sequence[kinds.Overwritten], most: int) -> Iterator[tuple[list[kinds.Overwritten], bool]]:
    """Runs of one writer in one part of memory, in order, each with whether it is to be told.

    That are so many, and each with a member of thread_info of which nothing was told before.
    """
    told: set[str] = set()
    for number, (_, each) in enumerate(groupby(facts, lambda fact: (fact.by, fact.in_thread_info))):
        run = list(each)
        members = {fact.what for fact in run if fact.in_thread_info}
        shown = number < most or not members <= told
        if shown:
            told |= members
        yield run, shown


def _exceptions(facts: Facts) -> Iterator[Sentence]:
    met = (kinds.CpuException, kinds.ExceptionsLeftOut, kinds.NotDelivered, kinds.ShutDown)
    for fact in facts.facts:
        if isinstance(fact, met):
            yield said(fact)
    names = {fact.name for fact in facts.all(kinds.CpuException)}
    yield from (said(events) for events in facts.all(kinds.Events) if events.name in names)


def _noticed(facts: Facts) -> Iterator[Sentence]:
    crash = facts.first(kinds.Crash)
    jump = facts.first(kinds.HandedOver)
    end = jump.at.ns if jump is not None else max((fact.at.ns for fact in facts.facts), default=0)
    if crash is None or end - crash.at.ns < LONG_NS:
        return
    yield from noticing(facts)
    yield from (said(events) for events in facts.all(kinds.Events) if events.name in NOTICED)


def _news(facts: Facts) -> Iterator[Sentence]:
    about = (kinds.Message, kinds.NmiTaken, kinds.Saved, kinds.Role)
    for fact in facts.facts:
        if isinstance(fact, about) and not _aside(fact):
            yield said(fact)
        if isinstance(fact, kinds.Message) and fact.mode == "NMI":
            yield from _not_taken(facts, fact)


def _aside(fact: Fact) -> bool:
    """Is it about something else than the news of the crash: a watchdog's NMI, a message that is none?"""
    if isinstance(fact, kinds.Message):
        return fact.mode != "NMI"
    return isinstance(fact, kinds.NmiTaken) and not fact.frames


def _not_taken(facts: Facts, message: kinds.Message) -> Iterator[Sentence]:
    """Who was sent an NMI and did not take it before the hand-over, or ever."""
    for index in message.to:
        if any(nmi.at.cpu == index and nmi.at.ns >= message.at.ns for nmi in facts.all(kinds.NmiTaken)):
            continue
        states = [state for state in facts.all(kinds.CpuState) if state.at.cpu == index]
        state = next((state for state in states if state.at.ns >= message.at.ns), states[-1] if states else None)
        if state is None:
            yield Sentence(f"CPU {index} did not take it; why is unknown.", (message,))
        else:
            yield Sentence(f"CPU {index} did not take it: {_why_not(state)}.", (message, state))


def _why_not(state: kinds.CpuState) -> str:
    """Why a CPU takes no NMI (SDM volume 3A, 6.7.1 and 8.4)."""
    if state.nmi_blocked:
        return "it was in an NMI handler"
    known = {"shut down": "it had shut down", "waits for SIPI": "it waited for a SIPI, and takes nothing else then"}
    doing = {"runs": "it ran", "halted": "it was halted"}.get(state.state, state.state)
    return known.get(state.state, f"why is unknown, {doing}")


def _after(facts: Facts) -> Iterator[Sentence]:
    about = (kinds.HandedOver, kinds.Passage, kinds.KernelEntered, kinds.RanOn)
    yield from (said(fact) for fact in facts.facts if isinstance(fact, about))
    yield from (said(phase) for phase in facts.all(kinds.Phase) if phase.name in ("capture", "save"))


def _worth(facts: Facts) -> Iterator[Sentence]:
    yield from _say(facts.all(kinds.Dump))
    yield from _say(facts.all(kinds.Judged))
    yield from _say(facts.all(kinds.RegistersWrong))
    yield from _shortened(facts.all(kinds.Difference), MOST_DIFFERENCES)
    yield from _shortened(facts.all(kinds.PageWritten), MOST_DIFFERENCES)
    yield from _shortened(facts.all(kinds.ByDma), MOST_DIFFERENCES)


def _outcome(facts: Facts) -> Iterator[Sentence]:
    yield from _say(facts.all(kinds.Noted))
    yield from _say(facts.all(kinds.Marked))
    yield from _say(facts.all(kinds.Ended))


# How they are said.


def _say(facts: Iterable[Fact]) -> Iterator[Sentence]:
    return map(said, facts)


def _shortened(facts: Sequence[Fact], most: int) -> Iterator[Sentence]:
    """The first ones, the last one, and how many there are between."""
    if len(facts) <= most:
        yield from _say(facts)
        return
    yield from _say(facts[: most - 1])
    left = facts[most - 1 : -1]
    yield Sentence(f"And {len(left)} more like these.", (left[0], left[-1]) if left[1:] else (left[0],))
    yield said(facts[-1])


def _excerpt(file: str, lines: Sequence[Line], marked: int | None) -> Iterator[str]:
    yield f"{short(file)}:"
    for line in lines:
        yield f"{'>' if line.number == marked else ' '} {line.number:4} {line.text}"


def _calls(frames: Sequence[Frame]) -> Iterator[str]:
    yield "Calls, the innermost first:"
    for number, frame in enumerate(frames):
        yield (
            f"{number:2} {hex_address(frame.address)} {place(frame)}" if frame.address else f"{number:2} {place(frame)}"
        )


def _references(facts: Facts, used: dict[int, Fact]) -> Iterator[str]:
    yield "References"
    yield "=========="
    how = (
        f"`kdumpsim debug DIR --gdb`, then `kd-goto N`, goes to instruction N of this run; `{facts.command}` makes it "
        "again."
        if facts.replayed
        else "The run was not repeated, so its instructions were not counted."
    )
    yield from textwrap.wrap(how, WIDTH)
    yield f"{'':>6} {'virtual s':>14} {'CPU':>3} {'instruction':>13}  address"
    for mark, fact in sorted(used.items()):
        at = fact.at
        cpu = "-" if at.cpu is None else str(at.cpu)
        number = "-" if at.number is None else f"{at.number:,}"
        address = "-" if at.address is None else f"0x{hex_address(at.address)}"
        yield f"{f'#{mark}':>6} {at.ns / 1e9:>14.9f} {cpu:>3} {number:>13}  {address}"
