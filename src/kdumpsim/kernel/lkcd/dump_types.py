# SPDX-License-Identifier: GPL-2.0-or-later
"""What an LKCD dump looks like: the headers of version 8, little-endian and packed (include/linux/dump.h of LKCD 6).

On the partition, behind room for a swap area's header: a buffer with both headers, padded; then every page with a
header of its own before it; then a page header with DUMP_DH_END.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, length, packed, u8, u32, u64, usize
from kdumpsim.kernel.architecture import PtRegs
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.version import UTS_LEN

DUMP_MAGIC_LOW: Final = 0x618F23ED
DUMP_MAGIC_HIGH: Final = 0xA8190173
DUMP_VERSION_NUMBER: Final = 8
DUMP_ASM_MAGIC_NUMBER: Final = 0xDEADDEAD
DUMP_ASM_VERSION_NUMBER: Final = 5
DUMP_PANIC_LEN: Final = 256

DUMP_LEVEL_ALL: Final = 0x8
"""All memory pages, the only level there is here."""
DUMP_COMPRESS_NONE: Final = 0
DUMP_DH_RAW: Final = 0x1
DUMP_DH_END: Final = 0x4

DUMP_HEADER_OFFSET: Final = 4096
"""Bytes of the partition that are left alone."""
DUMP_BUFFER_SIZE: Final = 64 * 1024
"""From the headers to the first page."""


@packed
class DumpHeader(Struct):
    """The header of any machine's dump (struct __dump_header)."""

    dh_magic_low: u32
    dh_magic_high: u32
    dh_version: u32
    dh_header_size: u32
    dh_dump_level: u32
    dh_page_size: u32
    dh_memory_size: u64
    """Pages of RAM."""
    dh_memory_start: u64
    dh_memory_end: u64
    dh_num_dump_pages: u32
    """Pages in the dump; 0 until it is whole."""
    dh_panic_string: array[u8] = length(DUMP_PANIC_LEN)
    dh_tv_sec: u64
    dh_tv_usec: u64
    dh_utsname: array[u8] = length(6 * UTS_LEN)
    dh_current_task: u64
    dh_dump_compress: u32
    dh_dump_flags: u32
    dh_dump_device: u32


@packed
class DumpHeaderAsm(Struct):
    """What i386 adds, right behind it (struct __dump_header_asm): the registers of every CPU."""

    dha_magic_number: u64
    dha_version: u32
    dha_header_size: u32
    dha_esp: u32
    dha_eip: u32
    dha_regs: PtRegs
    dha_smp_num_cpus: u32
    dha_dumping_cpu: u32
    dha_smp_regs: array[PtRegs] = length(NR_CPUS)
    dha_smp_current_task: array[usize] = length(NR_CPUS)
    dha_stack: array[usize] = length(NR_CPUS)
    """Copies of the stacks, which are not made here."""
    dha_stack_ptr: array[usize] = length(NR_CPUS)


@packed
class DumpPage(Struct):
    """What stands before a page (struct __dump_page)."""

    dp_address: u64
    dp_size: u32
    dp_flags: u32
