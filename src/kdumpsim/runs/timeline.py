# SPDX-License-Identifier: GPL-2.0-or-later
"""A run as a timeline: what each CPU was at, what devices moved, what the console said, when.

Written in the Trace Event Format ("JSON Array Format" of Chrome's tracing), which ui.perfetto.dev opens. Times are
virtual. Nothing in the guest's run changes, and nothing is recorded unless asked for.

An interrupt or exception ends where the kernel's entry code runs the IRET that takes its frame back, so one whose
handler never returns lasts up to the hand-over or the end. One in which the CPU went to another task (a system call
that slept) is drawn apart from the others. Softirqs end where `run_softirqs` comes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from kdumpsim import images
from kdumpsim.compiler import cache
from kdumpsim.machines.pc import TracedCpu, capable
from kdumpsim.runs.session import Session
from kdumpsim.target import TARGET, StructLayout, physical, words

MACHINE: Final = "machine"
PHASES, CONSOLE, DMA = "phases", "console", "DMA"
SWITCH: Final = "__switch_to"
SOFTIRQS: Final = "run_softirqs"
EVENTS, SLEPT, SOFTIRQ, HALTS, TASKS = "events", "events in which it slept", "softirqs", "halts", "tasks"
WRITTEN, READ = "written to memory", "read from memory"
THREAD_INFO = StructLayout("thread_info", {"task": "word", "flags": "u32", "cpu": "u32"})
"""Its beginning."""
WITH_ERROR_CODE: Final = frozenset({8, 10, 11, 12, 13, 14, 17})
"""SDM vol. 3A, table 6-1."""
MAX_CPUS: Final = 64
TASK_BYTES: Final = 16
"""Of a task's name (TASK_COMM_LEN)."""


@dataclass(frozen=True)
class Span:
    """Something that lasted; times in virtual ns."""

    process: str
    track: str
    name: str
    begin: int
    end: int
    what: dict[str, Any] = field(default_factory=dict)


_Open = tuple[str, int, int, int]
"""An interrupt or exception that has not been returned from: its name, when it began, the CPU, and how often that had
gone to another task."""


class Timeline:
    """Records a session from now on."""

    def __init__(self, session: Session) -> None:
        """ScenarioError for a machine whose CPUs cannot be watched."""
        self._session = session
        self._machine = capable(session.machine.tracing, session.pc, "traced")
        self._cpus: Sequence[TracedCpu] = self._machine.cpus
        self._memory, self._clock = session.machine.memory.view, session.machine.clock
        devices = session.machine.inspecting
        self._channels = tuple(devices.channels.items()) if devices is not None else ()
        self._card = ["network card"] if devices is not None and devices.nic is not None else []
        self._rows: list[tuple[int, str, str, int, int]] = []
        """Of CPUs: CPU, track, name, begin, end; `spans` makes more of them."""
        self._transfers: list[Span] = []
        self._events: dict[int, _Open] = {}
        """By where the processor has pushed EIP."""
        self._names: dict[tuple[int, int], str] = {}
        """By CPU and vector: what it stood for when it came first."""
        self._backs: set[int] = set()
        """Where softirqs return to."""
        self._latest = [0] * len(self._cpus)
        self._switched = [0] * len(self._cpus)
        """How often each CPU has gone to another task."""
        self._softirqs: list[tuple[str, int, int] | None] = [None] * len(self._cpus)
        self._transfer: Span | None = None
        """The last one of a device."""
        self._halted: list[int | None] = [None] * len(self._cpus)
        self._tasks: list[tuple[str, int] | None] = [None] * len(self._cpus)
        for index, cpu in enumerate(self._cpus):
            cpu.on_event = partial(self._event, index, cpu.on_event)
            cpu.on_halt = partial(self._halts, index, cpu.on_halt)
        for kernel in (session.first, *(kernel for kernel, moved in session.mechanism.kernels() if not moved)):
            for address in _returns(kernel):
                session.machine.watch(address, self._returns)
            session.machine.watch(kernel.symbols[SWITCH], partial(self._switches, _comm_offset(kernel)))
            session.machine.watch(kernel.symbols[SOFTIRQS], partial(self._softirqs_run, _Softirqs(kernel)))
        self._then = session.oracle.on_jump
        session.oracle.on_jump = self._jumped
        self._listen_to_dma()

    def _now(self, cpu: int) -> int:
        """The CPU's time: what it does between rounds is not before what it has done in the last one."""
        now, latest = self._clock.now, self._latest
        if now <= latest[cpu]:
            return latest[cpu]
        latest[cpu] = now
        return now

    def _span(self, cpu: int, track: str, name: str, begin: int, end: int) -> None:
        self._rows.append((cpu, track, name, begin, end))

    def _event(self, cpu: int, then: Callable[[int, bool], None] | None, vector: int, done: bool) -> None:
        if then is not None:
            then(vector, done)
        if not done:
            if self._halted[cpu] is not None:
                self._ends_halt(cpu, self._now(cpu))
            return
        name = self._names.get((cpu, vector))
        if name is None:
            name = self._names[cpu, vector] = self._machine.vector_name(cpu, vector)
        frame = self._cpus[cpu].stack_pointer() + TARGET.word * (vector in WITH_ERROR_CODE)
        self._events[frame] = name, self._now(cpu), cpu, self._switched[cpu]

    def _returns(self, cpu: Any) -> None:
        event = self._events.pop(cpu.stack_pointer(), None)
        if event is not None:
            self._ends_event(event, self._now(cpu.index), cpu.index)

    def _ends_event(self, event: _Open, now: int, cpu: int | None = None) -> None:
        name, begin, where, switched = event
        slept = switched != self._switched[where] or (cpu is not None and cpu != where)
        self._rows.append((where, SLEPT if slept else EVENTS, name, begin, now))

    def _halts(self, cpu: int, then: Callable[[], None] | None) -> None:
        self._halted[cpu] = self._now(cpu)
        if then is not None:
            then()

    def _ends_halt(self, cpu: int, now: int) -> None:
        begin = self._halted[cpu]
        if begin is not None:
            self._halted[cpu] = None
            self._span(cpu, HALTS, "halted", begin, now)

    def _linear(self, address: int, size: int) -> bytes:
        """Memory where the kernels map it, whatever became of their page tables; fewer bytes where there is none."""
        start = physical(address)
        return bytes(self._memory[start : start + size]) if start >= 0 else b""

    def _word(self, address: int) -> int:
        return int.from_bytes(self._linear(address, TARGET.word), "little")

    def _switches(self, comm: int, cpu: Any) -> None:
        """At the function's first instruction its argument, the next task, lies above the return address."""
        self._ends_task(cpu.index)
        self._switched[cpu.index] += 1
        name = self._linear(self._word(cpu.stack_pointer() + TARGET.word) + comm, TASK_BYTES)
        text = name.partition(b"\0")[0].decode("ascii", "replace") if name else "?"
        self._tasks[cpu.index] = text, self._now(cpu.index)

    def _ends_task(self, cpu: int) -> None:
        task = self._tasks[cpu]
        if task is not None:
            self._tasks[cpu] = None
            self._span(cpu, TASKS, *task, self._now(cpu))

    def _softirqs_run(self, softirqs: _Softirqs, cpu: Any) -> None:
        self._ends_softirqs(cpu.index)
        stack = cpu.stack_pointer()
        names = softirqs.pending(stack, self._linear)
        self._softirqs[cpu.index] = names, self._now(cpu.index), stack + TARGET.word
        back = self._word(stack)
        if back not in self._backs:
            self._backs.add(back)
            self._session.machine.watch(back, self._softirqs_done)

    def _softirqs_done(self, cpu: Any) -> None:
        running = self._softirqs[cpu.index]
        if running is not None and running[2] == cpu.stack_pointer():
            self._ends_softirqs(cpu.index)

    def _ends_softirqs(self, cpu: int) -> None:
        running, self._softirqs[cpu] = self._softirqs[cpu], None
        if running is not None:
            self._span(cpu, SOFTIRQ, running[0], running[1], self._now(cpu))

    def _jumped(self) -> None:
        """The first kernel is no more."""
        self._end()
        self._names.clear()
        if self._then is not None:
            self._then()

    def _end(self) -> None:
        for cpu in range(len(self._cpus)):
            self._ends_task(cpu)
            self._ends_softirqs(cpu)
            self._ends_halt(cpu, self._now(cpu))
        for event in self._events.values():
            self._ends_event(event, self._now(event[2]))
        self._events.clear()

    def _listen_to_dma(self) -> None:
        memory = self._session.machine.memory
        written, read = memory.written, memory.read

        def tell_written(begin: int, end: int) -> None:
            self._moved(WRITTEN, begin, end)
            written(begin, end)

        def tell_read(begin: int, end: int) -> None:
            self._moved(READ, begin, end)
            if read is not None:
                read(begin, end)

        memory.written, memory.read = tell_written, tell_read

    def _moved(self, name: str, begin: int, end: int) -> None:
        """A device has; what it moves at one time is one span, whatever pieces it is in."""
        now, last = self._clock.now, self._transfer
        if last is not None and last.begin == now and last.name == name:
            last.what["bytes"] += end - begin
            return
        what = {"physical address": f"{begin:#x}", "bytes": end - begin, "device": ", ".join(self._moving())}
        self._transfer = Span(MACHINE, DMA, name, now, now, what)
        self._transfers.append(self._transfer)

    def _moving(self) -> list[str]:
        """Disks' channels whose bus masters are at work, and if none is, the network card."""
        return [name for name, channel in self._channels if channel.bus_master.active] or self._card

    def doing(self, cpu: int) -> list[str]:
        """The interrupts, exceptions and system calls that a CPU has not returned from, outermost first."""
        stack, size = self._cpus[cpu].stack_pointer(), self._session.first.stack_size
        return [
            name
            for frame, (name, _, where, switched) in self._events.items()
            if stack <= frame < (stack & -size) + size
            or (where == cpu and switched == self._switched[cpu])  # left for a stack of its own
        ]

    # As a file.

    def spans(self) -> list[Span]:
        """All that was recorded; what goes on now ends now."""
        session = self._session
        ended = copy(self)
        ended._rows, ended._events = list(self._rows), dict(self._events)
        ended._halted, ended._tasks, ended._softirqs = list(self._halted), list(self._tasks), list(self._softirqs)
        ended._end()
        spans = [Span(f"CPU {cpu}", track, name, begin, end) for cpu, track, name, begin, end in ended._rows]
        spans += self._transfers
        for phase in session.clock.phases:
            begin = phase.virtual_end_ns - phase.virtual_ns
            spans.append(Span(MACHINE, PHASES, phase.name, begin, phase.virtual_end_ns, {"detail": phase.detail}))
        for ns, line in session.console.lines:
            if line.strip():
                spans.append(Span(MACHINE, CONSOLE, line, ns, ns))
        for name, instant in (("crash", session.oracle.crash), ("jump", session.oracle.jump)):
            if instant is not None:
                spans.append(Span(MACHINE, PHASES, name, instant.time_ns, instant.time_ns, {"CPU": instant.cpu}))
        return sorted(spans, key=lambda span: (span.begin, -span.end))

    def dumps(self) -> str:
        """The file's text."""
        return json.dumps({"displayTimeUnit": "ns", "traceEvents": list(_trace_events(self.spans()))}) + "\n"


def _trace_events(spans: Sequence[Span]) -> Iterator[dict[str, Any]]:
    processes: dict[str, int] = {MACHINE: 1}
    tracks: dict[tuple[str, str], int] = {}
    for number, span in enumerate(spans):
        pid = processes.setdefault(span.process, len(processes) + 1)
        tid = tracks.setdefault((span.process, span.track), len(tracks) + 1)
        event: dict[str, Any] = {"name": span.name, "pid": pid, "tid": tid, "ts": span.begin / 1000}
        if span.track == SLEPT:
            identity = {"cat": SLEPT, "id": number}
            yield {**event, **identity, "ph": "b"}
            event = {**event, **identity, "ph": "e", "ts": span.end / 1000}
        elif span.end > span.begin:
            event |= {"ph": "X", "dur": (span.end - span.begin) / 1000}
        else:
            event |= {"ph": "i", "s": "t"}
        if span.what:
            event["args"] = span.what
        yield event
    for name, pid in processes.items():
        yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}
    for (process, track), tid in tracks.items():
        yield {"ph": "M", "name": "thread_name", "pid": processes[process], "tid": tid, "args": {"name": track}}


class _Softirqs:
    """What a kernel has of its softirqs."""

    def __init__(self, kernel: images.KernelImage) -> None:
        self._stack_size = kernel.stack_size
        self._waiting, self._handlers = kernel.symbols["softirq_pending"], kernel.symbols["softirq_vec"]
        self._table = images.symbol_size(kernel.elf, "softirq_vec")
        self._names = {address: name for name, address in kernel.symbols.items()}
        self._known: dict[tuple[int, bytes], str] = {}
        """By the bits that wait, and the table of handlers."""

    def pending(self, stack: int, read: Callable[[int, int], bytes]) -> str:
        """Names of the handlers of this CPU's softirqs that wait, by the number that its stack has for it.

        `read` gives memory at a linear address.
        """

        def word(address: int) -> int:
            return int.from_bytes(read(address, TARGET.word), "little")

        number = word((stack & -self._stack_size) + THREAD_INFO.offsets["cpu"])
        waiting = word(self._waiting + number * TARGET.word) if number < MAX_CPUS else 0
        known = waiting, read(self._handlers, self._table)
        if known not in self._known:
            table = words(known[1])
            found = [self._names.get(handler, "?") for bit, handler in enumerate(table) if waiting >> bit & 1]
            self._known[known] = ", ".join(found) or "softirq"
        return self._known[known]


def _known(kernel: images.KernelImage, what: str, find: Callable[[], Any]) -> Any:
    """Something of a kernel that takes long to find, from the cache."""
    key = cache.digest(["timeline", what, kernel.elf])
    return json.loads(cache.cached(key, lambda: json.dumps(find()).encode()))


def _returns(kernel: images.KernelImage) -> list[int]:
    """Where a kernel's entry code has an IRET."""

    def find() -> list[int]:
        from kdumpsim.vmcore.disassembly import disassemble

        begin, end = (kernel.symbols[f"entry_text_{name}"] for name in ("start", "end"))
        return [each.address for each in disassemble(kernel.read(begin, end - begin), begin)
                if each.text.startswith("iret")]  # fmt: skip

    found: list[int] = _known(kernel, "returns", find)
    return found


def _comm_offset(kernel: images.KernelImage) -> int:
    """Where a task_struct has its task's name."""

    def find() -> int:
        from kdumpsim.vmcore.layout import Layout

        offset, _ = Layout.of(kernel.elf).structures["task_struct"].members["comm"]
        return int(offset)

    return int(_known(kernel, "comm", find))
