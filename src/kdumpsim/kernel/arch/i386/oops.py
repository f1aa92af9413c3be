# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dying kernel says: registers, stack, call trace (arch/i386/kernel/traps.c of 2.6.16).

Nothing here takes it for granted that the stack is sane: frame pointers are followed only while they lie in the
stack of the task, and code bytes are printed only where something is mapped.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    NoReturn,
    addr,
    array,
    cast,
    cstr,
    external,
    frame_address,
    guest,
    i32,
    ptr,
    return_address,
    u8,
    u16,
    u32,
)
from kdumpsim.kernel.arch.i386.apic import safe_smp_processor_id
from kdumpsim.kernel.arch.i386.entry import entry_text_end, entry_text_start
from kdumpsim.kernel.arch.i386.paging import kern_addr_valid
from kdumpsim.kernel.arch.i386.processor import local_irq_restore, local_irq_save
from kdumpsim.kernel.arch.i386.ptrace import PtRegs, user_mode
from kdumpsim.kernel.arch.i386.segment import __KERNEL_DS
from kdumpsim.kernel.arch.i386.thread_info import ThreadInfo, current_thread_info
from kdumpsim.kernel.architecture import current
from kdumpsim.kernel.core.config import DIE_ENABLES_IRQS, FAULT_CHECKS, HZ, PREEMPT, THREAD_SIZE
from kdumpsim.kernel.core.dump import CrashPlace, try_crashdump
from kdumpsim.kernel.core.exit import do_exit
from kdumpsim.kernel.core.hardirq import in_interrupt
from kdumpsim.kernel.core.kallsyms import print_symbol
from kdumpsim.kernel.core.module import print_modules
from kdumpsim.kernel.core.panic import note_crash, panic, panic_on_oops
from kdumpsim.kernel.core.printk import bust_spinlocks, console_verbose, printk
from kdumpsim.kernel.core.sched_types import TASK_UNINTERRUPTIBLE
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irq, spin_unlock_irqrestore
from kdumpsim.kernel.core.tainted import print_tainted
from kdumpsim.kernel.core.timer import schedule_timeout
from kdumpsim.kernel.core.types import SIGSEGV
from kdumpsim.kernel.core.version import system_utsname

KSTACK_DEPTH_TO_PRINT: Final = 24
CODE_BYTES: Final = 64
CODE_BYTES_BEFORE: Final = 43
MAX_TRACE: Final = 64
UD2: Final = 0x0B0F
BUG_SIZE: Final = 8

__start_rodata: array[u8] = external()
__end_rodata: array[u8] = external()

die_lock: Spinlock = Spinlock(slock=1)
die_owner: i32 = -1
"""CPU that is printing an oops."""
die_owner_depth: u32 = 0
"""How many oopses that CPU has met while printing."""
die_counter: u32 = 0


@guest
def valid_stack_ptr(info: ptr[ThreadInfo], address: u32) -> bool:
    """Whether a frame may lie at `address`, in the stack that `info` is the low end of."""
    return address > u32(info) and address < u32(info) + THREAD_SIZE - 8 and address & 3 == 0


@guest
def print_trace_address(address: u32) -> None:
    """One line of a call trace."""
    printk(f"<0> [<{address:08x}>] ")
    print_symbol("%s\n", address)


@guest
def show_trace(ebp: u32) -> None:
    """Follow frame pointers from `ebp`; an entry stub's frame leads on to the code it interrupted.

    A handler's first argument is its PtRegs: if a frame returns into an entry stub, the interrupted code's EIP and
    EBP stand there.  Where an interrupt has a stack of its own, the frame pointers lead on to the one before.
    """
    info = current_thread_info()
    count: u32 = 0
    while count < MAX_TRACE:
        if not valid_stack_ptr(info, ebp):
            info = cast(ptr[ThreadInfo], info.previous_esp & ~u32(THREAD_SIZE - 1))
            if info == NULL or not valid_stack_ptr(info, ebp):
                return
            printk("<0> =======================\n")
        frame = cast(ptr[u32], ebp)
        caller: u32 = frame[1]
        print_trace_address(caller)
        ebp = frame[0]
        if caller >= u32(entry_text_start) and caller < u32(entry_text_end):
            if not valid_stack_ptr(info, frame[2]):
                return
            regs = cast(ptr[PtRegs], frame[2])
            if user_mode(regs):
                return
            print_trace_address(regs.eip)
            ebp = regs.ebp
        count += 1


@guest
def show_stack(esp: u32, ebp: u32) -> None:
    """The words on top of the stack, then the call trace (Linux show_stack_log_lvl)."""
    words = cast(ptr[u32], esp)
    for i in range(KSTACK_DEPTH_TO_PRINT):
        if u32(words + i) & (THREAD_SIZE - 1) == 0:
            break
        if i != 0 and i % 8 == 0:
            printk("\n<0>       ")
        printk(f"{words[i]:08x} ")
    printk("\n<0>Call Trace:\n")
    show_trace(ebp)


@guest
def dump_stack() -> None:
    """The call trace of whoever calls this."""
    printk("<0>Call Trace:\n")
    print_trace_address(return_address())
    show_trace(cast(ptr[u32], frame_address())[0])


@guest
def show_code(eip: u32) -> None:
    """Bytes around the faulting instruction, whose first one is put in angle brackets."""
    printk("<0>Code: ")
    address: u32 = eip - CODE_BYTES_BEFORE
    for i in range(CODE_BYTES):
        if not kern_addr_valid(address + i):
            printk(" Bad EIP value.")
            break
        byte: u32 = cast(ptr[u8], address + i)[0]
        if address + i == eip:
            printk(f"<{byte:02x}> ")
        else:
            printk(f"{byte:02x} ")


@guest
def show_registers(regs: ptr[PtRegs]) -> None:
    """The interrupted code's registers, and where it came from."""
    in_kernel: bool = not user_mode(regs)
    esp: u32 = u32(addr(regs.esp))
    ss: u32 = __KERNEL_DS
    if not in_kernel:
        esp = regs.esp
        ss = regs.xss & 0xFFFF
    print_modules()
    printk(f"<0>CPU:    {safe_smp_processor_id()}\n")
    printk(f"<0>EIP:    {regs.xcs & 0xFFFF:04x}:[<{regs.eip:08x}>]    {print_tainted():s} VLI\n")
    printk(f"<0>EFLAGS: {regs.eflags:08x}   ({system_utsname.release:s}) \n")
    print_symbol("<0>EIP is at %s\n", regs.eip)
    printk(f"<0>eax: {regs.eax:08x}   ebx: {regs.ebx:08x}   ecx: {regs.ecx:08x}   edx: {regs.edx:08x}\n")
    printk(f"<0>esi: {regs.esi:08x}   edi: {regs.edi:08x}   ebp: {regs.ebp:08x}   esp: {esp:08x}\n")
    printk(f"<0>ds: {regs.xds & 0xFFFF:04x}   es: {regs.xes & 0xFFFF:04x}   ss: {ss:04x}\n")
    info = current_thread_info()
    printk(f"<0>Process {info.task.comm:s} (pid: {info.task.pid}, threadinfo={info:p} task={info.task:p})")
    if in_kernel:
        printk("\n<0>Stack: ")
        show_stack(esp, regs.ebp)
        show_code(regs.eip)
    printk("\n")


@guest
def handle_BUG(regs: ptr[PtRegs]) -> None:
    """Say where BUG() stands if it is what stopped the kernel: UD2, the line, the file's name (include/asm-i386/bug.h).

    An UD2 of the compiler's own, where control should never come, has no name behind it.
    """
    if user_mode(regs) or not kern_addr_valid(regs.eip) or not kern_addr_valid(regs.eip + BUG_SIZE - 1):
        return
    code = cast(ptr[u8], regs.eip)
    file = cast(ptr[u32], code + 4)[0]
    if cast(ptr[u16], code)[0] != UD2 or file < u32(__start_rodata) or file >= u32(__end_rodata):
        return
    printk("<0>------------[ cut here ]------------\n")
    printk(f"<0>kernel BUG at {cast(cstr, file):s}:{cast(ptr[u16], code + 2)[0]}!\n")


@guest
def oops_end(regs: ptr[PtRegs]) -> NoReturn:
    """What follows once die() has printed: dump, panic, or the end of the task alone."""
    try_crashdump(CrashPlace.OOPS, regs)
    if in_interrupt():
        panic("Fatal exception in interrupt")
    if panic_on_oops != 0:
        printk("<0>Fatal exception: panic in 5 seconds\n")
        current().state = TASK_UNINTERRUPTIBLE
        schedule_timeout(5 * HZ)
        panic("Fatal exception")
    do_exit(SIGSEGV)


@guest
def hand_over(what: cstr, regs: ptr[PtRegs]) -> None:
    """With FAULT_CHECKS: have the dump of a fatal oops taken where it is found, before printing waits for locks."""
    if FAULT_CHECKS:
        note_crash(what)
        try_crashdump(CrashPlace.OOPS, regs)


@guest
def bad_current(regs: ptr[PtRegs]) -> NoReturn:
    """An exception on a stack whose thread_info is gone: nobody may use `current`, so this is the end."""
    hand_over("current is not sound", regs)
    panic("current is not sound")


@guest
def die(what: cstr, regs: ptr[PtRegs], err: u32) -> NoReturn:
    """An exception that nobody can mend: print an oops and end the task, or the system (2.6.16 die)."""
    global die_owner, die_owner_depth, die_counter
    flags: u32 = 0
    cpu = i32(safe_smp_processor_id())
    hand_over(what, regs)
    if die_owner != cpu:
        console_verbose()
        flags = spin_lock_irqsave(die_lock)
        die_owner = cpu
        die_owner_depth = 0
        bust_spinlocks(True)
    else:
        flags = local_irq_save()
        local_irq_restore(flags)
    die_owner_depth += 1
    if die_owner_depth < 3:
        handle_BUG(regs)
        die_counter += 1
        printk(f"<0>{what:s}: {err & 0xFFFF:04x} [#{die_counter}]\n")
        if PREEMPT:
            printk("<0>PREEMPT SMP \n")
        else:
            printk("<0>SMP \n")
        show_registers(regs)
    else:
        printk("<0>Recursive die() failure, output suppressed\n")
    bust_spinlocks(False)
    die_owner = -1
    if DIE_ENABLES_IRQS:
        spin_unlock_irq(die_lock)
    else:
        spin_unlock_irqrestore(die_lock, flags)
    oops_end(regs)
