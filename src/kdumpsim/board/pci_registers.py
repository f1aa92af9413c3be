# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI configuration space, register by register: what every function has, and what the board's own add to it.

Follows PCI Local Bus Specification 2.1 (3.7.4.1 and chapter 6), and the Intel 82441FX and 82371SB (PIIX3) data sheets
for the registers of the host bridge, the ISA bridge and the IDE function; PCI 2.3 and the 82801EB (ICH5) data sheet
for those of the SATA function. `pci.py` acts. A bit that a part has wired to
one is declared read-only with that value, one that it has wired to zero is not declared.

Not modelled, and so not declared: BIST, cache line size, latency timer, expansion ROM, CardBus pointers.
"""

from __future__ import annotations

from kdumpsim.apic.registers import Access, Field, Register

RO, W1C = Access.RO, Access.W1C

VENDOR_ID = 0x00
DEVICE_ID = 0x02
COMMAND = 0x04
STATUS = 0x06
REVISION = 0x08
CLASS_CODE = 0x09
HEADER_TYPE = 0x0E
BAR0, BAR1, BAR2, BAR3, BAR4 = 0x10, 0x14, 0x18, 0x1C, 0x20
SUBSYSTEM_VENDOR_ID = 0x2C
SUBSYSTEM_ID = 0x2E
INTERRUPT_LINE = 0x3C
INTERRUPT_PIN = 0x3D
MIN_GNT, MAX_LAT = 0x3E, 0x3F


# The two registers of configuration mechanism 1, and the PIIX's reset control.


class ConfigAddress(Register):
    """Port 0xCF8: which doubleword of whose configuration space is at 0xCFC."""

    register = Field(2, 6)
    function = Field(8, 3)
    device = Field(11, 5)
    bus = Field(16, 8)
    enabled = Field(31)


class ResetControl(Register):
    """Port 0xCF9. The reset line is pulled on a rising `reset_cpu`, whatever `hard` says."""

    hard = Field(1)
    reset_cpu = Field(2)


# The header of every function.


class Wired8(Register):
    """A byte that is what it is."""

    bits = Field(0, 8, access=RO)


class Wired16(Register):
    """Vendor, device and subsystem identification."""

    bits = Field(0, 16, access=RO)


class ClassCode(Register):
    """Offset 0x09, three bytes."""

    interface = Field(0, 8, access=RO)
    sub_class = Field(8, 8, access=RO)
    base_class = Field(16, 8, access=RO)


class HeaderType(Register):
    layout = Field(0, 7, access=RO)
    multifunction = Field(7, access=RO)


class Command(Register):
    """What a function's COMMAND may have (6.2.2); each declares those of the bits that it implements."""

    io = Field(0)
    memory = Field(1)
    master = Field(2)


class Status(Register):
    """STATUS (6.2.3) of this board's functions: medium DEVSEL timing. They clear by writing ones."""

    fast_back_to_back = Field(7, access=RO)
    master_data_parity_error = Field(8, access=W1C)
    devsel = Field(9, 2, access=RO, reset=1)
    signaled_target_abort = Field(11, access=W1C)
    received_target_abort = Field(12, access=W1C)
    received_master_abort = Field(13, access=W1C)
    signaled_system_error = Field(14, access=W1C)
    detected_parity_error = Field(15, access=W1C)


class FastStatus(Status):
    """The same of a function that takes fast back-to-back transactions."""

    fast_back_to_back = Field(7, access=RO, reset=1)


class InterruptLine(Register):
    """Software's own note of the IRQ."""

    line = Field(0, 8)


class Stored8(Register):
    """A byte that keeps what is written, without an effect here."""

    bits = Field(0, 8)


class IoBase4(Register):
    """A base address register of 4 ports."""

    io_space = Field(0, access=RO, reset=1)
    base = Field(2, 30)


class IoBase8(Register):
    """A base address register of 8 ports."""

    io_space = Field(0, access=RO, reset=1)
    base = Field(3, 29)


class IoBase16(Register):
    """A base address register (6.2.5.1) of 16 ports."""

    io_space = Field(0, access=RO, reset=1)
    base = Field(4, 28)


class IoBase256(Register):
    """A base address register of 256 ports."""

    io_space = Field(0, access=RO, reset=1)
    base = Field(8, 24)


# 82441FX, the host bridge.

PAM = range(0x59, 0x60)
SMRAM = 0x72


class HostBridgeCommand(Register):
    memory = Field(1, reset=1)
    master = Field(2, access=RO, reset=1)
    serr = Field(8)


class Smram(Register):
    """Kept; there is no SMM."""

    base_segment = Field(0, 3, reset=2)
    global_enable = Field(3)
    lock = Field(4)
    close = Field(5)
    open = Field(6)


# 82371SB function 0, the bridge to ISA.

IORT, XBCS, PIRQRC, TOM, MBIRQ0 = 0x4C, 0x4E, 0x60, 0x69, 0x70


class IsaBridgeCommand(Register):
    io = Field(0, access=RO, reset=1)
    memory = Field(1, access=RO, reset=1)
    master = Field(2, access=RO, reset=1)
    special_cycles = Field(3)


class IoRecovery(Register):
    """IORT: kept, ISA cycles take no time here."""

    sixteen_bit_times = Field(0, 2, reset=1)
    sixteen_bit_enabled = Field(2, reset=1)
    eight_bit_times = Field(3, 3, reset=1)
    eight_bit_enabled = Field(6, reset=1)
    dma_reserved_page = Field(7)


class XBusChipSelect(Register):
    """XBCS: kept, whoever is on the X-bus answers anyway."""

    rtc = Field(0, reset=1)
    keyboard = Field(1, reset=1)
    bios_write = Field(2)
    extended_bios = Field(3)
    mouse_irq12 = Field(4)
    coprocessor_error = Field(5)
    lower_bios = Field(6)
    further_extended_bios = Field(7)
    apic = Field(8)


class PirqRoute(Register):
    """PIRQRC[A:D]."""

    irq = Field(0, 4)
    not_routed = Field(7, reset=1)


class TopOfMemory(Register):
    """TOM: kept, ISA has no masters here."""

    forward = Field(1, 3, reset=1)
    top = Field(4, 4)


class MotherboardIrq(Register):
    """MBIRQ0, not routed."""

    not_routed = Field(7, access=RO, reset=1)


# 82371SB function 1, IDE.

IDETIM_PRIMARY, IDETIM_SECONDARY, SIDETIM = 0x40, 0x42, 0x44


class IdeCommand(Register):
    """As a BIOS leaves it."""

    io = Field(0, reset=1)
    master = Field(2, reset=1)


class IdeTiming(Register):
    """IDETIM: kept, drives have times of their own. Decoding starts enabled, as a BIOS leaves it."""

    drive0 = Field(0, 4)
    drive1 = Field(4, 4)
    recovery = Field(8, 2)
    reserved = Field(10, 2)
    iordy_sample = Field(12, 2)
    slave_timing = Field(14)
    decode_enabled = Field(15, reset=1)


# 82801EB (ICH5) function 31.2, SATA.

MAP, PCS = 0x90, 0x92


class SataCommand(Register):
    """As a BIOS leaves it. `interrupt_disable` is PCI 2.3's: INTA# is not driven while it is set."""

    io = Field(0, reset=1)
    master = Field(2, reset=1)
    interrupt_disable = Field(10)


class SataStatus(FastStatus):
    """`interrupt` (PCI 2.3): the function asks, whether it may drive INTA# or not."""

    interrupt = Field(3, access=RO)
    mhz66 = Field(5, access=RO, reset=1)


class AddressMap(Register):
    """MAP. Zero: port 0 is the primary channel's master, port 1 the secondary one's. Nothing else can be set here."""

    ports = Field(0, 3, access=RO)


class PortControl(Register):
    """PCS: ports that are enabled (kept, as a BIOS leaves them), and whether a drive was found there."""

    enabled = Field(0, 2, reset=3)
    present = Field(4, 2, access=RO)
