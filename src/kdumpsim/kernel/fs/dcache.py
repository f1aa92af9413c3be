# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of open files (fs/dcache.c, fs/inode.c, fs/namespace.c of 2.6.16, much reduced).

The tree of names holds what is open and the directories above it; a name goes with its last user.  File systems find
files by their whole paths, so nothing is looked up here: a name is made when its file is opened.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    cast,
    cstr,
    fetch_add,
    fn,
    guest,
    i32,
    list_for_each_entry,
    placed,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.core.init_task import init_fs
from kdumpsim.kernel.core.list import init_list_head, list_add, list_del
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.string import memcpy, strncmp
from kdumpsim.kernel.fs.file_types import DNAME_INLINE_LEN, S_IFDIR, Dentry, Inode, Vfsmount
from kdumpsim.kernel.mm.slab import kfree, kmalloc, kmem_cache_create, kmem_cache_zalloc
from kdumpsim.kernel.mm.slab_types import KmemCache

MAX_NAME: Final = 255

root_inode: Inode = Inode(i_ino=1, i_count=1, i_mode=S_IFDIR | 0o755)
root_dentry: Dentry = Dentry(d_count=1, d_inode=root_inode)
root_mnt: Vfsmount = Vfsmount(mnt_devname="rootfs")
dcache_lock: Spinlock = Spinlock(slock=1)
"""Guards the tree of names, and which name has which inode."""
last_ino: u32 = 1
dentry_cache: ptr[KmemCache] = NULL
inode_cachep: ptr[KmemCache] = NULL


@guest
def mnt_init() -> i32:
    """Make the tree, of the root alone, and the caches of names and inodes."""
    global dentry_cache, inode_cachep
    dentry_cache = kmem_cache_create("dentry_cache", sizeof(Dentry))
    inode_cachep = kmem_cache_create("inode_cache", sizeof(Inode))
    root_dentry.d_parent = root_dentry
    root_dentry.d_name.len = 1
    root_dentry.d_name.name = "/"
    init_list_head(root_dentry.d_subdirs)
    root_mnt.mnt_parent = root_mnt
    root_mnt.mnt_mountpoint = root_dentry
    root_mnt.mnt_root = root_dentry
    init_fs.root = root_dentry
    init_fs.pwd = root_dentry
    init_fs.rootmnt = root_mnt
    init_fs.pwdmnt = root_mnt
    return 0


_init_mnt: fn[[], i32] = placed("initcall1", mnt_init)


@guest
def new_inode() -> ptr[Inode]:
    """An inode with a number of its own, or NULL."""
    inode = cast(ptr[Inode], kmem_cache_zalloc(inode_cachep))
    if inode != NULL:
        inode.i_count = 1
        inode.i_ino = fetch_add(addr(last_ino), 1) + 1
    return inode


@guest
def d_alloc(parent: ptr[Dentry], name: cstr, size: usize) -> ptr[Dentry]:
    """A name below `parent`, which it keeps, or with NULL below nothing; NULL without memory.  dcache_lock is held."""
    dentry = cast(ptr[Dentry], kmem_cache_zalloc(dentry_cache))
    if dentry == NULL:
        return NULL
    text: ptr[u8] = dentry.d_iname
    if size >= DNAME_INLINE_LEN:
        text = cast(ptr[u8], kmalloc(size + 1))
        if text == NULL:
            kfree(dentry)
            return NULL
    memcpy(text, name, size)
    text[size] = 0
    dentry.d_count = 1
    dentry.d_name.len = u32(size)
    dentry.d_name.name = text
    dentry.d_parent = dentry
    init_list_head(dentry.d_subdirs)
    if parent != NULL:
        dentry.d_parent = parent
        parent.d_count += 1
        list_add(dentry.d_child, parent.d_subdirs)
    return dentry


@guest
def d_free(dentry: ptr[Dentry]) -> None:
    """Free a name, and its inode, that nobody uses."""
    kfree(dentry.d_inode)
    if dentry.d_name.len >= DNAME_INLINE_LEN:
        kfree(dentry.d_name.name)
    kfree(dentry)


@guest
def dput(dentry: ptr[Dentry]) -> None:
    """Give a name back; with its last user it goes, and so do directories that nobody uses any more."""
    spin_lock(dcache_lock)
    while dentry != NULL:
        dentry.d_count -= 1
        if dentry.d_count != 0:
            break
        parent: ptr[Dentry] = NULL
        if dentry.d_parent != dentry:
            parent = dentry.d_parent
            list_del(dentry.d_child)
        d_free(dentry)
        dentry = parent
    spin_unlock(dcache_lock)


@guest
def d_lookup(parent: ptr[Dentry], name: cstr, size: usize) -> ptr[Dentry]:
    """A name below `parent` with one user more, made if need be; NULL without memory.  dcache_lock is held."""
    for dentry in list_for_each_entry(parent.d_subdirs, Dentry, "d_child"):
        if dentry.d_name.len == size and strncmp(dentry.d_name.name, name, size) == 0:
            dentry.d_count += 1
            return dentry
    return d_alloc(parent, name, size)


@guest
def next_name(path: cstr) -> usize:
    """Length of the first name in a path without leading slashes."""
    size: usize = 0
    while path[size] != 0 and path[size] != ord("/"):
        size += 1
    return size


@guest
def path_lookup(path: cstr) -> ptr[Dentry]:
    """The name of an absolute path, with an inode that its file system is to fill in; NULL without memory."""
    spin_lock(dcache_lock)
    dentry: ptr[Dentry] = init_fs.root
    dentry.d_count += 1
    while dentry != NULL and path[0] != 0:
        size = next_name(path)
        if size != 0:
            below = d_lookup(dentry, path, min(size, MAX_NAME))
            if below == NULL:
                spin_unlock(dcache_lock)
                dput(dentry)
                return NULL
            # The name below holds this one.
            dentry.d_count -= 1
            dentry = below
        path = path + size
        while path[0] == ord("/"):
            path = path + 1
    if dentry.d_inode == NULL:
        dentry.d_inode = new_inode()
    spin_unlock(dcache_lock)
    if dentry.d_inode == NULL:
        dput(dentry)
        return NULL
    return dentry


@guest
def d_alloc_anon(name: cstr, size: usize) -> ptr[Dentry]:
    """A name below nothing, with an inode: a socket's.  NULL without memory."""
    dentry = d_alloc(NULL, name, size)
    if dentry == NULL:
        return NULL
    dentry.d_inode = new_inode()
    if dentry.d_inode == NULL:
        d_free(dentry)
        return NULL
    return dentry


@guest
def d_path(dentry: ptr[Dentry], buffer: ptr[u8], size: usize) -> cstr:
    """The path of a name, at the end of the buffer; what does not fit is left out at the front."""
    end = size - 1
    buffer[end] = 0
    spin_lock(dcache_lock)
    while dentry.d_parent != dentry:
        room = dentry.d_name.len + 1
        if room > end:
            break
        end -= room
        buffer[end] = ord("/")
        memcpy(buffer + end + 1, dentry.d_name.name, room - 1)
        dentry = dentry.d_parent
    if end == size - 1:
        end -= dentry.d_name.len
        memcpy(buffer + end, dentry.d_name.name, dentry.d_name.len)
    spin_unlock(dcache_lock)
    return buffer + end
