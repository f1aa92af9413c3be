# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a run: facts, each with when and where it was. Sentences and pictures are made of these alone.

A fact is plain data. Its moment leads back into the run: `kdumpsim debug DIR`, then `kd-goto N` with the number of the
instruction. Numbers are those of a run from power-on (`cpu.steps`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Final, TypeVar


@dataclass(frozen=True)
class Moment:
    """When it was, and where the run was then."""

    ns: int
    """Virtual time since power-on."""
    cpu: int | None = None
    """Whose it was; None: nobody's, or not known."""
    number: int | None = None
    """The instruction that was about to run; None: not counted."""
    address: int | None = None
    """Its linear address."""


@dataclass(frozen=True)
class Line:
    """A line of source."""

    number: int
    text: str


@dataclass(frozen=True)
class Frame:
    """A call: where a CPU was in a function, or will go on in it."""

    address: int
    function: str | None = None
    """None outside of what there is debug data of."""
    file: str | None = None
    line: int | None = None
    text: str = ""
    """The line itself, where its file is installed."""


@dataclass(frozen=True)
class Fact:
    """Something that was so at a moment."""

    at: Moment

    @property
    def kind(self) -> str:
        """Its class, which is what sentences are made by."""
        return type(self).__name__


# What was asked for.


@dataclass(frozen=True)
class Armed(Fact):
    """What was to happen, and on what machine."""

    title: str
    """As the run's summary has it."""
    command: str
    crash_point: str | None = None
    crash_type: str | None = None
    count: int | None = None
    """Crossings of the point before it crashes."""
    loads: tuple[str, ...] = ()
    """Programs that ran."""
    help: str = ""
    """What crosses the point."""


@dataclass(frozen=True)
class Phase(Fact):
    """A phase of the run ended at this moment."""

    name: str
    detail: str
    begin_ns: int


@dataclass(frozen=True)
class Fault(Fact):
    """A fault struck, or a crash away from a crash point."""

    text: str


# The crash.


@dataclass(frozen=True)
class Crash(Fact):
    """The kernel began to die."""

    where: str
    """The function that only a dying kernel calls."""
    context: str
    """What the CPU was at: `IRQ 14`, `softirq`, `task` …"""
    frames: tuple[Frame, ...]
    """Innermost first."""
    source: tuple[Line, ...] = ()
    """The line that called it, with its neighbours."""
    source_file: str | None = None
    source_line: int | None = None


@dataclass(frozen=True)
class CpuState(Fact):
    """What a CPU was doing."""

    when: str
    """`crash`, `later` (a second after it), `hand-over` or `end`."""
    state: str
    """`runs`, `halted`, `waits for SIPI` or `shut down`."""
    interrupts: bool
    """Whether it would have taken any (EFLAGS.IF)."""
    nmi_blocked: bool
    """It was in an NMI handler: between the delivery of one and the IRET that follows."""
    ring: int
    registers: dict[str, int]
    task: str | None = None
    """Its name and pid, as the stack's thread_info leads to it; None where that leads nowhere."""
    preempt_count: int | None = None
    frames: tuple[Frame, ...] = ()


# Locks.


@dataclass(frozen=True)
class LocksLookedAt(Fact):
    """The spinlocks that there is a way to were looked at."""

    when: str
    """As `CpuState.when`."""
    count: int
    taken: int


@dataclass(frozen=True)
class LockHeld(Fact):
    """A lock was taken at this moment."""

    when: str
    """As `CpuState.when`."""
    name: str
    address: int
    owner: int
    """The CPU that the lock itself names."""


@dataclass(frozen=True)
class LockWait(Fact):
    """A CPU waited for a lock."""

    when: str
    name: str
    address: int
    function: str
    """In which it waited."""


# How the news travelled.


@dataclass(frozen=True)
class Message(Fact):
    """A local APIC sent a message to others."""

    mode: str
    """`NMI`, `fixed`, `INIT` …"""
    vector: int
    to: tuple[int, ...]
    """The CPUs whose local APICs took it."""
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True)
class NmiTaken(Fact):
    """A CPU took an NMI."""

    frames: tuple[Frame, ...]
    """Where it was."""
    interrupts: bool
    """Whether it had interrupts on."""


@dataclass(frozen=True)
class Saved(Fact):
    """A CPU saved its registers for the dump."""

    number: int
    """The CPU it took itself for."""


@dataclass(frozen=True)
class Role(Fact):
    """What became of a CPU in the crash."""

    role: str
    """`crashing`, `stopped by NMI`, `not stopped` …"""


@dataclass(frozen=True)
class RanOn(Fact):
    """A CPU ran code of the first kernel after the hand-over."""

    role: str
    code_bytes: int
    pages: tuple[int, ...]
    """Those it wrote to, outside the reserved region."""
    owners: tuple[str, ...] = ()
    """Whose these are; none where it is not known."""


@dataclass(frozen=True)
class HandedOver(Fact):
    """The dying kernel jumped to what it handed over to."""

    to: str


# Between the kernels, and after.


@dataclass(frozen=True)
class Passage(Fact):
    """A step on the way from the hand-over to the dump was over."""

    begin_ns: int
    what: str
    """What was done."""
    found: str
    """What came of it."""
    ok: bool | None
    """None where nothing was checked."""


@dataclass(frozen=True)
class KernelEntered(Fact):
    """A kernel's first instruction ran, after the hand-over."""

    name: str


@dataclass(frozen=True)
class Said(Fact):
    """A line on the console."""

    text: str
    by: str
    """`first kernel` or `after the hand-over`."""


@dataclass(frozen=True)
class Dump(Fact):
    """There is a dump."""

    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class Judged(Fact):
    """The dump, held to the machine's own memory."""

    completeness: float
    accuracy: float
    pages: int
    registers_ok: tuple[int, ...]
    """CPUs whose registers are as the machine saw them."""


@dataclass(frozen=True)
class RegistersWrong(Fact):
    """A CPU's registers in the dump are not what the machine saw."""

    problem: str


@dataclass(frozen=True)
class Difference(Fact):
    """Memory in which the dump is not the truth at the hand-over."""

    difference: str
    """`missing` or `differs`."""
    start: int
    end: int
    owner: str
    cause: str | None


@dataclass(frozen=True)
class ByDma(Fact):
    """A page that differs from the truth at the hand-over by what a device wrote after it, and by nothing else."""

    page: int
    owner: str


@dataclass(frozen=True)
class PageWritten(Fact):
    """Memory outside the reserved region was written to after the hand-over."""

    start: int
    end: int
    by: str
    """`CPU 1 at 0x…`, `ide0's DMA` …"""
    owner: str
    frames: tuple[Frame, ...] = ()


# Faults of the processor, and overwritten memory.


@dataclass(frozen=True)
class CpuException(Fact):
    """A CPU met an exception."""

    vector: int
    name: str
    linear: int | None
    """CR2, of a page fault."""
    frames: tuple[Frame, ...]
    by_task_gate: bool = False
    """Its handler is a task of its own, with its own stack."""


@dataclass(frozen=True)
class ExceptionsLeftOut(Fact):
    """Exceptions of a CPU, and what followed on them, that came between those that were taken down."""

    count: int


@dataclass(frozen=True)
class NotDelivered(Fact):
    """An exception met another one on the way to its handler."""

    vector: int
    name: str
    met: int
    met_name: str
    linear: int | None
    """Where, if `met` is a page fault."""
    stack: int
    """The stack pointer."""
    unmapped: bool = False
    """The CPU's page tables, as they were then, led to no page there."""


@dataclass(frozen=True)
class GuardPageMet(Fact):
    """A CPU's stack pointer had reached a page below a stack that no page table mapped at that moment."""

    linear: int
    """Where it was to be written."""
    page: int
    stack: int
    """The stack's low end."""
    task: str | None


@dataclass(frozen=True)
class ShutDown(Fact):
    """A CPU gave up: a double fault could not be delivered either."""


@dataclass(frozen=True)
class StackLeft(Fact):
    """The stack pointer of a CPU was seen below the stack it was on."""

    stack: int
    """Its low end."""
    pointer: int
    task: str | None


@dataclass(frozen=True)
class StackGrown(Fact):
    """A function, or the delivery of an event, took the stack pointer further down than it had been since the
    crash; in order."""

    function: str
    begin: int
    """The stack pointer before."""
    pointer: int
    """The stack pointer when the function had gone furthest."""


UNUSED: Final = "memory below the stack that nothing uses"
"""In the kernel's image, where its file has no variable."""


@dataclass(frozen=True)
class Overwritten(Fact):
    """Something at or below the low end of a stack was written to that should not have been; in order."""

    what: str
    """`thread_info.task` …"""
    address: int
    old: int
    new: int
    size: int
    by: str
    """The instruction, delivery or device."""
    first: bool
    """Of this stack nothing was overwritten before in the same part: in thread_info, or below the stack."""
    frames: tuple[Frame, ...] = ()
    """Of the writer, as far as the stack can still be followed."""

    @property
    def in_thread_info(self) -> bool:
        """Whether it was a member of the stack's thread_info, and not below the stack."""
        return self.what.startswith("thread_info.")


@dataclass(frozen=True)
class Damage(Fact):
    """All that a stack which had overflowed changed of one thing; the moment is that of the first change."""

    what: str
    start: int
    end: int
    """The first byte changed, and the one after the last."""
    size: int
    """Bytes that were changed between these."""
    pieces: int
    """In which they were changed, as `Overwritten` tells the first ones."""
    by: str
    """The first writer."""


@dataclass(frozen=True)
class NotLookedAt(Fact):
    """The closer look at a stack ended here, or did not reach so far."""

    why: str


# Who noticed.


@dataclass(frozen=True)
class Watchdog(Fact):
    """How a watchdog stood."""

    when: str
    """As `CpuState.when`."""
    name: str
    on: bool
    why: str
    """The register or variable by which it is known."""
    thread_ran: int | None = None
    """How many ticks before a thread had run whose running it goes by."""


@dataclass(frozen=True)
class Events(Fact):
    """How often a CPU took an event in a stretch of time that ends at this moment."""

    name: str
    count: int
    begin_ns: int
    last_ns: int | None


@dataclass(frozen=True)
class Noted(Fact):
    """Something that the operator, the console or the machine showed."""

    seen: str
    text: str


@dataclass(frozen=True)
class Marked(Fact):
    """A mark of the outcome."""

    mark: str
    meaning: str
    seen: str


@dataclass(frozen=True)
class Ended(Fact):
    """How the run ended, in the paper's legend."""

    outcome: str
    captured: bool
    recovered: bool
    reason: str


@dataclass(frozen=True)
class Unknown(Fact):
    """Something that a reader would ask and that is not known."""

    subject: str
    why: str


Kind = TypeVar("Kind", bound=Fact)


@dataclass(frozen=True)
class Facts:
    """All that is known of a run, in order of time."""

    title: str
    command: str
    version: str
    """Of the kdumpsim that ran it."""
    replayed: bool
    """Whether it was run again and ended the same; if not, little more is known than result.json tells."""
    facts: tuple[Fact, ...] = field(default=())

    FORMAT: ClassVar[int] = 1

    @classmethod
    def of(cls, title: str, command: str, version: str, facts: Iterable[Fact], *, replayed: bool) -> Facts:
        """The facts, put in order."""
        return cls(title, command, version, replayed, tuple(sorted(facts, key=lambda fact: fact.at.ns)))

    def all(self, kind: type[Kind]) -> list[Kind]:
        """Those of a kind, in order."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def first(self, kind: type[Kind]) -> Kind | None:
        """The first of a kind."""
        return next(iter(self.all(kind)), None)

    def mark(self, fact: Fact) -> int:
        """The number by which a page refers to a fact: its place, from 1."""
        return next(number for number, each in enumerate(self.facts, 1) if each is fact)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        rows = [{"mark": number, "kind": fact.kind, **asdict(fact)} for number, fact in enumerate(self.facts, 1)]
        head = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "facts"}
        return {"format": self.FORMAT, **head, "facts": rows}
