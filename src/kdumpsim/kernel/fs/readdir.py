# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories as text: O_DIRECTORY and a path that ends in "/" give a file with one name a line (Linux fs/readdir.c).

A directory's own name ends in "/".  The directories of /proc, /sys and /dev are made of the names of the files below
them; the root directory of the disk shows all three.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, cast, cstr, guest, i32, ptr, sizeof, u32, usize
from kdumpsim.kernel.block.buffer import BufferHead, brelse
from kdumpsim.kernel.block.ll_rw_block import bread
from kdumpsim.kernel.core.string import strlen, strncmp
from kdumpsim.kernel.core.types import EINVAL, EIO, EISDIR, ENOENT, ENOMEM, ENOTDIR
from kdumpsim.kernel.fs.file_types import O_ACCMODE, O_RDONLY, S_IFDIR, File, ProcEntry, SeqFile
from kdumpsim.kernel.fs.proc import ProcText, is_kernel_file, proc_entries, proc_file_operations, proc_make_text
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.fs.toyfs import (
    ENTRIES_PER_BLOCK,
    TOYFS_DIR,
    TOYFS_ROOT,
    ToyEntry,
    ToyInode,
    ToyNode,
    toyfs_iget,
    toyfs_iput,
    toyfs_lock,
    toyfs_lookup,
    toyfs_root,
    toyfs_run,
    toyfs_unlock,
)
from kdumpsim.kernel.mm.slab import kfree, kzalloc


@guest
def component(path: cstr) -> usize:
    """Length of the path's first name, with the "/" behind it if there is one."""
    n: usize = 0
    while path[n] != 0:
        n += 1
        if path[n - 1] == ord("/"):
            return n
    return n


@guest
def listed_before(entry: ptr[ProcEntry], n: usize) -> bool:
    """Has an earlier entry the same first `n` bytes?"""
    earlier: ptr[ProcEntry] = proc_entries
    while earlier != entry:
        if strncmp(earlier.path, entry.path, n) == 0:
            return True
        earlier = earlier.next
    return False


@guest
def proc_list(m: ptr[SeqFile], directory: cstr) -> i32:
    """The names that registered files have below `directory`; -ENOENT if none has."""
    skip: usize = strlen(directory)
    error: i32 = -ENOENT
    entry: ptr[ProcEntry] = proc_entries
    while entry != NULL:
        if strncmp(entry.path, directory, skip) == 0:
            error = 0
            n: usize = component(entry.path + skip)
            if not listed_before(entry, skip + n):
                seq_printf(m, "%.*s\n", n, entry.path + skip)
        entry = entry.next
    return error


@guest
def toyfs_list_block(m: ptr[SeqFile], entries: ptr[ToyEntry]) -> i32:
    """The names in one block of a directory."""
    node: ToyNode = ToyNode()
    for i in range(ENTRIES_PER_BLOCK):
        if entries[i].ino == 0:
            continue
        error: i32 = toyfs_iget(entries[i].ino, node)
        if error != 0:
            return error
        mark: cstr = "/" if node.inode.mode & TOYFS_DIR else ""
        toyfs_iput(node)
        seq_printf(m, f"{entries[i].name:s}{mark:s}\n")
    return 0


@guest
def toyfs_list(m: ptr[SeqFile], directory: ptr[ToyInode]) -> i32:
    """The names in a directory of the disk.  toyfs_lock() held."""
    run: u32 = 0
    if directory.mode & TOYFS_DIR == 0:
        return -ENOTDIR
    for index in range(directory.blocks):
        bh: ptr[BufferHead] = bread(toyfs_root.bdev, toyfs_run(directory, index, addr(run)))
        if bh == NULL:
            return -EIO
        error: i32 = toyfs_list_block(m, cast(ptr[ToyEntry], bh.b_data))
        brelse(bh)
        if error != 0:
            return error
    return 0


@guest
def disk_list(m: ptr[SeqFile], path: cstr) -> i32:
    """The names in a directory of the disk by its path; the root also shows where the kernel's own files are."""
    node: ToyNode = ToyNode()
    if toyfs_root.bdev == NULL:
        return -ENOENT
    toyfs_lock()
    error: i32 = toyfs_lookup(path, False, node)
    if error == 0:
        error = toyfs_list(m, node.inode)
        root: bool = node.ino == TOYFS_ROOT
        toyfs_iput(node)
        if error == 0 and root:
            error = proc_list(m, "/")
    toyfs_unlock()
    return error


@guest
def directory_show(m: ptr[SeqFile]) -> i32:
    """Make the text; `private` is the path."""
    path: cstr = cast(cstr, m.private)
    return proc_list(m, path) if is_kernel_file(path) else disk_list(m, path)


@guest
def open_directory(path: cstr, file: ptr[File]) -> i32:
    """open() with O_DIRECTORY."""
    entry: ProcEntry = ProcEntry()
    if file.f_flags & O_ACCMODE != O_RDONLY:
        return -EISDIR
    if path[strlen(path) - 1] != ord("/"):
        return -EINVAL
    text = cast(ptr[ProcText], kzalloc(sizeof(ProcText)))
    if text == NULL:
        return -ENOMEM
    entry.show = directory_show
    entry.private = path
    error: i32 = proc_make_text(entry, text)
    if error != 0:
        kfree(text)
        return error
    inode = file.f_dentry.d_inode
    inode.i_mode = S_IFDIR | 0o755
    inode.i_fop = proc_file_operations
    file.private_data = text
    return 0
