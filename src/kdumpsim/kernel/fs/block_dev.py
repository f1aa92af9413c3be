# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks as files, /dev/hdc (Linux fs/block_dev.c): whole sectors, straight between memory and disk as with O_DIRECT.

There is no page cache in between, and the file system's buffers know nothing of what is written here.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, cast, fn, guest, i32, placed, ptr, u8, u32, u64, usize
from kdumpsim.kernel.architecture import pa
from kdumpsim.kernel.block.bio import block_devices, rw_phys
from kdumpsim.kernel.block.blk_types import READ, SECTOR_SHIFT, SECTOR_SIZE, WRITE, BlockDevice
from kdumpsim.kernel.core.string import strlcpy
from kdumpsim.kernel.core.types import EINVAL, ENOMEM, ENOSPC
from kdumpsim.kernel.fs.file_types import S_IFBLK, File, FileOperations
from kdumpsim.kernel.fs.proc import register_proc_fops
from kdumpsim.kernel.mm.slab import kmalloc

NODE_NAME: Final = 16
MAX_TRANSFER: Final = (2 << 20) >> SECTOR_SHIFT
"""Sectors of one transfer; a longer one is done in part, and its caller goes on."""


@guest
def blkdev_rw(file: ptr[File], rw: u32, phys: usize, count: usize) -> i32:
    """Move whole sectors between the file's position and physical memory; bytes moved, or a negative errno."""
    bdev = cast(ptr[BlockDevice], file.private_data)
    if (u32(file.f_pos) | count) & (SECTOR_SIZE - 1) or phys & 1:
        return -EINVAL
    if file.f_pos >> SECTOR_SHIFT >= bdev.bd_sectors:
        return 0 if rw == READ or count == 0 else -ENOSPC
    sector = u32(file.f_pos >> SECTOR_SHIFT)
    n = u32(min(count >> SECTOR_SHIFT, min(bdev.bd_sectors - sector, min(bdev.bd_queue.max_sectors, MAX_TRANSFER))))
    error: i32 = rw_phys(bdev, rw, sector, phys, n) if n != 0 else 0
    if error != 0:
        return error
    file.f_pos += n << SECTOR_SHIFT
    return i32(n << SECTOR_SHIFT)


@guest
def blkdev_read(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """read()"""
    return blkdev_rw(file, READ, pa(usize(buffer)), count)


@guest
def blkdev_write(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """write()"""
    return blkdev_rw(file, WRITE, pa(usize(buffer)), count)


@guest
def blkdev_sendphys(file: ptr[File], phys: usize, count: usize) -> i32:
    """Write physical memory, this kernel's or not, from where it lies."""
    return blkdev_rw(file, WRITE, phys, count)


@guest
def blkdev_size(file: ptr[File]) -> u64:
    """Bytes of the disk."""
    return u64(cast(ptr[BlockDevice], file.private_data).bd_sectors) << SECTOR_SHIFT


@guest
def blkdev_open(file: ptr[File]) -> i32:
    """open(): what kind of file a disk is."""
    file.f_dentry.d_inode.i_mode = S_IFBLK | 0o600
    return 0


@guest
def blkdev_release(file: ptr[File]) -> None:
    """Nothing is kept for an open disk."""


def_blk_fops: FileOperations = FileOperations(
    read=blkdev_read,
    write=blkdev_write,
    release=blkdev_release,
    open=blkdev_open,
    size=blkdev_size,
    sendphys=blkdev_sendphys,
)


@guest
def blkdev_init() -> i32:
    """Make a node for every disk, once all drivers have looked for theirs."""
    bdev: ptr[BlockDevice] = block_devices
    while bdev != NULL:
        path = cast(ptr[u8], kmalloc(NODE_NAME))
        if path == NULL:
            return -ENOMEM
        strlcpy(path, "/dev/", NODE_NAME)
        strlcpy(path + 5, bdev.bd_name, NODE_NAME - 5)
        error = register_proc_fops(path, def_blk_fops, bdev)
        if error != 0:
            return error
        bdev = bdev.bd_next
    return 0


_init_blkdev: fn[[], i32] = placed("initcall7", blkdev_init)
