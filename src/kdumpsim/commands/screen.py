# SPDX-License-Identifier: GPL-2.0-or-later
"""What is printed, wherever it goes: a terminal, a pipe, an encoding without ✓, a width of 0."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from typing import NoReturn

from rich.console import Console

MIN_WIDTH = 40
"""Below this no table can be read; COLUMNS is not believed then."""
PLAIN = {
    "✓": "+", "…": "...", "×": "x", "–": "-", "—": "-", "’": "'", "•": "*", "→": "->", "−": "-",
    "─": "-", "━": "-", "│": "|", "┃": "|", "╸": "-", "╺": "-",
    **dict.fromkeys("╭╮╰╯├┤┬┴┼┏┓┗┛┡┩╇╈", "+"),
}  # fmt: skip
"""For encodings that lack a sign."""
_ERRORS = "kdumpsim-plain"
_BRAILLE = range(0x2800, 0x2900)
"""The spinner's."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    signs = (PLAIN.get(sign, "*" if ord(sign) in _BRAILLE else "?") for sign in missing)
    return "".join(signs), error.end


def speak_plainly() -> None:
    """Let standard output and error replace what their encoding lacks, instead of raising UnicodeEncodeError."""
    codecs.register_error(_ERRORS, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)


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
