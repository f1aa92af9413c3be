# SPDX-License-Identifier: GPL-2.0-or-later
"""The 93C46 serial EEPROM beside a network card: 64 words of 16 bits behind four wires.

Follows the National Semiconductor NM93C46 data sheet (Microwire): with chip select high, data in is taken on each
rising edge of the clock: a start bit 1, two bits of operation code, six of address. A read (code 10) then puts a 0
and the word's bits, highest first, on data out, one for each rising edge; it goes on with the next word.

Not modelled: writing and erasing (the part behaves as one that was never write-enabled), and the time an access takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WORDS = 64
_COMMAND_BITS = 9
_READ = 0b110


class Eeprom93c46:
    """`words`: the content, 16 bits each; what is missing reads as erased (0xFFFF)."""

    def __init__(self, words: Sequence[int]) -> None:
        self.words = [*words, *[0xFFFF] * (WORDS - len(words))]
        self.data_out = True
        """The level of DO; high (pulled up) while nothing drives it."""
        self._clock = False
        self._command = 0
        self._address = 0
        self._bit = -1

    def drive(self, select: bool, clock: bool, data_in: bool) -> None:
        """The levels of CS, SK and DI."""
        rising = clock and not self._clock
        self._clock = clock
        if not select:
            self._command, self._bit, self.data_out = 0, -1, True
        elif rising and self._bit >= 0:
            self._shift_out()
        elif rising and (self._command or data_in):  # zeros before the start bit are nothing
            self._command = self._command << 1 | data_in
            if self._command.bit_length() == _COMMAND_BITS:
                self._obey()

    def _obey(self) -> None:
        if self._command >> 6 == _READ:
            self._address, self._bit = self._command & WORDS - 1, 16
            self.data_out = False  # the 0 in front of the word
        self._command = 0

    def _shift_out(self) -> None:
        if self._bit == 0:
            self._address, self._bit = self._address + 1 & WORDS - 1, 16
        self._bit -= 1
        self.data_out = bool(self.words[self._address] >> self._bit & 1)

    def state(self) -> dict[str, Any]:
        return {
            "clock": self._clock,
            "command": self._command,
            "address": self._address,
            "bit": self._bit,
            "data_out": self.data_out,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._clock = state["clock"]
        self._command = state["command"]
        self._address = state["address"]
        self._bit = state["bit"]
        self.data_out = state["data_out"]
