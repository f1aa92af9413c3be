# SPDX-License-Identifier: GPL-2.0-or-later
"""Which spinlocks are taken, from a machine's memory.

Looked at are those that are variables of the kernel, and those in structures that pointers of known type lead to.
What is on untyped lists only is not found, so a lock that is not named here may be held all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kdumpsim.explain.kernelmap import KernelMap
from kdumpsim.target import PAGE_OFFSET, TARGET, words
from kdumpsim.vmcore.unwind import Read

MOST_STRUCTURES = 4000
"""That are looked at."""
MOST_STEPS = 40
"""Of a name: longer ones lead around in circles."""


@dataclass(frozen=True)
class Held:
    """A lock that is taken."""

    name: str
    """The way to it."""
    address: int
    owner: int
    """The CPU that it names."""


@dataclass(frozen=True)
class Root:
    """A structure to begin with, beside those that variables of the kernel point to."""

    name: str
    address: int
    structure: str


class Locks:
    """The locks of a machine, by its memory as it is now."""

    def __init__(self, kernel: KernelMap, read: Read, roots: Iterable[Root], per_cpu: Sequence[int]) -> None:
        """`per_cpu`: what is added to a variable's address to get to each CPU's copy."""
        self._read = read
        self.names: dict[int, str] = {}
        """All that were found, by address."""
        for name, address in kernel.locks:
            if address not in kernel.per_cpu:
                self.names[address] = name
            else:
                copies = {address + offset: f"CPU {cpu}'s {name}" for cpu, offset in enumerate(per_cpu)}
                self.names.update(copies)
        waiting = deque((root.name, root.address, root.structure) for root in roots)
        for name, address, structure in kernel.pointers:
            if target := self._word(address):
                waiting.append((name, target, structure))
        seen: set[tuple[int, str]] = set()
        while waiting and len(seen) < MOST_STRUCTURES:
            name, address, structure = waiting.popleft()
            if (address, structure) in seen or address < PAGE_OFFSET or structure not in kernel.shapes:
                continue
            seen.add((address, structure))
            size, locks, pointers = kernel.shapes[structure]
            data = read(address, size)
            if data is None:
                continue
            for path, offset in locks:
                self.names.setdefault(address + offset, f"{name}->{path.removeprefix('.')}")
            for path, offset, pointed in pointers:
                (at,) = words(data[offset : offset + TARGET.word])
                if at and name.count(">") < MOST_STEPS:
                    waiting.append((f"{name}->{path.removeprefix('.')}", at, pointed))

    def held(self) -> list[Held]:
        """Those that are taken: `slock` is 1 when a lock is free."""
        found = []
        for address, name in self.names.items():
            data = self._read(address, 2 * TARGET.word)
            if data is not None:
                slock, owner = words(data)
                if slock == 0:
                    found.append(Held(name, address, owner))
        return found

    def _word(self, address: int) -> int:
        data = self._read(address, TARGET.word)
        return 0 if data is None else words(data)[0]
