# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI configuration space and the bridges of a 440FX/PIIX3 board.

Follows PCI Local Bus Specification 2.1 (3.7.4.1 configuration mechanism 1, chapter 6 configuration space) and the Intel
82441FX and 82371SB (PIIX3) data sheets: 0xCF8 takes doublewords only, the configuration data lies at 0xCFC..0xCFF in
bytes, words and doublewords, and 0xCF9 is the PIIX's reset control register. An absent function reads as all ones.

What PIRQRC does is in `pirq.py`.

Not modelled: PAM/SMRAM effects of the host bridge (the registers keep what is written), bus mastering arbitration,
buses beyond 0, special cycles, memory BARs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kdumpsim.apic.messages import Line
from kdumpsim.board.pirq import PIRQRC, PirqRouter

CONFIG_ADDRESS = 0xCF8
RESET_CONTROL = 0xCF9
CONFIG_DATA = 0xCFC

VENDOR_ID = 0x00
DEVICE_ID = 0x02
COMMAND = 0x04
STATUS = 0x06
REVISION = 0x08
PROG_IF = 0x09
CLASS = 0x0A
HEADER_TYPE = 0x0E
BAR0 = 0x10
INTERRUPT_LINE = 0x3C
INTERRUPT_PIN = 0x3D

COMMAND_IO = 0x0001
COMMAND_MEMORY = 0x0002
COMMAND_MASTER = 0x0004

_STATUS_WRITE_ONE_TO_CLEAR = 0xF900


@dataclass(frozen=True)
class IoBar:
    """An I/O base address register: `size` ports (a power of two), at `base` after reset."""

    size: int
    base: int = 0


class PciFunction:
    """One function's 256 bytes: what reads, what can be written, and who is told."""

    def __init__(
        self,
        name: str,
        *,
        vendor: int,
        device: int,
        class_code: int,
        prog_if: int = 0,
        revision: int = 0,
        multifunction: bool = False,
        command: int = 0,
        command_writable: int = 0,
        status: int = 0,
        bars: Mapping[int, IoBar] | None = None,
        values: Mapping[int, int] | None = None,
        writable: Mapping[int, int] | None = None,
    ) -> None:
        """`values` and `writable` give single bytes beyond the standard header: content after reset, writable bits."""
        self.name = name
        self.on_change: Callable[[], None] = lambda: None
        self.bars = dict(bars or {})
        initial = bytearray(256)
        mask = bytearray(256)
        for offset, value in (
            (VENDOR_ID, vendor),
            (DEVICE_ID, device),
            (COMMAND, command),
            (STATUS, status),
            (CLASS, class_code),
        ):
            initial[offset : offset + 2] = value.to_bytes(2, "little")
        initial[REVISION] = revision
        initial[PROG_IF] = prog_if
        initial[HEADER_TYPE] = 0x80 if multifunction else 0
        mask[COMMAND : COMMAND + 2] = command_writable.to_bytes(2, "little")
        mask[INTERRUPT_LINE] = 0xFF
        for index, bar in self.bars.items():
            at = BAR0 + 4 * index
            initial[at : at + 4] = (bar.base | 1).to_bytes(4, "little")
            mask[at : at + 4] = (0xFFFFFFFF & ~(bar.size - 1)).to_bytes(4, "little")
        for offset, value in (values or {}).items():
            initial[offset] = value
        for offset, value in (writable or {}).items():
            mask[offset] = value
        self._initial = bytes(initial)
        self._mask = bytes(mask)
        self.config = bytearray(initial)

    @property
    def command(self) -> int:
        return self.config[COMMAND] | self.config[COMMAND + 1] << 8

    def bar(self, index: int) -> int | None:
        """Where the register's ports lie, or None while they are not decoded (I/O space off, base 0)."""
        at = BAR0 + 4 * index
        base = int.from_bytes(self.config[at : at + 4], "little") & ~3
        return base if self.command & COMMAND_IO and 0 < base <= 0xFFFF else None

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self.config[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        before = bytes(self.config)
        for at, byte in enumerate(value.to_bytes(size, "little"), offset):
            if at in (STATUS, STATUS + 1):
                clear = byte & (_STATUS_WRITE_ONE_TO_CLEAR >> 8 * (at - STATUS))
                self.config[at] &= ~clear & 0xFF
            else:
                mask = self._mask[at]
                self.config[at] = (self.config[at] & ~mask & 0xFF) | (byte & mask)
        if self.config != before:
            self.on_change()

    def reset(self) -> None:
        self.config[:] = self._initial
        self.on_change()

    def state(self) -> dict[str, Any]:
        return {"config": bytes(self.config)}

    def restore(self, state: dict[str, Any]) -> None:
        """Whoever owns it looks at it afterwards: `on_change` would have devices act on what they were before."""
        self.config[:] = state["config"]


def host_bridge() -> PciFunction:
    """82441FX (440FX) host bridge. PAM registers 0x59..0x5F and SMRAM 0x72 keep what is written."""
    return PciFunction(
        "i440fx",
        vendor=0x8086,
        device=0x1237,
        class_code=0x0600,
        revision=2,
        command=COMMAND_MEMORY | COMMAND_MASTER,
        command_writable=0x0102,
        status=0x0280,
        values={0x72: 0x02},
        writable=dict.fromkeys(range(0x59, 0x60), 0xFF) | {0x72: 0x7F},
    )


def isa_bridge() -> PciFunction:
    """82371SB (PIIX3) PCI to ISA bridge. PIRQRC[A:D] at 0x60..0x63: 0x80 is "not routed"."""
    return PciFunction(
        "piix3-isa",
        vendor=0x8086,
        device=0x7000,
        class_code=0x0601,
        multifunction=True,
        command=COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER,
        command_writable=0x0008,
        status=0x0200,
        values={0x4C: 0x4D, 0x4E: 0x03, 0x60: 0x80, 0x61: 0x80, 0x62: 0x80, 0x63: 0x80, 0x69: 0x02, 0x70: 0x80},
        writable={0x4C: 0xFF, 0x4E: 0xFF, 0x4F: 0x01, 0x60: 0x8F, 0x61: 0x8F, 0x62: 0x8F, 0x63: 0x8F, 0x69: 0xFE},
    )


def ide_function(base: int = 0xC000) -> PciFunction:
    """82371SB function 1: IDE in compatibility mode, bus master registers behind BAR 4.

    IDETIM 0x40..0x43 keep what is written; the decode-enable bits start set, as a BIOS leaves them.
    """
    return PciFunction(
        "piix3-ide",
        vendor=0x8086,
        device=0x7010,
        class_code=0x0101,
        prog_if=0x80,
        command=COMMAND_IO | COMMAND_MASTER,
        command_writable=COMMAND_IO | COMMAND_MASTER,
        status=0x0280,
        bars={4: IoBar(16, base)},
        values={0x41: 0x80, 0x43: 0x80},
        writable={0x40: 0xFF, 0x41: 0xFF, 0x42: 0xFF, 0x43: 0xFF, 0x44: 0xFF},
    )


class PciBus:
    """Configuration mechanism 1 for bus 0, with host bridge 00.0 and PIIX3 01.0, and the reset control register.

    Other functions are `add`ed; they belong to their devices, which save and reset them.
    `on_reset` is called when the guest pulls the reset line through 0xCF9; `irq` gives the wire of an ISA interrupt.
    """

    name = "pci"

    def __init__(self, on_reset: Callable[[], None], irq: Callable[[int], Line]) -> None:
        self.on_reset = on_reset
        self._router = PirqRouter(irq)
        self.functions: dict[tuple[int, int], PciFunction] = {}
        self._address = 0
        self._reset_control = 0
        bridge = isa_bridge()
        bridge.on_change = lambda: self._router.route(bridge.config[PIRQRC : PIRQRC + 4])
        self._bridges = (host_bridge(), bridge)
        for slot, function in enumerate(self._bridges):
            self.add(slot, 0, function)

    def add(self, slot: int, function: int, device: PciFunction) -> None:
        """Have a function answer at a place; ValueError if that is taken."""
        if (slot, function) in self.functions:
            raise ValueError(f"PCI 00:{slot:02x}.{function} is taken")
        self.functions[slot, function] = device

    def interrupt_line(self, slot: int, pin: int) -> Line:
        """The wire from a device's INTA# (pin 1) to INTD# (4), true while it asks."""
        return self._router.line(slot, pin)

    def ports(self) -> list[tuple[int, int]]:
        return [(CONFIG_ADDRESS, 8)]

    def port_read(self, port: int, size: int) -> int:
        if port >= CONFIG_DATA:
            device, offset = self._selected()
            offset += port - CONFIG_DATA
            if device is None or port + size > CONFIG_DATA + 4:
                return (1 << 8 * size) - 1
            return device.read(offset, size)
        if port == CONFIG_ADDRESS and size == 4:
            return self._address
        if port == RESET_CONTROL and size == 1:
            return self._reset_control
        return (1 << 8 * size) - 1

    def port_write(self, port: int, size: int, value: int) -> None:
        if port >= CONFIG_DATA:
            device, offset = self._selected()
            if device is not None and port + size <= CONFIG_DATA + 4:
                device.write(offset + port - CONFIG_DATA, size, value)
        elif port == CONFIG_ADDRESS and size == 4:
            self._address = value & 0x80FFFFFC
        elif port == RESET_CONTROL and size == 1:
            rising = value & ~self._reset_control & 0x04
            self._reset_control = value & 0x06
            if rising:
                self.on_reset()

    def _selected(self) -> tuple[PciFunction | None, int]:
        address = self._address
        if not address & 0x80000000 or address >> 16 & 0xFF:
            return None, 0
        return self.functions.get((address >> 11 & 0x1F, address >> 8 & 7)), address & 0xFC

    def reset(self) -> None:
        self._address = 0
        self._reset_control = 0
        for bridge in self._bridges:
            bridge.reset()

    def state(self) -> dict[str, Any]:
        return {
            "address": self._address,
            "reset_control": self._reset_control,
            "router": self._router.state(),
            "bridges": [bridge.state() for bridge in self._bridges],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._address = state["address"]
        self._reset_control = state["reset_control"]
        self._router.restore(state["router"])
        for bridge, saved in zip(self._bridges, state["bridges"], strict=True):
            bridge.restore(saved)
