# SPDX-License-Identifier: GPL-2.0-or-later
"""The format of a dump: its headers, and the registers of every CPU (drivers/dump/dump_fmt.c of LKCD 6)."""

from __future__ import annotations

from kdumpsim.compiler.lang import guest, ptr, sizeof, u32, usize
from kdumpsim.kernel.architecture import PAGE_OFFSET, PAGE_SIZE, PtRegs, current, num_online_cpus, smp_processor_id
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.panic import panic_buf
from kdumpsim.kernel.core.string import memcpy, strlcpy
from kdumpsim.kernel.core.version import system_utsname
from kdumpsim.kernel.lkcd.dump_types import (
    DUMP_ASM_MAGIC_NUMBER,
    DUMP_ASM_VERSION_NUMBER,
    DUMP_COMPRESS_NONE,
    DUMP_LEVEL_ALL,
    DUMP_MAGIC_HIGH,
    DUMP_MAGIC_LOW,
    DUMP_PANIC_LEN,
    DUMP_VERSION_NUMBER,
    DumpHeader,
    DumpHeaderAsm,
)
from kdumpsim.kernel.mm.mmzone import Zone
from kdumpsim.kernel.mm.page_alloc import zone_normal

dump_header: DumpHeader = DumpHeader()
dump_header_asm: DumpHeaderAsm = DumpHeaderAsm()


@guest
def dump_save_context(regs: ptr[PtRegs], cpu: u32) -> None:
    """Save a CPU's registers and its task."""
    if cpu >= NR_CPUS:
        return
    dump_header_asm.dha_smp_regs[cpu] = regs[0]
    dump_header_asm.dha_smp_current_task[cpu] = usize(current())
    dump_header_asm.dha_stack_ptr[cpu] = usize(current().thread_info)


@guest
def dump_configure_header(regs: ptr[PtRegs]) -> None:
    """Fill in both headers; the number of pages is not known yet."""
    zone: ptr[Zone] = zone_normal()
    dump_header.dh_magic_low = DUMP_MAGIC_LOW
    dump_header.dh_magic_high = DUMP_MAGIC_HIGH
    dump_header.dh_version = DUMP_VERSION_NUMBER
    dump_header.dh_header_size = sizeof(DumpHeader)
    dump_header.dh_dump_level = DUMP_LEVEL_ALL
    dump_header.dh_page_size = PAGE_SIZE
    dump_header.dh_memory_size = zone.present_pages
    dump_header.dh_memory_start = PAGE_OFFSET
    dump_header.dh_memory_end = PAGE_OFFSET + zone.spanned_pages * PAGE_SIZE
    dump_header.dh_num_dump_pages = 0
    strlcpy(dump_header.dh_panic_string, panic_buf, DUMP_PANIC_LEN)
    memcpy(dump_header.dh_utsname, system_utsname, sizeof(system_utsname))
    dump_header.dh_current_task = usize(current())
    dump_header.dh_dump_compress = DUMP_COMPRESS_NONE
    dump_header_asm.dha_magic_number = DUMP_ASM_MAGIC_NUMBER
    dump_header_asm.dha_version = DUMP_ASM_VERSION_NUMBER
    dump_header_asm.dha_header_size = sizeof(DumpHeaderAsm)
    dump_header_asm.dha_esp = regs.esp
    dump_header_asm.dha_eip = regs.eip
    dump_header_asm.dha_regs = regs[0]
    dump_header_asm.dha_smp_num_cpus = num_online_cpus()
    dump_header_asm.dha_dumping_cpu = smp_processor_id()
    dump_save_context(regs, smp_processor_id())
