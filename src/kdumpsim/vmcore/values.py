# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel variables in a dump: what debug information says of them, read from memory."""

from __future__ import annotations

from collections.abc import Iterator

from kdumpsim.errors import KdumpsimError
from kdumpsim.target import physical

from .dump import Dump, read_physical
from .layout import Layout, Shape

MAX_TEXT = 1 << 10
"""Bytes of a string that are read."""
MAX_LIST = 1 << 16
"""Entries of a list; one that has more was overwritten."""


class NotThere(KdumpsimError):
    """The dump does not hold that memory, or the kernel has no such variable or member."""


class Value:
    """A variable, a member or what a pointer points to: a place in memory and the type of what is there."""

    def __init__(self, memory: KernelMemory, address: int, shape: Shape) -> None:
        self.memory, self.address, self.shape = memory, address, shape

    def __getitem__(self, path: str) -> Value:
        """A member: ``task["thread.esp"]``; pointers on the way are followed.  NotThere."""
        value = self
        for name in path.split("."):
            if value.shape.is_pointer:
                value = value.target
            members = value.shape.members
            if not members:  # declared only, where this was compiled
                members = value.memory.layout.structures.get(value.shape.name, value.shape).members
            if name not in members:
                raise NotThere(f"struct {value.shape.name} has no member {name}")
            offset, shape = members[name]
            value = Value(value.memory, value.address + offset, shape)
        return value

    def __int__(self) -> int:
        """An integer or an address."""
        data = self.memory.read(self.address, self.shape.size)
        return int.from_bytes(data, "little", signed=self.shape.signed)

    @property
    def target(self) -> Value:
        """What a pointer points to."""
        return Value(self.memory, int(self), self.shape.target)

    @property
    def text(self) -> str:
        """The string in an array of characters, or that a pointer points to."""
        if self.shape.is_array:
            data = self.memory.read(self.address, min(self.shape.size, MAX_TEXT))
            return data.partition(b"\0")[0].decode("ascii", "replace")
        return self.memory.text(int(self))

    def at(self, index: int) -> Value:
        """An element of an array, or of what a pointer points to."""
        shape = self.shape.target
        return Value(self.memory, (int(self) if self.shape.is_pointer else self.address) + index * shape.size, shape)


class KernelMemory:
    """A dump through the kernel's linear map, with the kernel's own names."""

    def __init__(self, dump: Dump, layout: Layout) -> None:
        self.dump, self.layout = dump, layout

    def __contains__(self, name: str) -> bool:
        return name in self.layout.variables

    def __getitem__(self, name: str) -> Value:
        """A global variable; NotThere."""
        if name not in self.layout.variables:
            raise NotThere(f"the kernel has no variable {name}")
        return Value(self, *self.layout.variables[name])

    def read(self, address: int, size: int) -> bytes:
        """Memory at an address of the linear map; NotThere."""
        data = read_physical(self.dump, physical(address), size) if size else b""
        if data is None:
            raise NotThere(f"{address:#x} is not in the dump")
        return data

    def text(self, address: int) -> str:
        """The string at an address."""
        found = bytearray()
        while b"\0" not in found and len(found) < MAX_TEXT:
            found += self.read(address + len(found), 16)
        return bytes(found).partition(b"\0")[0].decode("ascii", "replace")

    def entries(self, head: Value, structure: str, link: str) -> Iterator[Value]:
        """The structures on a circular list, by their member `link`, without the one that `head` belongs to.

        NotThere where it leads out of memory or does not end.
        """
        shape = self.layout.structures[structure]
        offset = shape.members[link][0]
        at = int(head["next"])
        for _ in range(MAX_LIST):
            if at == head.address:
                return
            entry = Value(self, at - offset, shape)
            yield entry
            at = int(entry[link]["next"])
        raise NotThere(f"the list of {structure}.{link} does not end")
