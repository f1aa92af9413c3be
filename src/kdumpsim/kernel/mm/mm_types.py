# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces and their regions as structures (include/linux/{sched,mm}.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, length, ptr, u8, u32, usize
from kdumpsim.kernel.core.config import TASK_COMM_LEN
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.fs.file_types import File

VM_READ: Final = 0x1
VM_WRITE: Final = 0x2
VM_EXEC: Final = 0x4
VM_GROWSDOWN: Final = 0x100

VM_FAULT_OOM: Final = 0
VM_FAULT_SIGBUS: Final = 1
VM_FAULT_MINOR: Final = 2
VM_FAULT_MAJOR: Final = 3


class VmAreaStruct(Struct):
    """A region of equal rights: whole pages from vm_start up to, not including, vm_end."""

    vm_mm: ptr[MmStruct]
    vm_start: usize
    vm_end: usize
    vm_flags: u32
    vm_next: ptr[VmAreaStruct]
    vm_pgoff: u32
    """Where in `vm_file` the region begins, in pages."""
    vm_file: ptr[File]
    """What its contents were read from; NULL for memory that began as zeros."""


class MmStruct(Struct):
    """One address space."""

    mmap: ptr[VmAreaStruct]
    """Its regions by rising address.  They and the page table entries change under page_table_lock only."""
    pgd: ptr[u32]
    """The page directory, as the kernel sees it."""
    page_table_lock: Spinlock
    mm_users: u32
    """The task, and whoever looks at the space from outside (mmget)."""
    cpu_vm_mask: u32
    """CPUs whose CR3 holds this page directory: none, or the one that runs the task."""
    mmlist: ListHead
    """Link in the list of all address spaces."""
    start_code: usize
    end_code: usize
    start_data: usize
    end_data: usize
    start_brk: usize
    brk: usize
    start_stack: usize
    rss: usize
    """Pages present."""
    total_vm: usize
    """Pages of all regions."""
    comm: array[u8] = length(TASK_COMM_LEN)
    """The program's name."""
