# SPDX-License-Identifier: GPL-2.0-or-later
"""Files whose contents a function makes: /proc and /sys (Linux fs/proc/generic.c, fs/sysfs).

The text of such a file is made in whole when it is opened, so that a reader sees one moment in time.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, Struct, cstr, fn, guest, i32, ptr, u32, void
from kdumpsim.kernel.core.string import strcmp
from kdumpsim.kernel.core.types import ENOMEM
from kdumpsim.kernel.fs.seq_file import SeqFile
from kdumpsim.kernel.mm.slab import kzalloc
from kdumpsim.compiler.lang import cast, sizeof


class ProcEntry(Struct):
    """One file: `show` makes its text, `store` takes what is written; either may be NULL."""

    path: cstr
    show: fn[[ptr[SeqFile]], i32]
    store: fn[[cstr, u32], i32]
    private: ptr[void]
    next: ptr["ProcEntry"]


proc_entries: ptr[ProcEntry] = NULL


@guest
def register_proc_data(
    path: cstr, show: fn[[ptr[SeqFile]], i32], store: fn[[cstr, u32], i32], private: ptr[void]
) -> i32:
    """Register a file; `private` comes back as `SeqFile.private`.  `path` must stay valid."""
    global proc_entries
    entry: ptr[ProcEntry] = cast(ptr[ProcEntry], kzalloc(sizeof(ProcEntry)))
    if entry == NULL:
        return -ENOMEM
    entry.path = path
    entry.show = show
    entry.store = store
    entry.private = private
    entry.next = proc_entries
    proc_entries = entry
    return 0


@guest
def register_proc(path: cstr, show: fn[[ptr[SeqFile]], i32], store: fn[[cstr, u32], i32]) -> i32:
    """Register `path` ("/proc/iomem"): `show(m)` prints with seq_printf, `store(text, n)` gets one write.

    The text given to `store` is NUL-terminated and without its last newline.  To be called from initcalls.
    """
    return register_proc_data(path, show, store, NULL)


@guest
def proc_find(path: cstr) -> ptr[ProcEntry]:
    """The entry registered under exactly this path, or NULL."""
    entry: ptr[ProcEntry] = proc_entries
    while entry != NULL:
        if strcmp(entry.path, path) == 0:
            return entry
        entry = entry.next
    return NULL
