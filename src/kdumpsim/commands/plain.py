# SPDX-License-Identifier: GPL-2.0-or-later
"""What is printed where an encoding lacks a sign, such as ✓."""

from __future__ import annotations

import codecs
import sys

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
