# SPDX-License-Identifier: GPL-2.0-or-later
"""Page faults (arch/i386/mm/fault.c of 2.6.16).

Kernel memory is mapped once and for all, so a fault on it is always a bug.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cast, guest, ptr, u32
from kdumpsim.kernel.arch.i386.oops import bad_current, die, hand_over
from kdumpsim.kernel.arch.i386.page import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, va
from kdumpsim.kernel.arch.i386.pgtable_types import PAGE_PRESENT, PAGE_PSE
from kdumpsim.kernel.arch.i386.processor import local_irq_enable, read_cr2, read_cr3
from kdumpsim.kernel.arch.i386.ptrace import EFLAGS_IF, EFLAGS_VM, PtRegs, user_mode
from kdumpsim.kernel.arch.i386.thread_info import current
from kdumpsim.kernel.arch.i386.uaccess import fixup_exception
from kdumpsim.kernel.core.config import FAULT_CHECKS
from kdumpsim.kernel.core.hardirq import in_atomic
from kdumpsim.kernel.core.printk import bust_spinlocks, printk
from kdumpsim.kernel.core.sched import current_is_sound
from kdumpsim.kernel.core.signal import force_sig
from kdumpsim.kernel.core.types import SIGBUS, SIGKILL, SIGSEGV
from kdumpsim.kernel.mm.memory import handle_mm_fault
from kdumpsim.kernel.mm.mm_types import VM_EXEC, VM_FAULT_MINOR, VM_FAULT_OOM, VM_FAULT_SIGBUS, VM_READ, VM_WRITE
from kdumpsim.kernel.mm.vma import TASK_SIZE, find_vma

PF_VECTOR: Final = 14
PF_WRITE: Final = 0x2
"""Bit of a page fault's error code: the access was a write."""


@guest
def show_page_entries(address: u32) -> None:
    """The page directory's and the page table's entry for `address`."""
    entry: u32 = cast(ptr[u32], va(read_cr3() & PAGE_MASK))[address >> 22]
    printk(f"<1>*pde = {entry:08x}\n")
    if entry & PAGE_PRESENT and entry & PAGE_PSE == 0:
        entry = cast(ptr[u32], va(entry & PAGE_MASK))[address >> PAGE_SHIFT & 0x3FF]
        printk(f"<1>*pte = {entry:08x}\n")


@guest
def do_user_page_fault(regs: ptr[PtRegs], error_code: u32, address: u32) -> bool:
    """A fault on a user address that its task may have: find the page.  False if it has no right to the address."""
    task = current()
    vma = find_vma(task.mm, address)
    if vma == NULL or vma.vm_start > address:
        return False
    write = error_code & PF_WRITE != 0
    if vma.vm_flags & (VM_WRITE if write else VM_READ | VM_EXEC) == 0:
        return False
    result = handle_mm_fault(task.mm, vma, address, write)
    if result == VM_FAULT_OOM:
        printk(f"<3>VM: killing process {task.comm:s}\n")
        force_sig(SIGKILL)
    elif result == VM_FAULT_SIGBUS:
        force_sig(SIGBUS)
    return result >= VM_FAULT_MINOR or user_mode(regs)


@guest
def bad_user_access(regs: ptr[PtRegs], error_code: u32, address: u32) -> None:
    """A process touched what it may not touch."""
    task = current()
    printk(f"<6>{task.comm:s}[{task.pid}]: segfault at {address:08x} ip {regs.eip:08x}")
    printk(f" sp {regs.esp:08x} error {error_code:x}\n")
    force_sig(SIGSEGV)


@guest
def do_page_fault(regs: ptr[PtRegs], error_code: u32) -> None:
    """#PF, vector 14: a page that is due, a process's mistake, a bad pointer in a system call, or an oops."""
    address: u32 = read_cr2()
    if FAULT_CHECKS and not current_is_sound():
        bad_current(regs)
    if regs.eflags & (EFLAGS_IF | EFLAGS_VM):
        local_irq_enable()
    task = current()
    if address < TASK_SIZE:
        # Without FAULT_CHECKS nobody checks `task`: after an overflow this read faults, and so on (paper, listing 5).
        mm = task.mm
        if not in_atomic() and mm != NULL and do_user_page_fault(regs, error_code, address):
            return
    if user_mode(regs):
        bad_user_access(regs, error_code, address)
        return
    if fixup_exception(regs):
        return
    no_context(regs, error_code, address)


@guest
def no_context(regs: ptr[PtRegs], error_code: u32, address: u32) -> None:
    """The kernel touched what is not there: say what and where, then die()."""
    hand_over("Oops", regs)
    bust_spinlocks(True)
    if address < PAGE_SIZE:
        printk("<1>Unable to handle kernel NULL pointer dereference")
    else:
        printk("<1>Unable to handle kernel paging request")
    printk(f" at virtual address {address:08x}\n")
    printk("<1> printing eip:\n")
    printk(f"{regs.eip:08x}\n")
    show_page_entries(address)
    task = current()
    task.thread.cr2 = address
    task.thread.trap_no = PF_VECTOR
    task.thread.error_code = error_code
    die("Oops", regs, error_code)
