# SPDX-License-Identifier: GPL-2.0-or-later
"""How a command ends: whatever happens becomes a message and an exit status (`Status`)."""

from __future__ import annotations

import errno
import os
import select
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from kdumpsim.commands.interrupts import Interrupted
from kdumpsim.commands.plain import speak_plainly
from kdumpsim.commands.status import Status
from kdumpsim.files import STANDARD_OUTPUT, HostFailure, host_failure

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def status_of(command: Callable[[], object]) -> int:
    """Call `command`; say on standard error what ended it early, and return the exit status.

    A reader of the output that went away ends it quietly, as SIGPIPE ends other tools.
    """
    _open_streams()
    speak_plainly()
    try:
        status = _called(command)
        _flush()
    except Interrupted as interrupted:
        return _complain(str(interrupted), interrupted.status)
    except Exception as error:
        return _failed(error)
    return status


def _called(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else Status.SUCCESS
    return Status.SUCCESS


def _failed(error: Exception) -> int:
    if any(_reader_is_gone(fd) for fd in (1, 2)):
        _silence()
        return Status.CLOSED_PIPE
    from kdumpsim.compiler import GuestError  # only now: help stays quick

    if isinstance(error, GuestError):
        return _complain(str(error), Status.BAD_INPUT)
    if isinstance(error, (HostFailure, OSError, MemoryError)):
        _silence()
        return _complain(f"Error: {host_failure(error, _what_failed(error))}", Status.HOST_FAILURE)
    return _complain(traceback.format_exc().rstrip(), Status.INTERNAL_ERROR)


def _complain(text: str, status: int) -> int:
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    return status


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _reader_is_gone(fd: int) -> bool:
    """Is it a pipe or a socket that nothing reads any more?"""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _what_failed(error: Exception) -> str | None:
    """Files are named where they are written; what cannot be written and has no name is standard output."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITABLE:
        return STANDARD_OUTPUT
    return None


def _silence() -> None:
    """Send what a stream does not take into nothing: the interpreter flushes once more, and would exit with 120."""
    null = os.open(os.devnull, os.O_WRONLY)
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(null, fd)
    os.close(null)


def _open_streams() -> None:
    """Open what the caller closed (`>&-`), or the next file that is opened would get the console's output."""
    for fd in range(3):
        with suppress(OSError):
            os.fstat(fd)
            continue
        os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
