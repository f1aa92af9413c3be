# SPDX-License-Identifier: GPL-2.0-or-later
"""A VGA that shows text: register files, and 80x25 characters read out of the memory at 0xB8000.

Follows the IBM VGA's port layout in colour mode (0x3C0..0x3DF): attribute controller, sequencer, graphics controller,
CRT controller, DAC, miscellaneous output, input status. Registers keep what is written; what matters to text is the
CRT controller's start address and cursor, and whether attributes blink. Text memory is plain RAM of the board.

Not modelled: other geometries and palettes, graphics modes, planes and write modes (memory at 0xA0000 does not
answer), fonts, the monochrome ports, retrace timing (the status bits toggle at every read, so waiting for either edge
ends).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TEXT_MEMORY = 0xB8000
TEXT_SIZE = 0x8000
COLUMNS, ROWS = 80, 25

_ATTRIBUTE, _MISC_WRITE, _SEQUENCER, _DAC_MASK, _DAC_READ, _DAC_WRITE, _DAC_DATA = 0, 2, 4, 6, 7, 8, 9
_MISC_READ, _GRAPHICS, _CRTC, _STATUS = 0x0C, 0x0E, 0x14, 0x1A

_CURSOR_START, _CURSOR_END = 0x0A, 0x0B
_CURSOR_OFF = 0x20
_START_HIGH, _START_LOW, _CURSOR_HIGH, _CURSOR_LOW = 0x0C, 0x0D, 0x0E, 0x0F
_MODE_CONTROL, _BLINK = 0x10, 0x08
_GRAPHICS_MISC, _ALPHA_DISABLE = 0x06, 0x01

_GLYPHS = str.maketrans(
    {0: " ", 0xA0: " ", 0x7F: "⌂", **dict(zip(range(1, 32), "☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼", strict=True))}
)
"""What the adapter's font shows where code page 437 has control characters."""

# What a BIOS programs for mode 3, 80x25 text.
_CRTC_MODE_3 = bytes.fromhex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
_SEQUENCER_MODE_3 = bytes.fromhex("0300030002")
_GRAPHICS_MODE_3 = bytes.fromhex("0000000000100e00ff")
_ATTRIBUTE_MODE_3 = bytes.fromhex("000102030405140738393a3b3c3d3e3f0c000f0800")


@dataclass(frozen=True)
class Screen:
    """What the screen shows: 25 lines of 80 characters, and their attributes, a byte each in the same order.

    `cursor` is column and row, None where it is off or elsewhere in text memory. With `blinks` bit 7 of an attribute
    makes its character blink; otherwise it is the fourth bit of the background's colour. `graphics`: the adapter was
    put into a graphics mode, and does not show these characters.
    """

    lines: tuple[str, ...]
    attributes: bytes
    cursor: tuple[int, int] | None
    blinks: bool
    graphics: bool


class Vga:
    """Ports 0x3C0..0x3DF. `screen(view)` is what they show."""

    name = "vga"

    def __init__(self) -> None:
        self.reset()

    def ports(self) -> list[tuple[int, int]]:
        return [(0x3C0, 0x20)]

    def reset(self) -> None:
        """To text mode, as the adapter's own BIOS leaves it."""
        self._files = {
            _ATTRIBUTE: bytearray(_ATTRIBUTE_MODE_3.ljust(32, b"\0")),
            _SEQUENCER: bytearray(_SEQUENCER_MODE_3.ljust(256, b"\0")),
            _GRAPHICS: bytearray(_GRAPHICS_MODE_3.ljust(256, b"\0")),
            _CRTC: bytearray(_CRTC_MODE_3.ljust(256, b"\0")),
        }
        self._indexes = dict.fromkeys(self._files, 0)
        self._attribute_data = False  # the next write to 0x3C0 is data
        self._misc = 0x67
        self._status = 0
        self._dac = bytearray(768)
        self._dac_mask = 0xFF
        self._dac_read = self._dac_write = 0

    def port_read(self, port: int, size: int) -> int:
        return sum(self._read(port + at - 0x3C0) << 8 * at for at in range(size))

    def port_write(self, port: int, size: int, value: int) -> None:
        for at in range(size):
            self._write(port + at - 0x3C0, value >> 8 * at & 0xFF)

    def _read(self, at: int) -> int:
        if at in self._indexes:
            return self._indexes[at]
        if at - 1 in self._files:
            return self._files[at - 1][self._indexes[at - 1]]
        if at == _STATUS:
            self._attribute_data = False
            self._status ^= 0x09
            return self._status
        if at == _MISC_READ:
            return self._misc
        if at == _DAC_MASK:
            return self._dac_mask
        if at == _DAC_DATA:
            value = self._dac[self._dac_read]
            self._dac_read = (self._dac_read + 1) % 768
            return value
        if at == _DAC_WRITE:
            return self._dac_write // 3
        return 0 if at in (_MISC_WRITE, _DAC_READ) else 0xFF

    def _write(self, at: int, value: int) -> None:
        if at == _ATTRIBUTE:
            if self._attribute_data:
                self._files[at][self._indexes[at]] = value
            else:
                self._indexes[at] = value & 0x1F
            self._attribute_data = not self._attribute_data
        elif at in self._indexes:
            self._indexes[at] = value
        elif at - 1 in self._files and at - 1 != _ATTRIBUTE:
            self._files[at - 1][self._indexes[at - 1]] = value
        elif at == _MISC_WRITE:
            self._misc = value
        elif at == _DAC_MASK:
            self._dac_mask = value
        elif at == _DAC_READ:
            self._dac_read = value * 3
        elif at == _DAC_WRITE:
            self._dac_write = value * 3
        elif at == _DAC_DATA:
            self._dac[self._dac_write] = value & 0x3F
            self._dac_write = (self._dac_write + 1) % 768

    def _crtc_word(self, high: int) -> int:
        return self._files[_CRTC][high] << 8 | self._files[_CRTC][high + 1]

    def screen(self, view: memoryview) -> Screen:
        """What is to be seen; `view` is physical memory from 0 on."""
        start = self._crtc_word(_START_HIGH)
        memory = bytes(view[TEXT_MEMORY : TEXT_MEMORY + TEXT_SIZE])
        cells = (memory[start * 2 % TEXT_SIZE :] + memory)[: COLUMNS * ROWS * 2]  # addresses wrap around
        characters = cells[::2].decode("cp437").translate(_GLYPHS)
        lines = tuple(characters[at : at + COLUMNS] for at in range(0, COLUMNS * ROWS, COLUMNS))
        row, column = divmod(self._crtc_word(_CURSOR_HIGH) - start, COLUMNS)
        first, last = self._files[_CRTC][_CURSOR_START], self._files[_CRTC][_CURSOR_END]
        off = first & _CURSOR_OFF or first & 0x1F > last & 0x1F or not 0 <= row < ROWS
        return Screen(
            lines,
            cells[1::2],
            None if off else (column, row),
            bool(self._files[_ATTRIBUTE][_MODE_CONTROL] & _BLINK),
            bool(self._files[_GRAPHICS][_GRAPHICS_MISC] & _ALPHA_DISABLE),
        )

    def state(self) -> dict[str, Any]:
        return {
            "files": {str(at): bytes(data) for at, data in self._files.items()},
            "indexes": {str(at): value for at, value in self._indexes.items()},
            "attribute_data": self._attribute_data,
            "misc": self._misc,
            "status": self._status,
            "dac": (bytes(self._dac), self._dac_mask, self._dac_read, self._dac_write),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._files = {int(at): bytearray(data) for at, data in state["files"].items()}
        self._indexes = {int(at): value for at, value in state["indexes"].items()}
        self._attribute_data = state["attribute_data"]
        self._misc = state["misc"]
        self._status = state["status"]
        dac, self._dac_mask, self._dac_read, self._dac_write = state["dac"]
        self._dac = bytearray(dac)
