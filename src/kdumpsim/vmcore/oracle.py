# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle: what the machine, and only the machine, knows about the crash.

It watches, without touching the guest: the instant at which the kernel begins to die, the NMI that stops each of the
other CPUs, who saves registers in whose notes, the calls of the dump mechanism's entry and whether they come back, and
the jump by which the kernel hands over.  At the crash and at the jump it takes a picture of RAM and of every CPU's
registers; these are what a dump is judged by (:mod:`kdumpsim.vmcore.compare`); it takes others at milestones that it is
given.  From the jump on it takes down what else writes to RAM outside the reserved region: devices whose DMA was not
stopped, and other CPUs that were not stopped either.

Where the kernel dumps itself the jump is a call of the function that does so; from there on the oracle can keep each
page as it was handed to a device (:mod:`kdumpsim.vmcore.handed`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from kdumpsim.records import Form, Record, stored
from kdumpsim.target import PAGE_SIZE, PT_REGS, Call, call_of, stack_pointer

from .handed import HandedPages
from .picture import Picture

if TYPE_CHECKING:
    from kdumpsim.cpu import Activity, Registers

INDUCED = "dtt_induce"
DEATHS = ("die", "panic")
"""Where a kernel begins to die when nobody induced it; a mechanism's entry comes to that (SysRq)."""
FRAME_REACH = 1024
"""Bytes below the return address of the entry in which its frame lies."""
DOUBLE_FAULTS = "doublefault_regs"
"""A ``struct pt_regs`` of each CPU, by CPU, for an exception of which the CPU pushes no frame."""
EXIT = "do_exit"
"""What a task comes to whose oops the kernel survives (in an interrupt it goes on to `panic`)."""
RAM = 1
CRASHING, STOPPED, NOT_STOPPED = "crashing", "stopped by NMI", "not stopped"
RAN_ON, SAVED_NOTHING = "took the NMI and ran on", "took the NMI and saved nothing"
"""What became of a CPU in the crash."""


class WatchedCpu(Protocol):
    """A CPU, as the oracle looks at it."""

    index: int
    on_nmi: Callable[[Any], None] | None

    def registers(self) -> Registers:
        """What it holds; in `on_nmi`, what it held when it took the NMI."""

    def read_linear(self, address: int, size: int, /) -> bytes | None:
        """Memory through its page tables."""

    def record_activity(self) -> None:
        """Take down what it does from now on, where the machine can tell."""

    def activity(self) -> Activity:
        """What it has done since then; nothing where the machine cannot tell."""


class MemoryRange(Protocol):
    """An entry of the firmware's memory map."""

    @property
    def base(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def kind(self) -> int: ...


class WatchedMemory(Protocol):
    """RAM, and what the firmware says of it."""

    view: memoryview
    written: Callable[[int, int], None]
    """Told of every range a device wrote, where devices tell."""
    read: Callable[[int, int], None] | None
    """Told of every range a device is about to read, where devices tell and if anybody wants to know."""

    @property
    def e820(self) -> Sequence[MemoryRange]: ...

    def pages(self) -> dict[int, bytes]:
        """The pages that are not all zero, by physical address."""


class WatchedMachine(Protocol):
    """A machine that can be watched."""

    @property
    def clock(self) -> Clock: ...
    @property
    def memory(self) -> WatchedMemory: ...
    @property
    def cpus(self) -> Sequence[WatchedCpu]: ...

    def watch(self, address: int, callback: Callable[[Any], None], /) -> None:
        """Call back with the CPU that is about to run the instruction at a linear address."""


class Clock(Protocol):
    """What time it is in a machine, in ns."""

    @property
    def now(self) -> int: ...


@dataclass(frozen=True)
class Instant:
    """The machine at one instant."""

    time_ns: int
    """Virtual time."""
    cpu: int
    """The CPU that got there."""
    where: str
    """What was being watched."""
    registers: tuple[Registers, ...]
    """Of every CPU."""
    ram: Picture | None = None


class Span(Protocol):
    """Anything with a first address and one past the last."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True)
class Region:
    """Physical memory from `start` up to, not including, `end`."""

    start: int
    end: int

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


@dataclass(frozen=True)
class DmaWrite:
    """A device's write to memory."""

    start: int
    """Physical address."""
    data: bytes


@dataclass(frozen=True)
class Save:
    """A call of `Oracle.save_cpu`."""

    cpu: int
    """The CPU that made it."""
    number: int
    """The CPU it took itself for: whose notes it wrote."""
    registers: int = 0
    """Where the registers that it saved are."""


def _as_runs(pages: Sequence[int]) -> list[dict[str, str]]:
    """Pages in order as runs of neighbours."""
    runs: list[tuple[int, int]] = []
    for page in pages:
        start = runs.pop()[0] if runs and runs[-1][1] == page else page
        runs.append((start, page + PAGE_SIZE))
    return [{"start": hex(start), "end": hex(end)} for start, end in runs]


def _of_runs(runs: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
    """The pages of `_as_runs`."""
    return tuple(page for run in runs for page in range(int(run["start"], 16), int(run["end"], 16), PAGE_SIZE))


@dataclass(frozen=True)
class RanOn(Record):
    """A CPU that ran code of the first kernel after another had handed over."""

    cpu: int
    role: str
    """`RAN_ON`, or another."""
    code_bytes: int
    """How much of it."""
    pages: tuple[int, ...] = field(metadata=stored(Form(_as_runs, _of_runs), name="wrote"))
    """Addresses of the pages it wrote to outside the reserved region, in order."""

    def __str__(self) -> str:
        wrote = f"wrote to {len(self.pages)} pages" if self.pages else "wrote nothing"
        return f"CPU {self.cpu} ({self.role}) ran {self.code_bytes} bytes of code after the jump and {wrote}"


@dataclass
class EntryCall:
    """A call of the mechanism's entry, with a ``struct pt_regs`` or NULL, that has not come back."""

    call: Call
    """As it was at the function's first instruction."""
    frame: bytes | None
    """The ``struct pt_regs`` it was given; None if it was called with NULL (from panic)."""
    registers: Registers
    """The CPU's, then."""

    @property
    def frame_address(self) -> int:
        """Where that is; 0 for none."""
        return self.call.arguments[0]


@dataclass
class Oracle:
    """Watches a machine whose first kernel has these symbols; takes pictures when the time comes.

    Created before the kernel is started; :meth:`watch_jump` is called once the dump mechanism has been armed.
    """

    machine: WatchedMachine
    symbols: Mapping[str, int]
    stack_size: int
    """Bytes of a kernel stack (THREAD_SIZE of the kernel's build)."""
    entry: str
    """The function that a mechanism's hooks lead to, with a ``struct pt_regs`` or NULL; it may come back."""
    save_cpu: str = ""
    """The function by which each CPU saves its registers in its notes: of ``struct pt_regs`` and the CPU's number."""
    savers: Collection[str] = ()
    """Functions, beside the entry, in which the crashing CPU may take its own registers."""
    crash: Instant | None = None
    """The kernel begins to die."""
    dump: Instant | None = None
    """A call of the entry that is no part of that crash, which the kernel had survived: SysRq-C, later."""
    jump: Instant | None = None
    """The hand-over: what `watch_jump` was told."""
    milestones: dict[str, Instant] = field(default_factory=dict)
    """The first time that each milestone of `watch_milestone` was reached, in order."""
    handed: HandedPages | None = None
    """What devices read since the hand-over, where `watch_jump` was asked to keep it."""
    entry_calls: dict[int, list[EntryCall]] = field(default_factory=dict)
    """Those that have not come back, by CPU, in order.  One of them is the crash; that of a mechanism which is not
    armed comes back, and so does one that finds the dump under way on another CPU."""
    saves: list[Save] = field(default_factory=list)
    """Since the crash began, in order."""
    nmi: dict[int, Registers] = field(default_factory=dict)
    """Registers of each CPU when it took its last NMI after the crash began and before it saved its registers: one
    before that was a watchdog's, and so is one after it, where a CPU returns from the one that stops it."""
    dma: list[DmaWrite] = field(default_factory=list)
    """Of devices, after the jump, outside the reserved region; in order."""
    reserved: Region | None = None
    notes: tuple[Region, ...] = ()
    """Where each CPU's ELF notes are, by CPU, as the guest told."""
    on_crash: Callable[[], None] | None = None
    """Called when the kernel begins to die, after the picture was taken."""
    on_jump: Callable[[], None] | None = None
    """Called at the jump, after the picture was taken."""

    def __post_init__(self) -> None:
        for name in (INDUCED, *DEATHS, self.entry):
            if name in self.symbols:
                self.machine.watch(self.symbols[name], partial(self._dies, name))
        self._watched: set[int] = set()
        self._survived = False  # what has begun with `crash`, as far as it can be seen
        self._dying: Call | None = None
        for cpu in self.machine.cpus:
            cpu.on_nmi = self._take_nmi

    def watch_jump(
        self,
        entry: int,
        reserved: Span | None,
        notes: Sequence[Span],
        *,
        where: str,
        keep_handed: bool = False,
    ) -> None:
        """Wait for the hand-over: the jump to a linear address, `entry`, which is called `where`.

        `reserved` is a region that no dump holds, such as a capture kernel's; `notes` is where each CPU's ELF notes
        are, in order of CPUs.  With `keep_handed`, `handed` has the pages that devices read from then on.
        """
        self._where, self._keep_handed = where, keep_handed
        self.notes = tuple(Region(area.start, area.end) for area in notes)
        self.reserved = Region(reserved.start, reserved.end) if reserved is not None else None
        self._watch_once(entry, self._jumped)

    def watch_milestone(self, name: str, address: int) -> None:
        """Take a picture when a CPU first gets to a linear address, and keep it in `milestones`."""

        def reached(cpu: WatchedCpu) -> None:
            if name not in self.milestones:
                last = self.jump or self.crash
                self.milestones[name] = self._instant(cpu, name, last.ram if last else None)

        self.machine.watch(address, reached)

    def look(self, where: str, cpu: WatchedCpu | None = None, *, picture: bool = True) -> Instant:
        """The machine as it is now, with the CPU that got there; None: the one that did last.

        Without a `picture`, the instant has no RAM.
        """
        last = self.jump or self.crash
        cpu = cpu or self.machine.cpus[last.cpu if last else 0]
        if not picture:
            return Instant(self.machine.clock.now, cpu.index, where, self._registers())
        return self._instant(cpu, where, last.ram if last else None)

    @property
    def ram(self) -> list[tuple[int, int]]:
        """(start, end) of the machine's RAM as its firmware reports it."""
        return sorted((e.base, e.base + e.size) for e in self.machine.memory.e820 if e.kind == RAM)

    @property
    def crasher(self) -> int | None:
        """The CPU whose crash the jump came of: the one that jumped or, if that was asked to by NMI and called no entry
        itself, the one that asked (LKDTT paper, section 7.4)."""
        if self.jump is None:
            return None
        index = self.jump.cpu
        if index in self.nmi and not self.entry_calls.get(index):
            others = [cpu for cpu, calls in self.entry_calls.items() if calls and self._saved_by(cpu)]
            index = others[0] if others else index
        return index

    @property
    def entry_call(self) -> EntryCall | None:
        """The call of the entry that led to the jump: the one in whose frame the registers lay that were saved.

        Where none were, the first: the others of its CPU, if any, came on top of it.
        """
        crasher = self.crasher
        calls = self.entry_calls.get(crasher) if crasher is not None else None
        if not calls:
            return None
        for save in self.saves:
            for entered in calls:
                if save.cpu == crasher and 0 < entered.call.stack - save.registers <= FRAME_REACH:
                    return entered
        return calls[0]

    @property
    def led_to_dump(self) -> Instant | None:
        """The crash that a dump is of; `crash` is the one that a run was about, were it survived or not."""
        return self.dump or self.crash

    @property
    def double_faults(self) -> Region:
        """Linear addresses of the frames that the kernel makes of double faults; none where it makes none."""
        start = self.symbols.get(DOUBLE_FAULTS, 0)
        return Region(start, start + len(self.machine.cpus) * PT_REGS.size if start else 0)

    def ran_on(self) -> list[RanOn]:
        """Which CPUs have run code of the first kernel since the jump, as far as the machine can tell.

        One that saved its registers and wrote nothing more was on its way to the HLT that it stops at.
        """
        if self.jump is None:
            return []
        ram, found = self.ram, []
        for cpu in self.machine.cpus:
            done = cpu.activity()
            pages = tuple(page for page in done.pages if self._dumped(page, ram))
            if cpu.index != self.jump.cpu and done.code_bytes and (pages or not self._saved_by(cpu.index)):
                found.append(RanOn(cpu.index, self.role(cpu.index), done.code_bytes, pages))
        return found

    def role(self, index: int) -> str:
        """What became of a CPU: one of `CRASHING`, `STOPPED`, `RAN_ON`, `SAVED_NOTHING` and `NOT_STOPPED`."""
        if self.jump is not None and index == self.crasher:
            return CRASHING
        if index not in self.nmi:
            return NOT_STOPPED
        if self._saved_by(index):
            return STOPPED
        return RAN_ON if self.machine.cpus[index].activity().code_bytes else SAVED_NOTHING

    def _saved_by(self, cpu: int) -> bool:
        """Whether a CPU has saved its registers, for whomever it took itself."""
        return any(save.cpu == cpu for save in self.saves)

    def _dumped(self, page: int, ram: Sequence[tuple[int, int]]) -> bool:
        """Whether a page is RAM that belongs in a dump."""
        reserved = self.reserved is not None and page in self.reserved
        return not reserved and any(start < page + PAGE_SIZE and page < end for start, end in ram)

    def _dies(self, name: str, cpu: WatchedCpu) -> None:
        """Something that only a dying kernel calls. A crash induced twice (the first came to nothing) counts anew."""
        if self.jump is not None:
            return
        if self.crash is None or (name == INDUCED == self.crash.where):
            self.crash, self.dump = self._instant(cpu, name, None), None
            self._forget_saved()
            if self.on_crash is not None:
                self.on_crash()
        elif name == self.entry and self._survived and self.dump is None:
            self.dump = self._instant(cpu, name, self.crash.ram)
            self._forget_saved()
        if name != self.entry:
            self._survived, self._dying = False, call_of(cpu.registers(), cpu.read_linear)
            if name == INDUCED:
                self._watch_once(self._dying.back, self._came_back_from_crash)
            if EXIT in self.symbols:
                self._watch_once(self.symbols[EXIT], self._task_ends)
        if name == self.entry:
            self._called(cpu)

    def _forget_saved(self) -> None:
        """Whoever took an NMI or saved registers before did it for another crash."""
        self.nmi.clear()
        self.saves.clear()

    def _came_back_from_crash(self, cpu: WatchedCpu) -> None:
        self._survived |= self._dying is not None and stack_pointer(cpu.registers()) == self._dying.stack_after

    def _task_ends(self, cpu: WatchedCpu) -> None:
        stack = stack_pointer(cpu.registers()) & -self.stack_size
        self._survived |= self._dying is not None and stack == self._dying.stack & -self.stack_size

    def _called(self, cpu: WatchedCpu) -> None:
        """The entry was called; see whether it comes back."""
        registers = cpu.registers()
        call = call_of(registers, cpu.read_linear, arguments=1)
        (pointer,) = call.arguments
        frame = cpu.read_linear(pointer, PT_REGS.size) if pointer else None
        self.entry_calls.setdefault(cpu.index, []).append(EntryCall(call, frame, registers))
        self._watch_once(call.back, self._came_back)
        if self.save_cpu in self.symbols:
            self._watch_once(self.symbols[self.save_cpu], self._saved)

    def _watch_once(self, address: int, callback: Callable[[WatchedCpu], None]) -> None:
        """From now on: a machine may be slow where somebody watches."""
        if address not in self._watched:
            self._watched.add(address)
            self.machine.watch(address, callback)

    def _came_back(self, cpu: WatchedCpu) -> None:
        """A call of the entry has found nothing armed, or a dump under way: it was not the crash."""
        stack, calls = stack_pointer(cpu.registers()), self.entry_calls.get(cpu.index, [])
        left = [entered for entered in calls if entered.call.stack_after != stack]
        if self.jump is not None or left == calls:
            return
        self.entry_calls[cpu.index] = left
        if not any(self.entry_calls.values()):
            self.dump = None  # SysRq's, and the kernel goes on
            if self.crash is not None and self.crash.where == self.entry:
                self.crash = None

    def _saved(self, cpu: WatchedCpu) -> None:
        """save_cpu(regs, cpu) begins."""
        if self.crash is not None and self.jump is None:
            registers, number = call_of(cpu.registers(), cpu.read_linear, arguments=2).arguments
            self.saves.append(Save(cpu.index, number, registers))

    def _take_nmi(self, cpu: WatchedCpu) -> None:
        if self.crash is not None and self.jump is None and not self._saved_by(cpu.index):
            self.nmi[cpu.index] = cpu.registers()

    def _jumped(self, cpu: WatchedCpu) -> None:
        if self.jump is None:
            self.jump = self._instant(cpu, self._where, self.crash.ram if self.crash else None)
            self._listen_to_dma()
            for other in self.machine.cpus:
                if other.index != cpu.index:
                    other.record_activity()
            if self.on_jump is not None:
                self.on_jump()

    def _listen_to_dma(self) -> None:
        memory, told = self.machine.memory, self.machine.memory.written

        def written(begin: int, end: int) -> None:
            told(begin, end)
            if self.reserved is None or begin not in self.reserved:
                self.dma.append(DmaWrite(begin, bytes(memory.view[begin:end])))

        memory.written = written
        if self._keep_handed and self.jump is not None and self.jump.ram is not None:
            self.handed, read = HandedPages(memory.view, self.jump.ram), memory.read
            keep = self.handed.read

            def handing(begin: int, end: int) -> None:
                keep(begin, end)
                if read is not None:
                    read(begin, end)

            memory.read = handing

    def _instant(self, cpu: WatchedCpu, where: str, earlier: Picture | None) -> Instant:
        picture = Picture(self.machine.memory.pages(), earlier)
        return Instant(self.machine.clock.now, cpu.index, where, self._registers(), picture)

    def _registers(self) -> tuple[Registers, ...]:
        return tuple(cpu.registers() for cpu in self.machine.cpus)
