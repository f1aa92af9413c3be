# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's log and its consoles (kernel/printk.c).

Text goes into a ring and from there, by whoever gets the console semaphore, to the consoles; a CPU that does not get
it leaves its text to the holder.  A CPU that crashes while it prints breaks both locks (zap_locks()).
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
    fn,
    guest,
    i32,
    length,
    placed,
    ptr,
    u8,
    u32,
    usize,
    xchg,
)
from kdumpsim.kernel.architecture import cpu_relax, local_irq_restore, safe_smp_processor_id
from kdumpsim.kernel.core.config import LOG_BUF_LEN
from kdumpsim.kernel.core.setup_param import ObsKernelParam
from kdumpsim.kernel.core.spinlock import (
    Spinlock,
    preempt_disable,
    preempt_enable,
    raw_spin_unlock,
    spin_lock_init,
    spin_lock_irqsave,
    spin_unlock_irqrestore,
)
from kdumpsim.kernel.core.string import simple_strtoul
from kdumpsim.kernel.core.vsprintf import vsnprintf

PRINTK_LINE: Final = 1024
NO_CPU: Final = 0xFFFFFFFF

DEFAULT_MESSAGE_LOGLEVEL: Final = 4
"""KERN_WARNING, for text without "<n>" in front."""

CON_PRINTBUFFER: Final = 1
"""Console flag: print what the log holds already when it registers."""


class Console(Struct):
    """A device that shows the log."""

    name: cstr
    write: fn[[ptr[Console], cstr, usize], None]
    flags: u32
    index: u32
    next: ptr[Console]


__log_buf: array[u8] = length(LOG_BUF_LEN)
log_buf: ptr[u8] = __log_buf
log_buf_len: u32 = LOG_BUF_LEN
"""Size of the ring, a power of two: log_buf_len= makes it larger."""
logged_chars: u32 = 0
"""Bytes in the ring."""
log_end: u32 = 0
"""Running index after the newest byte."""
con_start: u32 = 0
"""Running index of the first byte that the consoles have not shown."""

printk_buf: array[u8] = length(PRINTK_LINE)
printk_cpu: u32 = NO_CPU
logbuf_lock: Spinlock = Spinlock(slock=1)
console_sem: u32 = 0
"""1 while somebody prints."""
console_drivers: ptr[Console] = NULL
console_loglevel: u32 = 7
"""Messages below this level reach the consoles."""
oops_in_progress: u32 = 0
new_text_line: bool = True
"""The next byte into the log begins a line."""
msg_level: u32 = DEFAULT_MESSAGE_LOGLEVEL
"""Level of the line that the consoles are in the middle of."""
at_line_start: bool = True
"""The next byte to the consoles begins a line."""


@guest
def emit_log_char(c: u8) -> None:
    """Append one byte to the ring; the oldest is lost when it is full."""
    global log_end, con_start, logged_chars
    log_buf[log_end & (log_buf_len - 1)] = c
    log_end += 1
    if log_end - con_start > log_buf_len:
        con_start = log_end - log_buf_len
    if logged_chars < log_buf_len:
        logged_chars += 1


@guest
def use_log_buf(larger: ptr[u8], bytes: u32) -> None:
    """Go over to a larger ring, of so many bytes."""
    global log_buf, log_buf_len, log_end, con_start
    flags = spin_lock_irqsave(logbuf_lock)
    for i in range(logged_chars):
        larger[i] = log_buf[(log_end - logged_chars + i) & (log_buf_len - 1)]
    con_start -= log_end - logged_chars
    log_end = logged_chars
    log_buf = larger
    log_buf_len = bytes
    spin_unlock_irqrestore(logbuf_lock, flags)


@guest
def has_level(s: cstr) -> bool:
    """Whether `s` begins with "<0>" to "<7>"."""
    return s[0] == ord("<") and ord("0") <= s[1] <= ord("7") and s[2] == ord(">")


@guest
def emit_text(text: cstr) -> None:
    """Append text to the ring, each line with its level in front."""
    global new_text_line
    i: u32 = 0
    while text[i] != 0:
        if new_text_line:
            if not has_level(text + i):
                emit_log_char(ord("<"))
                emit_log_char(ord("0") + DEFAULT_MESSAGE_LOGLEVEL)
                emit_log_char(ord(">"))
            new_text_line = False
        emit_log_char(text[i])
        if text[i] == ord("\n"):
            new_text_line = True
        i += 1


@guest
def write_consoles(start: u32, end: u32) -> None:
    """Show the ring's bytes from `start` to before `end` if their line's level asks for it."""
    if msg_level >= console_loglevel:
        return
    while start != end:
        offset = start & (log_buf_len - 1)
        count = min(end - start, log_buf_len - offset)
        con = console_drivers
        while con != NULL:
            con.write(con, log_buf + offset, count)
            con = con.next
        start += count


@guest
def call_console_drivers(start: u32, end: u32) -> None:
    """Show a range of the ring line by line, without the level marks."""
    global msg_level, at_line_start
    begin = start
    current = start
    while current != end:
        if at_line_start:
            mark = log_buf[(current + 1) & (log_buf_len - 1)]
            msg_level = u32(mark) - ord("0")
            current += 3
            begin = current
            at_line_start = False
            continue
        c = log_buf[current & (log_buf_len - 1)]
        current += 1
        if c == ord("\n"):
            write_consoles(begin, current)
            begin = current
            at_line_start = True
    if begin != end:
        write_consoles(begin, end)


@guest
def try_acquire_console_sem() -> bool:
    """Become the one who prints, if nobody is."""
    return xchg(addr(console_sem), 1) == 0


@guest
def release_console_sem() -> None:
    """Show everything the log has got meanwhile, then let others print."""
    global con_start
    while True:
        flags = spin_lock_irqsave(logbuf_lock)
        if con_start == log_end:
            break
        start = con_start
        end = log_end
        con_start = log_end
        raw_spin_unlock(logbuf_lock)
        call_console_drivers(start, end)
        local_irq_restore(flags)
        preempt_enable()
    xchg(addr(console_sem), 0)
    spin_unlock_irqrestore(logbuf_lock, flags)


@guest
def zap_locks() -> None:
    """Free the locks that this CPU's own interrupted printk() holds."""
    spin_lock_init(logbuf_lock)
    xchg(addr(console_sem), 0)


@guest
def vprintk(fmt: cstr, args: ptr[usize]) -> i32:
    """printk() with the arguments as a list; the length of the text."""
    global printk_cpu
    preempt_disable()
    if oops_in_progress != 0 and printk_cpu == safe_smp_processor_id():
        zap_locks()
    flags = spin_lock_irqsave(logbuf_lock)
    printk_cpu = safe_smp_processor_id()
    printed = vsnprintf(printk_buf, PRINTK_LINE, fmt, cast(ptr[usize], args))
    emit_text(printk_buf)
    if try_acquire_console_sem():
        printk_cpu = NO_CPU
        spin_unlock_irqrestore(logbuf_lock, flags)
        release_console_sem()
    else:
        printk_cpu = NO_CPU
        spin_unlock_irqrestore(logbuf_lock, flags)
    preempt_enable()
    return printed


@guest
def printk(fmt: cstr, *args: usize) -> i32:
    """Print to the log and the consoles; "<3>" in front of a line sets its level."""
    return vprintk(fmt, cast(ptr[usize], args))


@guest
def bust_spinlocks(yes: bool) -> None:
    """Let printk() get through while this CPU dies (arch/i386/mm/fault.c)."""
    global oops_in_progress
    oops_in_progress = 1 if yes else 0


@guest
def console_verbose() -> None:
    """Show everything from now on: something bad is being reported."""
    global console_loglevel
    if console_loglevel != 0:
        console_loglevel = 15


@guest
def console_silent() -> None:
    """Show nothing from now on: what is being done must not wait for a console."""
    global console_loglevel
    console_loglevel = 0


@guest
def register_console(console: ptr[Console]) -> None:
    """Add a console; with CON_PRINTBUFFER it shows the log from the beginning."""
    global console_drivers, con_start, at_line_start
    while not try_acquire_console_sem():
        cpu_relax()
    console.next = console_drivers
    console_drivers = console
    if console.flags & CON_PRINTBUFFER:
        flags = spin_lock_irqsave(logbuf_lock)
        con_start = log_end - logged_chars
        at_line_start = True
        spin_unlock_irqrestore(logbuf_lock, flags)
    release_console_sem()


@guest
def setup_loglevel(value: cstr) -> i32:
    """loglevel=n"""
    global console_loglevel
    console_loglevel = simple_strtoul(value, NULL, 10)
    return 0


@guest
def setup_quiet(value: cstr) -> i32:
    """quiet: warnings and worse only."""
    global console_loglevel
    console_loglevel = 4
    return 0


_param_loglevel: ObsKernelParam = placed("setup_params", ObsKernelParam(str="loglevel=", setup_func=setup_loglevel))
_param_quiet: ObsKernelParam = placed("setup_params", ObsKernelParam(str="quiet", setup_func=setup_quiet))
