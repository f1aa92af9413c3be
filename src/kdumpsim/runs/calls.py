# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the kernel crashed: the instant, the CPU, and the functions that were being called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kdumpsim.records import TUPLE, Record, stored
from kdumpsim.target import FRAME_POINTER, LOWMEM_END, PAGE_OFFSET, PROGRAM_COUNTER, TARGET, call_of, physical, words
from kdumpsim.vmcore.oracle import Instant, Oracle
from kdumpsim.vmcore.owners import OwnerMap

MAX_CALLS = 32


@dataclass(frozen=True)
class Crash(Record):
    """The instant at which the kernel began to die."""

    at_ns: int
    """Virtual time."""
    cpu: int
    calls: tuple[str, ...] = field(metadata=stored(TUPLE))
    """Functions, innermost first, as the frame pointers lead to them."""

    @classmethod
    def of(cls, oracle: Oracle) -> Crash | None:
        """The crash that an oracle saw; None without one."""
        seen = oracle.crash
        if seen is None:
            return None
        names = OwnerMap(oracle.symbols)
        found = (names.symbol(address)[0] for address in _code(seen))
        return cls(seen.time_ns, seen.cpu, tuple(name for name in found if name is not None))


def _code(seen: Instant) -> Iterator[int]:
    """Where the CPU was, at a function's first instruction, and where each caller would go on."""
    registers, ram = seen.registers[seen.cpu], seen.ram

    def read(address: int, size: int) -> bytes | None:
        if ram is None or not PAGE_OFFSET <= address <= PAGE_OFFSET + LOWMEM_END - size:
            return None
        return ram.read(physical(address), physical(address) + size)

    call = call_of(registers, read)
    yield int(getattr(registers, PROGRAM_COUNTER))
    yield call.back
    frame, below = int(getattr(registers, FRAME_POINTER)), call.stack
    for _ in range(MAX_CALLS):
        pair = read(frame, 2 * TARGET.word) if frame > below else None  # stacks grow down
        if pair is None:
            return
        below = frame
        frame, back = words(pair)
        yield back
