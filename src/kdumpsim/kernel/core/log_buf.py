# SPDX-License-Identifier: GPL-2.0-or-later
"""log_buf_len=: a larger ring for printk() (kernel/printk.c of 2.6.16)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import addr, cast, cstr, guest, i32, placed, ptr, u8, u32
from kdumpsim.kernel.architecture import PAGE_SIZE
from kdumpsim.kernel.core.cmdline import memparse
from kdumpsim.kernel.core.printk import log_buf_len, printk, use_log_buf
from kdumpsim.kernel.core.setup_param import ObsKernelParam
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.mm.bootmem import alloc_bootmem

MAX_LOG_BUF_LEN: Final = 1 << 19
"""Largest ring; /proc/kmsg shows it in one piece."""

log_buf_wanted: u32 = 0


@guest
def log_buf_len_setup(value: cstr) -> i32:
    """log_buf_len=n[KMG]: setup_log_buf() makes it as soon as there is memory."""
    global log_buf_wanted
    rest: cstr = value
    size = memparse(value, addr(rest))
    if size > MAX_LOG_BUF_LEN:
        return -EINVAL
    log_buf_wanted = u32(size)
    return 0


@guest
def setup_log_buf() -> None:
    """Make the ring that log_buf_len= asks for, its size rounded up to a power of two."""
    size = log_buf_len
    while size < log_buf_wanted:
        size <<= 1
    if size != log_buf_len:
        use_log_buf(cast(ptr[u8], alloc_bootmem(size, PAGE_SIZE)), size)
        printk(f"<5>log_buf_len: {log_buf_len}\n")


_param_log_buf_len: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="log_buf_len=", setup_func=log_buf_len_setup)
)
