# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers of the RTL8139, as the RTL8139C(L) data sheet describes them. `rtl8139.py` acts."""

from __future__ import annotations

from kdumpsim.apic.registers import Access, Field, Register

RO, W1C = Access.RO, Access.W1C

IDR0, MAR0 = 0x00, 0x08
TSD0, TSAD0 = 0x10, 0x20
RBSTART = 0x30
CR, CAPR, CBR = 0x37, 0x38, 0x3A
IMR, ISR = 0x3C, 0x3E
TCR, RCR = 0x40, 0x44
MPC = 0x4C
EECR = 0x50  # 9346CR
CONFIG0, CONFIG1, CONFIG3, CONFIG4 = 0x51, 0x52, 0x59, 0x5A
MSR = 0x58
RERID = 0x5E
TSAD_STATUS = 0x60
BMCR, BMSR, ANAR, ANLPAR, ANER = 0x62, 0x64, 0x66, 0x68, 0x6A


class PciCommand(Register):
    """COMMAND in its configuration space: without bus mastering, as a BIOS leaves it."""

    io = Field(0, reset=1)
    master = Field(2)


class Whole32(Register):
    """IDR, MAR, TSAD, RBSTART: 32 bits without parts."""

    bits = Field(0, 32)


class TransmitStatus(Register):
    """TSD0..3. Writing 0 to `own` hands the buffer at TSAD to the chip."""

    size = Field(0, 13)
    own = Field(13, reset=1)
    underrun = Field(14, access=RO)
    ok = Field(15, access=RO)
    threshold = Field(16, 6)
    collisions = Field(24, 4, access=RO)
    heartbeat = Field(28, access=RO)
    out_of_window = Field(29, access=RO)
    aborted = Field(30, access=RO)
    carrier_lost = Field(31, access=RO)


class Command(Register):
    """CR."""

    buffer_empty = Field(0, access=RO, reset=1)
    transmit = Field(2)
    receive = Field(3)
    reset_chip = Field(4)


class ReadPointer(Register):
    """CAPR: where the driver has read to, less 16."""

    offset = Field(0, 16, reset=0xFFF0)


class WritePointer(Register):
    """CBR: where the chip writes next, an offset in the ring."""

    offset = Field(0, 16, access=RO)


class InterruptMask(Register):
    """IMR."""

    bits = Field(0, 16)


class InterruptStatus(Register):
    """ISR."""

    receive_ok = Field(0, access=W1C)
    receive_error = Field(1, access=W1C)
    transmit_ok = Field(2, access=W1C)
    transmit_error = Field(3, access=W1C)
    ring_full = Field(4, access=W1C)
    link_changed = Field(5, access=W1C)
    fifo_overflow = Field(6, access=W1C)
    cable_length = Field(13, access=W1C)
    time_out = Field(14, access=W1C)
    system_error = Field(15, access=W1C)


class TransmitConfig(Register):
    """TCR. `version`: 11101 is a C."""

    clear_abort = Field(0)
    retries = Field(4, 4)
    burst = Field(8, 3)
    no_crc = Field(16)
    loopback = Field(17, 2)
    version_b = Field(22, 2, access=RO)
    gap = Field(24, 2, reset=3)
    version = Field(26, 5, access=RO, reset=0b11101)


class ReceiveConfig(Register):
    """RCR."""

    all_addresses = Field(0)
    own_address = Field(1)
    multicast = Field(2)
    broadcast = Field(3)
    runts = Field(4)
    errors = Field(5)
    wrap = Field(7)
    burst = Field(8, 3)
    ring_length = Field(11, 2)
    threshold = Field(13, 3)
    error_8 = Field(16)
    multi_interrupt = Field(17)
    early = Field(24, 4)


class Missed(Register):
    """MPC: frames that found no room; any write clears it."""

    count = Field(0, 24, access=RO)


class EepromCommand(Register):
    """9346CR. `mode`: 0 normal, 1 load from the EEPROM, 2 its wires are `clock` and so on, 3 CONFIG unlocked."""

    data_out = Field(0, access=RO)
    data_in = Field(1)
    clock = Field(2)
    select = Field(3)
    mode = Field(6, 2)


class Config(Register):
    """CONFIG0, 1, 3, 4: kept, without an effect here."""

    bits = Field(0, 8)


class MediaStatus(Register):
    """MSR. The link is up, at 100 Mb/s."""

    paused_receiver = Field(0, access=RO)
    paused_transmitter = Field(1, access=RO)
    link_down = Field(2, access=RO)
    speed_10 = Field(3, access=RO)


class Revision(Register):
    """RERID."""

    number = Field(0, 8, access=RO, reset=0x10)


class TransmitSummary(Register):
    """TSAD: the four descriptors at a glance, one bit each."""

    own = Field(0, 4, access=RO, reset=0xF)
    aborted = Field(4, 4, access=RO)
    underrun = Field(8, 4, access=RO)
    ok = Field(12, 4, access=RO)


class BasicMode(Register):
    """BMCR: after auto-negotiation at 100 Mb/s, full duplex."""

    duplex = Field(8, reset=1)
    restart = Field(9)
    negotiate = Field(12, reset=1)
    fast = Field(13, reset=1)


class BasicStatus(Register):
    """BMSR: 10 and 100 Mb/s, negotiated, link up."""

    bits = Field(0, 16, access=RO, reset=0x782D)


class Advertised(Register):
    """ANAR: all four modes, 802.3."""

    bits = Field(0, 16, reset=0x01E1)


class PartnerAbility(Register):
    """ANLPAR: the other side's, acknowledged."""

    bits = Field(0, 16, access=RO, reset=0x41E1)


class Expansion(Register):
    """ANER: the partner negotiates, its page was received."""

    bits = Field(0, 16, access=RO, reset=0x0003)
