# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine at one instant as a dump: its own RAM and every CPU's registers, whatever the guest saved of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from kdumpsim.target import LOWMEM_END, MACHINES, PAGE_OFFSET, TARGET

from .formats.elf import ELFOSABI_LINUX, prpsinfo, prstatus
from .oracle import Instant
from .picture import Picture
from .reader import Load, Note


class TruthDump:
    """What the machine knows; the reserved region is in it, too.  ValueError for an instant without a picture."""

    machine = MACHINES[TARGET.machine]
    bits = TARGET.elf.bits
    abi = ELFOSABI_LINUX  # lldb opens no other core

    def __init__(self, instant: Instant, ram: Sequence[tuple[int, int]]) -> None:
        """`ram` is (start, end) of each range, as the firmware reports them."""
        if instant.ram is None:
            raise ValueError("no picture was taken at that instant")
        self._ram: Picture = instant.ram
        parts = [
            (max(start, low), min(end, high))
            for start, end in ram
            for low, high in ((0, LOWMEM_END), (LOWMEM_END, 1 << 64))
        ]
        self.loads = tuple(
            Load(start, start + PAGE_OFFSET if start < LOWMEM_END else None, start, end - start)
            for start, end in parts
            if start < end
        )
        self.notes: tuple[Note, ...] = (
            prpsinfo("vmlinux"),  # eu-stack opens no core without
            # A pid of its own each: gdb takes notes of one pid for one thread.
            *(prstatus(cpu + 1, asdict(registers)) for cpu, registers in enumerate(instant.registers)),
        )

    def slice(self, load: Load, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of a load."""
        return self._ram.read(load.paddr + start, load.paddr + end)
