# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that a file of /proc or /sys is made of (after Linux fs/seq_file.c, without its iterators)."""

from __future__ import annotations

from kdumpsim.compiler.lang import cast, cstr, guest, i32, ptr, u32, usize
from kdumpsim.kernel.core.vsprintf import vsnprintf
from kdumpsim.kernel.fs.file_types import SeqFile


@guest
def seq_printf(m: ptr[SeqFile], fmt: cstr, *args: usize) -> None:
    """Append formatted text.  What does not fit fills the buffer up; the reader then tries a bigger one."""
    room: usize = m.size - m.count
    if room == 0:
        return
    n: i32 = vsnprintf(m.buf + m.count, room, fmt, cast(ptr[usize], args))
    if n < 0 or u32(n) >= room:
        m.count = m.size
    else:
        m.count += u32(n)
