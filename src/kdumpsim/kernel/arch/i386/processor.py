# SPDX-License-Identifier: GPL-2.0-or-later
"""Single instructions: interrupts flag, ports, control registers, barriers (include/asm-i386/{system,io}.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    Struct,
    asm,
    asm_value,
    cast,
    guest,
    naked,
    packed,
    ptr,
    u8,
    u16,
    u32,
    u64,
    usize,
    void,
)

X86_CR0_PE: Final = 0x0000_0001
X86_CR0_MP: Final = 0x0000_0002
X86_CR0_ET: Final = 0x0000_0010
X86_CR0_NE: Final = 0x0000_0020
X86_CR0_WP: Final = 0x0001_0000
X86_CR0_AM: Final = 0x0004_0000
X86_CR0_PG: Final = 0x8000_0000

X86_CR4_PSE: Final = 0x0000_0010
X86_CR4_PGE: Final = 0x0000_0080

EFLAGS_IF: Final = 0x200

X86_FEATURE_APIC: Final = 1 << 9
"""CPUID leaf 1, EDX: a local APIC is on the chip."""


class ThreadStruct(Struct):
    """What the architecture keeps of a task that does not run (struct thread_struct)."""

    esp0: u32
    """Top of the kernel stack, where entries from ring 3 begin."""
    eip: u32
    """Where switch_to() goes on when the task gets a CPU again."""
    esp: u32
    cr2: u32
    """The task's last fault in the kernel: its address, vector and error code."""
    trap_no: u32
    error_code: u32


@packed
class DescPtr(Struct):
    """Operand of LGDT and LIDT (SDM vol. 3, 2.4)."""

    size: u16
    address: u32


@guest
def local_irq_disable() -> None:
    """Keep maskable interrupts from this CPU."""
    asm("cli", "~{memory}")


@guest
def local_irq_enable() -> None:
    """Let maskable interrupts in."""
    asm("sti", "~{memory}")


@guest
def local_irq_save() -> u32:
    """Turn interrupts off; the answer is EFLAGS as it was, for local_irq_restore()."""
    return asm_value(u32, "pushfl; popl $0; cli", "=r,~{memory}")


@guest
def local_irq_restore(flags: u32) -> None:
    """Put EFLAGS back, and so the interrupts flag."""
    asm("pushl $0; popfl", "r,~{memory},~{cc}", flags)


@guest
def __ffs(word: u32) -> u32:
    """Number of the lowest bit that is set; there must be one."""
    return asm_value(u32, "bsfl $1, $0", "=r,r,~{cc}", word)


@guest
def irqs_disabled() -> bool:
    """Whether this CPU takes no maskable interrupts just now."""
    return asm_value(u32, "pushfl; popl $0", "=r") & EFLAGS_IF == 0


@guest
def halt() -> None:
    """Stop until an interrupt comes; with interrupts off, until an NMI."""
    asm("hlt", "~{memory}")


@guest
def safe_halt() -> None:
    """Turn interrupts on and halt with no gap between: STI holds them off for one more instruction."""
    asm("sti; hlt", "~{memory}")


@guest
def cpu_relax() -> None:
    """A hint in waiting loops (PAUSE)."""
    asm("rep; nop", "~{memory}")


@guest
def mb() -> None:
    """All loads and stores before this are done before any behind it."""
    asm("lock; addl $$0, 0(%esp)", "~{memory},~{cc}")


@guest
def wbinvd() -> None:
    """Write back and drop all caches."""
    asm("wbinvd", "~{memory}")


@guest
def inb(port: u16) -> u8:
    """Read a byte from a port."""
    return asm_value(u8, "inb %dx, %al", "={al},{dx}", port)


@guest
def inw(port: u16) -> u16:
    """Read a word from a port."""
    return asm_value(u16, "inw %dx, %ax", "={ax},{dx}", port)


@guest
def inl(port: u16) -> u32:
    """Read a doubleword from a port."""
    return asm_value(u32, "inl %dx, %eax", "={eax},{dx}", port)


@guest
def outb(value: u8, port: u16) -> None:
    """Write a byte to a port."""
    asm("outb %al, %dx", "{al},{dx}", value, port)


@guest
def outw(value: u16, port: u16) -> None:
    """Write a word to a port."""
    asm("outw %ax, %dx", "{ax},{dx}", value, port)


@guest
def outl(value: u32, port: u16) -> None:
    """Write a doubleword to a port."""
    asm("outl %eax, %dx", "{eax},{dx}", value, port)


@guest
def outb_p(value: u8, port: u16) -> None:
    """Write a byte and give a slow device time to settle: port 0x80 is nobody's."""
    outb(value, port)
    outb(0, 0x80)


@guest
def insw(port: u16, buffer: ptr[void], count: usize) -> None:
    """Read `count` words from one port."""
    words = cast(ptr[u16], buffer)
    for i in range(count):
        words[i] = inw(port)


@guest
def outsw(port: u16, buffer: ptr[void], count: usize) -> None:
    """Write `count` words to one port."""
    words = cast(ptr[u16], buffer)
    for i in range(count):
        outw(words[i], port)


@guest
def read_cr0() -> u32:
    """CR0."""
    return asm_value(u32, "movl %cr0, $0", "=r")


@guest
def write_cr0(value: u32) -> None:
    """Set CR0."""
    asm("movl $0, %cr0", "r,~{memory}", value)


@guest
def read_cr2() -> u32:
    """CR2: the address of the last page fault."""
    return asm_value(u32, "movl %cr2, $0", "=r")


@guest
def read_cr3() -> u32:
    """CR3: physical address of the page directory."""
    return asm_value(u32, "movl %cr3, $0", "=r")


@guest
def write_cr3(value: u32) -> None:
    """Set CR3, which also flushes the TLB but for global pages."""
    asm("movl $0, %cr3", "r,~{memory}", value)


@guest
def read_cr4() -> u32:
    """CR4."""
    return asm_value(u32, "movl %cr4, $0", "=r")


@guest
def write_cr4(value: u32) -> None:
    """Set CR4."""
    asm("movl $0, %cr4", "r,~{memory}", value)


@guest
def invlpg(address: usize) -> None:
    """Forget the translation of one page."""
    asm("invlpg ($0)", "r,~{memory}", address)


@guest
def wrmsr(register: u32, value: u64) -> None:
    """Write a model-specific register."""
    asm("wrmsr", "{ecx},{eax},{edx},~{memory}", register, u32(value & 0xFFFFFFFF), u32(value >> 32))


@guest
def rdmsr(register: u32) -> u64:
    """Read a model-specific register."""
    return asm_value(u64, "rdmsr", "=A,{ecx}", register)


@guest
def rdtsc() -> u64:
    """The time stamp counter."""
    return asm_value(u64, "rdtsc", "=A")


@guest
def load_gdt(table: ptr[DescPtr]) -> None:
    """LGDT."""
    asm("lgdt ($0)", "r,~{memory}", table)


@guest
def load_idt(table: ptr[DescPtr]) -> None:
    """LIDT."""
    asm("lidt ($0)", "r,~{memory}", table)


@guest
def load_tr(selector: u16) -> None:
    """LTR: the task state segment this CPU takes its ring-0 stack from."""
    asm("ltr %ax", "{ax}", selector)


@guest
def clear_ldt() -> None:
    """LLDT 0: no local descriptors."""
    asm("lldt %ax", "{ax}", u16(0))


@naked
def cpuid(leaf: u32, registers: ptr[u32]) -> None:
    """CPUID: four words EAX, EBX, ECX, EDX to `registers`."""
    asm("""
        pushl %ebx
        pushl %esi
        movl 12(%esp), %eax
        xorl %ecx, %ecx
        cpuid
        movl 16(%esp), %esi
        movl %eax, (%esi)
        movl %ebx, 4(%esi)
        movl %ecx, 8(%esi)
        movl %edx, 12(%esi)
        popl %esi
        popl %ebx
        ret
    """)
