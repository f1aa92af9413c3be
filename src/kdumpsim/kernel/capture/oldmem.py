# SPDX-License-Identifier: GPL-2.0-or-later
"""The dead kernel's memory: copies of it, and /dev/oldmem, its raw linear view (kdump paper, section 4.5.2).

A page is reached by a temporary mapping, for this kernel maps only what it was given.  As copy_oldmem_page()
does in Linux, but with interrupts off while the one mapping of this CPU is in use.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, fn, guest, i32, placed, ptr, u8, u32, u64, usize
from kdumpsim.kernel.architecture import (
    PAGE_SHIFT,
    PAGE_SIZE,
    kmap_atomic_pfn,
    kunmap_atomic,
    local_irq_restore,
    local_irq_save,
)
from kdumpsim.kernel.capture.elfcorehdr import is_kdump_kernel
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.fs.file_types import File, FileOperations
from kdumpsim.kernel.fs.proc import register_proc_fops

OLDMEM_END: Final = 0x100000000
"""Physical addresses end here without PAE."""


@guest
def copy_oldmem_page(pfn: usize, buffer: ptr[u8], offset: usize, count: usize) -> None:
    """Copy a part of one page."""
    flags = local_irq_save()
    page: ptr[u8] = kmap_atomic_pfn(pfn)
    memcpy(buffer, page + offset, count)
    kunmap_atomic()
    local_irq_restore(flags)


@guest
def read_from_oldmem(buffer: ptr[u8], phys: usize, count: usize) -> None:
    """Copy old memory; addresses without memory read as the bus answers."""
    done: usize = 0
    while done < count:
        at: usize = phys + done
        offset: usize = at & (PAGE_SIZE - 1)
        n: usize = min(count - done, PAGE_SIZE - offset)
        copy_oldmem_page(at >> PAGE_SHIFT, buffer + done, offset, n)
        done += n


@guest
def oldmem_read(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """/dev/oldmem: the position is the physical address."""
    if file.f_pos >= OLDMEM_END:
        return 0
    n: usize = count
    if u64(n) > OLDMEM_END - file.f_pos:
        n = u32(OLDMEM_END - file.f_pos)
    read_from_oldmem(buffer, u32(file.f_pos), n)
    file.f_pos += n
    return i32(n)


@guest
def oldmem_release(file: ptr[File]) -> None:
    """Nothing is kept for an open /dev/oldmem."""


oldmem_file_operations: FileOperations = FileOperations(read=oldmem_read, release=oldmem_release)


@guest
def oldmem_init() -> i32:
    """Make /dev/oldmem, in a capture kernel only."""
    if not is_kdump_kernel():
        return 0
    return register_proc_fops("/dev/oldmem", oldmem_file_operations, NULL)


_init_oldmem: fn[[], i32] = placed("initcall5", oldmem_init)
