# SPDX-License-Identifier: GPL-2.0-or-later
"""setup_arch(): memory map, boot memory, resources, crashkernel= (arch/i386/kernel/setup.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    array,
    cast,
    cstr,
    external,
    fn,
    guest,
    i32,
    length,
    placed,
    ptr,
    sizeof,
    u8,
    u16,
    u32,
    u64,
)
from kdumpsim.kernel.arch.i386.e820 import (
    E820MAX,
    E820Type,
    e820,
    e820_covers,
    find_max_low_pfn,
    max_low_pfn,
    print_memory_map,
    ram_end,
    ram_start,
    sanitize_e820_map,
    user_defined_map,
)
from kdumpsim.kernel.arch.i386.madt import acpi_boot_init
from kdumpsim.kernel.arch.i386.mpparse import find_smp_config, get_smp_config
from kdumpsim.kernel.arch.i386.multiboot import read_boot_info
from kdumpsim.kernel.arch.i386.page import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, pa, page_align, va
from kdumpsim.kernel.arch.i386.paging import paging_init
from kdumpsim.kernel.arch.i386.trampoline import TRAMPOLINE_BASE
from kdumpsim.kernel.core.crashkernel import CrashRegion, parse_crashkernel
from kdumpsim.kernel.core.init_task import init_mm
from kdumpsim.kernel.core.kexec import crashk_res
from kdumpsim.kernel.core.list import init_list_head
from kdumpsim.kernel.core.panic import panic
from kdumpsim.kernel.core.params import VALUE_LENGTH, ObsKernelParam, parse_early_param
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.resource import iomem_resource, request_resource
from kdumpsim.kernel.core.resource_types import IORESOURCE_BUSY, IORESOURCE_MEM, Resource
from kdumpsim.kernel.core.string import strchr, strlcpy
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.mm.bootmem import free_bootmem, init_bootmem, reserve_bootmem
from kdumpsim.kernel.mm.page_alloc import Page

BIOS_EBDA_SEGMENT: Final = 0x40E
"""Physical address of the word that names the extended BIOS data area's segment."""
BASE_MEMORY_END: Final = 0xA_0000
HIGH_MEMORY: Final = 0x10_0000
CRASH_ALIGN: Final = 1 << 20
"""Where a region begins whose place the kernel finds: CONFIG_PHYSICAL_ALIGN of 2.6.20, the first relocatable i386."""
LEAST_MEMORY: Final = 2 << 20
"""What a kernel needs to come up with, beside its image and what describes its pages."""

_text: array[u8] = external()
_etext: array[u8] = external()
_sdata: array[u8] = external()
_edata: array[u8] = external()
_end: array[u8] = external()

map_resources: array[Resource] = length(E820MAX)
"""The memory map in /proc/iomem."""
code_resource: Resource = Resource(name="Kernel code", flags=IORESOURCE_BUSY | IORESOURCE_MEM)
data_resource: Resource = Resource(name="Kernel data", flags=IORESOURCE_BUSY | IORESOURCE_MEM)
video_ram_resource: Resource = Resource(
    name="Video RAM area", start=0xA_0000, end=0xB_FFFF, flags=IORESOURCE_BUSY | IORESOURCE_MEM
)
system_rom_resource: Resource = Resource(
    name="System ROM", start=0xF_0000, end=0xF_FFFF, flags=IORESOURCE_BUSY | IORESOURCE_MEM
)
crashkernel_word: array[u8] = length(VALUE_LENGTH)
"""What crashkernel= asks for; claim_crashkernel() decides."""


@guest
def setup_crashkernel(value: cstr) -> i32:
    """crashkernel=size[@start] or ranges of sizes: memory for a capture kernel (kdump paper, section 5)."""
    region: CrashRegion = CrashRegion()
    if parse_crashkernel(value, 0, region) != 0:
        return -EINVAL
    strlcpy(crashkernel_word, value, VALUE_LENGTH)
    return 0


_param_crashkernel: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="crashkernel=", setup_func=setup_crashkernel)
)


@guest
def reserve_range(start: u32, end: u32) -> None:
    """Keep the boot allocator off every page that [start, end) touches."""
    first = start & PAGE_MASK
    reserve_bootmem(first, page_align(end) - first)


@guest
def memory_left(taken: u64) -> u64:
    """How much low memory a kernel has beside `taken` bytes, its image and the pages' descriptions."""
    left: u64 = 0
    for i in range(e820.nr_map):
        entry = e820.map + i
        if entry.type == E820Type.E820_RAM and ram_start(entry) < ram_end(entry):
            left += ram_end(entry) - ram_start(entry)
    used: u64 = taken + (u32(_end) - u32(_text)) + max_low_pfn * sizeof(Page)
    return left - used if left > used else 0


@guest
def crashkernel_fault(start: u64, size: u64) -> cstr:
    """What keeps a region from being reserved, or NULL."""
    limit: u64 = max_low_pfn << PAGE_SHIFT
    if size == 0:
        return "its size is 0"
    if (start | size) & (PAGE_SIZE - 1):
        return "it is not made of whole pages"
    if start < HIGH_MEMORY:
        return "it begins below 1MB"
    if start >= limit or size > limit - start:
        return "it reaches beyond low memory"
    if not e820_covers(u32(start), u32(start + size)):
        return "not all of it is memory"
    if start < pa(u32(_end)) and start + size > pa(u32(_text)):
        return "memory is in use by the kernel"
    if memory_left(size) < LEAST_MEMORY:
        return "too little memory would be left"
    return NULL


@guest
def find_crash_base(size: u64) -> u64:
    """The highest place for a region of `size` bytes, or 0: memblock goes from the top down, too."""
    limit: u64 = max_low_pfn << PAGE_SHIFT
    base: u64 = limit - size & ~u64(CRASH_ALIGN - 1) if size < limit else 0
    while base != 0 and crashkernel_fault(base, size) != NULL:
        base -= CRASH_ALIGN
    return base


@guest
def claim_crashkernel() -> None:
    """Decide on crashkernel= before any memory is given out; without it, or with a bad one, crashk_res stays empty."""
    if crashkernel_word[0] == 0:
        return
    region: CrashRegion = CrashRegion()
    system_ram: u64 = max_low_pfn << PAGE_SHIFT
    parse_crashkernel(crashkernel_word, system_ram, region)
    fault: cstr = NULL
    if not region.fixed and region.size != 0:
        region.base = find_crash_base(region.size)
        if region.base == 0:
            printk(f"<4>crashkernel reservation failed - {region.size >> 10}K: no suitable area found\n")
            return
    if region.size == 0 and strchr(crashkernel_word, ord("-")) != NULL:
        fault = "none of its ranges holds this system's memory"
    else:
        fault = crashkernel_fault(region.base, region.size)
    if fault != NULL:
        printk(f"<4>crashkernel reservation failed - {region.size >> 10}K@{region.base >> 10}K: {fault:s}\n")
        return
    printk(f"<6>Reserving {region.size >> 20}MB of memory at {region.base >> 20}MB for crashkernel\n")
    crashk_res.start = u32(region.base)
    crashk_res.end = u32(region.base + region.size - 1)


@guest
def reserve_ebda() -> None:
    """The extended BIOS data area, for maps that call it RAM."""
    ebda: u32 = u32(cast(ptr[u16], va(BIOS_EBDA_SEGMENT))[0]) << 4
    if ebda >= PAGE_SIZE and ebda < BASE_MEMORY_END:
        reserve_range(ebda, BASE_MEMORY_END)


@guest
def find_bootmap() -> u32:
    """Where the boot allocator's bitmap goes: behind the kernel, in RAM, but not in the memory of the next one."""
    size: u32 = page_align(max_low_pfn + 7 >> 3)
    for i in range(e820.nr_map):
        entry = e820.map + i
        if entry.type != E820Type.E820_RAM:
            continue
        start: u32 = max(ram_start(entry), page_align(pa(u32(_end))))
        if crashk_res.end != 0 and start <= crashk_res.end and start + size > crashk_res.start:
            start = crashk_res.end + 1
        if start < ram_end(entry) and size <= ram_end(entry) - start:
            return start
    panic("no room for the boot allocator's map")


@guest
def setup_bootmem_allocator() -> None:
    """Tell the boot allocator what is RAM, and which of it is taken already."""
    init_bootmem(find_bootmap() >> PAGE_SHIFT, max_low_pfn)
    for i in range(e820.nr_map):
        entry = e820.map + i
        if entry.type == E820Type.E820_RAM and ram_start(entry) < ram_end(entry):
            free_bootmem(ram_start(entry), ram_end(entry) - ram_start(entry))
    reserve_range(pa(u32(_text)), pa(u32(_end)))
    reserve_bootmem(0, PAGE_SIZE)
    reserve_bootmem(TRAMPOLINE_BASE, PAGE_SIZE)
    reserve_ebda()
    find_smp_config()
    if crashk_res.end != 0:
        reserve_bootmem(crashk_res.start, crashk_res.end + 1 - crashk_res.start)


@guest
def resource_name(kind: u32) -> cstr:
    """What /proc/iomem calls a kind of range."""
    if kind == E820Type.E820_RAM:
        return "System RAM"
    if kind == E820Type.E820_ACPI:
        return "ACPI Tables"
    if kind == E820Type.E820_NVS:
        return "ACPI Non-volatile Storage"
    return "reserved"


@guest
def init_iomem_resources() -> None:
    """Enter the ROM, the memory map, the kernel and the capture kernel's memory into /proc/iomem.

    The ROM comes first, as in 2.6.16 (legacy_init_iomem_resources): a reserved range of the map that it is part of is
    refused.
    """
    code_resource.start = pa(init_mm.start_code)
    code_resource.end = pa(init_mm.end_code) - 1
    data_resource.start = pa(init_mm.start_data)
    data_resource.end = pa(init_mm.brk) - 1
    request_resource(iomem_resource, system_rom_resource)
    for i in range(e820.nr_map):
        entry = e820.map + i
        if entry.addr + entry.size > 0x1_0000_0000:
            continue
        resource: ptr[Resource] = map_resources[i]
        resource.name = resource_name(entry.type)
        resource.start = u32(entry.addr)
        resource.end = u32(entry.addr + entry.size - 1)
        resource.flags = IORESOURCE_MEM | IORESOURCE_BUSY
        if request_resource(iomem_resource, resource) != 0:
            continue
        if entry.type == E820Type.E820_RAM:
            # One of them is the right one; the others refuse.
            request_resource(resource, code_resource)
            request_resource(resource, data_resource)
            if crashk_res.end != 0:
                request_resource(resource, crashk_res)


@guest
def request_standard_resources() -> i32:
    """Fill /proc/iomem (2.6.16 request_standard_resources, a subsys_initcall)."""
    init_iomem_resources()
    request_resource(iomem_resource, video_ram_resource)
    return 0


_init_standard_resources: fn[[], i32] = placed("initcall4", request_standard_resources)


@guest
def setup_arch() -> None:
    """What must be known before anything else: command line, memory, page tables (2.6.16 setup_arch)."""
    read_boot_info()
    init_list_head(init_mm.mmlist)
    init_mm.start_code = u32(_text)
    init_mm.end_code = u32(_etext)
    init_mm.start_data = u32(_sdata)
    init_mm.end_data = u32(_edata)
    init_mm.brk = u32(_end)
    printk("<6>BIOS-provided physical RAM map:\n")
    sanitize_e820_map()
    print_memory_map("BIOS-e820")
    parse_early_param()
    if user_defined_map:
        printk("<6>user-defined physical RAM map:\n")
        sanitize_e820_map()
        print_memory_map("user")
    find_max_low_pfn()
    printk(f"<5>{max_low_pfn >> 8}MB LOWMEM available.\n")
    claim_crashkernel()
    setup_bootmem_allocator()
    paging_init()
    get_smp_config()
    acpi_boot_init()
