# SPDX-License-Identifier: GPL-2.0-or-later
"""What is printed, wherever it goes: a terminal, a pipe, a width of 0."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

from rich.console import Console

MIN_WIDTH = 40
"""Below this no table can be read; COLUMNS is not believed then."""


class _Screen(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave the BrokenPipeError to `kdumpsim.commands.ending`; rich would exit with status 1."""
        raise


def screen(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Standard output (or error) for tables, colours and progress."""
    columns, width = os.environ.get("COLUMNS", ""), None
    if columns.isdigit() and int(columns) < MIN_WIDTH:
        width = MIN_WIDTH if int(columns) else shutil.get_terminal_size().columns
    return _Screen(stderr=stderr, highlight=False, soft_wrap=soft_wrap, width=width)
