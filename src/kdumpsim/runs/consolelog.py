# SPDX-License-Identifier: GPL-2.0-or-later
"""What the serial console said, and when."""

from __future__ import annotations


class ConsoleLog:
    """Text of a serial console, with the virtual time (ns) at which each line was begun."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: list[tuple[int, str]] = [(0, "")]
        """(virtual ns, line); the last one is still open."""
        self._held = ""

    def take(self, data: bytes, now: int) -> str:
        """Add what arrived at `now`; returns it as text, with newlines as "\\n"."""
        text = self._held + data.decode("utf-8", "replace")
        self._held = "\r" if text.endswith("\r") else ""  # its "\n" may be on the way
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        self.text += text
        first, *more = text.split("\n")
        begun, line = self.lines[-1]
        self.lines[-1] = (begun if line else now, line + first)
        self.lines += [(now, line) for line in more]
        return text

    def restore(self, text: str) -> None:
        """Begin with what a saved machine had said; times are not known."""
        self.text = text
        self.lines = [(0, line) for line in text.split("\n")]

    def last_line(self, containing: str = "") -> str:
        """The last line with these words that is not blank; empty if there is none."""
        lines = [line for line in self.text.splitlines() if containing in line and line.strip()]
        return lines[-1].strip() if lines else ""
