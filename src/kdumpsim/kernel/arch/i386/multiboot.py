# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot loader's information (Multiboot 0.6.96, section 3.3): command line and memory map.

Everything is copied before any memory is given out, for the loader may have put it anywhere.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, cast, guest, length, packed, ptr, sizeof, u8, u32, u64
from kdumpsim.kernel.arch.i386.e820 import E820Type, add_memory_region
from kdumpsim.kernel.arch.i386.early_map import early_copy, early_copy_string
from kdumpsim.kernel.arch.i386.head import boot_info, boot_magic
from kdumpsim.kernel.core.config import COMMAND_LINE_SIZE

MULTIBOOT_BOOTLOADER_MAGIC: Final = 0x2BADB002

MULTIBOOT_INFO_MEMORY: Final = 1 << 0
MULTIBOOT_INFO_CMDLINE: Final = 1 << 2
MULTIBOOT_INFO_MEM_MAP: Final = 1 << 6


class MultibootInfo(Struct):
    """The information structure, as far as we want it."""

    flags: u32
    mem_lower: u32
    """KiB from 0."""
    mem_upper: u32
    """KiB from 1 MiB."""
    boot_device: u32
    cmdline: u32
    mods_count: u32
    mods_addr: u32
    syms: array[u32] = length(4)
    mmap_length: u32
    mmap_addr: u32


@packed
class MultibootMmapEntry(Struct):
    """One range of the memory map; `size` does not count itself."""

    size: u32
    addr: u64
    len: u64
    type: u32


boot_command_line: array[u8] = length(COMMAND_LINE_SIZE)
"""The kernel's command line; some loaders put the image's name first, a word no option claims."""


@guest
def copy_memory_map(info: ptr[MultibootInfo]) -> None:
    """Fill the e820 map from the loader's, or from the two sizes if there is none."""
    entry: MultibootMmapEntry = MultibootMmapEntry()
    if info.flags & MULTIBOOT_INFO_MEM_MAP:
        at: u32 = info.mmap_addr
        end: u32 = info.mmap_addr + info.mmap_length
        while at < end:
            early_copy(cast(ptr[u8], entry), at, sizeof(MultibootMmapEntry))
            add_memory_region(entry.addr, entry.len, entry.type)
            at += entry.size + 4
    elif info.flags & MULTIBOOT_INFO_MEMORY:
        add_memory_region(0, u64(info.mem_lower) << 10, E820Type.E820_RAM)
        add_memory_region(0x10_0000, u64(info.mem_upper) << 10, E820Type.E820_RAM)


@guest
def read_boot_info() -> bool:
    """Copy what the loader left; False if no Multiboot loader was there."""
    if boot_magic != MULTIBOOT_BOOTLOADER_MAGIC:
        return False
    info: MultibootInfo = MultibootInfo()
    early_copy(cast(ptr[u8], info), boot_info, sizeof(MultibootInfo))
    if info.flags & MULTIBOOT_INFO_CMDLINE:
        early_copy_string(boot_command_line, info.cmdline, COMMAND_LINE_SIZE)
    copy_memory_map(info)
    return True
