# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose memory is it: names for physical addresses of the first kernel."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence

from kdumpsim.target import PAGE_OFFSET, physical, stack_pointer, virtual

from .oracle import Oracle, Region

FIRMWARE = (
    (0, 0x1000, "interrupt vectors and BIOS data area"),
    (0x9F000, 0xA0000, "extended BIOS data area"),
    (0xA0000, 0x100000, "video memory and ROM"),
)
"""What firmware has below 1 MiB (start, end, name)."""
_NOT_OBJECTS = ("__start_", "__stop_", "kallsyms_", "_end", "_text", "_etext", "_sdata", "_edata", "__bss_st")


class _Image:
    """Symbols of a kernel's image in the order of their addresses."""

    def __init__(self, symbols: Mapping[str, int]) -> None:
        image = [(value, name) for name, value in symbols.items() if not name.startswith(_NOT_OBJECTS)]
        self.start = symbols.get("_text", min((value for value, _ in image), default=0))
        self.end = symbols.get("_end", max((value for value, _ in image), default=-1) + 1)
        inside = sorted(pair for pair in image if self.start <= pair[0] < self.end)
        self.addresses = [address for address, _ in inside]
        self.names = [name for _, name in inside]


_latest: tuple[Mapping[str, int], _Image] | None = None


def _image_of(symbols: Mapping[str, int]) -> _Image:
    """The same one as long as it is the same kernel; forked runs find their parent's."""
    global _latest
    if _latest is None or _latest[0] is not symbols:
        _latest = symbols, _Image(symbols)
    return _latest[1]


class OwnerMap:
    """Nearest symbol inside the kernel's image, else what kind of memory it is."""

    def __init__(
        self,
        symbols: Mapping[str, int],
        *,
        reserved: Region | None = None,
        stacks: Sequence[tuple[str, int, int]] = (),
    ) -> None:
        """`stacks` are (name, start, end) in physical memory; they come before everything else."""
        self._reserved = reserved
        self._stacks = stacks
        self._image = _image_of(symbols)

    @classmethod
    def of(cls, oracle: Oracle) -> OwnerMap:
        """For the machine an oracle watches."""
        stacks, size = [], oracle.stack_size
        for instant in (oracle.crash, oracle.jump):
            for index, registers in enumerate(instant.registers if instant else ()):
                if (stack := stack_pointer(registers)) >= PAGE_OFFSET:
                    start = physical(stack) & -size
                    stacks.append((f"kernel stack in use on CPU {index}", start, start + size))
        return cls(oracle.symbols, reserved=oracle.reserved, stacks=stacks)

    def owner(self, address: int) -> str:
        """Name of what lies at a physical address."""
        if self._reserved is not None and address in self._reserved:
            return "reserved region"
        symbol, _ = self.symbol(virtual(address))
        if symbol is not None:
            return symbol
        for name, start, end in self._stacks:
            if start <= address < end:
                return name
        for start, end, name in FIRMWARE:
            if start <= address < end:
                return name
        return "memory of the page allocator"

    def symbol(self, address: int) -> tuple[str | None, int]:
        """Nearest symbol at or below a virtual address of the kernel's image, and the distance; None outside it."""
        image = self._image
        if not image.start <= address < image.end:
            return None, 0
        at = bisect.bisect_right(image.addresses, address) - 1
        if at < 0:
            return None, 0
        return image.names[at], address - image.addresses[at]
