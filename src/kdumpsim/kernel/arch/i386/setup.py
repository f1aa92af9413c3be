# SPDX-License-Identifier: GPL-2.0-or-later
"""setup_arch(): memory map, boot memory, resources, crashkernel= (arch/i386/kernel/setup.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import addr, array, cast, cstr, external, fn, guest, i32, length, placed, ptr, u8, u16, u32
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
from kdumpsim.kernel.core.kexec import crashk_res
from kdumpsim.kernel.core.params import ObsKernelParam, memparse, parse_early_param
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.resource import iomem_resource, request_resource
from kdumpsim.kernel.core.resource_types import IORESOURCE_BUSY, IORESOURCE_MEM, Resource
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.mm.bootmem import free_bootmem, init_bootmem, reserve_bootmem

BIOS_EBDA_SEGMENT: Final = 0x40E
"""Physical address of the word that names the extended BIOS data area's segment."""
BASE_MEMORY_END: Final = 0xA_0000
HIGH_MEMORY: Final = 0x10_0000

_text: array[u8] = external()
_etext: array[u8] = external()
_sdata: array[u8] = external()
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


@guest
def setup_crashkernel(value: cstr) -> i32:
    """crashkernel=size@start: memory for a capture kernel (kdump paper, section 5)."""
    rest: cstr = value
    size = u32(memparse(value, addr(rest)))
    if rest == value or rest[0] != ord("@"):
        return -EINVAL
    base = u32(memparse(rest + 1, addr(rest)))
    if size != 0:
        crashk_res.start = base
        crashk_res.end = base + size - 1
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
def reserve_crashkernel() -> None:
    """Set the capture kernel's memory aside, if it is RAM that nobody has."""
    if crashk_res.end == 0:
        return
    start: u32 = crashk_res.start
    end: u32 = crashk_res.end + 1
    if start & ~u32(PAGE_MASK) or end & ~u32(PAGE_MASK) or start < HIGH_MEMORY or not e820_covers(start, end):
        printk(f"<4>crashkernel reservation failed - {start:08x}-{end - 1:08x} is not memory that can be reserved\n")
    elif start < pa(u32(_end)) and end > pa(u32(_text)):
        printk("<4>crashkernel reservation failed - memory is in use by the kernel\n")
    else:
        printk(f"<6>Reserving {(end - start) >> 20}MB of memory at {start >> 20}MB for crashkernel\n")
        reserve_bootmem(start, end - start)
        return
    crashk_res.start = 0
    crashk_res.end = 0


@guest
def reserve_ebda() -> None:
    """The extended BIOS data area, for maps that call it RAM."""
    ebda: u32 = u32(cast(ptr[u16], va(BIOS_EBDA_SEGMENT))[0]) << 4
    if ebda >= PAGE_SIZE and ebda < BASE_MEMORY_END:
        reserve_range(ebda, BASE_MEMORY_END)


@guest
def first_free_pfn() -> u32:
    """Where the boot allocator may put its bitmap: behind the kernel, but not in the memory of the next one."""
    end = page_align(pa(u32(_end)))
    if end >= crashk_res.start and end <= crashk_res.end:
        end = crashk_res.end + 1
    return end >> PAGE_SHIFT


@guest
def setup_bootmem_allocator() -> None:
    """Tell the boot allocator what is RAM, and which of it is taken already."""
    init_bootmem(first_free_pfn(), max_low_pfn)
    for i in range(e820.nr_map):
        entry = addr(e820.map[i])
        if entry.type == E820Type.E820_RAM and ram_start(entry) < ram_end(entry):
            free_bootmem(ram_start(entry), ram_end(entry) - ram_start(entry))
    reserve_bootmem(first_free_pfn() << PAGE_SHIFT, page_align(max_low_pfn + 7 >> 3))
    reserve_range(pa(u32(_text)), pa(u32(_end)))
    reserve_bootmem(0, PAGE_SIZE)
    reserve_bootmem(TRAMPOLINE_BASE, PAGE_SIZE)
    reserve_ebda()
    find_smp_config()
    reserve_crashkernel()


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
def register_memory() -> None:
    """Enter the memory map, the kernel and the capture kernel's memory into /proc/iomem."""
    code_resource.start = pa(u32(_text))
    code_resource.end = pa(u32(_etext)) - 1
    data_resource.start = pa(u32(_sdata))
    data_resource.end = pa(u32(_end)) - 1
    for i in range(e820.nr_map):
        entry = addr(e820.map[i])
        if entry.addr + entry.size > 0x1_0000_0000:
            continue
        resource: ptr[Resource] = addr(map_resources[i])
        resource.name = resource_name(entry.type)
        resource.start = u32(entry.addr)
        resource.end = u32(entry.addr + entry.size - 1)
        resource.flags = IORESOURCE_MEM | IORESOURCE_BUSY
        request_resource(addr(iomem_resource), resource)
        if entry.type == E820Type.E820_RAM:
            # One of them is the right one; the others refuse.
            request_resource(resource, addr(code_resource))
            request_resource(resource, addr(data_resource))
            if crashk_res.end != 0:
                request_resource(resource, addr(crashk_res))


@guest
def request_standard_resources() -> i32:
    """Enter what every PC has below 1 MiB into /proc/iomem."""
    request_resource(addr(iomem_resource), addr(video_ram_resource))
    request_resource(addr(iomem_resource), addr(system_rom_resource))
    return 0


_init_standard_resources: fn[[], i32] = placed("initcall3", request_standard_resources)


@guest
def setup_arch() -> None:
    """What must be known before anything else: command line, memory, page tables (2.6.16 setup_arch)."""
    read_boot_info()
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
    setup_bootmem_allocator()
    paging_init()
    register_memory()
    get_smp_config()
    acpi_boot_init()
