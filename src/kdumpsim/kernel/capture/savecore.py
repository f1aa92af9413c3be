# SPDX-License-Identifier: GPL-2.0-or-later
"""Saving the dump from kernel space (LKDTT paper, section 7.3): /proc/vmcore goes to the dump disk, then reboot.

Headers and notes are written from this kernel's memory, old memory from where it lies: the disk's bus master
fetches it, the CPU copies nothing but the last, partial page of a range.  Sector 0 is written last
(docs/kernel.md, "Dump disk"), so a disk with a sound header holds a whole dump.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, addr, array, cast, guest, i32, length, ptr, u8, u32, u64, void
from kdumpsim.kernel.asm import PAGE_SIZE, machine_restart
from kdumpsim.kernel.block.bio import READ, SECTOR_SHIFT, SECTOR_SIZE, WRITE, BlockDevice, find_disk, rw_kernel, rw_phys
from kdumpsim.kernel.capture.oldmem import read_from_oldmem
from kdumpsim.kernel.capture.vmcore import (
    VmcoreRange,
    vmcore_headers,
    vmcore_headers_bytes,
    vmcore_page_up,
    vmcore_ranges,
    vmcore_size,
)
from kdumpsim.kernel.core.params import cmdline_find
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import memcmp, memcpy, memset, strlcpy
from kdumpsim.kernel.core.types import EINVAL, ENODEV, ENOMEM, ENOSPC
from kdumpsim.kernel.mm.page_alloc import __get_free_pages

DUMP_OFFSET: Final = 4096
DUMP_LBA: Final = DUMP_OFFSET >> SECTOR_SHIFT
DUMP_COMPLETE: Final = 1
CHUNK_BYTES: Final = 2 << 20
PROGRESS_STEP: Final = 5


class DumpHeader(Struct):
    """Sector 0 of the dump disk; its last word is the CRC-32 of what stands before."""

    magic: array[u8] = length(16)
    status: u32
    header_bytes: u32
    size: u64
    lba: u64
    unused: array[u8] = length(SECTOR_SIZE - 44)
    crc: u32


class SaveState(Struct):
    """One saving: the disk, a page to put pieces together in, and how far it has come."""

    bdev: ptr[BlockDevice]
    page: ptr[u8]
    written: u32
    total: u32
    next_percent: u32


dump_magic: array[u8] = b"KDUMPSIM-VMCORE1"


@guest
def crc32(data: ptr[u8], count: u32) -> u32:
    """CRC-32 as of IEEE 802.3, bit by bit."""
    crc: u32 = 0xFFFFFFFF
    for i in range(count):
        crc ^= u32(data[i])
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@guest
def savecore_progress(state: ptr[SaveState], pages: u32) -> None:
    """Count written pages and print every few percent."""
    state.written += pages
    percent: u32 = state.written * 100 // state.total
    if percent >= state.next_percent:
        printk(f"<6>savecore: {percent}%\n")
        state.next_percent = percent - percent % PROGRESS_STEP + PROGRESS_STEP


@guest
def savecore_page(state: ptr[SaveState], lba: u32, phys: u32, count: u32) -> i32:
    """Write up to a page of old memory by way of this kernel's own, filled up with zeros."""
    read_from_oldmem(state.page, phys, count)
    memset(state.page + count, 0, PAGE_SIZE - count)
    error: i32 = rw_kernel(state.bdev, WRITE, lba, state.page, PAGE_SIZE >> SECTOR_SHIFT)
    savecore_progress(state, 1)
    return error


@guest
def savecore_range(state: ptr[SaveState], piece: ptr[VmcoreRange]) -> i32:
    """Write one range: whole pages by DMA from where they lie, the rest by way of a page."""
    lba: u32 = DUMP_LBA + u32(piece.offset >> SECTOR_SHIFT)
    most: u32 = min(CHUNK_BYTES, (state.bdev.bd_queue.max_sectors << SECTOR_SHIFT) & (0xFFFFFFFF ^ (PAGE_SIZE - 1)))
    done: u32 = 0
    while done < piece.size:
        error: i32 = 0
        n: u32 = min(most, (piece.size - done) & (0xFFFFFFFF ^ (PAGE_SIZE - 1)))
        if n == 0 or piece.paddr & 1:
            n = min(piece.size - done, PAGE_SIZE)
            error = savecore_page(state, lba, piece.paddr + done, n)
        else:
            error = rw_phys(state.bdev, WRITE, lba, piece.paddr + done, n >> SECTOR_SHIFT)
            savecore_progress(state, n // PAGE_SIZE)
        if error != 0:
            return error
        done += n
        lba += n >> SECTOR_SHIFT
    return 0


@guest
def savecore_body(state: ptr[SaveState]) -> i32:
    """Write headers, notes and memory."""
    size: u32 = vmcore_page_up(vmcore_headers_bytes)
    memset(vmcore_headers + vmcore_headers_bytes, 0, size - vmcore_headers_bytes)
    error: i32 = rw_kernel(state.bdev, WRITE, DUMP_LBA, vmcore_headers, size >> SECTOR_SHIFT)
    savecore_progress(state, size // PAGE_SIZE)
    piece: ptr[VmcoreRange] = vmcore_ranges
    while piece != NULL and error == 0:
        error = savecore_range(state, piece)
        piece = piece.next
    return error


@guest
def savecore_invalidate(state: ptr[SaveState]) -> i32:
    """Make the header of an earlier dump invalid before its data go."""
    error: i32 = rw_kernel(state.bdev, READ, 0, state.page, 1)
    if error != 0 or memcmp(state.page, dump_magic, 16) != 0:
        return error
    memset(state.page, 0, SECTOR_SIZE)
    return rw_kernel(state.bdev, WRITE, 0, state.page, 1)


@guest
def savecore_header(state: ptr[SaveState]) -> i32:
    """Write sector 0."""
    memset(state.page, 0, SECTOR_SIZE)
    header: ptr[DumpHeader] = cast(ptr[DumpHeader], state.page)
    memcpy(header.magic, dump_magic, 16)
    header.status = DUMP_COMPLETE
    header.header_bytes = DUMP_OFFSET
    header.size = vmcore_size
    header.lba = DUMP_LBA
    header.crc = crc32(state.page, SECTOR_SIZE - 4)
    return rw_kernel(state.bdev, WRITE, 0, state.page, 1)


@guest
def savecore_to_disk() -> i32:
    """Save /proc/vmcore to the disk named by ``dumpdisk=``, hdc by default."""
    state: SaveState = SaveState()
    name: array[u8] = length(16)
    strlcpy(name, "hdc", 16)
    cmdline_find("dumpdisk=", name, 16)
    if vmcore_size == 0:
        printk("<3>savecore: /proc/vmcore is empty\n")
        return -EINVAL
    state.bdev = find_disk(name)
    if state.bdev == NULL:
        printk(f"<3>savecore: no disk {name:s}\n")
        return -ENODEV
    state.page = cast(ptr[u8], __get_free_pages(0))
    if state.page == NULL:
        return -ENOMEM
    state.total = u32((vmcore_size + PAGE_SIZE - 1) >> 12)
    if state.total >= state.bdev.bd_sectors >> 3:
        printk(f"<3>savecore: {name:s} is too small\n")
        return -ENOSPC
    state.next_percent = PROGRESS_STEP
    printk(f"<6>savecore: saving {state.total << 2} KiB from /proc/vmcore to {name:s}\n")
    error: i32 = savecore_invalidate(addr(state))
    if error == 0:
        error = savecore_body(addr(state))
    if error == 0:
        error = savecore_header(addr(state))
    return error


@guest
def savecore(unused: ptr[void]) -> i32:
    """The thread: save, say how it went, reboot."""
    error: i32 = savecore_to_disk()
    if error == 0:
        printk("<6>savecore: vmcore saved\n")
    else:
        printk(f"<3>savecore: failed, error {-error}\n")
    printk("<0>Restarting system.\n")
    machine_restart()
