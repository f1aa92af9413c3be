# SPDX-License-Identifier: GPL-2.0-or-later
"""Page faults (arch/i386/mm/fault.c of 2.6.16).

Kernel memory is mapped once and for all, so a fault in the kernel is always a bug.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import cast, guest, ptr, u32
from kdumpsim.kernel.arch.i386.oops import die
from kdumpsim.kernel.arch.i386.page import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, va
from kdumpsim.kernel.arch.i386.paging import PAGE_PRESENT, PAGE_PSE
from kdumpsim.kernel.arch.i386.processor import local_irq_enable, read_cr2, read_cr3
from kdumpsim.kernel.arch.i386.ptrace import EFLAGS_IF, EFLAGS_VM, PtRegs
from kdumpsim.kernel.core.printk import bust_spinlocks, printk


@guest
def show_page_entries(address: u32) -> None:
    """The page directory's and the page table's entry for `address`."""
    entry: u32 = cast(ptr[u32], va(read_cr3() & PAGE_MASK))[address >> 22]
    printk(f"<1>*pde = {entry:08x}\n")
    if entry & PAGE_PRESENT and entry & PAGE_PSE == 0:
        entry = cast(ptr[u32], va(entry & PAGE_MASK))[address >> PAGE_SHIFT & 0x3FF]
        printk(f"<1>*pte = {entry:08x}\n")


@guest
def do_page_fault(regs: ptr[PtRegs], error_code: u32) -> None:
    """#PF, vector 14: say what address was touched and by whom, then die()."""
    address: u32 = read_cr2()
    if regs.eflags & (EFLAGS_IF | EFLAGS_VM):
        local_irq_enable()
    bust_spinlocks(True)
    if address < PAGE_SIZE:
        printk("<1>Unable to handle kernel NULL pointer dereference")
    else:
        printk("<1>Unable to handle kernel paging request")
    printk(f" at virtual address {address:08x}\n")
    printk("<1> printing eip:\n")
    printk(f"{regs.eip:08x}\n")
    show_page_entries(address)
    die("Oops", regs, error_code)
