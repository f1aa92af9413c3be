# SPDX-License-Identifier: GPL-2.0-or-later
"""A stack that overflows: which instruction first wrote where it should not have, and what was overwritten in order.

From the crash on, `task` and `cpu` of the thread_info at the low end of each CPU's stack are watched. When one is
written to by a CPU whose stack pointer is below them, the stack had overflowed a little earlier. So a copy of the
process, forked at the crash, runs the stretch again and compares memory before each instruction of that CPU.
"""

from __future__ import annotations

import ctypes
import os
import pickle
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from kdumpsim.cpu import Cpu
from kdumpsim.cpu.steps import Steps
from kdumpsim.explain.facts import (
    UNUSED,
    Damage,
    Fact,
    Frame,
    GuardPageMet,
    Moment,
    NotLookedAt,
    Overwritten,
    StackGrown,
    StackLeft,
)
from kdumpsim.target import PAGE_OFFSET, PAGE_SIZE, TARGET, physical
from kdumpsim.vmcore.owners import OwnerMap

if TYPE_CHECKING:
    from kdumpsim.explain.guest import Guest, Task
    from kdumpsim.runs.session import Session

WATCHED: Final = ("task", "cpu")
"""Members of thread_info that no code changes on a stack in use."""
MOST_WATCHED: Final = 4
"""CPUs."""
BEFORE: Final = 100_000
"""Instructions that are looked at before the first one that was noticed, if the crash is not nearer."""
AFTER: Final = 150_000
"""Instructions that are looked at after it."""
MOST_RUNS: Final = 60
"""Pieces of overwritten memory that are told one by one."""
MOST_GROWN: Final = 1000
MOST_OPEN: Final = 8
"""Runs of overwritten memory that are still looked at whether more belongs to them."""
STACKS_BELOW: Final = 2
"""How far below a stack its pointer is taken for one that has left it, in sizes of a stack."""
LOOKED_BELOW: Final = 8
"""How far below a stack is looked, in sizes of a stack."""
AT_ONCE: Final = 256
"""Bytes: no instruction or delivery writes further below the stack pointer that there was before it."""
PIECE: Final = 64
"""Bytes: no single store is longer."""

Writer = Callable[[], tuple[str, Callable[[], tuple[Frame, ...]]]]
"""Who has written, and the calls that led there, if anybody wants to know."""
_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memcmp.restype = ctypes.c_int


class Watcher(Protocol):
    """Whoever runs the machine (`watching.Watching`)."""

    steps: Steps

    @property
    def session(self) -> Session: ...
    @property
    def guest(self) -> Guest: ...

    def moment(self, cpu: Cpu | None, number: int | None = None, address: int | None = None) -> Moment:
        """Now."""

    def host(self, address: int) -> int:
        """Where a physical address is in this process."""


@dataclass
class _Twin:
    """The copy of this process that waits at the crash."""

    pid: int
    tell: int
    answer: int


class StackWatch:
    """Watches the stacks of a machine's CPUs from the crash on."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._stacks: dict[int, int] = {}
        """By CPU: the low end of its stack."""
        self._twin: _Twin | None = None
        self._told = False
        self._looker: _Looker | None = None
        """In the copy only."""
        self._found: list[Fact] = []

    @property
    def is_twin(self) -> bool:
        """Whether this process is the copy, which must not go on beyond what it is for."""
        return self._looker is not None

    def crashed(self, crasher: Cpu) -> None:
        """The kernel begins to die."""
        if self._twin is not None or self._looker is not None:
            return
        guest, steps = self._watcher.guest, self._watcher.steps
        cpus = sorted(guest.cpus, key=lambda cpu: cpu is not crasher)[:MOST_WATCHED]
        self._stacks = {cpu.index: guest.stack_of(cpu.registers()) for cpu in cpus}
        ranges = []
        for stack in self._stacks.values():
            for member in WATCHED:
                address = stack + guest.map.offset("thread_info", member)
                if guest.read(address, TARGET.word) is not None:
                    ranges.append((physical(address), self._watcher.host(physical(address)), TARGET.word))
        steps.watch(ranges)
        self._leave_twin()

    def _leave_twin(self) -> None:
        hears, tell = os.pipe()
        answer, answers = os.pipe()
        pid = os.fork()
        if pid:
            os.close(hears)
            os.close(answers)
            self._twin = _Twin(pid, tell, answer)
            return
        os.close(tell)
        os.close(answer)
        words = os.read(hears, 64).split()
        if not words:
            os._exit(0)
        number, index = map(int, words)
        self._looker = _Looker(self._watcher, index, self._stacks[index], number, answers)

    def before(self, index: int, address: int) -> None:
        """Before an instruction that somebody wanted to hear of."""
        if self._looker is not None:
            self._looker.before(index, address)
            return
        steps = self._watcher.steps
        if steps.changes():
            writer = steps.last_cpu()
            self._noticed(index if writer is None else writer)

    def event(self, cpu: Cpu, vector: int, done: bool) -> None:
        """An event is delivered, or was."""
        if self._looker is not None:
            self._looker.event(cpu, vector, done)
        elif self._stacks and self._watcher.steps.changes():
            self._noticed(cpu.index)

    def refused(self, cpu: Cpu, linear: int, at: Moment) -> list[Fact]:
        """An event could not be delivered for a page fault: was it in an unmapped page below the CPU's stack?"""
        stack = self._stacks.get(cpu.index)
        if stack is None or not stack - PAGE_SIZE <= linear < stack or cpu.translate(linear) is not None:
            return []
        self._noticed(cpu.index)
        task = self._watcher.guest.on_stack(stack)
        return [GuardPageMet(at, linear, linear & -PAGE_SIZE, stack, _owner(task, stack))]

    def _noticed(self, index: int) -> None:
        """A CPU has written to a thread_info, or wanted to below a stack: was its stack pointer below it?"""
        cpu, stack = self._watcher.guest.cpus[index], self._stacks.get(index)
        if self._told or stack is None or self._twin is None:
            return
        size = self._watcher.guest.map.sizes["thread_info"]
        reach = STACKS_BELOW * self._watcher.guest.stack_size
        if stack - reach <= cpu.stack_pointer() < stack + size:
            self._told = True
            os.write(self._twin.tell, f"{self._watcher.steps.number} {index}".encode())

    def stop(self) -> None:
        """No stack of the first kernel is of interest any more."""
        if self._looker is not None:
            self._looker.finish()
        twin, self._twin = self._twin, None
        if twin is None:
            return
        os.close(twin.tell)
        with os.fdopen(twin.answer, "rb") as pipe:
            data = pipe.read()
        os.waitpid(twin.pid, 0)
        if data:
            self._found = pickle.loads(data)
        self._stacks = {}

    def facts(self) -> list[Fact]:
        """What was overwritten, in order."""
        return self._found


class _Looker:
    """Looks at memory before each instruction of a CPU, in the copy of the process."""

    def __init__(self, watcher: Watcher, index: int, stack: int, number: int, answers: int) -> None:
        self._watcher, self._answers = watcher, answers
        self._guest, self._steps = watcher.guest, watcher.steps
        self._cpu, self._stack = watcher.guest.cpus[index], stack
        self._low = stack + self._guest.map.sizes["thread_info"]
        self._begin = max(stack - LOOKED_BELOW * self._guest.stack_size, PAGE_OFFSET)
        self._size = self._low - self._begin
        self._host = watcher.host(physical(stack)) - (stack - self._begin)
        self._window = stack - self._begin
        """Looked at is what is above this offset: as far down as the stack has come."""
        self._seen = ctypes.create_string_buffer(self._size)
        self._task = self._guest.on_stack(stack)
        self._stacks = {task.stack: task for task in self._guest.tasks()}
        self._owners = OwnerMap(watcher.session.oracle.symbols)
        self._left: StackLeft | None = None
        self._grown: list[StackGrown] = []
        self._lowest = stack + self._guest.stack_size
        self._was_below = False
        self._runs: list[Overwritten] = []
        self._damage: list[Damage] = []
        self._damaged = array("H", bytes(2 * self._size))
        """For each byte, the place in that list, from 1, of what was overwritten there."""
        self._beyond: list[Fact] = []
        self._looks = False
        self._steps.watch([])
        first, self._until = number - BEFORE, number + AFTER
        if first > self._steps.number:
            self._steps.alarm(first)
        else:
            self._begin_looking()

    def _begin_looking(self) -> None:
        self._looks = True
        self._steps.alarm(None)
        self._steps.each(self._cpu.index)
        pointer = self._cpu.stack_pointer()
        if self._begin <= pointer < self._lowest:
            self._lowest = pointer
        self._widen()
        self._take(self._window, self._size)

    def before(self, index: int, _address: int) -> None:
        """Before an instruction."""
        if not self._looks:
            self._begin_looking()
        if index != self._cpu.index:
            return
        self._look(self._by_instruction if self._steps.last_cpu() == index else None)
        if self._steps.number > self._until:
            why = f"{AFTER} instructions after the overflow was noticed, the look ended"
            self._beyond.append(NotLookedAt(self._here(), why))
            self.finish()

    def _here(self) -> Moment:
        """The instruction before, which has done what is seen now."""
        return self._watcher.moment(self._cpu, self._steps.last(self._cpu.index), self._steps.last_address())

    def _look(self, writer: Writer | None) -> None:
        """What somebody has done; None: somebody else than the CPU."""
        pointer = self._cpu.stack_pointer()
        # Below what is looked at it is still this stack's as long as it goes down in small steps.
        if min(self._begin, self._lowest - PAGE_SIZE) <= pointer < self._lowest:
            self._grow(pointer, "?" if writer is None else writer()[0])
        below = min(self._begin, self._lowest) <= pointer < self._low
        if below and self._left is None:
            self._left = StackLeft(self._here(), self._stack, pointer, _owner(self._task, self._stack))
        if below and not self._beyond and pointer < self._begin:
            why = f"the stack pointer went below {self._begin:#x} then, and memory there was not looked at"
            self._beyond.append(NotLookedAt(self._here(), why))
        if writer is not None and (below or self._was_below):
            self._compare(writer)
        else:
            self._take(self._window, self._size)
        self._was_below = below
        self._widen()

    def _widen(self) -> None:
        """Look at memory as far down as the next instruction may write."""
        window = min(self._window, max(self._lowest - AT_ONCE - self._begin, 0))
        self._take(window, self._window)
        self._window = window

    def _grow(self, pointer: int, name: str) -> None:
        """Something has taken the stack further down than it was."""
        last = self._grown[-1] if self._grown else None
        if len(self._grown) == MOST_GROWN:
            name = "?"  # and whatever comes
        begin, self._lowest = self._lowest, pointer
        if last is not None and last.function == name:
            self._grown[-1] = replace(last, pointer=pointer)
        else:
            self._grown.append(StackGrown(self._here(), name, begin, pointer))

    def event(self, cpu: Cpu, vector: int, done: bool) -> None:
        """An event is delivered, or was."""
        if cpu is not self._cpu or not self._looks:
            return
        if not done:
            self._look(self._by_instruction)
            return
        self._look(lambda: (f"the delivery of vector {vector:#x}", tuple))
        if cpu.shutdown:
            self.finish()

    # What has changed.

    def _take(self, start: int, end: int) -> None:
        ctypes.memmove(ctypes.addressof(self._seen) + start, self._host + start, end - start)

    def _differs(self, offset: int, size: int) -> bool:
        return bool(_memcmp(self._host + offset, ctypes.addressof(self._seen) + offset, size))

    def _compare(self, writer: Writer) -> None:
        """Take down what is another than it was."""
        while self._differs(self._window, self._size - self._window):
            low, high = self._window, self._size
            while high - low > 1:
                middle = (low + high) // 2
                if self._differs(low, middle - low):
                    high = middle
                else:
                    low = middle
            end = min(low + PIECE, self._size)
            before = ctypes.string_at(ctypes.addressof(self._seen) + low, end - low)
            now = ctypes.string_at(self._host + low, end - low)
            length = max(at for at in range(end - low) if before[at] != now[at]) + 1
            self._take(low, low + length)
            self._wrote(self._begin + low, length, before[: TARGET.word], writer)

    def _wrote(self, address: int, size: int, before: bytes, writer: Writer) -> None:
        """`before`: what the word at the address was."""
        what, end = self._what(address), address + size
        by, frames = writer()
        damage = self._damage_to(what.partition(".")[0], address, by)
        offset = address - self._begin
        self._damaged[offset : offset + size] = array("H", [damage + 1] * size)
        for at in range(len(self._runs) - 1, max(len(self._runs) - 1 - MOST_OPEN, -1), -1):
            run = self._runs[at]
            if (run.what, run.by) == (what, by) and address <= run.address + run.size and run.address <= end:
                start, last = min(address, run.address), max(end, run.address + run.size)
                new = self._guest.word(run.address) or 0
                self._runs[at] = replace(run, address=start, size=last - start, new=new)
                return
        info = address >= self._stack
        first = all(run.in_thread_info != info for run in self._runs)
        old, new = int.from_bytes(before, "little"), self._guest.word(address) or 0
        calls = frames() if self._is_told(len(self._runs), what) else ()
        self._runs.append(Overwritten(self._here(), what, address, old, new, size, by, first, calls))
        self._damage[damage] = replace(self._damage[damage], pieces=self._damage[damage].pieces + 1)

    def _is_told(self, place: int, what: str) -> bool:
        """The first ones are told, and the first change of each member of thread_info, however much was before."""
        if place < MOST_RUNS:
            return True
        return what.startswith("thread_info.") and all(run.what != what for run in self._runs[:place])

    def _damage_to(self, what: str, address: int, by: str) -> int:
        """The place in the list of what was overwritten."""
        for place, known in enumerate(self._damage):
            if known.what == what:
                return place
        self._damage.append(Damage(self._here(), what, address, address, 0, 0, by))
        return len(self._damage) - 1

    def _damage_done(self) -> Iterator[Damage]:
        for place, damage in enumerate(self._damage, 1):
            bytes_there = [at for at, whose in enumerate(self._damaged, self._begin) if whose == place]
            yield replace(damage, start=bytes_there[0], end=bytes_there[-1] + 1, size=len(bytes_there))

    def _by_instruction(self) -> tuple[str, Callable[[], tuple[Frame, ...]]]:
        writer = self._guest.symbols.frame(self._steps.last_address())

        def frames() -> tuple[Frame, ...]:
            calls = self._guest.frames(self._cpu.registers())
            functions = [frame.function for frame in calls[:2]]
            callers = calls[functions.index(writer.function) + 1 :] if writer.function in functions else ()
            return (writer, *callers)

        return writer.function or "?", frames

    def _what(self, address: int) -> str:
        """Whose memory it is."""
        if address >= self._stack:
            members = self._guest.map.structures["thread_info"]
            name = next((n for n, (at, size) in members.items() if at <= address - self._stack < at + size), "?")
            return f"thread_info.{name}"
        base = address & -self._guest.stack_size
        if base in self._stacks:
            return f"the stack of {self._stacks[base]}"
        if (variable := self._guest.map.variable_at(address)) is not None:
            return variable
        if self._owners.symbol(address)[0] is not None:
            return UNUSED
        if physical(address & -PAGE_SIZE) == self._page_directory():
            return f"the page directory of CPU {self._cpu.index}"
        return self._owners.owner(physical(address))

    def _page_directory(self) -> int:
        return self._cpu.registers().cr3 & -PAGE_SIZE

    def finish(self) -> None:
        """Answer, and be no more."""
        try:
            left = [self._left] if self._left else []
            told = [run for place, run in enumerate(self._runs) if self._is_told(place, run.what)]
            found: list[Fact] = [*left, *self._grown, *told, *self._damage_done(), *self._beyond]
            with os.fdopen(self._answers, "wb") as pipe:
                pipe.write(pickle.dumps(found))
        finally:
            os._exit(0)


def _owner(task: Task | None, stack: int) -> str | None:
    """Whose stack it is; an interrupt's names in its thread_info the task that was interrupted."""
    return None if task is None or task.stack != stack else str(task)
