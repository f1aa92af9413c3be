# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the kernel crashed: the instant, the CPU, the functions that were being called, and what they ran for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from kdumpsim.records import TUPLE, Record, stored
from kdumpsim.target import (
    FRAME_POINTER,
    LOWMEM_END,
    PAGE_OFFSET,
    PAGE_SIZE,
    PROGRAM_COUNTER,
    TARGET,
    call_of,
    physical,
    words,
)
from kdumpsim.vmcore.oracle import Instant, Oracle
from kdumpsim.vmcore.owners import OwnerMap

MAX_CALLS = 32
MAX_SWITCHES = 3
"""From a softirq's stack to an interrupt's to a task's, the dying CPU perhaps on one of its own."""
IRQ = "IRQ"
CONTEXTS = {
    "do_softirq": "softirq",
    "smp_apic_timer_interrupt": "local timer",
    "smp_reschedule_interrupt": "IPI",
    "smp_call_function_interrupt": "IPI",
    "do_nmi": "NMI",
    "cpu_idle": "idle",
}
"""Functions of the kernel that say, innermost first, what a CPU was at; in none of these it ran a task."""


@dataclass(frozen=True)
class Crash(Record):
    """The instant at which the kernel began to die."""

    at_ns: int
    """Virtual time."""
    cpu: int
    calls: tuple[str, ...] = field(metadata=stored(TUPLE))
    """Functions, innermost first, as the frame pointers lead to them."""
    context: str = ""
    """What the CPU was at: ``IRQ 14``, a word of `CONTEXTS`, or ``task``."""

    @classmethod
    def of(cls, oracle: Oracle) -> Crash | None:
        """The crash that an oracle saw; None without one."""
        seen = oracle.crash
        if seen is None:
            return None
        names = OwnerMap(oracle.symbols)
        named = [(name, frame) for at, frame in _calls(seen) if (name := names.symbol(at)[0]) is not None]
        return cls(seen.time_ns, seen.cpu, tuple(name for name, _ in named), _context(named, _reader(seen)))


Reader = Callable[[int, int], bytes | None]


def _reader(seen: Instant) -> Reader:
    ram = seen.ram

    def read(address: int, size: int) -> bytes | None:
        if ram is None or not PAGE_OFFSET <= address <= PAGE_OFFSET + LOWMEM_END - size:
            return None
        return ram.read(physical(address), physical(address) + size)

    return read


def _context(named: Iterable[tuple[str, int]], read: Reader) -> str:
    for name, frame in named:
        if name == "do_IRQ":
            line = read(frame + 3 * TARGET.word, TARGET.word)  # its second argument
            return f"{IRQ} {words(line)[0]}" if line is not None else IRQ
        if name in CONTEXTS:
            return CONTEXTS[name]
    return "task"


def _calls(seen: Instant) -> Iterator[tuple[int, int]]:
    """Where the CPU was, at a function's first instruction, and where each caller would go on, with its frame."""
    registers, read = seen.registers[seen.cpu], _reader(seen)
    call, frame = call_of(registers, read), int(getattr(registers, FRAME_POINTER))
    yield int(getattr(registers, PROGRAM_COUNTER)), 0  # it has made no frame yet
    yield call.back, frame
    below, switches = call.stack, 0
    for _ in range(MAX_CALLS):
        if frame <= below:  # a caller lies above, unless it is on another stack
            switches += 1
            if switches > MAX_SWITCHES or frame // PAGE_SIZE == below // PAGE_SIZE:
                return
        pair = read(frame, 2 * TARGET.word)
        if pair is None:
            return
        below = frame
        frame, back = words(pair)
        yield back, frame
