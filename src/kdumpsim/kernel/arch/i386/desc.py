# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptor tables: a GDT and a TSS for each CPU, one IDT for all (SDM vol. 3, 3.4.5, 6.11 and 7.2).

The layout of the GDT is that of 2.6.16 (include/asm-i386/segment.h, arch/i386/kernel/cpu/common.c).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import Struct, array, bits, guest, length, ptr, sizeof, u8, u16, u32
from kdumpsim.kernel.arch.i386.processor import DescPtr, clear_ldt, load_gdt, load_idt, load_tr
from kdumpsim.kernel.arch.i386.segment import (
    __KERNEL_CS,
    __KERNEL_DS,
    GDT_ENTRIES,
    GDT_ENTRY_DEFAULT_USER_CS,
    GDT_ENTRY_DEFAULT_USER_DS,
    GDT_ENTRY_DOUBLEFAULT_TSS,
    GDT_ENTRY_KERNEL_CS,
    GDT_ENTRY_KERNEL_DS,
    GDT_ENTRY_TSS,
    TSS_SELECTOR,
)
from kdumpsim.kernel.core.config import CRASH_STACKS, NR_CPUS

IDT_ENTRIES: Final = 256


class DescType(IntEnum):
    """The type field of segment and gate descriptors (SDM vol. 3, tables 3-1 and 3-2)."""

    DATA_RW = 0x3
    TASK_GATE = 0x5
    TSS = 0x9
    CODE_ER = 0xB
    INTERRUPT_GATE = 0xE
    TRAP_GATE = 0xF


class DescStruct(Struct):
    """A segment descriptor (SDM vol. 3, figure 3-8)."""

    limit_low: u16
    base_low: u16
    base_middle: u8
    type: u8 = bits(4)
    s: u8 = bits(1)
    dpl: u8 = bits(2)
    p: u8 = bits(1)
    limit_high: u8 = bits(4)
    avl: u8 = bits(1)
    reserved: u8 = bits(1)
    db: u8 = bits(1)
    g: u8 = bits(1)
    base_high: u8


class GateStruct(Struct):
    """A gate of the IDT (SDM vol. 3, figure 6-2)."""

    offset_low: u16
    selector: u16
    zero: u8
    type: u8 = bits(4)
    s: u8 = bits(1)
    dpl: u8 = bits(2)
    p: u8 = bits(1)
    offset_high: u16


class TssStruct(Struct):
    """The 32-bit task state segment (SDM vol. 3, figure 7-2)."""

    back_link: u32
    esp0: u32
    ss0: u32
    esp1: u32
    ss1: u32
    esp2: u32
    ss2: u32
    cr3: u32
    eip: u32
    eflags: u32
    eax: u32
    ecx: u32
    edx: u32
    ebx: u32
    esp: u32
    ebp: u32
    esi: u32
    edi: u32
    es: u32
    cs: u32
    ss: u32
    ds: u32
    fs: u32
    gs: u32
    ldt: u32
    trap: u16
    io_bitmap_base: u16


cpu_gdt_table: array[DescStruct] = length(NR_CPUS * GDT_ENTRIES, align=64)
idt_table: array[GateStruct] = length(IDT_ENTRIES, align=64)
init_tss: array[TssStruct] = length(NR_CPUS, align=64)
DOUBLEFAULT_TASKS: Final = NR_CPUS if CRASH_STACKS else 1
doublefault_tss: array[TssStruct] = length(DOUBLEFAULT_TASKS)
"""Where the processor goes when an exception cannot be delivered; one for all CPUs, as in 2.6.16, or one for each."""

idt_descr: DescPtr = DescPtr()


@guest
def set_desc_base(desc: ptr[DescStruct], base: u32, limit: u32) -> None:
    """Base and limit of a segment; the limit counts bytes or pages as `g` says."""
    desc.limit_low = u16(limit)
    desc.limit_high = u8(limit >> 16)
    desc.base_low = u16(base)
    desc.base_middle = u8(base >> 16)
    desc.base_high = u8(base >> 24)


@guest
def set_flat_desc(desc: ptr[DescStruct], kind: DescType, dpl: u8) -> None:
    """A 4 GiB segment at address 0."""
    set_desc_base(desc, 0, 0xFFFFF)
    desc.type = u8(kind)
    desc.s = 1
    desc.dpl = dpl
    desc.p = 1
    desc.db = 1
    desc.g = 1


@guest
def set_tss_desc(desc: ptr[DescStruct], tss: ptr[TssStruct]) -> None:
    """An available 32-bit TSS."""
    set_desc_base(desc, u32(tss), sizeof(TssStruct) - 1)
    desc.type = u8(DescType.TSS)
    desc.s = 0
    desc.dpl = 0
    desc.p = 1
    desc.g = 0


@guest
def set_gate(vector: u32, kind: DescType, dpl: u8, entry: u32, selector: u16) -> None:
    """Fill in one gate of the IDT."""
    gate = idt_table + vector
    gate.offset_low = u16(entry)
    gate.offset_high = u16(entry >> 16)
    gate.selector = selector
    gate.zero = 0
    gate.type = u8(kind)
    gate.s = 0
    gate.dpl = dpl
    gate.p = 1


@guest
def set_intr_gate(vector: u32, entry: u32) -> None:
    """A gate that turns interrupts off."""
    set_gate(vector, DescType.INTERRUPT_GATE, 0, entry, __KERNEL_CS)


@guest
def set_trap_gate(vector: u32, entry: u32) -> None:
    """A gate that leaves interrupts as they are."""
    set_gate(vector, DescType.TRAP_GATE, 0, entry, __KERNEL_CS)


@guest
def set_system_gate(vector: u32, entry: u32) -> None:
    """A trap gate that ring 3 may use."""
    set_gate(vector, DescType.TRAP_GATE, 3, entry, __KERNEL_CS)


@guest
def set_task_gate(vector: u32, selector: u16) -> None:
    """A gate that switches to another TSS."""
    set_gate(vector, DescType.TASK_GATE, 0, 0, selector)


@guest
def cpu_load_descriptors(cpu: u32, esp0: u32) -> None:
    """Build this CPU's GDT and TSS and load them, with the IDT (Linux cpu_init)."""
    gdt = cpu_gdt_table + cpu * GDT_ENTRIES
    set_flat_desc(gdt[GDT_ENTRY_KERNEL_CS], DescType.CODE_ER, 0)
    set_flat_desc(gdt[GDT_ENTRY_KERNEL_DS], DescType.DATA_RW, 0)
    set_flat_desc(gdt[GDT_ENTRY_DEFAULT_USER_CS], DescType.CODE_ER, 3)
    set_flat_desc(gdt[GDT_ENTRY_DEFAULT_USER_DS], DescType.DATA_RW, 3)
    tss = init_tss + cpu
    tss.esp0 = esp0
    tss.ss0 = __KERNEL_DS
    tss.io_bitmap_base = sizeof(TssStruct)
    set_tss_desc(gdt[GDT_ENTRY_TSS], tss)
    set_tss_desc(gdt[GDT_ENTRY_DOUBLEFAULT_TSS], doublefault_tss[cpu if CRASH_STACKS else 0])
    table: DescPtr = DescPtr()
    table.size = GDT_ENTRIES * 8 - 1
    table.address = u32(gdt)
    load_gdt(table)
    idt_descr.size = IDT_ENTRIES * 8 - 1
    idt_descr.address = u32(idt_table)
    load_idt(idt_descr)
    load_tr(TSS_SELECTOR)
    clear_ldt()


@guest
def load_esp0(cpu: u32, esp0: u32) -> None:
    """The stack on which this CPU enters the kernel from ring 3."""
    init_tss[cpu].esp0 = esp0
