# SPDX-License-Identifier: GPL-2.0-or-later
"""Block devices and bios: input and output described by physical pages (Linux include/linux/bio.h, fs/bio.c).

A bio names physical memory, not kernel addresses, so that the capture kernel can have the dead kernel's
pages written to disk from where they lie without mapping or copying them.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, Struct, cast, cstr, guest, i32, ptr, u8, u32, usize
from kdumpsim.kernel.architecture import pa
from kdumpsim.kernel.block.blk_types import SECTOR_SHIFT, Bio, BlockDevice
from kdumpsim.kernel.block.queue import make_request
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import strcmp, strncmp
from kdumpsim.kernel.core.types import EIO
from kdumpsim.kernel.core.wait import Completion, complete, init_completion, wait_for_completion


class BioWait(Struct):
    """What submit_bio_wait() waits for."""

    done: Completion
    error: i32


block_devices: ptr[BlockDevice] = NULL


@guest
def add_disk(bdev: ptr[BlockDevice]) -> None:
    """Make a disk known under its name (Linux add_disk)."""
    global block_devices
    bdev.bd_next = block_devices
    block_devices = bdev


@guest
def find_disk(name: cstr) -> ptr[BlockDevice]:
    """The disk called `name` ("hda", "/dev/hda"), or NULL."""
    if strncmp(name, "/dev/", 5) == 0:
        name = name + 5
    bdev: ptr[BlockDevice] = block_devices
    while bdev != NULL:
        if strcmp(bdev.bd_name, name) == 0:
            return bdev
        bdev = bdev.bd_next
    return NULL


@guest
def bio_init(bio: ptr[Bio], bdev: ptr[BlockDevice], rw: u32, sector: u32, phys: usize, nr_sectors: u32) -> None:
    """A bio of one piece of memory; the caller may replace bi_io_vec by a longer list."""
    bio.bi_next = NULL
    bio.bi_bdev = bdev
    bio.bi_rw = rw
    bio.bi_sector = sector
    bio.bi_nr_sectors = nr_sectors
    bio.bi_vcnt = 1
    bio.bi_io_vec = bio.bi_inline_vec
    bio.bi_inline_vec.bv_phys = phys
    bio.bi_inline_vec.bv_len = nr_sectors << SECTOR_SHIFT


@guest
def submit_bio(bio: ptr[Bio]) -> None:
    """Hand a bio to the driver of its disk; bi_end_io is called with the result (Linux generic_make_request)."""
    bdev: ptr[BlockDevice] = bio.bi_bdev
    if bio.bi_nr_sectors > bdev.bd_sectors or bio.bi_sector > bdev.bd_sectors - bio.bi_nr_sectors:
        printk("<6>attempt to access beyond end of device\n")
        want: u32 = bio.bi_sector + bio.bi_nr_sectors
        printk(f"<6>{bdev.bd_name:s}: rw={bio.bi_rw}, want={want}, limit={bdev.bd_sectors}\n")
        bio.bi_end_io(bio, -EIO)
        return
    make_request(bdev.bd_queue, bio)


@guest
def bio_wait_end_io(bio: ptr[Bio], error: i32) -> None:
    """Completion of submit_bio_wait(), in interrupt context."""
    wait = cast(ptr[BioWait], bio.bi_private)
    wait.error = error
    complete(wait.done)


@guest
def submit_bio_wait(bio: ptr[Bio]) -> i32:
    """Submit a bio and sleep until it is done; 0 or a negative errno."""
    wait: BioWait = BioWait()
    init_completion(wait.done)
    bio.bi_end_io = bio_wait_end_io
    bio.bi_private = wait
    submit_bio(bio)
    wait_for_completion(wait.done)
    return wait.error


@guest
def rw_phys(bdev: ptr[BlockDevice], rw: u32, sector: u32, phys: usize, nr_sectors: u32) -> i32:
    """Read or write contiguous physical memory and wait; 0 or a negative errno."""
    bio: Bio = Bio()
    bio_init(bio, bdev, rw, sector, phys, nr_sectors)
    return submit_bio_wait(bio)


@guest
def rw_kernel(bdev: ptr[BlockDevice], rw: u32, sector: u32, buffer: ptr[u8], nr_sectors: u32) -> i32:
    """rw_phys() for memory of the linear map."""
    return rw_phys(bdev, rw, sector, pa(usize(buffer)), nr_sectors)
