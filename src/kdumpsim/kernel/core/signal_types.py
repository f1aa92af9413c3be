# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals as structures (include/linux/{signal,sched}.h, include/asm-i386/signal.h of 2.6.16)."""

from __future__ import annotations

from typing import Final, TypeAlias

from kdumpsim.compiler.lang import Struct, array, fn, i32, length, u32
from kdumpsim.kernel.core.types import ListHead

NSIG: Final = 64
NSIG_WORDS: Final = 2


class Sigset(Struct):
    """A bit for each signal; signal 1 is bit 0."""

    sig: array[u32] = length(NSIG_WORDS)


sigset_t: TypeAlias = Sigset


class Siginfo(Struct):
    """What is known of a signal."""

    si_signo: i32
    si_errno: i32
    si_code: i32
    si_pid: i32
    """Who sent it; 0 is the kernel."""


class Sigqueue(Struct):
    """A signal on its way."""

    list: ListHead
    info: Siginfo


class Sigpending(Struct):
    """Signals that wait to be delivered: a bit for each, and what is known of them if there was memory for it."""

    list: ListHead
    signal: Sigset


class Sigaction(Struct):
    """What a process does about a signal: with no handlers in programs, to end (SIG_DFL) or nothing (SIG_IGN)."""

    sa_handler: fn[[i32], None]
    sa_flags: u32
    sa_restorer: fn[[], None]
    sa_mask: Sigset


class KSigaction(Struct):
    """The kernel's view of it."""

    sa: Sigaction
