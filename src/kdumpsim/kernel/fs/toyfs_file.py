# SPDX-License-Identifier: GPL-2.0-or-later
"""toyfs files: open, read, write, fsync, and reading straight into memory (as O_DIRECT does)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, array, cast, cstr, guest, i32, length, ptr, sizeof, u8, u32, usize
from kdumpsim.kernel.block.bio import rw_kernel
from kdumpsim.kernel.block.blk_types import READ, SECTOR_SHIFT
from kdumpsim.kernel.block.buffer import (
    BLOCK_SHIFT,
    BLOCK_SIZE,
    SECTORS_PER_BLOCK,
    BufferHead,
    brelse,
    buffer_uptodate,
    forget_buffers,
    getblk,
    mark_buffer_dirty,
    set_buffer_uptodate,
    wait_on_buffer,
)
from kdumpsim.kernel.block.ll_rw_block import bread, ll_rw_block, sync_blocks
from kdumpsim.kernel.core.string import memcpy, memset
from kdumpsim.kernel.core.types import EBADF, EFBIG, EINVAL, EIO, EISDIR, ENODEV, ENOMEM
from kdumpsim.kernel.fs.file_types import O_ACCMODE, O_CREAT, O_RDONLY, O_TRUNC, S_IFDIR, S_IFREG, File, FileOperations
from kdumpsim.kernel.fs.files import fget
from kdumpsim.kernel.fs.toyfs import (
    TOYFS_DIR,
    ToyNode,
    toyfs_do_sync,
    toyfs_extend,
    toyfs_iput,
    toyfs_lock,
    toyfs_lookup,
    toyfs_root,
    toyfs_run,
    toyfs_truncate,
    toyfs_unlock,
)
from kdumpsim.kernel.mm.slab import kfree, kzalloc

READ_AHEAD: Final = 8
"""Blocks that one call of read has on their way at once."""
MAX_DIRECT_SECTORS: Final = 8192
MAX_FILE_SIZE: Final = 0x7FFFFFFF


@guest
def toyfs_read_ahead(node: ptr[ToyNode], index: usize, count: usize) -> None:
    """Start reading some blocks of a file (Linux breada, mpage_readpages)."""
    bhs: array[ptr[BufferHead]] = length(READ_AHEAD)
    nr: u32 = 0
    run: u32 = 0
    while nr < min(count, READ_AHEAD):
        block: u32 = toyfs_run(node.inode, index + nr, addr(run))
        if block == 0:
            break
        bhs[nr] = getblk(toyfs_root.bdev, block)
        if bhs[nr] == NULL:
            break
        nr += 1
    ll_rw_block(READ, nr, bhs)
    for i in range(nr):
        brelse(bhs[i])


@guest
def toyfs_do_read(node: ptr[ToyNode], at: usize, buffer: ptr[u8], count: usize) -> i32:
    """Read through the buffer cache.  toyfs_lock() held."""
    size: usize = node.inode.size
    if at >= size:
        return 0
    todo: usize = min(count, size - at)
    done: usize = 0
    run: u32 = 0
    while done < todo:
        index: usize = (at + done) >> BLOCK_SHIFT
        offset: usize = (at + done) & (BLOCK_SIZE - 1)
        n: usize = min(todo - done, BLOCK_SIZE - offset)
        block: u32 = toyfs_run(node.inode, index, addr(run))
        if block == 0:
            return -EIO
        if index % READ_AHEAD == 0 or done == 0:
            toyfs_read_ahead(node, index, (todo - done + offset + BLOCK_SIZE - 1) >> BLOCK_SHIFT)
        bh: ptr[BufferHead] = getblk(toyfs_root.bdev, block)
        if bh == NULL:
            return -ENOMEM
        wait_on_buffer(bh)
        if not buffer_uptodate(bh):
            brelse(bh)
            bh = bread(toyfs_root.bdev, block)
            if bh == NULL:
                return -EIO
        memcpy(buffer + done, bh.b_data + offset, n)
        brelse(bh)
        done += n
    return i32(done)


@guest
def toyfs_write_block(node: ptr[ToyNode], index: usize, offset: usize, buffer: ptr[u8], n: usize) -> i32:
    """Write into one block of a file, which may be the one behind its end."""
    run: u32 = 0
    bh: ptr[BufferHead] = NULL
    block: u32 = toyfs_run(node.inode, index, addr(run))
    if block != 0 and n != BLOCK_SIZE:
        bh = bread(toyfs_root.bdev, block)
    elif block != 0:
        bh = getblk(toyfs_root.bdev, block)
        wait_on_buffer(bh)
    else:
        fresh: i32 = toyfs_extend(node)
        if fresh < 0:
            return fresh
        bh = getblk(toyfs_root.bdev, u32(fresh))
        if bh != NULL and n != BLOCK_SIZE:
            memset(bh.b_data, 0, BLOCK_SIZE)
    if bh == NULL:
        return -EIO
    memcpy(bh.b_data + offset, buffer, n)
    set_buffer_uptodate(bh)
    mark_buffer_dirty(bh)
    brelse(bh)
    return 0


@guest
def toyfs_do_write(node: ptr[ToyNode], at: usize, buffer: ptr[u8], count: usize) -> i32:
    """Write into the buffer cache.  toyfs_lock() held.  Writing starts at or before the file's end."""
    if at > node.inode.size or count > MAX_FILE_SIZE - at:
        return -EFBIG
    done: usize = 0
    while done < count:
        offset: usize = (at + done) & (BLOCK_SIZE - 1)
        n: usize = min(count - done, BLOCK_SIZE - offset)
        error: i32 = toyfs_write_block(node, (at + done) >> BLOCK_SHIFT, offset, buffer + done, n)
        if error != 0:
            return i32(done) if done != 0 else error
        done += n
        if at + done > node.inode.size:
            node.inode.size = u32(at + done)
            mark_buffer_dirty(node.bh)
    return i32(done)


@guest
def toyfs_node(file: ptr[File]) -> ptr[ToyNode]:
    """The inode of an open file."""
    return cast(ptr[ToyNode], file.private_data)


@guest
def toyfs_read(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """read()"""
    toyfs_lock()
    n: i32 = toyfs_do_read(toyfs_node(file), u32(file.f_pos), buffer, count)
    toyfs_unlock()
    if n > 0:
        file.f_pos += u32(n)
    return n


@guest
def toyfs_write(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """write()"""
    toyfs_lock()
    n: i32 = toyfs_do_write(toyfs_node(file), u32(file.f_pos), buffer, count)
    toyfs_unlock()
    if n > 0:
        file.f_pos += u32(n)
        file.f_dentry.d_inode.i_size = toyfs_node(file).inode.size
    return n


@guest
def toyfs_release(file: ptr[File]) -> None:
    """close(): what was written goes to the disk."""
    node: ptr[ToyNode] = toyfs_node(file)
    toyfs_lock()
    if file.f_flags & O_ACCMODE != O_RDONLY:
        toyfs_do_sync(node)
    toyfs_iput(node)
    toyfs_unlock()
    kfree(node)


toyfs_file_operations: FileOperations = FileOperations(read=toyfs_read, write=toyfs_write, release=toyfs_release)


@guest
def toyfs_open(path: cstr, file: ptr[File]) -> i32:
    """open(): O_CREAT makes a missing file, O_TRUNC empties it."""
    node = cast(ptr[ToyNode], kzalloc(sizeof(ToyNode)))
    if node == NULL:
        return -ENOMEM
    toyfs_lock()
    error: i32 = toyfs_lookup(path, file.f_flags & O_CREAT != 0, node)
    if error == 0 and file.f_flags & O_ACCMODE != O_RDONLY:
        if node.inode.mode & TOYFS_DIR:
            toyfs_iput(node)
            error = -EISDIR
        elif file.f_flags & O_TRUNC:
            toyfs_truncate(node)
    toyfs_unlock()
    if error != 0:
        kfree(node)
        return error
    inode = file.f_dentry.d_inode
    inode.i_ino = node.ino
    inode.i_mode = (S_IFDIR if node.inode.mode & TOYFS_DIR else S_IFREG) | 0o755
    inode.i_size = node.inode.size
    inode.i_fop = toyfs_file_operations
    file.private_data = node
    return 0


@guest
def toyfs_file(fd: u32) -> ptr[File]:
    """The open file of a descriptor, if it is one of toyfs."""
    file: ptr[File] = fget(fd)
    if file == NULL or file.f_op != toyfs_file_operations:
        return NULL
    return file


@guest
def sys_fsync(fd: u32) -> i32:
    """Write a file to the disk and wait."""
    file: ptr[File] = toyfs_file(fd)
    if file == NULL:
        return -EBADF
    toyfs_lock()
    error: i32 = toyfs_do_sync(toyfs_node(file))
    toyfs_unlock()
    return error


@guest
def sys_rewind(fd: u32, forget: bool) -> i32:
    """Back to the beginning of a file; with `forget` its clean blocks are read anew (POSIX_FADV_DONTNEED)."""
    file: ptr[File] = toyfs_file(fd)
    if file == NULL:
        return -EBADF
    file.f_pos = 0
    if forget:
        node: ptr[ToyNode] = toyfs_node(file)
        toyfs_lock()
        for i in range(node.inode.nr_extents):
            forget_buffers(toyfs_root.bdev, node.inode.extents[i].start, node.inode.extents[i].count)
        toyfs_unlock()
    return 0


@guest
def toyfs_do_read_direct(node: ptr[ToyNode], at: usize, buffer: ptr[u8], count: usize) -> i32:
    """Whole extents by DMA into memory.  toyfs_lock() held; `at` lies at a block's start, `buffer` is even."""
    done: usize = 0
    run: u32 = 0
    while done < count:
        block: u32 = toyfs_run(node.inode, (at + done) >> BLOCK_SHIFT, addr(run))
        if block == 0:
            return -EIO
        error: i32 = sync_blocks(toyfs_root.bdev, block, run)
        if error != 0:
            return error
        sectors = u32(min((count - done + 511) >> SECTOR_SHIFT, run * SECTORS_PER_BLOCK))
        sectors = min(sectors, min(MAX_DIRECT_SECTORS, toyfs_root.bdev.bd_queue.max_sectors))
        if sectors >= SECTORS_PER_BLOCK:
            sectors &= ~(SECTORS_PER_BLOCK - 1)
        error = rw_kernel(toyfs_root.bdev, READ, block * SECTORS_PER_BLOCK, buffer + done, sectors)
        if error != 0:
            return error
        done += sectors << SECTOR_SHIFT
    return 0


@guest
def toyfs_read_direct(path: cstr, at: usize, buffer: ptr[u8], count: usize) -> i32:
    """Read a part of a file without copying; `at` at a block's start, room for whole sectors at `buffer`."""
    if toyfs_root.bdev == NULL:
        return -ENODEV
    node: ToyNode = ToyNode()
    toyfs_lock()
    error: i32 = toyfs_lookup(path, False, node)
    if error == 0:
        if at & (BLOCK_SIZE - 1) != 0 or at > node.inode.size or count > node.inode.size - at:
            error = -EINVAL
        else:
            error = toyfs_do_read_direct(node, at, buffer, count)
        toyfs_iput(node)
    toyfs_unlock()
    return error
