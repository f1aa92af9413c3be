# SPDX-License-Identifier: GPL-2.0-or-later
"""Exit statuses of every command: one number, one meaning."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class Status(IntEnum):
    """What the exit status of `kdumpsim` says; `meaning` says it in words."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """A member is declared as number and meaning."""
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status

    SUCCESS = 0, "outcome O, or the command did what it was asked to do"
    FAILURE = 1, "outcome X, and nothing else"
    BAD_INPUT = 2, "input that makes no sense, or that the guest refuses"
    NO_MACHINE = 3, "QEMU ended by itself, or no machine answers: there is no outcome"
    HOST_TIMEOUT = 4, "the time that the host allowed a run is over: there is no outcome"
    HOST_FAILURE = 5, "the host failed: no space, no permission, a killed worker; no outcome"
    SCRIPT_FAILED = 6, "a command of a console script failed"
    INTERNAL_ERROR = 70, "a bug in kdumpsim: the traceback is printed"
    TIMEOUT = 124, "boot: --timeout ended the machine"
    HANGUP = 129, "hung up (SIGHUP)"
    INTERRUPTED = 130, "interrupted with Ctrl-C (SIGINT)"
    CLOSED_PIPE = 141, "the reader of the output went away (SIGPIPE)"
    TERMINATED = 143, "killed (SIGTERM)"


_ANY_COMMAND = (
    Status.BAD_INPUT,
    Status.HOST_FAILURE,
    Status.INTERNAL_ERROR,
    Status.HANGUP,
    Status.INTERRUPTED,
    Status.CLOSED_PIPE,
    Status.TERMINATED,
)


def status_help(*own: Status) -> str:
    """The paragraph of a command's `--help`: success, the command's `own` statuses, and those of any command."""
    chosen = sorted({Status.SUCCESS, *own, *_ANY_COMMAND})
    return "\b\nExit status:\n" + "\n".join(f"  {status:<5d}{status.meaning}" for status in chosen)
