# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files and tables of descriptors as structures (include/linux/{fs,file,proc_fs}.h)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import Struct, array, cstr, fn, i32, length, ptr, u8, u32, u64, usize, void
from kdumpsim.kernel.core.types import RcuHead

O_RDONLY: Final = 0
O_WRONLY: Final = 1
O_RDWR: Final = 2
O_ACCMODE: Final = 3
O_CREAT: Final = 0o100
O_TRUNC: Final = 0o1000
O_DIRECTORY: Final = 0o200000
NR_OPEN: Final = 64
"""Descriptors of a table."""


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


class File(Struct):
    """An open file."""

    f_op: ptr[FileOperations]
    f_flags: u32
    f_pos: u64
    f_size: usize
    private_data: ptr[void]
    entry: ptr[ProcEntry]
    f_count: u32
    """Descriptors that stand for it."""
    f_rcuhead: RcuHead


class FilesStruct(Struct):
    """A table of descriptors."""

    fd: array[ptr[File]] = length(NR_OPEN)


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
