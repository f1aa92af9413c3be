# SPDX-License-Identifier: GPL-2.0-or-later
"""Right answers, and what is accepted as such."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol


class Answer(Protocol):
    """A right answer; `str` of it is for the teacher."""

    def accepts(self, text: str) -> bool:
        """Is that what was written?"""


@dataclass(frozen=True)
class Number:
    """A number, written in decimal, or in hexadecimal after 0x; a unit may follow."""

    value: float
    within: float = 0
    """What may be missing or too much."""
    hexadecimal: bool = False
    """An address: 0x may be left out."""

    def accepts(self, text: str) -> bool:
        """Is that what was written?"""
        words = text.lower().replace(",", "").split()
        if not words:
            return False
        try:
            found: float = int(words[0], 16 if self.hexadecimal or words[0].startswith("0x") else 10)
        except ValueError:
            match = re.fullmatch(r"(-?[0-9]+(\.[0-9]+)?)[a-z%.]*", words[0])
            if match is None or self.hexadecimal:
                return False
            found = float(match[1])
        return abs(found - self.value) <= self.within

    def __str__(self) -> str:
        return f"{int(self.value):#x}" if self.hexadecimal else f"{self.value:g}"


@dataclass(frozen=True)
class Word:
    """A word, such as a function's name, in capitals or not; the first of them is the usual one."""

    words: tuple[str, ...]

    def accepts(self, text: str) -> bool:
        """Is that what was written?"""
        return text.lower().strip(" `'\".").removesuffix("()") in [word.lower() for word in self.words]

    def __str__(self) -> str:
        return self.words[0]


@dataclass(frozen=True)
class SourceLine:
    """A line of a file; leading folders may be left out."""

    file: str
    line: int

    def accepts(self, text: str) -> bool:
        """Is that what was written?"""
        file, _, line = text.strip(" `'\".").rpartition(":")
        return line == str(self.line) and bool(file) and f"/{self.file}".endswith(f"/{file.lstrip('/')}")

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def word(*words: str) -> Word:
    """A word, or another one that means the same."""
    return Word(words)


def yes(holds: bool) -> Word:
    """Yes or no."""
    return Word(("yes", "y") if holds else ("no", "n"))
