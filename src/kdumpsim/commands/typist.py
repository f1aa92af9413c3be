# SPDX-License-Identifier: GPL-2.0-or-later
"""What a terminal sends for its keys, typed again on a PS/2 keyboard."""

from __future__ import annotations

import contextlib
import re

from kdumpsim.board.i8042 import I8042
from kdumpsim.board.keyboard import key_of

_TOKEN = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z]|.)|.", re.DOTALL)
_LETTERS = {
    "A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end",
    "P": "f1", "Q": "f2", "R": "f3", "S": "f4",
}  # fmt: skip
_NUMBERS = {
    1: "home", 2: "insert", 3: "delete", 4: "end", 5: "pageup", 6: "pagedown", 7: "home", 8: "end", 11: "f1", 12: "f2",
    13: "f3", 14: "f4", 15: "f5", 17: "f6", 18: "f7", 19: "f8", 20: "f9", 21: "f10", 23: "f11", 24: "f12",
}  # fmt: skip
"""Keys of xterm and its kin: the last letter of ESC O or ESC [, or the number before ``~``."""


class Typist:
    """Types what was typed at a terminal; characters no key has are passed over."""

    def __init__(self, keyboard: I8042) -> None:
        self._keyboard = keyboard

    def feed(self, data: bytes) -> None:
        """Bytes from a terminal in raw mode, or from a file."""
        for token in _TOKEN.findall(data.decode("latin-1")):
            with contextlib.suppress(ValueError):  # no key for it
                self._keyboard.chord(*_keys(token))


def _keys(token: str) -> tuple[str, ...]:
    """The keys held down for a token, in order."""
    if len(token) > 2:
        number = re.match(r"\x1b\[(\d+)", token)
        name = _NUMBERS.get(int(number[1])) if number and token[-1] == "~" else _LETTERS.get(token[-1])
        if name is None:
            raise ValueError(f"no key sends {token!r}")
        return (name,)
    if len(token) == 2:  # ESC and a character: Alt
        return ("leftalt", *_keys(token[1]))
    # Terminals send CR for Enter and DEL for Backspace; a keyboard has keys for both.
    character = {"\r": "\n", "\x7f": "\b"}.get(token, token)
    if "\x01" <= character <= "\x1a" and character not in "\b\t\n":
        return ("leftctrl", chr(ord(character) + 0x60))
    key, shift = key_of(character)
    return ("leftshift", key) if shift else (key,)
