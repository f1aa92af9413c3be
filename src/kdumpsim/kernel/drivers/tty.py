# SPDX-License-Identifier: GPL-2.0-or-later
"""Console input: characters typed on the keyboard, read from /dev/console without echo or editing."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, array, fn, guest, i32, length, load_volatile, placed, ptr, u8, u32, usize
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sched import schedule, signal_pending
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import memcpy
from kdumpsim.kernel.core.types import EINTR
from kdumpsim.kernel.core.wait import WaitEntry, WaitQueue, finish_wait, init_waitqueue, prepare_to_wait, wake_up
from kdumpsim.kernel.fs.file_types import File, FileOperations
from kdumpsim.kernel.fs.proc import register_proc_fops

TTY_SIZE: Final = 256
TTY_CHUNK: Final = 128

tty_buffer: array[u8] = length(TTY_SIZE)
tty_head: u32 = 0
tty_tail: u32 = 0
tty_lock: Spinlock = Spinlock(slock=1)
tty_wait: WaitQueue = WaitQueue()


@guest
def tty_insert_char(char: u8) -> None:
    """A character was typed; interrupt context.  When nobody reads, the newest are lost."""
    global tty_head
    flags = spin_lock_irqsave(tty_lock)
    if tty_head - tty_tail < TTY_SIZE:
        tty_buffer[tty_head % TTY_SIZE] = char
        tty_head += 1
    spin_unlock_irqrestore(tty_lock, flags)
    wake_up(tty_wait)


@guest
def tty_read(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """Sleep for at least one character, then take what there is."""
    global tty_tail
    wait: WaitEntry = WaitEntry()
    while True:
        prepare_to_wait(tty_wait, wait, TASK_INTERRUPTIBLE)
        if load_volatile(addr(tty_head)) != tty_tail or signal_pending():
            break
        schedule()
    finish_wait(tty_wait, wait)
    flags = spin_lock_irqsave(tty_lock)
    n: usize = min(count, tty_head - tty_tail)
    for i in range(n):
        buffer[i] = tty_buffer[tty_tail % TTY_SIZE]
        tty_tail += 1
    spin_unlock_irqrestore(tty_lock, flags)
    return i32(n) if n != 0 or count == 0 else -EINTR


@guest
def tty_write(file: ptr[File], buffer: ptr[u8], count: usize) -> i32:
    """Text for the console."""
    text: array[u8] = length(TTY_CHUNK, zeroed=False)
    done: usize = 0
    while done < count:
        n: usize = min(count - done, TTY_CHUNK - 1)
        memcpy(text, buffer + done, n)
        text[n] = 0
        printk(f"{text:s}")
        done += n
    return i32(count)


@guest
def tty_release(file: ptr[File]) -> None:
    """Nothing is kept for an open console."""


tty_file_operations: FileOperations = FileOperations(read=tty_read, write=tty_write, release=tty_release)


@guest
def tty_init() -> i32:
    """Make /dev/console."""
    init_waitqueue(tty_wait)
    return register_proc_fops("/dev/console", tty_file_operations, NULL)


_init_tty: fn[[], i32] = placed("initcall5", tty_init)
