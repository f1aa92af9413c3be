# SPDX-License-Identifier: GPL-2.0-or-later
"""Files whose contents a function makes: /proc and /sys (Linux fs/proc/generic.c, fs/seq_file.c, fs/sysfs).

The text of such a file is made in whole when it is opened, so that a reader sees one moment in time.
Files with operations of their own (/proc/vmcore, /dev/oldmem) are found by the same list.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    array,
    cast,
    cstr,
    fn,
    guest,
    i32,
    length,
    ptr,
    sizeof,
    u8,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.architecture import PAGE_SIZE
from kdumpsim.kernel.core.string import memcpy, strcmp, strncmp
from kdumpsim.kernel.core.types import EACCES, EINVAL, ENOENT, ENOMEM
from kdumpsim.kernel.fs.file_types import (
    O_ACCMODE,
    O_RDONLY,
    O_WRONLY,
    S_IFCHR,
    S_IFREG,
    File,
    FileOperations,
    ProcEntry,
    SeqFile,
)
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages
from kdumpsim.kernel.mm.slab import kfree, kzalloc

MAX_ORDER: Final = 8
MAX_STORE: Final = 256


class ProcText(Struct):
    """The text of an open file: 2**order pages at `m.buf`."""

    m: SeqFile
    order: u32


proc_entries: ptr[ProcEntry] = NULL


@guest
def proc_add(path: cstr) -> ptr[ProcEntry]:
    """A new entry in the list, or NULL.  `path` must stay valid."""
    global proc_entries
    entry = cast(ptr[ProcEntry], kzalloc(sizeof(ProcEntry)))
    if entry != NULL:
        entry.path = path
        entry.next = proc_entries
        proc_entries = entry
    return entry


@guest
def register_proc_data(
    path: cstr, show: fn[[ptr[SeqFile]], i32], store: fn[[cstr, usize], i32], private: ptr[void]
) -> i32:
    """register_proc() with a pointer that comes back as `SeqFile.private`."""
    entry: ptr[ProcEntry] = proc_add(path)
    if entry == NULL:
        return -ENOMEM
    entry.show = show
    entry.store = store
    entry.private = private
    return 0


@guest
def register_proc(path: cstr, show: fn[[ptr[SeqFile]], i32], store: fn[[cstr, usize], i32]) -> i32:
    """Register `path` ("/proc/iomem"): `show(m)` prints with seq_printf, `store(text, n)` gets one write.

    The text given to `store` is NUL-terminated and without its last newline.  To be called from initcalls.
    """
    return register_proc_data(path, show, store, NULL)


@guest
def register_proc_fops(path: cstr, fops: ptr[FileOperations], private: ptr[void]) -> i32:
    """Register a file with operations of its own; `private` becomes File.private_data."""
    entry: ptr[ProcEntry] = proc_add(path)
    if entry == NULL:
        return -ENOMEM
    entry.fops = fops
    entry.private = private
    return 0


@guest
def proc_find(path: cstr) -> ptr[ProcEntry]:
    """The entry registered under exactly this path, or NULL."""
    entry: ptr[ProcEntry] = proc_entries
    while entry != NULL:
        if strcmp(entry.path, path) == 0:
            return entry
        entry = entry.next
    return NULL


@guest
def proc_make_text(entry: ptr[ProcEntry], text: ptr[ProcText]) -> i32:
    """Have the file's text made, in a buffer doubled until it fits."""
    for order in range(MAX_ORDER + 1):
        text.m.buf = cast(ptr[u8], __get_free_pages(order))
        if text.m.buf == NULL:
            return -ENOMEM
        text.order = order
        text.m.size = PAGE_SIZE << order
        text.m.count = 0
        text.m.private = entry.private
        error: i32 = entry.show(text.m)
        if error == 0 and text.m.count < text.m.size:
            return 0
        free_pages(text.m.buf, order)
        text.m.buf = NULL
        if error != 0:
            return error
    return -ENOMEM


@guest
def proc_read(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """Copy from the text made at open."""
    text = cast(ptr[ProcText], file.private_data)
    at: u32 = u32(file.f_pos)
    if text.m.buf == NULL:
        return -EINVAL
    n: usize = min(count, text.m.count - at)
    memcpy(buffer, text.m.buf + at, n)
    file.f_pos += n
    return i32(n)


@guest
def proc_write(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """Hand one write to the file's `store`."""
    line: array[u8] = length(MAX_STORE)
    entry = cast(ptr[ProcEntry], file.f_dentry.d_inode.generic_ip)
    if entry.store == NULL or count >= MAX_STORE:
        return -EINVAL
    memcpy(line, buffer, count)
    n: usize = count
    if n != 0 and line[n - 1] == ord("\n"):
        n -= 1
    line[n] = 0
    error: i32 = entry.store(line, n)
    return error if error < 0 else i32(count)


@guest
def proc_release(file: ptr[File]) -> None:
    """Free the text."""
    text = cast(ptr[ProcText], file.private_data)
    if text.m.buf != NULL:
        free_pages(text.m.buf, text.order)
    kfree(text)


proc_file_operations: FileOperations = FileOperations(read=proc_read, write=proc_write, release=proc_release)


@guest
def is_kernel_file(path: cstr) -> bool:
    """Is it a path below /proc, /sys or /dev?"""
    return strncmp(path, "/proc/", 6) == 0 or strncmp(path, "/sys/", 5) == 0 or strncmp(path, "/dev/", 5) == 0


@guest
def proc_open(path: cstr, file: ptr[File]) -> i32:
    """Open a file of /proc, /sys or /dev."""
    entry: ptr[ProcEntry] = proc_find(path)
    if entry == NULL:
        return -ENOENT
    inode = file.f_dentry.d_inode
    inode.generic_ip = entry
    if entry.fops != NULL:
        inode.i_mode = (S_IFREG if strncmp(path, "/proc/", 6) == 0 else S_IFCHR) | 0o600
        inode.i_fop = entry.fops
        file.private_data = entry.private
        return 0
    mode: u32 = file.f_flags & O_ACCMODE
    if (mode != O_RDONLY and entry.store == NULL) or (mode != O_WRONLY and entry.show == NULL):
        return -EACCES
    text = cast(ptr[ProcText], kzalloc(sizeof(ProcText)))
    if text == NULL:
        return -ENOMEM
    if mode != O_WRONLY:
        error: i32 = proc_make_text(entry, text)
        if error != 0:
            kfree(text)
            return error
    inode.i_mode = S_IFREG | (0o444 if entry.store == NULL else 0o644)
    inode.i_fop = proc_file_operations
    file.private_data = text
    return 0
