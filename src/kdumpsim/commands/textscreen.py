# SPDX-License-Identifier: GPL-2.0-or-later
"""A VGA's text screen for people: painted on a terminal as it changes, or as plain lines.

The terminal is one that understands ECMA-48 (cursor positions, SGR with the 16 colours of xterm).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby

from kdumpsim.board.vga import COLUMNS, ROWS, Screen

REFRESH_S = 1 / 30
"""Pictures are painted at most this often."""
GRAPHICS = "(The guest has put the VGA into a graphics mode, which is not modelled.)"

_ANSI = (0, 4, 2, 6, 1, 5, 3, 7)  # a VGA's colours have blue in bit 0, a terminal's red
_RESET, _CLEAR, _HIDE, _SHOW = "\x1b[0m", "\x1b[2J", "\x1b[?25l", "\x1b[?25h"


def plain(screen: Screen) -> str:
    """The lines of text, each ended by a newline, without trailing blanks and blank lines."""
    lines = [GRAPHICS] if screen.graphics else [line.rstrip() for line in screen.lines]
    while lines and not lines[-1]:
        lines.pop()
    return "".join(f"{line}\n" for line in lines)


def colours(attribute: int, *, blinks: bool) -> str:
    """The SGR sequence of a character's attribute."""
    foreground, background = attribute & 0x0F, attribute >> 4
    codes = ["0"]
    if blinks and background & 8:
        background &= 7
        codes.append("5")
    codes.append(str((90 if foreground & 8 else 30) + _ANSI[foreground & 7]))
    codes.append(str((100 if background & 8 else 40) + _ANSI[background & 7]))
    return f"\x1b[{';'.join(codes)}m"


class Painter:
    """Keep a terminal showing a screen.

    `write` takes bytes for the terminal, `look` says what is to be seen, `size` gives the terminal's columns and lines.
    A smaller terminal shows the left side, and the lines down to the cursor's.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        look: Callable[[], Screen],
        size: Callable[[], tuple[int, int]],
        encoding: str = "utf-8",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._look, self._size, self._encoding, self._clock = write, look, size, encoding, clock
        self._shown: dict[int, str] = {}  # line of the terminal: what was written there
        self._window = (0, 0)
        self._cursor = ""
        self._next = 0.0

    def refresh(self) -> None:
        """Paint if it is time to."""
        if self._clock() >= self._next:
            self.paint()

    def paint(self) -> None:
        """Bring the terminal up to date."""
        self._next = self._clock() + REFRESH_S
        screen, window = self._look(), self._size()
        out = ""
        if window != self._window:
            out, self._window, self._shown, self._cursor = _RESET + _CLEAR, window, {}, ""
        width, height = min(window[0], COLUMNS), min(window[1], ROWS)
        top = 0 if screen.cursor is None else max(0, screen.cursor[1] + 1 - height)
        for line in range(height):
            text = self._line(screen, top + line, width)
            if self._shown.get(line) != text:
                self._shown[line] = text
                out += f"\x1b[{line + 1};1H{text}"
        cursor = _HIDE
        if screen.cursor is not None and screen.cursor[0] < width and not screen.graphics:
            cursor = f"\x1b[{screen.cursor[1] - top + 1};{screen.cursor[0] + 1}H{_SHOW}"
        if out or cursor != self._cursor:
            self._cursor = cursor
            self._write((out + cursor).encode(self._encoding, "replace"))

    def _line(self, screen: Screen, row: int, width: int) -> str:
        if screen.graphics:
            return _RESET + (GRAPHICS if row == 0 else "").ljust(width)[:width]
        text, attributes = screen.lines[row], screen.attributes[row * COLUMNS :][:width]
        runs = groupby(range(width), key=lambda column: attributes[column])
        return "".join(
            colours(attribute, blinks=screen.blinks) + "".join(text[column] for column in columns)
            for attribute, columns in runs
        )

    def interrupted(self, seconds: float) -> None:
        """Clear the terminal for another's text, leave it alone for `seconds`, then paint everything again."""
        self._write(f"{_RESET}{_CLEAR}\x1b[H".encode())
        self._window, self._next = (0, 0), self._clock() + seconds

    def leave(self) -> None:
        """Show the last picture, and leave the terminal's cursor below it."""
        self.paint()
        height = min(self._window[1], ROWS)
        self._write(f"{_RESET}\x1b[{height};1H\r\n{_SHOW}".encode())
