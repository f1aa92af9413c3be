# SPDX-License-Identifier: GPL-2.0-or-later
"""fork() (kernel/fork.c of 2.6.16): a second process like this one.  Its pages are copied at once, not on a write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import NULL, cast, guest, i32, placed, ptr, u8, usize
from kdumpsim.kernel.architecture import (
    PAGE_PRESENT,
    PAGE_SIZE,
    copy_from_user,
    current,
    pte_offset,
    task_pt_regs,
    user_thread_setup,
)
from kdumpsim.kernel.core.exit import put_dead_task
from kdumpsim.kernel.core.kthread import dup_task_struct, link_task
from kdumpsim.kernel.core.sched import wake_up_new_task
from kdumpsim.kernel.core.sched_types import PF_KTHREAD, TaskStruct
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.core.syscalls import NR_fork, Syscall
from kdumpsim.kernel.core.types import EAGAIN
from kdumpsim.kernel.fs.file_types import NR_OPEN
from kdumpsim.kernel.fs.files import put_files, share_files
from kdumpsim.kernel.mm.memory import get_user_page, mmput
from kdumpsim.kernel.mm.mm_types import MmStruct, VmAreaStruct
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages, page_address
from kdumpsim.kernel.mm.page_flags import lock_page, unlock_page
from kdumpsim.kernel.mm.pgtable import pte_page
from kdumpsim.kernel.mm.vma import find_vma, insert_vma, mm_alloc, vma_set_file

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs


@guest
def fill_page(mm: ptr[MmStruct], vma: ptr[VmAreaStruct], address: usize, data: ptr[u8]) -> bool:
    """Put a page's contents into a space nobody runs in; False without memory."""
    while True:
        page = get_user_page(mm, vma, address)
        if page == NULL:
            return False
        # While it is locked, nobody moves it to swap.
        lock_page(page)
        pte = pte_offset(mm.pgd, address)
        there = pte[0] & PAGE_PRESENT != 0 and pte_page(pte[0]) == page
        if there:
            memcpy(page_address(page), data, PAGE_SIZE)
        unlock_page(page)
        if there:
            return True


@guest
def dup_region(mm: ptr[MmStruct], vma: ptr[VmAreaStruct], buffer: ptr[u8]) -> bool:
    """Copy those pages of one of this process's regions that it has touched; False without memory."""
    if insert_vma(mm, vma.vm_start, vma.vm_end, vma.vm_flags) != 0:
        return False
    copy = find_vma(mm, vma.vm_start)
    vma_set_file(copy, vma.vm_file, vma.vm_pgoff)
    address = vma.vm_start
    while address < vma.vm_end:
        pte = pte_offset(current().mm.pgd, address)
        if pte != NULL and pte[0] != 0:
            if copy_from_user(buffer, address, PAGE_SIZE) != 0 or not fill_page(mm, copy, address, buffer):
                return False
        address += PAGE_SIZE
    return True


@guest
def dup_mm() -> ptr[MmStruct]:
    """A copy of this process's address space; NULL without memory."""
    old = current().mm
    mm = mm_alloc()
    buffer = __get_free_pages(0)
    done = mm != NULL and buffer != NULL
    vma: ptr[VmAreaStruct] = old.mmap
    while done and vma != NULL:
        done = dup_region(mm, vma, cast(ptr[u8], buffer))
        vma = vma.vm_next
    free_pages(buffer, 0)
    if not done:
        mmput(mm)
        return NULL
    mm.start_code = old.start_code
    mm.end_code = old.end_code
    mm.start_data = old.start_data
    mm.end_data = old.end_data
    mm.start_brk = old.start_brk
    mm.brk = old.brk
    mm.start_stack = old.start_stack
    memcpy(mm.comm, old.comm, len(mm.comm))
    return mm


@guest
def copy_process(regs: ptr[PtRegs]) -> ptr[TaskStruct]:
    """A process like this one, which returns 0 from fork(); NULL without memory, or with too many tasks."""
    task = dup_task_struct(current().comm)
    if task == NULL:
        return NULL
    task.mm = dup_mm()
    put_files(task.files)
    task.files = share_files(NR_OPEN)
    if task.mm == NULL or task.files == NULL:
        mmput(task.mm)
        put_files(task.files)
        put_dead_task(task)
        return NULL
    task.flags &= ~PF_KTHREAD
    task.cpus_allowed = current().cpus_allowed
    user_thread_setup(task, 0, 0)
    child: ptr[PtRegs] = task_pt_regs(task)
    child[0] = regs[0]
    child.eax = 0
    link_task(task)
    return task


@guest
def sys_fork(regs: ptr[PtRegs]) -> i32:
    """fork(): the child's pid; 0 in the child."""
    task = copy_process(regs)
    if task == NULL:
        return -EAGAIN
    pid = task.pid
    wake_up_new_task(task)
    return pid


_syscall_fork: Syscall = placed("syscalls", Syscall(nr=NR_fork, call=sys_fork))
