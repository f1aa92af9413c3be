# SPDX-License-Identifier: GPL-2.0-or-later
"""toyfs: the small on-disk file system (docs/toyfs.md): its structures, block allocation, inodes and directories.

Every structure is used where it lies in the buffer cache.  All operations are serialised by toyfs_lock().
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    cstr,
    guest,
    i32,
    length,
    ptr,
    sizeof,
    u8,
    u16,
    u32,
    usize,
)
from kdumpsim.kernel.block.bio import find_disk
from kdumpsim.kernel.block.blk_types import BlockDevice
from kdumpsim.kernel.block.buffer import (
    BLOCK_SIZE,
    SECTORS_PER_BLOCK,
    BufferHead,
    brelse,
    getblk,
    mark_buffer_dirty,
    set_buffer_uptodate,
)
from kdumpsim.kernel.block.ll_rw_block import bread, sync_blocks, sync_dirty_buffer
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import memcmp, memset
from kdumpsim.kernel.core.types import EFBIG, EINVAL, EIO, ENAMETOOLONG, ENODEV, ENOENT, ENOSPC, ENOTDIR
from kdumpsim.kernel.core.wait import Completion, complete, init_completion, wait_for_completion

TOYFS_MAGIC_SIZE: Final = 8
TOYFS_EXTENTS: Final = 13
TOYFS_ROOT: Final = 1
TOYFS_NAME: Final = 60
TOYFS_DIR: Final = 0x4000
TOYFS_FILE: Final = 0x8000
INODES_PER_BLOCK: Final = BLOCK_SIZE // 128
ENTRIES_PER_BLOCK: Final = BLOCK_SIZE // 64
BITS_PER_BLOCK: Final = BLOCK_SIZE * 8
TOYFS_SPREAD: Final = 32
"""Room left behind a new extent, so that files that grow side by side stay in one piece."""


class ToySuper(Struct):
    """Block 0."""

    magic: array[u8] = length(TOYFS_MAGIC_SIZE)
    block_size: u32
    blocks: u32
    inodes: u32
    bitmap_start: u32
    bitmap_blocks: u32
    inode_start: u32
    inode_blocks: u32
    data_start: u32


class ToyExtent(Struct):
    """Consecutive blocks of a file."""

    start: u32
    count: u32


class ToyInode(Struct):
    """128 bytes of the inode table; inode 0 does not exist."""

    mode: u16
    nlink: u16
    size: u32
    blocks: u32
    nr_extents: u32
    reserved: array[u32] = length(2)
    extents: array[ToyExtent] = length(TOYFS_EXTENTS)


class ToyEntry(Struct):
    """64 bytes of a directory; inode 0 marks a free entry."""

    ino: u32
    name: array[u8] = length(TOYFS_NAME)


class ToyNode(Struct):
    """An inode in use: a reference to the buffer it lies in."""

    ino: u32
    bh: ptr[BufferHead]
    inode: ptr[ToyInode]


class ToyMount(Struct):
    """The mounted root file system; `bdev` is NULL before."""

    bdev: ptr[BlockDevice]
    super_bh: ptr[BufferHead]
    super: ptr[ToySuper]
    next_free: u32


toyfs_magic: array[u8] = b"TOYFS001"
toyfs_root: ToyMount = ToyMount()
toyfs_sem: Completion = Completion()
"""Serialises all operations: an event that has happened once while nobody is at work."""


@guest
def toyfs_lock() -> None:
    """Begin an operation on the file system."""
    wait_for_completion(toyfs_sem)


@guest
def toyfs_unlock() -> None:
    """End it."""
    complete(toyfs_sem)


@guest
def toyfs_mount(name: cstr) -> i32:
    """Mount the disk called `name` as the root file system."""
    bdev: ptr[BlockDevice] = find_disk(name)
    if bdev == NULL:
        return -ENODEV
    bh: ptr[BufferHead] = bread(bdev, 0)
    if bh == NULL:
        return -EIO
    sb = cast(ptr[ToySuper], bh.b_data)
    if memcmp(sb.magic, toyfs_magic, TOYFS_MAGIC_SIZE) != 0 or sb.block_size != BLOCK_SIZE:
        brelse(bh)
        return -EINVAL
    if sb.blocks > bdev.bd_sectors // SECTORS_PER_BLOCK or sb.data_start >= sb.blocks:
        brelse(bh)
        return -EINVAL
    init_completion(toyfs_sem)
    toyfs_unlock()
    toyfs_root.bdev = bdev
    toyfs_root.super_bh = bh
    toyfs_root.super = sb
    toyfs_root.next_free = sb.data_start
    printk(f"<6>VFS: Mounted root (toyfs filesystem) on {name:s}, {sb.blocks} blocks.\n")
    return 0


@guest
def toyfs_set_bit(block: u32, used: bool) -> i32:
    """Mark a block used or free in the bitmap; what it was before (1 used, 0 free), or -EIO."""
    bh: ptr[BufferHead] = bread(toyfs_root.bdev, toyfs_root.super.bitmap_start + block // BITS_PER_BLOCK)
    if bh == NULL:
        return -EIO
    at: u32 = (block % BITS_PER_BLOCK) >> 3
    mask: u8 = u8(1) << (block & 7)
    before: bool = bh.b_data[at] & mask != 0
    if before != used:
        if used:
            bh.b_data[at] |= mask
        else:
            bh.b_data[at] &= ~mask
        mark_buffer_dirty(bh)
    brelse(bh)
    return 1 if before else 0


@guest
def toyfs_skip(count: u32) -> None:
    """Look for the next new extent so many blocks further on, from the beginning again behind the end."""
    toyfs_root.next_free += count
    if toyfs_root.next_free >= toyfs_root.super.blocks:
        toyfs_root.next_free = toyfs_root.super.data_start


@guest
def toyfs_new_block(goal: u32) -> i32:
    """Allocate a block, `goal` if it is free, else one from where new extents are looked for; or -ENOSPC."""
    if goal != 0 and goal < toyfs_root.super.blocks and toyfs_set_bit(goal, True) == 0:
        return i32(goal)
    span: u32 = toyfs_root.super.blocks - toyfs_root.super.data_start
    for _ in range(span):
        block: u32 = toyfs_root.next_free
        taken: i32 = toyfs_set_bit(block, True)
        if taken < 0:
            return taken
        toyfs_skip(TOYFS_SPREAD if taken == 0 else 1)
        if taken == 0:
            return i32(block)
    return -ENOSPC


@guest
def toyfs_iget(ino: u32, node: ptr[ToyNode]) -> i32:
    """Bring an inode into use."""
    if ino == 0 or ino >= toyfs_root.super.inodes:
        return -EIO
    bh: ptr[BufferHead] = bread(toyfs_root.bdev, toyfs_root.super.inode_start + ino // INODES_PER_BLOCK)
    if bh == NULL:
        return -EIO
    node.ino = ino
    node.bh = bh
    node.inode = cast(ptr[ToyInode], bh.b_data + (ino % INODES_PER_BLOCK) * sizeof(ToyInode))
    return 0


@guest
def toyfs_iput(node: ptr[ToyNode]) -> None:
    """Done with an inode."""
    brelse(node.bh)


@guest
def toyfs_run(inode: ptr[ToyInode], index: usize, run: ptr[u32]) -> u32:
    """The disk block of a file's block `index`, and in `run` how many follow on the disk; 0 behind the end."""
    at = u32(index)
    for i in range(inode.nr_extents):
        extent: ptr[ToyExtent] = inode.extents[i]
        if at < extent.count:
            run[0] = extent.count - at
            return extent.start + at
        at -= extent.count
    run[0] = 0
    return 0


@guest
def toyfs_extend(node: ptr[ToyNode]) -> i32:
    """Add one block to the end of a file; its number or a negative errno."""
    inode: ptr[ToyInode] = node.inode
    goal: u32 = 0
    last: ptr[ToyExtent] = NULL
    if inode.nr_extents != 0:
        last = inode.extents[inode.nr_extents - 1]
        goal = last.start + last.count
    block: i32 = toyfs_new_block(goal)
    if block < 0:
        return block
    if last != NULL and u32(block) == goal:
        last.count += 1
    elif inode.nr_extents < TOYFS_EXTENTS:
        last = inode.extents[inode.nr_extents]
        last.start = u32(block)
        last.count = 1
        inode.nr_extents += 1
    else:
        toyfs_set_bit(u32(block), False)
        return -EFBIG
    inode.blocks += 1
    mark_buffer_dirty(node.bh)
    return block


@guest
def toyfs_truncate(node: ptr[ToyNode]) -> None:
    """Free all blocks of a file."""
    inode: ptr[ToyInode] = node.inode
    for i in range(inode.nr_extents):
        for block in range(inode.extents[i].count):
            toyfs_set_bit(inode.extents[i].start + block, False)
    inode.nr_extents = 0
    inode.blocks = 0
    inode.size = 0
    mark_buffer_dirty(node.bh)


@guest
def name_length(path: cstr) -> usize:
    """Length of the path's first component."""
    n: usize = 0
    while path[n] != 0 and path[n] != ord("/"):
        n += 1
    return n


@guest
def toyfs_name_is(entry: ptr[ToyEntry], name: cstr, n: usize) -> bool:
    """Is this the entry called by the first `n` bytes of `name`?"""
    return entry.ino != 0 and memcmp(entry.name, name, n) == 0 and entry.name[n] == 0


@guest
def toyfs_find_entry(directory: ptr[ToyInode], name: cstr, n: usize) -> u32:
    """The inode number of an entry of a directory, 0 if there is none."""
    run: u32 = 0
    for index in range(directory.blocks):
        bh: ptr[BufferHead] = bread(toyfs_root.bdev, toyfs_run(directory, index, addr(run)))
        if bh == NULL:
            return 0
        entries = cast(ptr[ToyEntry], bh.b_data)
        for i in range(ENTRIES_PER_BLOCK):
            if toyfs_name_is(entries[i], name, n):
                ino: u32 = entries[i].ino
                brelse(bh)
                return ino
        brelse(bh)
    return 0


@guest
def toyfs_add_entry(directory: ptr[ToyNode], name: cstr, n: usize, ino: u32) -> i32:
    """Enter a name into a directory, which grows if it must."""
    run: u32 = 0
    index: u32 = 0
    while True:
        fresh: bool = index == directory.inode.blocks
        if fresh:
            grown: i32 = toyfs_extend(directory)
            if grown < 0:
                return grown
            directory.inode.size += BLOCK_SIZE
        block: u32 = toyfs_run(directory.inode, index, addr(run))
        bh: ptr[BufferHead] = getblk(toyfs_root.bdev, block) if fresh else bread(toyfs_root.bdev, block)
        if bh == NULL:
            return -EIO
        if fresh:
            memset(bh.b_data, 0, BLOCK_SIZE)
            set_buffer_uptodate(bh)
        entries = cast(ptr[ToyEntry], bh.b_data)
        for i in range(ENTRIES_PER_BLOCK):
            if entries[i].ino == 0:
                entries[i].ino = ino
                for at in range(n):
                    entries[i].name[at] = name[at]
                entries[i].name[n] = 0
                mark_buffer_dirty(bh)
                brelse(bh)
                return 0
        brelse(bh)
        index += 1


@guest
def toyfs_new_inode(node: ptr[ToyNode]) -> i32:
    """Find a free inode, make it an empty file and bring it into use."""
    for ino in range(TOYFS_ROOT + 1, toyfs_root.super.inodes):
        error: i32 = toyfs_iget(ino, node)
        if error != 0:
            return error
        if node.inode.mode == 0:
            node.inode.mode = TOYFS_FILE
            node.inode.nlink = 1
            node.inode.size = 0
            node.inode.blocks = 0
            node.inode.nr_extents = 0
            mark_buffer_dirty(node.bh)
            return 0
        toyfs_iput(node)
    return -ENOSPC


@guest
def toyfs_do_sync(node: ptr[ToyNode]) -> i32:
    """Write what is dirty of a file, its inode and the bitmap, and wait.  toyfs_lock() held."""
    result: i32 = 0
    for i in range(node.inode.nr_extents):
        error: i32 = sync_blocks(toyfs_root.bdev, node.inode.extents[i].start, node.inode.extents[i].count)
        if error != 0:
            result = error
    if sync_dirty_buffer(node.bh) != 0:
        result = -EIO
    if sync_blocks(toyfs_root.bdev, toyfs_root.super.bitmap_start, toyfs_root.super.bitmap_blocks) != 0:
        result = -EIO
    return result


@guest
def toyfs_create(directory: ptr[ToyNode], name: cstr, n: usize, node: ptr[ToyNode]) -> i32:
    """Make an empty file called `name`, on the disk at once, and bring it into use."""
    error: i32 = toyfs_new_inode(node)
    if error != 0:
        return error
    error = toyfs_add_entry(directory, name, n, node.ino)
    if error != 0:
        node.inode.mode = 0
        mark_buffer_dirty(node.bh)
        toyfs_iput(node)
        return error
    sync_dirty_buffer(node.bh)
    error = toyfs_do_sync(directory)
    if error != 0:
        toyfs_iput(node)
    return error


@guest
def toyfs_lookup(path: cstr, create: bool, node: ptr[ToyNode]) -> i32:
    """Walk an absolute path and bring the file into use; with `create` a missing last component is made."""
    error: i32 = toyfs_iget(TOYFS_ROOT, node)
    rest: cstr = path
    while error == 0:
        while rest[0] == ord("/"):
            rest = rest + 1
        n: usize = name_length(rest)
        if n == 0:
            return 0
        directory: ToyNode = ToyNode()
        directory.ino = node.ino
        directory.bh = node.bh
        directory.inode = node.inode
        ino: u32 = 0
        if n >= TOYFS_NAME:
            error = -ENAMETOOLONG
        elif directory.inode.mode & TOYFS_DIR == 0:
            error = -ENOTDIR
        else:
            ino = toyfs_find_entry(directory.inode, rest, n)
            if ino != 0:
                error = toyfs_iget(ino, node)
            elif create and rest[n] == 0:
                error = toyfs_create(directory, rest, n, node)
            else:
                error = -ENOENT
        toyfs_iput(directory)
        rest = rest + n
    return error
