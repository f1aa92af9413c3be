# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections of strings (SHF_MERGE, SHF_STRINGS) merged, so that each string is there once (gABI, chapter 4)."""

from __future__ import annotations

from .elf import SHF_ALLOC, SHF_MERGE, SHF_STRINGS, ElfError, Section


def is_mergeable(section: Section) -> bool:
    """Does a section hold nothing but strings, and none that has an address?"""
    return section.flags & (SHF_ALLOC | SHF_MERGE | SHF_STRINGS) == SHF_MERGE | SHF_STRINGS


class MergedStrings:
    """One output section of strings under construction."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._known: dict[bytes, int] = {}
        self._moved: dict[int, dict[int, int]] = {}

    def add(self, section: Section) -> None:
        """Take in the strings of an input section."""
        moved = self._moved[id(section)] = {}
        at = 0
        for text in section.data.split(b"\0")[:-1]:
            if text not in self._known:
                self._known[text] = len(self.data)
                self.data += text + b"\0"
            moved[at] = self._known[text]
            at += len(text) + 1

    def offset(self, section: Section, offset: int) -> int:
        """Where the string has gone that was at `offset` in an input section; ElfError if none begins there."""
        try:
            return self._moved[id(section)][offset]
        except KeyError:
            raise ElfError(f"no string of {section.name} begins at {offset:#x}") from None
