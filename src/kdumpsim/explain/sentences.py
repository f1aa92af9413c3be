# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentences: one way to say each kind of fact, whatever the run was about.

None is made for an outcome, a crash point or a type of crash. Each sentence names the facts that it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from kdumpsim.explain import facts as kinds
from kdumpsim.explain.facts import Fact, Frame
from kdumpsim.target import TARGET, hex_address

MOST_CALLS: Final = 4
"""Callers that are named in a sentence."""
MOST_PAGES: Final = 6
WHEN: Final = {
    "crash": "at the crash",
    "later": "a second after the crash",
    "hand-over": "at the hand-over",
    "end": "at the end",
}
HARDIRQ, SOFTIRQ, PREEMPT = 0xFFF << 16, 0xFF << 8, 0xFF
"""Parts of preempt_count (include/linux/hardirq.h)."""
_RING_3: Final = 3


@dataclass(frozen=True)
class Sentence:
    """Something that is said, and the facts that it is made of."""

    text: str
    facts: tuple[Fact, ...]


def said(fact: Fact) -> Sentence:
    """A fact in a sentence."""
    return Sentence(_SAYERS[type(fact)](fact), (fact,))


def seconds(ns: int) -> str:
    """A virtual time."""
    return f"{ns / 1e9:.6f} s"


def lasted(ns: int) -> str:
    """How long something took."""
    if ns >= 1_000_000_000:
        return f"{ns / 1e9:.2f} s"
    return f"{ns / 1e6:.2f} ms" if ns >= 100_000 else f"{ns / 1e3:.1f} us"


def place(frame: Frame) -> str:
    """A function with the line of source."""
    if frame.function is None:
        return f"code at {frame.address:#x}, outside the first kernel" if frame.address else "a place unknown"
    return f"{frame.function}()" if frame.file is None else f"{frame.function}() ({short(frame.file)}:{frame.line})"


def short(file: str) -> str:
    """A source file's name without what all have in common."""
    return file.removeprefix("kdumpsim/")


def calls(frames: Sequence[Frame]) -> str:
    """Where a CPU was, with some of its callers."""
    if not frames:
        return "a place unknown"
    callers = [frame.function for frame in frames[1:] if frame.function]
    names, last = [], ""
    for name in callers:
        if name != last:
            names.append(name)
        last = name
    if not names:
        return place(frames[0])
    more = " and so on" if len(names) > MOST_CALLS else ""
    return f"{place(frames[0])}, called by {', '.join(names[:MOST_CALLS])}{more}"


def cpu(fact: Fact) -> str:
    """Whose the fact is."""
    return "an unknown CPU" if fact.at.cpu is None else f"CPU {fact.at.cpu}"


def noun(event: str) -> str:
    """What an event is called when there are some of them."""
    if event == "NMI":
        return "NMIs"
    return f"{event} exceptions" if event.startswith("#") else f"{event} interrupts"


def context(count: int) -> str:
    """What preempt_count says, in words."""
    parts = []
    if count & HARDIRQ:
        parts.append("in an interrupt's handler")
    if count & SOFTIRQ:
        parts.append("in a softirq or with softirqs off")
    if disabled := count & PREEMPT:
        times = {1: "once", 2: "twice"}.get(disabled, f"{disabled} times")
        parts.append(f"preemption disabled {times} (each lock that is held disables it once)")
    return f"preempt_count {count:#x}: {' and '.join(parts) or 'it could be preempted'}"


def _armed(fact: kinds.Armed) -> str:
    if fact.crash_point is None:
        return f"What was to strike: {fact.title}."
    crossing = f", at its crossing number {fact.count}" if fact.count is not None else ""
    crossed = f" ({fact.help})" if fact.help else ""
    return f"Crash point {fact.crash_point}{crossed} was armed with type {fact.crash_type}{crossing}."


def _phase(fact: kinds.Phase) -> str:
    detail = f": {fact.detail}" if fact.detail else ""
    return f"Phase {fact.name} took {lasted(fact.at.ns - fact.begin_ns)}{detail}."


def _crash(fact: kinds.Crash) -> str:
    context = f" (at work: {fact.context})" if fact.context else ""
    called = f", called in {calls(fact.frames[1:])}" if fact.frames[1:] else ""
    return f"At {seconds(fact.at.ns)} {cpu(fact)}{context} came to {fact.where}(){called}."


def _cpu_state(fact: kinds.CpuState) -> str:
    on = "on" if fact.interrupts else "off"
    nmi = ", in an NMI handler, which keeps further NMIs out" if fact.nmi_blocked else ""
    doing = {"runs": "was running", "halted": "was halted"}.get(fact.state, f"{fact.state}")
    if fact.ring == _RING_3:
        return f"{cpu(fact)} {doing} in ring 3, interrupts {on}{nmi}."
    task = f" for {fact.task}" if fact.task else ""
    if fact.task is None and fact.preempt_count is not None:
        task = ", its task unknown: the thread_info of its stack names none"
    count = "" if fact.preempt_count is None or not fact.task else f"; {context(fact.preempt_count)}"
    return f"{cpu(fact)} {doing} in {calls(fact.frames)}{task}, interrupts {on}{nmi}{count}."


def _locks_looked_at(fact: kinds.LocksLookedAt) -> str:
    return (
        f"{_capital(WHEN[fact.when])}, {fact.taken} of the {fact.count} spinlocks that variables of the kernel lead to "
        f"{'was' if fact.taken == 1 else 'were'} taken. Of locks on untyped lists it is unknown."
    )


def _lock_held(fact: kinds.LockHeld) -> str:
    return f"Lock {fact.name} was taken {WHEN[fact.when]}; the lock itself names CPU {fact.owner}."


def _lock_wait(fact: kinds.LockWait) -> str:
    return f"{cpu(fact)} waited for {fact.name} in {fact.function}() {WHEN[fact.when]}."


def _message(fact: kinds.Message) -> str:
    what = "an NMI" if fact.mode == "NMI" else f"a message ({fact.mode}, vector {fact.vector:#x})"
    to = " and ".join(f"CPU {index}" for index in fact.to) or "nobody: no local APIC took it"
    return f"{cpu(fact)} sent {what} to {to} at {seconds(fact.at.ns)}, from {calls(fact.frames)}."


def _nmi_taken(fact: kinds.NmiTaken) -> str:
    on = "on" if fact.interrupts else "off"
    where = f" It was in {calls(fact.frames)}, interrupts {on}." if fact.frames else ""
    return f"{cpu(fact)} took an NMI at {seconds(fact.at.ns)}.{where}"


def _saved(fact: kinds.Saved) -> str:
    wrong = "" if fact.number == fact.at.cpu else f", as CPU {fact.number}, which it took itself for"
    return f"{cpu(fact)} saved its registers for the dump at {seconds(fact.at.ns)}{wrong}."


def _role(fact: kinds.Role) -> str:
    return f"What became of {cpu(fact)}: {fact.role}."


def _ran_on(fact: kinds.RanOn) -> str:
    pages = ", ".join(f"{page:#x}" for page in fact.pages[:MOST_PAGES])
    more = f" and {len(fact.pages) - MOST_PAGES} more" if len(fact.pages) > MOST_PAGES else ""
    whose = f" ({', '.join(fact.owners[:MOST_PAGES])})" if fact.owners else ""
    wrote = f"wrote to the pages {pages}{more}{whose}" if fact.pages else "wrote to no page outside the reserved region"
    return f"{cpu(fact)} ({fact.role}) ran {fact.code_bytes} bytes of code after the hand-over and {wrote}."


def _handed_over(fact: kinds.HandedOver) -> str:
    return f"{cpu(fact)} jumped to {fact.to} at {seconds(fact.at.ns)}."


def _passage(fact: kinds.Passage) -> str:
    verdict = {True: "yes: ", False: "no: ", None: ""}[fact.ok]
    took = lasted(fact.at.ns - fact.begin_ns)
    return f"{_capital(fact.what)}, at {seconds(fact.at.ns)} after {took}: {verdict}{fact.found}."


def _kernel_entered(fact: kinds.KernelEntered) -> str:
    return f"{_capital(fact.name)} was entered on {cpu(fact)} at {seconds(fact.at.ns)}."


def _said(fact: kinds.Said) -> str:
    return f'The console said at {seconds(fact.at.ns)} ({fact.by}): "{fact.text}".'


def _dump(fact: kinds.Dump) -> str:
    sha256 = f", SHA-256 {fact.sha256}" if fact.sha256 else ""
    return f"There is a dump of {fact.bytes} bytes{sha256}."


def _judged(fact: kinds.Judged) -> str:
    right = ", ".join(map(str, fact.registers_ok)) or "none"
    return (
        f"Of the {fact.pages} pages of RAM outside the reserved region, a share of {fact.completeness:.6f} is in the "
        f"dump (completeness), and of these a share of {fact.accuracy:.6f} is as it was at the hand-over (accuracy). "
        f"CPUs whose registers are as the machine saw them: {right}."
    )


def _registers_wrong(fact: kinds.RegistersWrong) -> str:
    return f"Registers of {cpu(fact)} in the dump: {fact.problem}."


def _difference(fact: kinds.Difference) -> str:
    what = f"Memory {fact.start:#x} to {fact.end:#x} ({fact.owner})"
    if fact.difference == "missing":
        return f"{what} is missing from the dump."
    cause = f": {fact.cause}" if fact.cause else "; who changed it is unknown"
    return f"{what} is not what it was at the hand-over{cause}."


def _by_dma(fact: kinds.ByDma) -> str:
    return (
        f"Page {fact.page:#x} ({fact.owner}) differs only by what a device wrote after the hand-over, and counts as "
        "accurate."
    )


def _page_written(fact: kinds.PageWritten) -> str:
    where = f", in {calls(fact.frames)}" if fact.frames else ""
    return (
        f"{fact.by} wrote to memory {fact.start:#x} to {fact.end:#x} ({fact.owner}) at {seconds(fact.at.ns)}, after "
        f"the hand-over{where}."
    )


def _exception(fact: kinds.CpuException) -> str:
    linear = "" if fact.linear is None else f" at address 0x{hex_address(fact.linear)}"
    gate = " (by its task gate)" if fact.by_task_gate else ""
    if fact.linear is not None and fact.linear == fact.at.address:
        where = f": the instruction there could not be fetched, in {calls(fact.frames)}"
    else:
        where = f" in {calls(fact.frames)}"
    return f"{cpu(fact)} met {fact.name}{gate}{linear}{where}."


def _exceptions_left_out(fact: kinds.ExceptionsLeftOut) -> str:
    return f"Between the first and the last ones that are told, {fact.count} more of {cpu(fact)} are left out."


def _not_delivered(fact: kinds.NotDelivered) -> str:
    linear = "" if fact.linear is None else f" at address 0x{hex_address(fact.linear)}"
    unmapped = ", where no page was mapped" if fact.unmapped else ""
    stack = f"stack pointer {fact.stack:#x}"
    return f"{cpu(fact)} could not enter the handler of {fact.name} ({stack}): {fact.met_name}{linear}{unmapped}."


def _guard_page_met(fact: kinds.GuardPageMet) -> str:
    whose = f"of {fact.task} " if fact.task else ""
    return (
        f"Address 0x{hex_address(fact.linear)} is in the page right below the stack {whose}whose low end is "
        f"{fact.stack:#x}. The page tables of {cpu(fact)} did not map that page, so what was to be written there "
        "overwrote nothing."
    )


def _shut_down(fact: kinds.ShutDown) -> str:
    return f"{cpu(fact)} shut down at {seconds(fact.at.ns)}: no handler could be entered, a triple fault."


def _stack_left(fact: kinds.StackLeft) -> str:
    task = f", that of {fact.task}," if fact.task else ""
    return (
        f"{cpu(fact)}'s stack pointer went to {fact.pointer:#x}, which is below the stack{task} whose low end is "
        f"{fact.stack:#x}."
    )


def _stack_grown(fact: kinds.StackGrown) -> str:
    return grown([fact]).text


def grown(steps: Sequence[kinds.StackGrown]) -> Sentence:
    """Whose calls a stack has grown by."""
    taken: dict[str, list[int]] = {}
    for step in steps:
        taken.setdefault(step.function, []).append(step.begin - step.pointer)
    most = sorted(taken.items(), key=lambda item: -sum(item[1]))[:MOST_CALLS]
    parts = [f"{sum(sizes)} bytes in {_steps(len(sizes))} by {_taker(name)}" for name, sizes in most]
    if left := sum(map(sum, taken.values())) - sum(sum(sizes) for _, sizes in most):
        parts.append(f"{left} bytes by others")
    text = f"{cpu(steps[0])}'s stack grew from {steps[0].begin:#x} down to {steps[-1].pointer:#x}: {', '.join(parts)}."
    return Sentence(text, (steps[0], steps[-1]) if steps[1:] else (steps[0],))


def _taker(name: str) -> str:
    return f"{name}()" if name.isidentifier() else name


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def overwritten(run: Sequence[kinds.Overwritten]) -> Sentence:
    """What one writer overwrote, in order."""
    first = run[0]
    where = f"in {calls(first.frames)}" if first.frames else f"by {first.by}"
    part = "to thread_info" if first.in_thread_info else "below the stack's end"
    number = "" if first.at.number is None else f", at instruction {first.at.number:,}"
    head = f"The first write {part}{number}: " if first.first else "Then "
    parts = [f"{what} ({'; '.join(map(_changed, pieces))})" for what, pieces in groupby(run, lambda fact: fact.what)]
    return Sentence(f"{head}{cpu(first)} overwrote {', '.join(parts)}, {where}.", tuple(run))


def damaged(done: Sequence[kinds.Damage]) -> Sentence:
    """All that was overwritten."""
    parts = [
        f"{each.what} ({_bytes(each.size)} from {each.start:#x} to {each.end - 1:#x}, first at {seconds(each.at.ns)} "
        f"by {_taker(each.by)})"
        for each in done
    ]
    return Sentence(f"In all {cpu(done[0])} changed {', '.join(parts)}.", tuple(done))


def _not_looked_at(fact: kinds.NotLookedAt) -> str:
    return f"What {cpu(fact)} overwrote is known only up to {seconds(fact.at.ns)}: {fact.why}."


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _changed(fact: kinds.Overwritten) -> str:
    """Bytes that a store left as they were do not count."""
    if fact.size == TARGET.word:
        return f"{_bytes(fact.size)} at {fact.address:#x}, {fact.old:#x} became {fact.new:#x}"
    return f"{_bytes(fact.size)} changed at {fact.address:#x}"


def _watchdog(fact: kinds.Watchdog) -> str:
    whose = f" on {cpu(fact)}" if fact.at.cpu is not None else ""
    ran = "" if fact.thread_ran is None else f"; its thread had run {fact.thread_ran} ticks before"
    return f"The {fact.name}{whose} was {'on' if fact.on else 'off'} {WHEN[fact.when]}: {fact.why}{ran}."


def _events(fact: kinds.Events) -> str:
    since = f"in the {lasted(fact.at.ns - fact.begin_ns)} since the crash"
    if not fact.count:
        return f"{cpu(fact)} took no {noun(fact.name)} {since}."
    last = "" if fact.last_ns is None else f", the last one at {seconds(fact.last_ns)}"
    return f"{cpu(fact)} took {fact.count} {noun(fact.name)} {since}{last}."


def _noted(fact: kinds.Noted) -> str:
    return f"{seconds(fact.at.ns)}: {fact.text}."


def _marked(fact: kinds.Marked) -> str:
    return f"Mark {fact.mark} ({fact.meaning}), because of: {fact.seen}."


def _ended(fact: kinds.Ended) -> str:
    dump = "a whole dump was saved" if fact.captured else "no whole dump was saved"
    lives = ", and the system recovered" if fact.recovered else ""
    return f"It is called {fact.outcome}: {dump}{lives}. {_capital(fact.reason or 'no reason was recorded')}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _unknown(fact: kinds.Unknown) -> str:
    return f"Unknown: {fact.subject}; {fact.why}."


def _fault(fact: kinds.Fault) -> str:
    return f"{fact.text}."


_SAYERS: Final[dict[type[Fact], Callable[[Any], str]]] = {
    kinds.Armed: _armed,
    kinds.Phase: _phase,
    kinds.Fault: _fault,
    kinds.Crash: _crash,
    kinds.CpuState: _cpu_state,
    kinds.LocksLookedAt: _locks_looked_at,
    kinds.LockHeld: _lock_held,
    kinds.LockWait: _lock_wait,
    kinds.Message: _message,
    kinds.NmiTaken: _nmi_taken,
    kinds.Saved: _saved,
    kinds.Role: _role,
    kinds.RanOn: _ran_on,
    kinds.HandedOver: _handed_over,
    kinds.Passage: _passage,
    kinds.KernelEntered: _kernel_entered,
    kinds.Said: _said,
    kinds.Dump: _dump,
    kinds.Judged: _judged,
    kinds.RegistersWrong: _registers_wrong,
    kinds.Difference: _difference,
    kinds.ByDma: _by_dma,
    kinds.PageWritten: _page_written,
    kinds.CpuException: _exception,
    kinds.ExceptionsLeftOut: _exceptions_left_out,
    kinds.NotDelivered: _not_delivered,
    kinds.GuardPageMet: _guard_page_met,
    kinds.ShutDown: _shut_down,
    kinds.StackLeft: _stack_left,
    kinds.StackGrown: _stack_grown,
    kinds.Overwritten: lambda fact: overwritten([fact]).text,
    kinds.Damage: lambda fact: damaged([fact]).text,
    kinds.NotLookedAt: _not_looked_at,
    kinds.Watchdog: _watchdog,
    kinds.Events: _events,
    kinds.Noted: _noted,
    kinds.Marked: _marked,
    kinds.Ended: _ended,
    kinds.Unknown: _unknown,
}
