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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdumpsim.apic.registers import Access, Field, Register

TEXT_MEMORY = 0xB8000
TEXT_SIZE = 0x8000
COLUMNS, ROWS = 80, 25

PORTS = 0x3C0
ATTRIBUTE, ATTRIBUTE_READ = 0x3C0, 0x3C1  # index and data take turns at the first
MISC_WRITE, MISC_READ = 0x3C2, 0x3CC
SEQUENCER, GRAPHICS, CRTC = 0x3C4, 0x3CE, 0x3D4  # index; data is at the next port
DAC_MASK, DAC_READ, DAC_WRITE, DAC_DATA = 0x3C6, 0x3C7, 0x3C8, 0x3C9
STATUS = 0x3DA

CURSOR_START, CURSOR_END = 0x0A, 0x0B  # of the CRT controller
START, CURSOR = 0x0C, 0x0E  # high byte, and the low one after it
MODE_CONTROL = 0x10  # of the attribute controller
GRAPHICS_MISC = 0x06  # of the graphics controller
DAC_BYTES = 3 * 256


class MiscOutput(Register):
    """Ports 0x3C2 and 0x3CC: as a BIOS sets it for mode 3."""

    color = Field(0, reset=1)
    ram_enabled = Field(1, reset=1)
    clock = Field(2, 2, reset=1)
    undefined = Field(4)
    odd_even_page = Field(5, reset=1)
    horizontal_polarity = Field(6, reset=1)
    vertical_polarity = Field(7)


class InputStatus(Register):
    """Port 0x3DA (input status register 1)."""

    display_disabled = Field(0, access=Access.RO)
    vertical_retrace = Field(3, access=Access.RO)


class CursorStart(Register):
    """CRT controller 0x0A."""

    line = Field(0, 5)
    off = Field(5)


class CursorEnd(Register):
    """CRT controller 0x0B."""

    line = Field(0, 5)
    skew = Field(5, 2)


class ModeControl(Register):
    """Attribute controller 0x10."""

    graphics = Field(0)
    monochrome = Field(1)
    line_graphics = Field(2)
    blink = Field(3)
    pixel_panning = Field(5)
    pixel_clock = Field(6)
    palette_bits = Field(7)


class GraphicsMisc(Register):
    """Graphics controller 0x06."""

    alpha_disabled = Field(0)
    chain_odd_even = Field(1)
    memory_map = Field(2, 2)


class DacData(Register):
    """One of three bytes of a palette entry."""

    level = Field(0, 6)


_GLYPHS = str.maketrans(
    {0: " ", 0xA0: " ", 0x7F: "⌂", **dict(zip(range(1, 32), "☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼", strict=True))}
)
"""What the adapter's font shows where code page 437 has control characters."""


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


class IndexedFile:
    """Registers behind an index: a BIOS's values for mode 3 (80x25 text) first, zeros after them."""

    def __init__(self, mode_3: str, size: int = 256) -> None:
        self._mode_3 = bytes.fromhex(mode_3).ljust(size, b"\0")
        self.index = 0
        self.data = bytearray(self._mode_3)

    def select(self, index: int) -> None:
        """A write to the index port."""
        self.index = index

    def selected(self) -> int:
        """A read of the index port."""
        return self.index

    def read(self) -> int:
        return self.data[self.index]

    def write(self, value: int) -> None:
        self.data[self.index] = value

    def word(self, at: int) -> int:
        """Two registers, the high byte first."""
        return int.from_bytes(self.data[at : at + 2], "big")

    def reset(self) -> None:
        self.index = 0
        self.data[:] = self._mode_3

    def state(self) -> dict[str, Any]:
        return {"index": self.index, "data": bytes(self.data)}

    def restore(self, state: dict[str, Any]) -> None:
        self.index = state["index"]
        self.data[:] = state["data"]


class Vga:
    """Ports 0x3C0..0x3DF. `screen(view)` is what they show."""

    name = "vga"

    def __init__(self) -> None:
        self.attribute = IndexedFile("000102030405140738393a3b3c3d3e3f0c000f0800", 32)
        self.sequencer = IndexedFile("0300030002")
        self.graphics = IndexedFile("0000000000100e00ff")
        self.crtc = IndexedFile("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
        self._files = {
            ATTRIBUTE: self.attribute, SEQUENCER: self.sequencer, GRAPHICS: self.graphics, CRTC: self.crtc
        }  # fmt: skip
        self._misc, self._status = MiscOutput(), InputStatus()
        self._dac = bytearray(DAC_BYTES)
        self._readers: dict[int, Callable[[], int]] = {
            MISC_WRITE: lambda: 0,
            MISC_READ: lambda: self._misc.value,
            DAC_MASK: lambda: self._dac_mask,
            DAC_READ: lambda: 0,
            DAC_WRITE: lambda: self._dac_write // 3,
            DAC_DATA: self._read_dac,
            STATUS: self._read_status,
        }
        self._writers: dict[int, Callable[[int], None]] = {
            ATTRIBUTE: self._write_attribute,
            MISC_WRITE: self._misc.write,
            DAC_MASK: self._write_dac_mask,
            DAC_READ: self._select_dac_read,
            DAC_WRITE: self._select_dac_write,
            DAC_DATA: self._write_dac,
        }
        for port, file in self._files.items():
            self._readers |= {port: file.selected, port + 1: file.read}
            if file is not self.attribute:
                self._writers |= {port: file.select, port + 1: file.write}
        self.reset()

    def ports(self) -> list[tuple[int, int]]:
        return [(PORTS, 0x20)]

    def reset(self) -> None:
        """To text mode, as the adapter's own BIOS leaves it."""
        for file in self._files.values():
            file.reset()
        self._attribute_data = False  # the next write to 0x3C0 is data
        self._misc.reset()
        self._status.reset()
        self._dac[:] = bytes(DAC_BYTES)
        self._dac_mask = 0xFF
        self._dac_read = self._dac_write = 0

    def port_read(self, port: int, size: int) -> int:
        if size == 1:
            reader = self._readers.get(port)
            return 0xFF if reader is None else reader()
        return sum(self.port_read(port + at, 1) << 8 * at for at in range(size))

    def port_write(self, port: int, size: int, value: int) -> None:
        for at, byte in enumerate(value.to_bytes(size, "little")):
            writer = self._writers.get(port + at)
            if writer is not None:
                writer(byte)

    def _write_attribute(self, value: int) -> None:
        if self._attribute_data:
            self.attribute.write(value)
        else:
            self.attribute.select(value % len(self.attribute.data))
        self._attribute_data = not self._attribute_data

    def _read_status(self) -> int:
        self._attribute_data = False
        status = self._status
        status.display_disabled ^= 1
        status.vertical_retrace ^= 1
        return status.value

    def _write_dac_mask(self, mask: int) -> None:
        self._dac_mask = mask

    def _select_dac_read(self, entry: int) -> None:
        self._dac_read = entry * 3

    def _select_dac_write(self, entry: int) -> None:
        self._dac_write = entry * 3

    def _read_dac(self) -> int:
        value = self._dac[self._dac_read]
        self._dac_read = (self._dac_read + 1) % DAC_BYTES
        return value

    def _write_dac(self, value: int) -> None:
        self._dac[self._dac_write] = DacData(value).level
        self._dac_write = (self._dac_write + 1) % DAC_BYTES

    def screen(self, view: memoryview) -> Screen:
        """What is to be seen; `view` is physical memory from 0 on."""
        start = self.crtc.word(START)
        memory = bytes(view[TEXT_MEMORY : TEXT_MEMORY + TEXT_SIZE])
        cells = (memory[start * 2 % TEXT_SIZE :] + memory)[: COLUMNS * ROWS * 2]  # addresses wrap around
        characters = cells[::2].decode("cp437").translate(_GLYPHS)
        lines = tuple(characters[at : at + COLUMNS] for at in range(0, COLUMNS * ROWS, COLUMNS))
        row, column = divmod(self.crtc.word(CURSOR) - start, COLUMNS)
        first, last = CursorStart(self.crtc.data[CURSOR_START]), CursorEnd(self.crtc.data[CURSOR_END])
        off = first.off or first.line > last.line or not 0 <= row < ROWS
        return Screen(
            lines,
            cells[1::2],
            None if off else (column, row),
            bool(ModeControl(self.attribute.data[MODE_CONTROL]).blink),
            bool(GraphicsMisc(self.graphics.data[GRAPHICS_MISC]).alpha_disabled),
        )

    def state(self) -> dict[str, Any]:
        return {
            "files": {port: file.state() for port, file in self._files.items()},
            "attribute_data": self._attribute_data,
            "misc": self._misc.value,
            "status": self._status.value,
            "dac": (bytes(self._dac), self._dac_mask, self._dac_read, self._dac_write),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for port, file in self._files.items():
            file.restore(state["files"][port])
        self._attribute_data = state["attribute_data"]
        self._misc.value = state["misc"]
        self._status.value = state["status"]
        dac, self._dac_mask, self._dac_read, self._dac_write = state["dac"]
        self._dac[:] = dac
