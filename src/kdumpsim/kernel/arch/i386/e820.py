# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory map (arch/i386/kernel/setup.c of 2.6.16): from the boot loader, or as the command line says.

``memmap=exactmap`` throws the loader's map away, ``memmap=size@start`` adds RAM, ``memmap=size#start`` ACPI data,
``memmap=size$start`` takes memory away, ``mem=size`` cuts off.  This is how kexec-tools tell a capture kernel what it
may touch (kdump paper, section 4.4).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import Struct, addr, array, cstr, guest, i32, length, placed, ptr, u32, u64
from kdumpsim.kernel.arch.i386.page import MAXMEM, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from kdumpsim.kernel.core.params import ObsKernelParam, memparse
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.types import EINVAL

E820MAX: Final = 32


class E820Type(IntEnum):
    """What the firmware says a range is."""

    E820_RAM = 1
    E820_RESERVED = 2
    E820_ACPI = 3
    E820_NVS = 4


class E820Entry(Struct):
    """One range of physical addresses."""

    addr: u64
    size: u64
    type: u32


class E820Map(Struct):
    """All ranges, sorted by address once sanitize_e820_map() has run."""

    nr_map: u32
    map: array[E820Entry] = length(E820MAX)


e820: E820Map = E820Map()
user_defined_map: bool = False
"""Whether the command line changed the map."""
max_low_pfn: u32 = 0
"""First page frame behind the RAM that the linear map shows."""


@guest
def add_memory_region(start: u64, size: u64, kind: u32) -> None:
    """Append a range.

    If the map is full, the range is dropped.  What is no RAM is then taken out of the RAM there is, for nobody would
    know any more that it is none.
    """
    if size == 0:
        return
    if e820.nr_map == E820MAX:
        printk("<3>Ooops! Too many entries in the memory map!\n")
        printk(f"<3>e820: dropped {start:016x} - {start + size:016x} {type_name(kind):s}\n")
        if kind != E820Type.E820_RAM:
            remove_memory_region(start, size)
        return
    entry = e820.map + e820.nr_map
    entry.addr = start
    entry.size = size
    entry.type = kind
    e820.nr_map += 1


@guest
def remove_memory_region(start: u64, size: u64) -> None:
    """Take [start, start + size) out of every RAM range."""
    end: u64 = start + size
    count = e820.nr_map
    for i in range(count):
        entry = e820.map + i
        entry_end: u64 = entry.addr + entry.size
        if entry.type != E820Type.E820_RAM or entry_end <= start or entry.addr >= end:
            continue
        if entry_end > end:
            add_memory_region(end, entry_end - end, entry.type)
        entry.size = start - entry.addr if entry.addr < start else 0


@guest
def sanitize_e820_map() -> None:
    """Drop empty ranges, sort by address, let non-RAM win where ranges overlap, and join neighbours of one kind."""
    count = e820.nr_map
    for i in range(count):
        entry = e820.map + i
        if entry.type != E820Type.E820_RAM and entry.size != 0:
            remove_memory_region(entry.addr, entry.size)
    kept: u32 = 0
    for i in range(e820.nr_map):
        if e820.map[i].size != 0:
            copy_entry(e820.map[kept], e820.map[i])
            kept += 1
    e820.nr_map = kept
    held: E820Entry = E820Entry()
    for i in range(1, kept):
        copy_entry(held, e820.map[i])
        j: u32 = i
        while j > 0 and e820.map[j - 1].addr > held.addr:
            copy_entry(e820.map[j], e820.map[j - 1])
            j -= 1
        copy_entry(e820.map[j], held)
    join_neighbours()


@guest
def join_neighbours() -> None:
    """Make one of ranges of a kind that touch or overlap; the map is sorted."""
    kept: u32 = 0
    for i in range(1, e820.nr_map):
        last = e820.map + kept
        entry = e820.map + i
        if entry.type == last.type and entry.addr <= last.addr + last.size:
            last.size = max(last.addr + last.size, entry.addr + entry.size) - last.addr
            continue
        kept += 1
        copy_entry(e820.map[kept], entry)
    if e820.nr_map != 0:
        e820.nr_map = kept + 1


@guest
def copy_entry(to: ptr[E820Entry], source: ptr[E820Entry]) -> None:
    """to = source"""
    to.addr = source.addr
    to.size = source.size
    to.type = source.type


@guest
def type_name(kind: u32) -> cstr:
    """The word 2.6.16 prints for a kind of range."""
    if kind == E820Type.E820_RAM:
        return "(usable)"
    if kind == E820Type.E820_ACPI:
        return "(ACPI data)"
    if kind == E820Type.E820_NVS:
        return "(ACPI NVS)"
    return "(reserved)"


@guest
def print_memory_map(who: cstr) -> None:
    """Print the map."""
    for i in range(e820.nr_map):
        entry = e820.map + i
        printk(f"<6> {who:s}: {entry.addr:016x} - {entry.addr + entry.size:016x} {type_name(entry.type):s}\n")


@guest
def e820_covers(start: u32, end: u32) -> bool:
    """Whether every byte of [start, end) is RAM (2.6.16 e820_all_mapped)."""
    at: u64 = start
    for i in range(e820.nr_map):
        entry = e820.map + i
        if entry.type == E820Type.E820_RAM and entry.addr <= at and at < entry.addr + entry.size:
            at = entry.addr + entry.size
            if at >= end:
                return True
    return False


@guest
def e820_any_mapped(start: u32, end: u32) -> bool:
    """Whether any byte of [start, end) is RAM."""
    for i in range(e820.nr_map):
        entry = e820.map + i
        if entry.type == E820Type.E820_RAM and entry.addr < end and entry.addr + entry.size > start:
            return True
    return False


@guest
def ram_start(entry: ptr[E820Entry]) -> u32:
    """First whole page of a range that the linear map can show; behind ram_end() if there is none."""
    return u32(min(entry.addr + (PAGE_SIZE - 1), u64(MAXMEM))) & PAGE_MASK


@guest
def ram_end(entry: ptr[E820Entry]) -> u32:
    """End of the last whole page of a range that the linear map can show."""
    return u32(min(entry.addr + entry.size, u64(MAXMEM))) & PAGE_MASK


@guest
def find_max_low_pfn() -> None:
    """Set max_low_pfn from the map."""
    global max_low_pfn
    for i in range(e820.nr_map):
        entry = e820.map + i
        if entry.type == E820Type.E820_RAM:
            max_low_pfn = max(max_low_pfn, ram_end(entry) >> PAGE_SHIFT)


@guest
def setup_memmap(value: cstr) -> i32:
    """memmap=exactmap, memmap=size@start, memmap=size#start, memmap=size$start"""
    global user_defined_map
    user_defined_map = True
    if strcmp(value, "exactmap") == 0:
        e820.nr_map = 0
        return 0
    rest: cstr = value
    size: u64 = memparse(value, addr(rest))
    kind = rest[0]
    if rest == value or kind == 0:
        return -EINVAL
    start: u64 = memparse(rest + 1, addr(rest))
    if kind == ord("@"):
        add_memory_region(start, size, E820Type.E820_RAM)
    elif kind == ord("#"):
        add_memory_region(start, size, E820Type.E820_ACPI)
    elif kind == ord("$"):
        add_memory_region(start, size, E820Type.E820_RESERVED)
    else:
        return -EINVAL
    return 0


@guest
def setup_mem(value: cstr) -> i32:
    """mem=size: no RAM from there on"""
    global user_defined_map
    user_defined_map = True
    rest: cstr = value
    limit: u64 = memparse(value, addr(rest))
    if limit != 0:
        remove_memory_region(limit, 0xFFFF_FFFF_FFFF_FFFF - limit)
    return 0


_param_memmap: ObsKernelParam = placed("setup_params", ObsKernelParam(str="memmap=", setup_func=setup_memmap))
_param_mem: ObsKernelParam = placed("setup_params", ObsKernelParam(str="mem=", setup_func=setup_mem))
