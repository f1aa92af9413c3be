# SPDX-License-Identifier: GPL-2.0-or-later
"""Which spinlocks are taken, from a machine's memory.

A lock counts as one if the kernel's file has it free, or if it was seen being initialised, and if it is part of a
variable or of a structure that a few typed pointers lead to. What is on untyped lists only is not found, so a lock
that is not named here may be held all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kdumpsim.explain.kernelmap import KernelMap
from kdumpsim.target import PAGE_OFFSET, TARGET, words
from kdumpsim.vmcore.unwind import Read

FREE = 1
"""What `slock` is then (kernel/core/spinlock.py)."""
MOST_STRUCTURES = 4000
"""That are looked at."""
MOST_POINTERS = 4
"""On the way to a lock."""
ADDRESSES = (1 << 8 * TARGET.word) - 1


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

    def __init__(
        self, kernel: KernelMap, read: Read, roots: Iterable[Root], per_cpu: Sequence[int], known: Collection[int]
    ) -> None:
        """`per_cpu`: what is added to a variable's address to get to each CPU's copy; `known`: the locks there are."""
        self._read = read
        self.names: dict[int, str] = {}
        """All that were found, by address."""
        for name, address in kernel.locks:
            if address not in kernel.per_cpu:
                self.names[address] = name
            else:
                for cpu, offset in enumerate(per_cpu):
                    self.names[address + offset & ADDRESSES] = f"CPU {cpu}'s {name}"
        for name, address in _reached(kernel, read, [*roots, *_roots(kernel, read)]):
            self.names.setdefault(address, name)
        self.names = {address: name for address, name in self.names.items() if address in known}

    def held(self) -> list[Held]:
        """Those that are taken."""
        found = []
        for address, name in self.names.items():
            data = self._read(address, 2 * TARGET.word)
            if data is not None:
                slock, owner = words(data)
                if slock != FREE:
                    found.append(Held(name, address, owner))
        return found


def _roots(kernel: KernelMap, read: Read) -> Iterator[Root]:
    for name, address, structure in kernel.pointers:
        data = read(address, TARGET.word)
        if data is not None:
            yield Root(name, words(data)[0], structure)


def _reached(kernel: KernelMap, read: Read, roots: Iterable[Root]) -> Iterator[tuple[str, int]]:
    """Where pointers lead to locks, the shortest ways first."""
    waiting = deque((root.name, root.address, root.structure, 1) for root in roots)
    seen: set[tuple[int, str]] = set()
    while waiting and len(seen) < MOST_STRUCTURES:
        name, address, structure, pointers = waiting.popleft()
        if (address, structure) in seen or address < PAGE_OFFSET or structure not in kernel.shapes:
            continue
        seen.add((address, structure))
        size, locks, members = kernel.shapes[structure]
        data = read(address, size)
        if data is None:
            continue
        for path, offset in locks:
            yield f"{name}->{path.removeprefix('.')}", address + offset
        for path, offset, target in members if pointers < MOST_POINTERS else ():
            (at,) = words(data[offset : offset + TARGET.word])
            waiting.append((f"{name}->{path.removeprefix('.')}", at, target, pointers + 1))


def free_in_file(kernel: KernelMap, image: Callable[[int, int], bytes]) -> set[int]:
    """Addresses of the locks that a kernel's file has free: those that nobody needs to initialise."""
    found = set()
    for _, address in kernel.locks:
        try:
            if words(image(address, TARGET.word))[0] == FREE:
                found.add(address)
        except ValueError:
            pass  # in its bss
    return found
