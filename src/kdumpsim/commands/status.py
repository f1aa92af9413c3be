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

    SUCCESS = 0, "outcome O, or the command succeeded"
    FAILURE = 1, "outcome X, and nothing else"
    BAD_INPUT = 2, "invalid input, or input that the guest rejects"
    NO_MACHINE = 3, "no outcome: QEMU ended unexpectedly, or no machine answers"
    HOST_TIMEOUT = 4, "no outcome: a run exceeded its limit of host time"
    HOST_FAILURE = 5, "no outcome: the host failed (disk full, no permission, killed worker)"
    SCRIPT_FAILED = 6, "a command of a console script failed"
    WRONG_ANSWER = 7, "lesson check: an answer is wrong, or this build has none"
    INTERNAL_ERROR = 70, "a bug in kdumpsim: the traceback is printed"
    TIMEOUT = 124, "boot: the machine was stopped by --timeout"
    HANGUP = 129, "hung up (SIGHUP)"
    INTERRUPTED = 130, "interrupted with Ctrl-C (SIGINT)"
    CLOSED_PIPE = 141, "the reader of the output closed the pipe (SIGPIPE)"
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
