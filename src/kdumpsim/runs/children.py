# SPDX-License-Identifier: GPL-2.0-or-later
"""Forked processes that do one piece of work, tell of it through a pipe, and end with their parent."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO, NoReturn

from kdumpsim.machines.parent import die_with

CAN_FORK = hasattr(os, "fork")
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if CAN_FORK else ()

Work = Callable[[BinaryIO], None]
"""What a child does; it writes what it has to tell to the pipe, and should let no exception out."""


def spawn(work: Work, started: Callable[[int, int], None]) -> None:
    """Do `work` in a forked process.  `started` is called here with its process ID and the pipe's end to read from.

    Whatever signal comes meanwhile, a process that was made has been told to `started`: signals that end a program
    wait until both sides are ready for them.
    """
    sys.stdout.flush()  # what the child has unwritten would be written twice
    sys.stderr.flush()
    parent = os.getpid()
    reader, writer = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        pid = os.fork()
        if pid == 0:
            _child(parent, reader, writer, work)
        os.close(writer)
        started(pid, reader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _child(parent: int, reader: int, writer: int, work: Work) -> NoReturn:
    """The forked process, which goes without a word to the parent's files and handlers.

    Files that the parent has open and it never uses stay as they are: their objects live until the process ends.
    """
    status = 1
    try:
        die_with(parent)
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        os.close(reader)
        gc.freeze()  # what the collector does not look at stays shared with the parent
        with open(writer, "wb") as pipe:
            work(pipe)
        status = 0
    finally:
        os._exit(status)
