# SPDX-License-Identifier: GPL-2.0-or-later
"""What each page is for, by the kernel's own ``mem_map``, and which of them a dump level leaves out.

The rules are makedumpfile's (makedumpfile(8), "-d dump_level").  Where the flags are comes from the dump's VMCOREINFO
or, without it, from the kernel's debug information; numbers that neither has are those of Linux 2.6.16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from kdumpsim.target import PAGE_SIZE, TARGET, physical

from .dump import ZERO_PAGE, Dump, pieces, present_pages, read_physical
from .layout import Layout
from .values import NotThere

MAX_LEVEL = 31
_FLAGS = {"PG_lru": 5, "PG_private": 11, "PG_swapcache": 15, "PG_buddy": 19}
"""Linux 2.6.16's <linux/page-flags.h>."""
_PAGE_MAPPING_ANON = 1
_MAX_ORDER = 11
_BATCH = 1 << 10


class PageKind(Enum):
    """What a page is for; the value is the dump levels' bits that leave it out, each of which does."""

    KERNEL = 0
    CACHE = 2 | 4
    CACHE_PRIVATE = 4
    USER = 8
    FREE = 16


ZERO = 1
"""The bit of a dump level that leaves out pages of zeros, whatever they are for."""


@dataclass(frozen=True)
class _PageStruct:
    """Where ``mem_map`` is, and what of ``struct page`` is looked at: offsets in bytes, numbers of bits."""

    mem_map: int
    """Address of the first."""
    size: int
    flags: int
    mapping: int
    private: int
    bits: Mapping[str, int]

    @property
    def makes_sense(self) -> bool:
        """Whether all of it is in the structure."""
        last = self.size - TARGET.word
        offsets = all(0 <= offset <= last for offset in (self.flags, self.mapping, self.private))
        return offsets and self.size <= PAGE_SIZE and all(0 <= bit < 8 * TARGET.word for bit in self.bits.values())


def page_kinds(dump: Dump, layout: Layout | None, info: Mapping[str, str]) -> dict[int, PageKind]:
    """The kind of each page by its number, but for kernel pages.  NotThere if the dump does not tell.

    `layout` is of the kernel's file, where there is one; `info` is VMCOREINFO.
    """
    page = _from_vmcoreinfo(dump, info) or _from_layout(dump, layout)
    if not page.makes_sense:
        raise NotThere("what is said of its struct page makes no sense")
    kinds: dict[int, PageKind] = {}
    lru, private, swapcache, buddy = (1 << page.bits[name] for name in _FLAGS)
    until = 0  # the end of a free block
    for first, count in _batches(dump):
        data = read_physical(dump, physical(page.mem_map) + first * page.size, count * page.size)
        if data is None:
            continue  # no struct page for these: no RAM
        for pfn in range(first, first + count):
            at = (pfn - first) * page.size
            flags = int.from_bytes(data[at + page.flags : at + page.flags + TARGET.word], "little")
            if pfn < until:
                kinds[pfn] = PageKind.FREE
                continue
            if flags & buddy:
                order = int.from_bytes(data[at + page.private : at + page.private + TARGET.word], "little")
                if order < _MAX_ORDER:
                    kinds[pfn], until = PageKind.FREE, pfn + (1 << order)
                    continue
            mapping = data[at + page.mapping]
            if mapping & _PAGE_MAPPING_ANON:
                kinds[pfn] = PageKind.USER
            elif flags & (lru | swapcache):
                kinds[pfn] = PageKind.CACHE_PRIVATE if flags & private else PageKind.CACHE
    return kinds


def _batches(dump: Dump) -> Iterator[tuple[int, int]]:
    """(first page number, how many) of all memory in the dump, in order, at most _BATCH at a time."""
    for first, end in present_pages(dump):
        for at in range(first, end, _BATCH):
            yield at, min(_BATCH, end - at)


def zero_pages(dump: Dump) -> set[int]:
    """Numbers of the pages that are in the dump and hold zeros only."""
    zeros: set[int] = set()
    for load in dump.loads:
        zeros.update(range(load.paddr // PAGE_SIZE, -(-(load.paddr + load.size) // PAGE_SIZE)))
    for load in dump.loads:
        for inside, data in pieces(dump, load, 0, load.size):
            at = load.paddr + inside
            while data:
                take = PAGE_SIZE - at % PAGE_SIZE
                if data[:take] != ZERO_PAGE[: len(data[:take])]:
                    zeros.discard(at // PAGE_SIZE)
                at, data = at + take, data[take:]
    return zeros


def left_out(level: int, dump: Dump, layout: Layout | None, info: Mapping[str, str]) -> set[int]:
    """Numbers of the pages that a dump level (0 to 31) leaves out; NotThere if the dump does not tell."""
    pages = zero_pages(dump) if level & ZERO else set()
    if level & ~ZERO:
        pages |= {pfn for pfn, kind in page_kinds(dump, layout, info).items() if kind.value & level}
    return pages


def _from_vmcoreinfo(dump: Dump, info: Mapping[str, str]) -> _PageStruct | None:
    try:
        symbol, size = int(info["SYMBOL(mem_map)"], 16), int(info["SIZE(page)"])
        flags, mapping, private = (int(info[f"OFFSET(page.{name})"]) for name in ("flags", "mapping", "private"))
        bits = {name: int(info.get(f"NUMBER({name})", number)) for name, number in _FLAGS.items()}
    except (KeyError, ValueError):
        return None
    return _PageStruct(_pointer(dump, symbol), size, flags, mapping, private, bits)


def _from_layout(dump: Dump, layout: Layout | None) -> _PageStruct:
    if layout is None:
        raise NotThere("the dump has no VMCOREINFO with mem_map, and there is no vmlinux beside it")
    if "mem_map" not in layout.variables:
        raise NotThere("its kernel has no mem_map")
    address, shape = layout.variables["mem_map"]
    page = layout.structures.get("page", shape.target)  # the variable's own type may be a declaration alone
    try:
        flags, mapping, private = (page.members[name][0] for name in ("flags", "mapping", "private"))
    except KeyError as error:
        raise NotThere(f"its kernel's struct page has no member {error.args[0]}") from None
    return _PageStruct(_pointer(dump, address), page.size, flags, mapping, private, _FLAGS)


def _pointer(dump: Dump, address: int) -> int:
    data = read_physical(dump, physical(address), TARGET.word)
    if data is None:
        raise NotThere("mem_map is not in the dump")
    return int.from_bytes(data, "little")
