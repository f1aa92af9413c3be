# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user names on the command line, checked: times in seconds, files to be read."""

from __future__ import annotations

import errno
import math
import os
import stat
from typing import Any

import click

MAX_SECONDS = 1_000_000
KERNEL_BYTES = 1 << 30
"""The largest kernel file that is read; with debug information some have hundreds of megabytes."""
TEXT_BYTES = 64 << 20
"""The largest text: a console log, an iomem, a script."""


class Seconds(click.types.FloatParamType):
    """A time in seconds: a number more than 0, at most :data:`MAX_SECONDS`."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= MAX_SECONDS:
            self.fail(f"'{value}' is not a time in seconds: give more than 0, at most {MAX_SECONDS}", param, ctx)
        return seconds


def read_input(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a file or of a pipe, at most `limit`.

    OSError with the path and a text for the user if it cannot be read, or has more.  Devices, which may have no end
    (/dev/zero), give no more than a text.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
            limit = min(limit, TEXT_BYTES)
        data = file.read(limit + 1) if status.st_size <= limit else b""
    if max(status.st_size, len(data)) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit >> 20} MiB", os.fspath(path))
    return data
