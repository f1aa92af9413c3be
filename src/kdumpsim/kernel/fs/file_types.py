# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file is made of (include/linux/{fs,dcache,mount,file,fs_struct,proc_fs}.h): files and tables."""

from __future__ import annotations

from typing import Final, TypeAlias

from kdumpsim.compiler.lang import Struct, array, cstr, fn, i32, length, ptr, u8, u16, u32, u64, usize, void
from kdumpsim.kernel.core.spinlock_types import Spinlock
from kdumpsim.kernel.core.types import BITS_PER_LONG, ListHead, RcuHead

O_RDONLY: Final = 0
O_WRONLY: Final = 1
O_RDWR: Final = 2
O_ACCMODE: Final = 3
O_CREAT: Final = 0o100
O_TRUNC: Final = 0o1000
O_DIRECTORY: Final = 0o200000
NR_OPEN: Final = 64
"""Descriptors of a table."""
DNAME_INLINE_LEN: Final = 36
"""Names up to this length, NUL included, lie in the dentry itself."""

S_IFMT: Final = 0o170000
S_IFSOCK: Final = 0o140000
S_IFREG: Final = 0o100000
S_IFBLK: Final = 0o060000
S_IFDIR: Final = 0o040000
S_IFCHR: Final = 0o020000

umode_t: TypeAlias = u16


class FileOperations(Struct):
    """What a kind of file can do; all but `release` may be NULL."""

    read: fn[[ptr[File], ptr[u8], usize], i32]
    write: fn[[ptr[File], ptr[u8], usize], i32]
    release: fn[[ptr[File]], None]
    open: fn[[ptr[File]], i32]
    """Called for files of /dev and the like when they are opened."""
    size: fn[[ptr[File]], u64]
    """Where the file ends, for lseek()."""
    sendfile: fn[[ptr[File], usize, ptr[File]], i32]
    """Send some bytes from the position on to another file's `sendphys`, without copying what need not be copied."""
    sendphys: fn[[ptr[File], usize, usize], i32]
    """Write physical memory, which may be outside this kernel's map (Linux sendpage)."""


class Inode(Struct):
    """A file, whatever its name."""

    i_ino: u32
    i_count: u32
    """Dentries that stand for it."""
    i_mode: umode_t
    """What kind of file it is: S_IF and permissions."""
    i_size: u64
    i_fop: ptr[FileOperations]
    """What its file system sets when it is opened."""
    generic_ip: ptr[void]
    """The file system's own: the ProcEntry, the BlockDevice, the archive's bytes."""


class Qstr(Struct):
    """A name."""

    hash: u32
    len: u32
    name: cstr


class Dentry(Struct):
    """A name in a directory; there is one for each file that is open, and for the directories above it."""

    d_count: u32
    """Files that are open by this name, and names below it."""
    d_inode: ptr[Inode]
    """NULL for a directory that nobody has opened."""
    d_parent: ptr[Dentry]
    """The root is its own."""
    d_name: Qstr
    d_child: ListHead
    """Link in the parent's d_subdirs."""
    d_subdirs: ListHead
    d_iname: array[u8] = length(DNAME_INLINE_LEN)


class Vfsmount(Struct):
    """A file system in the tree of names; there is one, at the root."""

    mnt_parent: ptr[Vfsmount]
    """The root's is itself."""
    mnt_mountpoint: ptr[Dentry]
    mnt_root: ptr[Dentry]
    mnt_devname: cstr


class File(Struct):
    """An open file."""

    f_dentry: ptr[Dentry]
    f_vfsmnt: ptr[Vfsmount]
    f_op: ptr[FileOperations]
    f_count: u32
    """Descriptors and mappings that stand for it."""
    f_flags: u32
    f_pos: u64
    private_data: ptr[void]
    f_rcuhead: RcuHead


class FdSet(Struct):
    """A bit for each descriptor of a table (fd_set)."""

    fds_bits: array[u32] = length(NR_OPEN // BITS_PER_LONG)


class Fdtable(Struct):
    """The descriptors themselves; open_fds has a bit for each that is taken, maybe for a file still being opened."""

    max_fds: u32
    max_fdset: u32
    fd: ptr[ptr[File]]
    open_fds: ptr[FdSet]


class FilesStruct(Struct):
    """A table of descriptors."""

    count: u32
    """Tasks that use it."""
    fdt: ptr[Fdtable]
    fdtab: Fdtable
    file_lock: Spinlock
    open_fds_init: FdSet
    fd_array: array[ptr[File]] = length(NR_OPEN)


class FsStruct(Struct):
    """Where paths begin; all tasks share one."""

    count: u32
    root: ptr[Dentry]
    pwd: ptr[Dentry]
    rootmnt: ptr[Vfsmount]
    pwdmnt: ptr[Vfsmount]


class ProcEntry(Struct):
    """One file: `show` makes its text, `store` takes what is written; `fops` replaces both.  Each may be NULL."""

    path: cstr
    show: fn[[ptr[SeqFile]], i32]
    store: fn[[cstr, usize], i32]
    private: ptr[void]
    fops: ptr[FileOperations]
    next: ptr[ProcEntry]


class SeqFile(Struct):
    """The text under construction: `count` bytes of `size` are used; `private` is what was registered."""

    buf: ptr[u8]
    size: usize
    count: usize
    private: ptr[void]
