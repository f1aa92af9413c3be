# SPDX-License-Identifier: GPL-2.0-or-later
"""What is seen of a run while it is run again: facts, taken down where they happen. Nothing in the run changes.

Instructions are counted up to the hand-over, or to the end if something is still looked for after it: counting makes
the machine five times as slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from kdumpsim.apic.messages import Message as ApicMessage
from kdumpsim.board.vectors import EXCEPTIONS
from kdumpsim.cpu import Cpu
from kdumpsim.cpu.steps import NEVER, Steps
from kdumpsim.explain.facts import (
    CpuException,
    Crash,
    Events,
    ExceptionsLeftOut,
    Fact,
    Frame,
    HandedOver,
    KernelEntered,
    Message,
    Moment,
    NmiTaken,
    NotDelivered,
    PageWritten,
    Passage,
    Role,
    Saved,
    ShutDown,
)
from kdumpsim.explain.guest import INTERRUPTS_ON, Guest
from kdumpsim.explain.stacks import StackWatch
from kdumpsim.explain.watchdogs import watchdogs
from kdumpsim.mechanisms.base import Landmark
from kdumpsim.runs.events import Phase, Silent
from kdumpsim.runs.session import Session
from kdumpsim.target import FLAGS, PAGE_SIZE, PROGRAM_COUNTER, RETURN_VALUE, call_of
from kdumpsim.vmcore.owners import OwnerMap

NMI: Final = 2
MOST_COUNTED: Final = 40_000_000
"""Instructions, some seconds: a busy machine that hangs for long is not counted up to the hand-over."""
MOST_EXCEPTIONS: Final = 6
"""Of a CPU that are taken down at the beginning, and again at the end."""
MOST_WRITES: Final = 64
"""Messages of a CPU that are no NMIs, and writes of devices."""
SECOND_LOOK_NS: Final = 1_000_000_000
"""How long after the crash CPUs are looked at again, if the kernel has not handed over by then."""
WATCHED_WORDS: Final = 8
MACHINERY: Final = "kdumpsim/kernel/lkdtt/"
"""Sources of the crash points themselves: what matters is where they are crossed."""


@dataclass
class _Taken:
    """Events of one kind that a CPU took."""

    count: int = 0
    last_ns: int = 0


@dataclass
class _Exceptions:
    """A CPU's exceptions since the crash: the first ones and the last ones."""

    count: int = 0
    first: list[Fact] = field(default_factory=list)
    left_out: ExceptionsLeftOut | None = None
    last: list[Fact] = field(default_factory=list)

    def met(self, fact: CpuException) -> None:
        """Another one."""
        self.count += 1
        self.add(fact)

    def add(self, fact: Fact) -> None:
        """Another one, or something that belongs to the last one."""
        if len(self.first) < MOST_EXCEPTIONS:
            self.first.append(fact)
        else:
            self.last.append(fact)
            if len(self.last) > MOST_EXCEPTIONS + 1:
                self._leave_out(self.last.pop(0))

    def _leave_out(self, fact: Fact) -> None:
        if self.left_out is None:
            self.left_out = ExceptionsLeftOut(fact.at, 0)
        self.left_out = replace(self.left_out, count=self.left_out.count + 1)

    def told(self) -> list[Fact]:
        """All that was kept, in order."""
        return [*self.first, *([self.left_out] if self.left_out else []), *self.last]


@dataclass(frozen=True)
class _Instead:
    """An exception that is being delivered because another event could not be."""

    fact: CpuException
    task: int
    """TR before."""


class _Phases(Silent):
    """Looks at the kernel where all is well."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended

    def end(self, phase: Phase) -> None:
        self._ended(phase.name)


class Watching:
    """Watches a session from power-on."""

    def __init__(self, session: Session, guest: Guest, different: Sequence[int] = ()) -> None:
        """`different`: physical addresses whose contents in the dump were not the truth, to be watched from the
        hand-over on."""
        self._session, self._guest = session, guest
        machine: Any = session.machine
        self._machine, self._cpus = machine, guest.cpus
        self._different = list(different)
        self.steps = Steps(self._cpus, self._before)
        self._counting, self._most = True, NEVER if different else MOST_COUNTED
        self.steps.alarm(self._most)
        self.facts: list[Fact] = []
        self._armed = self._crashed = self._jumped = False
        self._taken: dict[tuple[int, int], _Taken] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._exceptions = {cpu.index: _Exceptions() for cpu in self._cpus}
        self._instead: dict[int, _Instead] = {}
        self._nmis: list[NmiTaken] = []
        self._sent: set[int] = set()
        """CPUs that were sent an NMI by another one and have taken none since."""
        self._owners: OwnerMap | None = None
        self._stacks = StackWatch(self)
        session.clock.observer = _Phases(self._phase_ended)
        oracle = session.oracle
        self._then = oracle.on_crash, oracle.on_jump
        oracle.on_crash, oracle.on_jump = self._dies, self._jumps
        self._on_nmi = {cpu.index: cpu.on_nmi for cpu in self._cpus}
        for cpu in self._cpus:
            cpu.on_nmi = self._nmi
            cpu.on_event = partial(self._event, cpu)
            cpu.on_refused = partial(self._refused, cpu)
        machine.on_message = self._message

    # Where it is.

    @property
    def session(self) -> Session:
        """What is watched."""
        return self._session

    @property
    def is_twin(self) -> bool:
        """Whether this process is a copy that was made for a closer look."""
        return self._stacks.is_twin

    @property
    def guest(self) -> Guest:
        """Its first kernel."""
        return self._guest

    def moment(self, cpu: Cpu | None, number: int | None = None, address: int | None = None) -> Moment:
        """Now: by default before the instruction that a CPU is about to run."""
        if cpu is None:
            return Moment(self._session.now)
        if address is None:
            address = getattr(cpu.registers(), PROGRAM_COUNTER)
        return Moment(self._session.now, cpu.index, number if self._counting else None, address)

    def _here(self, cpu: Cpu) -> Moment:
        """In the callback of a watch: whether its instruction is counted yet depends on which hook there was first."""
        steps, address = self.steps, getattr(cpu.registers(), PROGRAM_COUNTER)
        counted = (steps.last_cpu(), steps.last_address()) == (cpu.index, address)
        return self.moment(cpu, steps.number if counted else steps.number + 1, address)

    def _between(self, cpu: Cpu) -> Moment:
        """Between two instructions of a CPU."""
        return self.moment(cpu, self.steps.number + 1)

    def _everywhere(self) -> Moment:
        """Between two instructions of all CPUs."""
        return Moment(self._session.now, None, self.steps.number + 1 if self._counting else None)

    def _faulting(self, cpu: Cpu) -> Moment:
        """In the delivery of an event: the instruction that a CPU has begun last."""
        return self.moment(cpu, self.steps.last(cpu.index))

    # Before instructions.

    def _before(self, index: int, address: int) -> None:
        if self._jumped:
            self._changed_after_jump(index)
            return
        self._stacks.before(index, address)
        if self.steps.number >= self._most and not self.is_twin:
            self._stop_counting()

    def _stop_counting(self) -> None:
        self.steps.stop()
        self._counting = False

    # The crash.

    def _phase_ended(self, name: str) -> None:
        self._armed |= name == "arm"
        if name == "load":
            for landmark in self._session.mechanism.landmarks(self._session):
                self._watch_landmark(landmark)
            self._watch_saving()

    def _dies(self) -> None:
        oracle = self._session.oracle
        seen = oracle.crash
        assert seen is not None
        self._forget_earlier_crash()
        self._crashed = True
        cpu = self._cpus[seen.cpu]
        frames = self._guest.frames(seen.registers[seen.cpu])
        caller = next((frame for frame in frames[1:] if frame.file and not frame.file.startswith(MACHINERY)), Frame(0))
        source = self._guest.symbols.neighbours(caller.file, caller.line)
        here = self._here(cpu)
        self.facts.append(Crash(here, seen.where, "", frames, source, caller.file, caller.line))
        self._look("crash", here)
        for index, lapic in enumerate(self._machine.lapics):
            for vector in (NMI, lapic.state()["registers"]["lvt0"] & 0xFF):
                self._taken[index, vector] = _Taken()  # that none came is worth telling
                self._names[index, vector] = self._machine.vector_name(index, vector)
        self._stacks.crashed(cpu)
        self._machine.appoint(self._session.now + SECOND_LOOK_NS, partial(self._look_again, here.ns))
        if self._then[0] is not None:
            self._then[0]()

    def _forget_earlier_crash(self) -> None:
        """A crash induced twice counts anew, as for the oracle."""
        self.facts.clear()
        self._taken.clear()
        self._nmis.clear()
        self._sent.clear()
        self._exceptions = {cpu.index: _Exceptions() for cpu in self._cpus}

    def _look(self, when: str, moment: Moment) -> None:
        self.facts.extend(self._guest.look(when, moment))
        if when in ("crash", "later"):
            self.facts.extend(watchdogs(self._guest, self._machine.lapics, when, moment))

    def _look_again(self, crash_ns: int) -> None:
        crash = self._session.oracle.crash
        if not self._jumped and crash is not None and crash.time_ns == crash_ns:
            self._look("later", self._everywhere())

    # How the news travels.

    def _message(self, message: ApicMessage) -> None:
        if not self._crashed or self._jumped or message.source is None:
            return
        machine = self._machine
        sender = next((n for n, lapic in enumerate(machine.lapics) if lapic.apic_id == message.source), None)
        if sender is None:
            return
        cpu = self._cpus[sender]
        to = tuple(index for index, lapic in enumerate(machine.lapics) if lapic.matches(message))
        nmi = message.mode.name == "NMI"
        if nmi:
            self._sent.update(to)
        if nmi or self._count((sender, -1)) < MOST_WRITES:
            at = self.moment(cpu, self.steps.number)
            frames = self._guest.frames(cpu.registers()) if nmi else ()
            self.facts.append(Message(at, message.mode.name, message.vector, to, frames))

    def _nmi(self, cpu: Cpu) -> None:
        if self._crashed and not self._jumped and cpu.index in self._sent:
            self._sent.remove(cpu.index)  # those that come later are a watchdog's
            registers = cpu.registers()
            on = bool(getattr(registers, FLAGS) & INTERRUPTS_ON)
            self._nmis.append(NmiTaken(self._between(cpu), self._guest.frames(registers), on))
        told = self._on_nmi[cpu.index]
        if told is not None:
            told(cpu)

    def _watch_saving(self) -> None:
        """Each CPU's call of the function by which it saves its registers."""
        address = self._session.first.symbols.get(self._session.mechanism.save_cpu)
        if address is None:
            return

        def saves(cpu: Cpu) -> None:
            if self._crashed and not self._jumped:
                _, number = call_of(cpu.registers(), cpu.read_linear, arguments=2).arguments
                self.facts.append(Saved(self._here(cpu), number))

        self._machine.watch(address, saves)

    # Interrupts and exceptions.

    def _event(self, cpu: Cpu, vector: int, done: bool) -> None:
        if not self._jumped:
            self._stacks.event(cpu, vector, done)
        if not (self._armed or self._crashed):
            return
        if not done:
            if vector < len(EXCEPTIONS) and vector != NMI and not cpu.registers().cs & 3:
                linear = cpu.registers().cr2 if vector == EXCEPTIONS.index("#PF") else None
                self._exceptions[cpu.index].met(CpuException(self._faulting(cpu), vector, EXCEPTIONS[vector], linear,
                                                             self._calls_at_exception(cpu)))  # fmt: skip
            return
        instead = self._instead.pop(cpu.index, None)
        if cpu.shutdown:
            self._exceptions[cpu.index].add(ShutDown(self._faulting(cpu)))
            return
        if instead is not None:
            vector = instead.fact.vector
            by_task_gate = _task(cpu) != instead.task
            self._exceptions[cpu.index].met(replace(instead.fact, by_task_gate=by_task_gate))
        if self._crashed and not self._jumped:
            self._count((cpu.index, vector))

    def _count(self, key: tuple[int, int]) -> int:
        if key not in self._names and key[1] >= 0:
            self._names[key] = self._machine.vector_name(*key)
        taken = self._taken.setdefault(key, _Taken())
        taken.count, taken.last_ns = taken.count + 1, self._session.now
        return taken.count

    def _calls_at_exception(self, cpu: Cpu) -> tuple[Frame, ...]:
        registers = cpu.registers()
        frames = self._guest.frames(registers) if self._exceptions[cpu.index].count < MOST_EXCEPTIONS else ()
        address = getattr(registers, PROGRAM_COUNTER)
        return frames or (self._guest.symbols_at(address).frame(address),)

    def _refused(self, cpu: Cpu, vector: int, met: int, linear: int | None, instead: int | None) -> None:
        if not (self._armed or self._crashed):
            return
        at = self._faulting(cpu)
        unmapped = linear is not None and cpu.translate(linear) is None
        self._exceptions[cpu.index].add(
            NotDelivered(at, vector, _name(vector), met, _name(met), linear, cpu.stack_pointer(), unmapped)
        )
        if linear is not None and not self._jumped:
            self.facts += self._stacks.refused(cpu, linear, at)
        if instead is not None:
            address = linear if instead == met else None
            fact = CpuException(at, instead, _name(instead), address, self._calls_at_exception(cpu))
            self._instead[cpu.index] = _Instead(fact, _task(cpu))

    # The hand-over, and after it.

    def _jumps(self) -> None:
        oracle = self._session.oracle
        jump = oracle.jump
        assert jump is not None
        here = self._here(self._cpus[jump.cpu])
        self._look("hand-over", here)
        self._jumped = True
        self.facts.append(HandedOver(here, jump.where))
        for cpu in self._cpus:
            at = self.moment(cpu, here.number)
            self.facts.append(Role(Moment(here.ns, cpu.index, here.number, at.address), oracle.role(cpu.index)))
        self._tell_events()
        self._owners = OwnerMap.of(oracle)
        if self._then[1] is not None:
            self._then[1]()
        self._listen_to_dma()
        self._stacks.stop()
        if self._different:
            self.steps.watch([(at, self.host(at), 1) for at in self._different[:WATCHED_WORDS]])
        else:
            self._stop_counting()

    def _tell_events(self) -> None:
        """What each CPU took since the crash."""
        crash = self._session.oracle.crash
        begin = crash.time_ns if crash is not None else 0
        for (index, vector), taken in self._taken.items():
            if vector >= 0:
                at = Moment(self._session.now, index)
                self.facts.append(Events(at, self._names[index, vector], taken.count, begin, taken.last_ns or None))
        self._tell_exceptions()
        self.facts += self._nmis

    def _tell_exceptions(self) -> None:
        for index, kept in self._exceptions.items():
            self.facts += kept.told()
            self._exceptions[index] = _Exceptions()

    def host(self, address: int) -> int:
        """Where RAM is in this process."""
        for block in self._machine.memory.blocks:
            if block.base <= address < block.base + block.size:
                return int(block.host_address) + address - int(block.base)
        raise ValueError(f"{address:#x} is not RAM")

    def _changed_after_jump(self, index: int) -> None:
        steps = self.steps
        for change in steps.changes():
            writer = steps.last_cpu()
            cpu = self._cpus[index if writer is None else writer]
            at = Moment(self._session.now, cpu.index, steps.last(), steps.last_address())
            frames = (self._guest.symbols_at(steps.last_address()).frame(steps.last_address()),)
            self._wrote(PageWritten(at, change.address, change.address + len(change.new), f"CPU {cpu.index}",
                                    self._owner(change.address), frames))  # fmt: skip

    def _owner(self, address: int) -> str:
        assert self._owners is not None
        return self._owners.owner(address)

    def _wrote(self, fact: PageWritten) -> None:
        """One more, or more of the last one."""
        last = self.facts[-1] if self.facts else None
        if isinstance(last, PageWritten) and (last.by, last.end) == (fact.by, fact.start):
            joined = PageWritten(last.at, last.start, fact.end, last.by, last.owner, last.frames)
            self.facts[-1] = joined
        elif fact.at.cpu is not None or self._count((0, -2)) < MOST_WRITES:
            self.facts.append(fact)

    def _listen_to_dma(self) -> None:
        memory, oracle = self._machine.memory, self._session.oracle
        told = memory.written

        def written(begin: int, end: int) -> None:
            told(begin, end)
            if memory.master and (oracle.reserved is None or begin not in oracle.reserved):
                if self._counting:
                    self.steps.changes()  # they are this device's
                by = f"DMA of {memory.master}"
                self._wrote(PageWritten(Moment(self._session.now), begin, end, by, self._owner(begin & -PAGE_SIZE)))

        memory.written = written

    # What the mechanism does on the way.

    def _watch_landmark(self, landmark: Landmark) -> None:
        begun: list[int] = []

        def begins(cpu: Cpu) -> None:
            if not self._jumped or begun:
                return
            begun.append(self._session.now)
            if landmark.returned is None:
                self.facts.append(KernelEntered(self.moment(cpu), landmark.what))
                return
            back = call_of(cpu.registers(), cpu.read_linear).back
            self._machine.watch(back, ends)

        def ends(cpu: Cpu) -> None:
            if len(begun) == 1 and landmark.returned is not None:
                begun.append(self._session.now)
                ok, found = landmark.returned(getattr(cpu.registers(), RETURN_VALUE))
                self.facts.append(Passage(self.moment(cpu), begun[0], landmark.what, found, ok))

        self._machine.watch(landmark.address, begins)

    # The end.

    def stop(self) -> None:
        """It is not to be seen through."""
        self._stacks.stop()

    def over(self) -> list[Fact]:
        """All that was seen, once the run is over."""
        if self._jumped and not self._session.mechanism.captured(self._session):
            self.facts.extend(self._guest.standing("end", Moment(self._session.now)))
            self._tell_exceptions()
        if not self._jumped:
            self._look("end", self._everywhere())
            self._tell_events()
            self._stacks.stop()
        return [*self.facts, *self._stacks.facts()]


def _task(cpu: Cpu) -> int:
    """The processor's own task: TR, which a task gate changes."""
    return cpu.table_registers()["tr"][0]


def _name(vector: int) -> str:
    return EXCEPTIONS[vector] if vector < len(EXCEPTIONS) else f"vector {vector:#x}"
