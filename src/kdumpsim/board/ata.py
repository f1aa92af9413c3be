# SPDX-License-Identifier: GPL-2.0-or-later
"""One ATA disk drive: its task file, its addresses, what it says of itself, and the table of its commands.

Follows ATA/ATAPI-6 (T13/1410D): register meanings, 8.x commands, 8.15 IDENTIFY DEVICE, 9.12 signatures. The
protocols (who moves data when, and the interrupt) are the channel's, in `idechannel.py`.

Not modelled: packet devices, SMART, security, host protected area (READ NATIVE MAX answers, SET MAX is aborted),
removable media, power-saving states (the drive is always ready), sleep, bad sectors (but `bad_transfers`).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from kdumpsim.apic.registers import Access, Field, Register
from kdumpsim.board.disk import Disk

DATA, ERROR, COUNT, LOW, MID, HIGH, DEVICE, STATUS = range(8)
"""Registers of the command block; writing ERROR is Features, writing STATUS is Command."""


class Status(Register):
    """The Status register. Bits 1 and 2 (index and corrected data) are obsolete and read as zeros."""

    error = Field(0, access=Access.RO)
    data_request = Field(3, access=Access.RO)
    seek_complete = Field(4, access=Access.RO)
    device_fault = Field(5, access=Access.RO)
    ready = Field(6, access=Access.RO)
    busy = Field(7, access=Access.RO)


class Error(Register):
    """The Error register. After reset and diagnostics it holds a code instead, 1 for a drive that passed."""

    aborted = Field(2, access=Access.RO)
    id_not_found = Field(4, access=Access.RO)
    uncorrectable = Field(6, access=Access.RO)
    interface_crc = Field(7, access=Access.RO)


class Device(Register):
    """The Device register. Bits 5 and 7 are obsolete and read as ones."""

    head = Field(0, 4)  # or bits 27:24 of the sector's address
    drive = Field(4)
    obsolete_5 = Field(5, access=Access.RO, reset=1)
    lba = Field(6)
    obsolete_7 = Field(7, access=Access.RO, reset=1)


class DeviceControl(Register):
    """The Device Control register, in the control block."""

    interrupt_disabled = Field(1)
    software_reset = Field(2)
    high_order_byte = Field(7)


class TransferMode(Register):
    """SET FEATURES 03h, the sector count."""

    number = Field(0, 3)
    kind = Field(3, 5)


PIO_DEFAULT, PIO_FLOW_CONTROL, MULTIWORD_DMA, ULTRA_DMA = 0, 1, 4, 8
"""Kinds of transfer modes."""

# Plain masks for paths that every access takes.
BSY, DRDY, DSC, DRQ, ERR = (
    field.mask for field in (Status.busy, Status.ready, Status.seek_complete, Status.data_request, Status.error)
)
ABRT, IDNF, UNC = Error.aborted.mask, Error.id_not_found.mask, Error.uncorrectable.mask
NIEN, SRST, HOB = (
    field.mask
    for field in (DeviceControl.interrupt_disabled, DeviceControl.software_reset, DeviceControl.high_order_byte)
)

READY = DRDY | DSC
PASSED = 1
MAX_MULTIPLE = 16
LBA28_LIMIT = 0x0FFFFFFF
SET_TRANSFER_MODE = 0x03


class Command(NamedTuple):
    """What a command code means: the protocol, 48-bit addressing, blocks of `multiple` sectors."""

    action: str
    ext: bool = False
    multiple: bool = False


COMMANDS: dict[int, Command] = {
    **dict.fromkeys(range(0x10, 0x20), Command("nothing")),  # RECALIBRATE
    0x20: Command("read"),
    0x21: Command("read"),
    0x24: Command("read", ext=True),
    0x25: Command("read_dma", ext=True),
    0x27: Command("native_max", ext=True),
    0x29: Command("read", ext=True, multiple=True),
    0x30: Command("write"),
    0x31: Command("write"),
    0x34: Command("write", ext=True),
    0x35: Command("write_dma", ext=True),
    0x39: Command("write", ext=True, multiple=True),
    0x40: Command("verify"),
    0x41: Command("verify"),
    0x42: Command("verify", ext=True),
    **dict.fromkeys(range(0x70, 0x80), Command("seek")),
    0x91: Command("parameters"),
    0xC4: Command("read", multiple=True),
    0xC5: Command("write", multiple=True),
    0xC6: Command("set_multiple"),
    0xC8: Command("read_dma"),
    0xC9: Command("read_dma"),
    0xCA: Command("write_dma"),
    0xCB: Command("write_dma"),
    0xE0: Command("nothing"),  # STANDBY IMMEDIATE
    0xE1: Command("nothing"),  # IDLE IMMEDIATE
    0xE2: Command("nothing"),  # STANDBY
    0xE3: Command("nothing"),  # IDLE
    0xE5: Command("power_mode"),
    0xE7: Command("flush"),
    0xEA: Command("flush", ext=True),
    0xEC: Command("identify"),
    0xEF: Command("set_features"),
    0xF8: Command("native_max"),
}

_FEATURES_ACCEPTED = frozenset({0x02, 0x82, 0x55, 0xAA, 0x66, 0xCC})  # write cache, look-ahead, reverting to defaults


class Drive:
    """A drive, or the place of an absent one (`disk` is None): the registers exist either way."""

    def __init__(self, disk: Disk | None, number: int) -> None:
        self.disk = disk
        self.number = number
        sectors = disk.sectors if disk else 0
        self.default_heads, self.default_track = 16, 63
        self.cylinders = max(1, min(16383, sectors // (16 * 63)))
        self.power_on()

    def power_on(self) -> None:
        self.bad_transfers = 0
        """So many transfers that come next meet a sector that cannot be read or written."""
        self.multiple = MAX_MULTIPLE
        self.heads, self.track = self.default_heads, self.default_track
        self.multiword: int | None = None
        self.ultra: int | None = 5
        self.signature()

    def signature(self) -> None:
        """What the registers hold after reset or diagnostics; the drive is ready."""
        self.feature = 0
        self.recent = {COUNT: 1, LOW: 1, MID: 0, HIGH: 0}
        """What was written last to the registers that 48-bit commands read twice."""
        self.previous = dict.fromkeys(self.recent, 0)
        """What was written before that; HOB shows it."""
        self.device = Device()
        self.error = PASSED
        self.status = READY if self.disk else 0
        self.interrupt = False

    def write(self, register: int, value: int) -> None:
        """A task file write, ERROR (Features) to DEVICE; both drives of a channel see it."""
        if register in self.recent:
            self.previous[register], self.recent[register] = self.recent[register], value
        elif register == ERROR:
            self.feature = value
        elif register == DEVICE:
            self.device.write(value)

    def read(self, register: int, hob: bool) -> int:
        """COUNT to DEVICE."""
        if register == DEVICE:
            return self.device.value
        return self.previous[register] if hob else self.recent[register]

    @property
    def count(self) -> int:
        """The sector count register."""
        return self.recent[COUNT]

    @count.setter
    def count(self, value: int) -> None:
        self.recent[COUNT] = value

    def sector_count(self, ext: bool) -> int:
        if ext:
            return int.from_bytes((self.previous[COUNT], self.count), "big") or 0x10000
        return self.count or 0x100

    def address(self, ext: bool) -> int | None:
        """The first sector the registers name; None if they name none."""
        low, mid, high = (self.recent[register] for register in (LOW, MID, HIGH))
        if ext:
            above = (self.previous[register] for register in (LOW, MID, HIGH))
            return int.from_bytes((low, mid, high, *above), "little")
        if self.device.lba:
            return int.from_bytes((low, mid, high, self.device.head), "little")
        cylinder, head = int.from_bytes((mid, high), "little"), self.device.head
        if not 1 <= low <= self.track or head >= self.heads:
            return None
        return (cylinder * self.heads + head) * self.track + low - 1

    def set_address(self, lba: int, ext: bool) -> None:
        """Show a sector number in the registers."""
        self.recent[LOW], self.recent[MID], self.recent[HIGH], *above = lba.to_bytes(6, "little")
        if ext:
            self.previous[LOW], self.previous[MID], self.previous[HIGH] = above
        else:
            self.device.head = above[0]

    def set_multiple(self) -> bool:
        count = self.count
        if count > MAX_MULTIPLE or count & (count - 1):
            return False
        self.multiple = count
        return True

    def set_features(self) -> bool:
        if self.feature != SET_TRANSFER_MODE:
            return self.feature in _FEATURES_ACCEPTED
        wanted = TransferMode(self.count)
        mode, kind = wanted.number, wanted.kind
        if kind == PIO_DEFAULT:
            return mode <= 1
        if kind == PIO_FLOW_CONTROL:
            return mode <= 4
        if kind == MULTIWORD_DMA and mode <= 2:
            self.multiword, self.ultra = mode, None
        elif kind == ULTRA_DMA and mode <= 5:
            self.multiword, self.ultra = None, mode
        else:
            return False
        return True

    def set_parameters(self) -> bool:
        """INITIALIZE DEVICE PARAMETERS: the CHS geometry the host wants."""
        if not self.count:
            return False
        self.heads, self.track = self.device.head + 1, self.count
        return True

    def identify(self) -> bytes:
        """The 512 bytes of IDENTIFY DEVICE."""
        assert self.disk is not None
        sectors = self.disk.sectors
        words = [0] * 256
        words[0] = 0x0040  # fixed ATA device
        words[1], words[3], words[6] = self.cylinders, self.default_heads, self.default_track
        words[10:20] = _text(f"KD{self.number:08d}", 10)
        words[23:27] = _text("1.0", 4)
        words[27:47] = _text("KDUMPSIM HARDDISK", 20)
        words[47] = 0x8000 | MAX_MULTIPLE
        words[48] = 1  # 32-bit data port access
        words[49] = 0x0B00  # IORDY, LBA, DMA
        words[50] = 0x4000
        words[51] = words[52] = 0x0200
        words[53] = 7  # words 54-58, 64-70 and 88 are valid
        current = max(1, min(65535, sectors // (self.heads * self.track)))
        capacity = min(current * self.heads * self.track, sectors)
        words[54], words[55], words[56] = current, self.heads, self.track
        words[57], words[58] = capacity & 0xFFFF, capacity >> 16 & 0xFFFF
        words[59] = (0x0100 | self.multiple) if self.multiple else 0
        words[60], words[61] = _low_high(min(sectors, LBA28_LIMIT))
        words[63] = 0x07 | (0x100 << self.multiword if self.multiword is not None else 0)
        words[64] = 0x03  # PIO 3 and 4
        words[65:69] = [120] * 4
        words[80] = 0x0070  # ATA/ATAPI-4, 5, 6
        words[82] = words[85] = 0x0028  # write cache, power management
        words[83] = words[86] = 0x3400  # FLUSH CACHE, FLUSH CACHE EXT, 48-bit addresses
        words[83] |= 0x4000
        words[84] = words[87] = 0x4000
        words[88] = 0x3F | (0x100 << self.ultra if self.ultra is not None else 0)
        words[93] = 0x6001 if self.number % 2 == 0 else 0x6100  # hardware reset result, by position on the cable
        words[100:102] = _low_high(sectors & 0xFFFFFFFF)
        words[102:104] = _low_high(sectors >> 32)
        data = bytearray(struct.pack("<256H", *words))
        data[510] = 0xA5
        data[511] = -sum(data[:511]) & 0xFF
        return bytes(data)

    _PLAIN = (
        *(
            "multiple",
            "heads",
            "track",
            "multiword",
            "ultra",
            "feature",
            "error",
            "status",
            "interrupt",
            "bad_transfers",
        ),
    )

    def state(self) -> dict[str, Any]:
        """Registers, modes, and what is on the disk."""
        disk = None if self.disk is None else self.disk.state()
        return {
            "disk": disk,
            "recent": dict(self.recent),
            "previous": dict(self.previous),
            "device": self.device.value,
            **{name: getattr(self, name) for name in self._PLAIN},
        }

    def restore(self, state: dict[str, Any]) -> None:
        if self.disk is not None:
            self.disk.restore(state["disk"])
        self.recent, self.previous = dict(state["recent"]), dict(state["previous"])
        self.device.value = state["device"]
        for name in self._PLAIN:
            setattr(self, name, state[name])


def _text(text: str, words: int) -> list[int]:
    """ATA strings: two characters a word, the first in the high byte, padded with spaces."""
    padded = text.ljust(2 * words).encode("ascii")
    return [padded[at] << 8 | padded[at + 1] for at in range(0, 2 * words, 2)]


def _low_high(value: int) -> list[int]:
    return [value & 0xFFFF, value >> 16 & 0xFFFF]
