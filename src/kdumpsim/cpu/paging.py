# SPDX-License-Identifier: GPL-2.0-or-later
"""Linear to physical, as the page walker does it (SDM vol. 3A, 4.3 and 4.4): 32-bit and PAE paging.

The engine walks on its own for guest code. This walk serves the delivery code's accesses to tables and stacks,
and the host's reads.
"""

from __future__ import annotations

from typing import Final

from .descriptors import CR0_PG, CR0_WP, CR4_PAE, CR4_PSE, PAGE_FAULT, Fault
from .physical import PhysicalMemory

P, RW, US, ACCESSED, DIRTY, PS = 1 << 0, 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 7

# Page-fault error code (4.7).
PF_PRESENT, PF_WRITE, PF_USER, PF_RESERVED = 1, 2, 4, 8

_PAE_ADDRESS: Final = 0x000FFFFF_FFFFF000


class Paging:
    """The walker for one set of control registers."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self.cr0 = self.cr3 = self.cr4 = 0

    def translate(self, linear: int, write: bool) -> int:
        """Supervisor access: the physical address, accessed and dirty bits set; Fault(#PF) if it may not be."""
        if not self.cr0 & CR0_PG:
            return linear
        if self.cr4 & CR4_PAE:
            return self._translate_pae(linear, write)
        memory = self._memory
        pde_at = (self.cr3 & 0xFFFFF000) + (linear >> 20 & 0xFFC)
        pde = memory.read32(pde_at)
        if not pde & P:
            raise Fault(PAGE_FAULT, PF_WRITE if write else 0, linear)
        if pde & PS and self.cr4 & CR4_PSE:
            if pde & 1 << 21:
                raise Fault(PAGE_FAULT, PF_PRESENT | PF_RESERVED | (PF_WRITE if write else 0), linear)
            self._permit(pde, write, linear)
            wanted = ACCESSED | DIRTY if write else ACCESSED
            if pde & wanted != wanted:
                memory.write32(pde_at, pde | wanted)
            return pde & 0xFFC00000 | linear & 0x3FFFFF | (pde & 0x1FE000) << 19
        pte_at = (pde & 0xFFFFF000) + (linear >> 10 & 0xFFC)
        pte = memory.read32(pte_at)
        if not pte & P:
            raise Fault(PAGE_FAULT, PF_WRITE if write else 0, linear)
        self._permit(pde & pte, write, linear)
        if not pde & ACCESSED:
            memory.write32(pde_at, pde | ACCESSED)
        wanted = ACCESSED | DIRTY if write else ACCESSED
        if pte & wanted != wanted:
            memory.write32(pte_at, pte | wanted)
        return pte & 0xFFFFF000 | linear & 0xFFF

    def _permit(self, rights: int, write: bool, linear: int) -> None:
        if write and self.cr0 & CR0_WP and not rights & RW:
            raise Fault(PAGE_FAULT, PF_PRESENT | PF_WRITE, linear)

    def _translate_pae(self, linear: int, write: bool) -> int:
        error = PF_WRITE if write else 0
        read = self._memory.read
        directory = int.from_bytes(read((self.cr3 & 0xFFFFFFE0) + (linear >> 27 & 0x18), 8), "little")
        if not directory & P:
            raise Fault(PAGE_FAULT, error, linear)
        pde_at = (directory & _PAE_ADDRESS) + (linear >> 18 & 0xFF8)
        pde = int.from_bytes(read(pde_at, 8), "little")
        if not pde & P:
            raise Fault(PAGE_FAULT, error, linear)
        if pde & PS:
            self._permit(pde, write, linear)
            self._mark(pde_at, pde, write)
            return pde & _PAE_ADDRESS & ~0x1FFFFF | linear & 0x1FFFFF
        pte_at = (pde & _PAE_ADDRESS) + (linear >> 9 & 0xFF8)
        pte = int.from_bytes(read(pte_at, 8), "little")
        if not pte & P:
            raise Fault(PAGE_FAULT, error, linear)
        self._permit(pde & pte, write, linear)
        self._mark(pde_at, pde, False)
        self._mark(pte_at, pte, write)
        return pte & _PAE_ADDRESS | linear & 0xFFF

    def _mark(self, at: int, entry: int, write: bool) -> None:
        wanted = ACCESSED | DIRTY if write else ACCESSED
        if entry & wanted != wanted:
            self._memory.write32(at, (entry | wanted) & 0xFFFFFFFF)

    def peek(self, linear: int) -> int | None:
        """The physical address behind a linear one, leaving no trace; None where nothing is mapped."""
        if not self.cr0 & CR0_PG:
            return linear
        read = self._memory.read
        if self.cr4 & CR4_PAE:
            entry = int.from_bytes(read((self.cr3 & 0xFFFFFFE0) + (linear >> 27 & 0x18), 8), "little")
            for shift, size in ((18, 21), (9, 12)):
                if not entry & P:
                    return None
                entry = int.from_bytes(read((entry & _PAE_ADDRESS) + (linear >> shift & 0xFF8), 8), "little")
                if entry & P and (size == 12 or entry & PS):
                    mask = (1 << size) - 1
                    return entry & _PAE_ADDRESS & ~mask | linear & mask
            return None
        pde = self._memory.read32((self.cr3 & 0xFFFFF000) + (linear >> 20 & 0xFFC))
        if not pde & P:
            return None
        if pde & PS and self.cr4 & CR4_PSE:
            return pde & 0xFFC00000 | linear & 0x3FFFFF | (pde & 0x1FE000) << 19
        pte = self._memory.read32((pde & 0xFFFFF000) + (linear >> 10 & 0xFFC))
        return pte & 0xFFFFF000 | linear & 0xFFF if pte & P else None

    # System accesses (CPL 0 whatever the program's level) by linear address.

    def read32(self, linear: int) -> int:
        linear &= 0xFFFFFFFF
        if linear & 0xFFF <= 0xFFC:
            return self._memory.read32(self.translate(linear, False))
        return int.from_bytes(self.read(linear, 4), "little")

    def read32_pair(self, linear: int) -> tuple[int, int]:
        """Two words, one behind the other: a descriptor."""
        linear &= 0xFFFFFFFF
        if linear & 0xFFF <= 0xFF8:
            at = self.translate(linear, False)
            return self._memory.read32(at), self._memory.read32(at + 4)
        return self.read32(linear), self.read32(linear + 4)

    def read16(self, linear: int) -> int:
        return int.from_bytes(self.read(linear, 2), "little")

    def read(self, linear: int, size: int) -> bytes:
        """Bytes that may span pages."""
        parts = []
        while size:
            linear &= 0xFFFFFFFF
            step = min(size, 0x1000 - (linear & 0xFFF))
            parts.append(self._memory.read(self.translate(linear, False), step))
            linear += step
            size -= step
        return b"".join(parts)

    def write(self, linear: int, data: bytes) -> None:
        """All or nothing: every page is translated before a byte is stored."""
        linear &= 0xFFFFFFFF
        room = 0x1000 - (linear & 0xFFF)
        if len(data) <= room:
            self._memory.write(self.translate(linear, True), data)
            return
        pieces = [(self.translate(linear, True), data[:room])]
        for start in range(room, len(data), 0x1000):
            pieces.append((self.translate(linear + start & 0xFFFFFFFF, True), data[start : start + 0x1000]))
        for address, piece in pieces:
            self._memory.write(address, piece)

    def write32(self, linear: int, value: int) -> None:
        linear &= 0xFFFFFFFF
        if linear & 0xFFF <= 0xFFC:
            self._memory.write32(self.translate(linear, True), value)
        else:
            self.write(linear, value.to_bytes(4, "little"))
