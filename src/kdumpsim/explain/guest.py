# SPDX-License-Identifier: GPL-2.0-or-later
"""The first kernel as it is at this moment, read from the machine's memory: tasks, stacks, locks, what CPUs are at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdumpsim.cpu import Cpu, Registers
from kdumpsim.explain.facts import CpuState, Fact, Frame, LockHeld, LocksLookedAt, LockWait, Moment
from kdumpsim.explain.kernelmap import KernelMap
from kdumpsim.explain.locks import Locks, Root, free_in_file
from kdumpsim.explain.symbols import Symbols
from kdumpsim.runs.session import Session
from kdumpsim.target import (
    FLAGS,
    LOWMEM_END,
    PAGE_OFFSET,
    PROGRAM_COUNTER,
    TARGET,
    call_of,
    physical,
    stack_pointer,
    words,
)
from kdumpsim.vmcore.unwind import Frame as Call

INTERRUPTS_ON = 1 << 9
"""EFLAGS.IF."""
RING = 3
MOST_TASKS = 1000
INITIALISING = "spin_lock_init"
LOCKING = ("raw_spin_trylock", "spin_is_locked", "spin_lock")
"""How functions begin whose first argument is the lock that is wanted."""


@dataclass(frozen=True)
class Task:
    """A task."""

    address: int
    pid: int
    comm: str
    stack: int
    """The low end of its stack, where its thread_info is."""

    def __str__(self) -> str:
        return f"{self.comm or '?'} (pid {self.pid})"


class Guest:
    """Looks at a session's first kernel; nothing in the machine changes."""

    def __init__(self, session: Session, folders: Sequence[Path] = ()) -> None:
        self._session = session
        machine: Any = session.machine
        self.cpus: list[Cpu] = machine.cpus
        self._view: memoryview = machine.memory.view
        self.map = KernelMap(session.first.elf)
        self._folders = folders
        self.symbols = Symbols(session.first.elf, folders)
        self._other: tuple[range, Symbols] | None = None
        self._known_locks = free_in_file(self.map, session.first.read)
        if (address := session.first.symbols.get(INITIALISING)) is not None:
            machine.watch(address, self._initialises)
        self.stack_size = session.first.stack_size

    # Memory.

    def read(self, address: int, size: int) -> bytes | None:
        """Memory at an address of the kernel's linear map; None where there is none."""
        at = physical(address)
        if not PAGE_OFFSET <= address <= PAGE_OFFSET + LOWMEM_END or at + size > len(self._view):
            return None
        return bytes(self._view[at : at + size])

    def word(self, address: int) -> int | None:
        """The word there."""
        data = self.read(address, TARGET.word)
        return None if data is None else words(data)[0]

    def variable(self, name: str, index: int = 0) -> int | None:
        """The value of a variable of at most a word, or of an array's element; None if the kernel has none."""
        if name not in self.map.variables:
            return None
        address, size = self.map.variables[name]
        width = min(size, TARGET.word)
        data = self.read(address + index * width, width)
        return None if data is None else int.from_bytes(data, "little")

    # Tasks.

    def task(self, address: int) -> Task | None:
        """The task_struct at an address; None where there cannot be one."""
        members = self.map.structures["task_struct"]
        data = self.read(address, self.map.sizes["task_struct"])
        if data is None or address % TARGET.word:
            return None
        pid, stack = (
            int.from_bytes(data[members[name][0] :][: TARGET.word], "little") for name in ("pid", "thread_info")
        )
        comm = data[members["comm"][0] :][: members["comm"][1]].partition(b"\0")[0]
        if stack % self.stack_size or self.word(stack) is None:
            return None
        return Task(address, pid, comm.decode("ascii", "replace"), stack)

    def tasks(self) -> Iterator[Task]:
        """Those on the kernel's list, as far as it leads."""
        first = self.map.variables["init_task"][0]
        link = self.map.offset("task_struct", "tasks")
        at, seen = first, 0
        while (task := self.task(at)) is not None and seen < MOST_TASKS:
            yield task
            following, seen = self.word(at + link), seen + 1
            if following is None or following - link == first:
                return
            at = following - link

    def stack_of(self, registers: Registers) -> int:
        """The low end of the stack that a CPU is on."""
        return stack_pointer(registers) & -self.stack_size

    def on_stack(self, stack: int) -> Task | None:
        """The task that the thread_info at the low end of a stack names; None unless that task's own names it, too."""
        member = self.map.offset("thread_info", "task")
        address = self.word(stack + member)
        task = None if address is None else self.task(address)
        return task if task is not None and self.word(task.stack + member) == address else None

    # CPUs.

    def symbols_at(self, address: int) -> Symbols:
        """Those of the kernel that an address is in: the first one, or one that runs after the hand-over."""
        if self._other is not None and address in self._other[0]:
            return self._other[1]
        for kernel, moved in self._session.mechanism.kernels() if self._session.jumped else ():
            code = range(kernel.symbols["_text"], kernel.symbols["_etext"])
            if not moved and address in code:
                self._other = code, Symbols(kernel.elf, self._folders)
                return self._other[1]
        return self.symbols

    def calls(self, registers: Registers) -> list[Call]:
        """The calls that a CPU is in, innermost first; of one in ring 3, where it is."""
        symbols = self.symbols_at(getattr(registers, PROGRAM_COUNTER))
        return symbols.calls(asdict(registers), self.read)

    def frames(self, registers: Registers) -> tuple[Frame, ...]:
        """The same, with the lines of source."""
        return self.symbols.frames(self.calls(registers))

    def look(self, when: str, moment: Moment) -> Iterator[Fact]:
        """What every CPU is at, which locks are taken, and who waits for one."""
        locks = self._locks()
        taken = locks.held()
        yield LocksLookedAt(moment, when, len(locks.names), len(taken))
        for held in taken:
            yield LockHeld(moment, when, held.name, held.address, held.owner)
        for cpu in self.cpus:
            registers = cpu.registers()
            calls = self.calls(registers)
            at = Moment(moment.ns, cpu.index, moment.number, getattr(registers, PROGRAM_COUNTER))
            yield self._state(cpu, when, at, registers, calls)
            yield from self._waits(when, at, calls, locks.names)

    def standing(self, when: str, moment: Moment) -> Iterator[CpuState]:
        """What every CPU is at, whatever kernel it runs."""
        for cpu in self.cpus:
            registers = cpu.registers()
            at = Moment(moment.ns, cpu.index, moment.number, getattr(registers, PROGRAM_COUNTER))
            yield self._state(cpu, when, at, registers, self.calls(registers))

    def _state(self, cpu: Cpu, when: str, at: Moment, registers: Registers, calls: Sequence[Call]) -> CpuState:
        stack, ring = self.stack_of(registers), registers.cs & RING
        own = not ring and not self._session.jumped  # another kernel has other stacks
        task = self.on_stack(stack) if own else None
        count = self.word(stack + self.map.offset("thread_info", "preempt_count")) if own else None
        on = bool(getattr(registers, FLAGS) & INTERRUPTS_ON)
        return CpuState(
            at, when, cpu.standing, on, cpu.handles_nmi() and not cpu.shutdown, ring,
            asdict(registers), None if task is None else str(task), count, self.symbols.frames(calls),
        )  # fmt: skip

    def _locks(self) -> Locks:
        roots = [Root(f"task {task.pid}", task.address, "task_struct") for task in self.tasks()]
        offsets = [self.variable("__per_cpu_offset", cpu.index) or 0 for cpu in self.cpus]
        return Locks(self.map, self.read, roots, offsets, self._known_locks)

    def _initialises(self, cpu: Cpu) -> None:
        """spin_lock_init(lock) begins."""
        (address,) = call_of(cpu.registers(), cpu.read_linear, arguments=1).arguments
        self._known_locks.add(address)

    def _waits(self, when: str, at: Moment, calls: Sequence[Call], names: dict[int, str]) -> Iterator[LockWait]:
        """The innermost function that is about a lock, if its argument is one."""
        for call in calls[:4]:
            if call.function and call.function.startswith(LOCKING) and call.arguments is not None:
                address = self.word(call.arguments)
                if address is not None and self.word(address) == 0:
                    yield LockWait(at, when, names.get(address, f"a lock at {address:#x}"), address, call.function)
                    return
