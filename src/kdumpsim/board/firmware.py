# SPDX-License-Identifier: GPL-2.0-or-later
"""What a PC's firmware leaves behind for a kernel: tables in low memory and ROM, and devices in their BIOS state.

Follows the MultiProcessor Specification 1.4 (chapter 4), the ACPI specification's address range types for the memory
map, and the layout of the BIOS data area. Contents and order are those SeaBIOS leaves on QEMU's `pc` board, where
they were read.

- 0x00000 interrupt vectors: where a PC's BIOS has them; IRET, or a handler that ends the interrupt (IRQ 0 counts ticks
  at 40:6C as a BIOS does)
- 0x00400 BIOS data area; 0x9FC00 extended BIOS data area (1 KiB)
- 0xB8000 text memory, as the VGA's BIOS clears it
- 0xF0000 ROM: the MP floating pointer and configuration table, a GDT, the stubs, and a reset vector that halts for ever

Not modelled: BIOS services (INT 11h and 12h answer, all others return at once), ACPI, PnP, SMBIOS, option ROMs, a
boot from disk. There is no firmware to run: a kernel is put into memory by `multiboot.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from kdumpsim.apic.ioapic import ADDRESS as IOAPIC_ADDRESS
from kdumpsim.apic.ioapic import VERSION as IOAPIC_VERSION
from kdumpsim.apic.lapic_registers import ADDRESS as LAPIC_ADDRESS
from kdumpsim.apic.lapic_registers import VERSION as LAPIC_VERSION
from kdumpsim.board.pci_registers import COMMAND, PIRQRC, HostBridgeCommand
from kdumpsim.board.pirq import PciInterrupt, pirq
from kdumpsim.board.vga import TEXT_MEMORY, TEXT_SIZE

RAM, RESERVED, ACPI, NVS = 1, 2, 3, 4

BDA = 0x400
EBDA = 0x9FC00
ROM = 0xF0000
ROM_SIZE = 0x10000
HIGH_MEMORY = 0x100000
MP_POINTER = 0xF5B00
MP_TABLE = 0xF5B10
GDT = 0xFB000
GDT_LIMIT = 0x17
CODE_SELECTOR, DATA_SELECTOR = 0x08, 0x10

_ACTIVE_HIGH = 0x0001  # of an MP table's interrupt flags; the trigger is the bus's
_ACTIVE_LOW_LEVEL = 0x000F
_ELCR = 0x4D0
_PIIX = 0x80000800  # configuration address of 01.0
_INTERRUPT_LINE = 0x3C
_LEGACY_IRQS = (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_BASE_MEMORY_KIB = EBDA // 1024  # what INT 12h says; CMOS has it with the EBDA
_CMOS_BASE_KIB = 640
_EQUIPMENT = 0x0226  # one serial port, 80 columns, FPU, PS/2 mouse

# Sixteen-bit code at fixed places in the ROM segment, as offsets from 0xF000:0.
# Those of the AT's BIOS (Technical Reference, BIOS listing) are entered by programs that know them by heart.
_DUMMY, _TICK, _END_MASTER, _END_SLAVE, _EQUIPMENT_CALL, _MEMORY_CALL = 0xFF53, 0xFEA5, 0xE9E0, 0xE9F0, 0xF84D, 0xF841
_KEYBOARD, _DISKETTE_IRQ = 0xE987, 0xEF57
_RETURNING = {
    0x02: 0xE2C3, 0x05: 0xFF54, 0x10: 0xF065, 0x13: 0xE3FE, 0x14: 0xE739, 0x15: 0xF859, 0x16: 0xE82E, 0x17: 0xEFD2,
    0x19: 0xE6F2, 0x1A: 0xFE6E, 0x40: 0xEC59,
}  # fmt: skip
"""NMI, print screen, video, disk, serial port, system, keyboard, printer, boot, clock, diskette: an IRET each."""
_RESET = 0xFFF0
_END = bytes.fromhex("50 b020 e620 58 cf")  # push ax; mov al,0x20; out 0x20,al; pop ax; iret
_STUBS: dict[int, bytes] = {
    **dict.fromkeys((_DUMMY, *_RETURNING.values()), b"\xcf"),  # iret
    # push ds; push ax; xor ax,ax; mov ds,ax; inc dword [0x46c]; mov al,0x20; out 0x20,al; pop ax; pop ds; iret
    _TICK: bytes.fromhex("1e 50 31c0 8ed8 66ff066c04 b020 e620 58 1f cf"),
    **dict.fromkeys((_END_MASTER, _KEYBOARD, _DISKETTE_IRQ), _END),
    _END_SLAVE: bytes.fromhex("50 b020 e6a0 e620 58 cf"),  # the same, slave first
    _EQUIPMENT_CALL: b"\xb8" + struct.pack("<H", _EQUIPMENT) + b"\xcf",  # mov ax,imm; iret
    _MEMORY_CALL: b"\xb8" + struct.pack("<H", _BASE_MEMORY_KIB) + b"\xcf",
    _RESET: bytes.fromhex("fa f4 ebfd"),  # cli; hlt; jmp back to the hlt
}
_ROM_DATE = b"11/20/26\x00\xfc"  # at 0xFFFF5; 0xFC: an AT


class Intr(Enum):
    """Where the i8259s' INTR ends, and what the tables say of it (MP specification 1.4, 3.6.2)."""

    LINT0 = "lint0"
    IOAPIC = "ioapic"
    UNLISTED = "ioapic-unlisted"
    MISLISTED = "lint0-mislisted"

    @property
    def at_pin(self) -> bool:
        """At pin 0 of the I/O APIC, rather than at every LINT0."""
        return self in (Intr.IOAPIC, Intr.UNLISTED)

    @property
    def listed_at_pin(self) -> bool:
        """The MP table has an ExtINT at pin 0."""
        return self in (Intr.IOAPIC, Intr.MISLISTED)


class E820(NamedTuple):
    """One range of the memory map."""

    base: int
    size: int
    kind: int = RAM


class FirmwareMemory(Protocol):
    """Guest-physical memory from address 0 on, at least the first MiB."""

    @property
    def view(self) -> memoryview: ...


def e820(memory_size: int, holes: Sequence[tuple[int, int]] = ()) -> list[E820]:
    """The map a BIOS reports: memory up to the EBDA, the ROMs reserved, memory from 1 MiB up less the `holes`."""
    ranges = [E820(0, EBDA), E820(EBDA, 0x400, RESERVED), E820(ROM, ROM_SIZE, RESERVED)]
    at = HIGH_MEMORY
    for base, size in sorted(holes):
        if min(base, memory_size) > at:
            ranges.append(E820(at, min(base, memory_size) - at))
        at = max(at, base + size)
    if memory_size > at:
        ranges.append(E820(at, memory_size - at))
    ranges.append(E820(0xFFFC0000, 0x40000, RESERVED))
    return ranges


def mp_table(
    cpus: int,
    ioapic_id: int = 0,
    signature: int = 0x0663,
    features: int = 0x178BFBFD,
    pci_interrupts: Sequence[PciInterrupt] = (),
    intr: Intr = Intr.LINT0,
) -> bytes:
    """An MP configuration table: processors, buses, I/O APIC, interrupt and local interrupt assignments.

    What a PCI interrupt is routed to is the PCI bus's, not the ISA bus's: level, here active high, as on QEMU's `pc`.
    One with a pin of its own is active low, as PCI has it.
    """
    taken = {interrupt.irq for interrupt in pci_interrupts}
    entries = []
    for number in range(cpus):
        flags = 0x03 if number == 0 else 0x01  # enabled; the first is the boot processor
        entries.append(struct.pack("<4B2I8x", 0, number, LAPIC_VERSION, flags, signature, features))
    entries.append(struct.pack("<2B6s", 1, 0, b"PCI   "))
    entries.append(struct.pack("<2B6s", 1, 1, b"ISA   "))
    entries.append(struct.pack("<4BI", 2, ioapic_id, IOAPIC_VERSION, 1, IOAPIC_ADDRESS))
    entries.append(_interrupt(3, 0, 0, ioapic_id, 2))  # the timer is wired to pin 2
    entries.extend(_interrupt(3, 0, irq, ioapic_id, irq) for irq in _LEGACY_IRQS if irq not in taken)
    for slot, pin, irq, own_pin in pci_interrupts:
        flags, ends = (_ACTIVE_HIGH, irq) if own_pin is None else (_ACTIVE_LOW_LEVEL, own_pin)
        entries.append(struct.pack("<BBHBBBB", 3, 0, flags, 0, slot << 2 | pin - 1, ioapic_id, ends))
    if intr.listed_at_pin:
        entries.append(_interrupt(3, 3, 0, ioapic_id, 0))  # the 8259s: ExtINT
    elif not intr.at_pin:
        entries.append(_interrupt(4, 3, 0, 0, 0))  # at the boot processor's LINT0
    entries.append(_interrupt(4, 1, 0, 0xFF, 1))  # NMI at every LINT1
    body = b"".join(entries)
    header = struct.pack(
        "<4sHBB8s12sIHHIHBx",
        b"PCMP",
        44 + len(body),
        4,
        0,
        b"KDUMPSIM",
        b"PC          ",
        0,
        0,
        len(entries),
        LAPIC_ADDRESS,
        0,
        0,
    )
    return _with_checksum(header + body, 7)


def _interrupt(entry: int, kind: int, irq: int, apic: int, pin: int) -> bytes:
    """An (I/O or local) interrupt assignment from the ISA bus, polarity and trigger as the bus has them."""
    return struct.pack("<BBHBBBB", entry, kind, 0, 1, irq, apic, pin)


def mp_floating_pointer(table: int) -> bytes:
    """The structure an operating system looks for; feature bytes 0: a table is there, virtual wire mode."""
    return _with_checksum(struct.pack("<4sI8B", b"_MP_", table, 1, 4, 0, 0, 0, 0, 0, 0), 10)


def _with_checksum(data: bytes, at: int) -> bytes:
    patched = bytearray(data)
    patched[at] = -sum(data) & 0xFF
    return bytes(patched)


def install(
    memory: FirmwareMemory,
    *,
    cpus: int,
    ioapic_id: int = 0,
    disks: int = 0,
    signature: int = 0x0663,
    features: int = 0x178BFBFD,
    pci_interrupts: Sequence[PciInterrupt] = (),
    intr: Intr = Intr.LINT0,
) -> None:
    """Write vectors, data areas and ROM straight into memory. `signature`, `features`: CPUID 1, EAX and EDX."""
    view = memory.view
    view[ROM : ROM + ROM_SIZE] = _rom(mp_table(cpus, ioapic_id, signature, features, pci_interrupts, intr))
    view[0:0x400] = _vectors()
    view[BDA : BDA + 0x100] = _bios_data(disks)
    view[EBDA : EBDA + 0x400] = b"\x01" + bytes(0x3FF)  # its size in KiB
    view[TEXT_MEMORY : TEXT_MEMORY + TEXT_SIZE] = b" \x07" * (TEXT_SIZE // 2)  # grey on black


def _rom(table: bytes) -> bytes:
    rom = bytearray(ROM_SIZE)
    gdt = struct.pack("<3Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)
    parts = {offset + ROM: code for offset, code in _STUBS.items()} | {
        MP_POINTER: mp_floating_pointer(MP_TABLE),
        MP_TABLE: table,
        GDT: gdt,
        0xFFFF5: _ROM_DATE,
    }
    for address, data in parts.items():
        rom[address - ROM : address - ROM + len(data)] = data
    return bytes(rom)


def _vectors() -> bytes:
    offsets = [_DUMMY] * 256
    offsets[0x09:0x10] = [_END_MASTER] * 7
    offsets[0x70:0x78] = [_END_SLAVE] * 8
    offsets[0x08], offsets[0x11], offsets[0x12] = _TICK, _EQUIPMENT_CALL, _MEMORY_CALL
    offsets[0x09], offsets[0x0E] = _KEYBOARD, _DISKETTE_IRQ
    for vector, offset in _RETURNING.items():
        offsets[vector] = offset
    return b"".join(struct.pack("<HH", offset, ROM >> 4) for offset in offsets)


def _bios_data(disks: int) -> bytes:
    data = bytearray(0x100)

    def put(offset: int, form: str, *values: int) -> None:
        struct.pack_into("<" + form, data, offset, *values)

    put(0x00, "2H", 0x3F8, 0x2F8)  # serial ports
    put(0x0E, "H", EBDA >> 4)
    put(0x10, "H", _EQUIPMENT)
    put(0x13, "H", _BASE_MEMORY_KIB)
    put(0x1A, "2H", 0x1E, 0x1E)  # keyboard buffer, empty
    put(0x49, "BHH", 3, 80, 4096)  # text mode
    put(0x63, "H", 0x3D4)
    put(0x75, "B", disks)
    put(0x7C, "2B", 10, 10)  # serial time-outs
    put(0x80, "2H", 0x1E, 0x3E)
    put(0x84, "B", 24)  # rows less one
    put(0x96, "B", 0x10)  # 101-key keyboard
    return bytes(data)


def program(
    port_out: Callable[[int, int, int], None],
    mmio_write: Callable[[int, int, int], None],
    *,
    memory_size: int = 0,
    cpus: int = 1,
    pci_interrupts: Sequence[PciInterrupt] = (),
    intr: Intr = Intr.LINT0,
) -> None:
    """What a BIOS leaves in the devices, done through their own registers, as the boot CPU would do it.

    `port_out(port, size, value)`, `mmio_write(address, size, value)`. The state a kernel finds:

    - 8259s: vectors 0x08 and 0x70; IRQ 0, 1, 2, 6 and 8, 12, 13, 14 unmasked, all edge
    - PIT channel 0: mode 2, divisor 65536 (18.2 Hz); so IRQ 0 is usually pending
    - boot CPU's LAPIC: enabled, spurious vector 0xFF, virtual wire: LINT0 ExtINT, LINT1 NMI; I/O APIC all masked;
      or, with the 8259s at its pin 0, that ExtINT and LINT0 masked
    - RTC: 32768 Hz base, 24 hours, no interrupts; CMOS memory sizes; number of CPUs less one at 0x5F
    - i8042: keyboard interrupt and translation on, keyboard enabled
    - `pci_interrupts`: routed by the PIIX, level triggered at the 8259s, told to each function
    """

    def out(port: int, *values: int) -> None:
        for value in values:
            port_out(port, 1, value)

    out(0x20, 0x11)
    out(0xA0, 0x11)
    out(0x21, 0x08, 0x04, 0x01)
    out(0xA1, 0x70, 0x02, 0x01)
    out(0x21, 0xB8)
    out(0xA1, 0x8E)

    out(0x43, 0x34)
    out(0x40, 0x00, 0x00)

    low = min(max(memory_size - HIGH_MEMORY, 0) // 1024, 0xFFFF)
    high = max(memory_size - 0x1000000, 0) // 0x10000 & 0xFFFF
    cmos = {0x0A: 0x26, 0x0B: 0x02, 0x0F: 0x00, 0x10: 0x00, 0x12: 0x00, 0x14: _EQUIPMENT & 0xFF}
    cmos |= {0x15: _CMOS_BASE_KIB & 0xFF, 0x16: _CMOS_BASE_KIB >> 8, 0x17: low & 0xFF, 0x18: low >> 8}
    cmos |= {0x30: low & 0xFF, 0x31: low >> 8, 0x34: high & 0xFF, 0x35: high >> 8, 0x5F: cpus - 1}
    for index, value in cmos.items():
        out(0x70, index)
        out(0x71, value)

    out(0x64, 0xAE, 0x60)  # enable the keyboard; write the command byte:
    out(0x60, 0x61)  # translation, mouse disabled, keyboard interrupt

    mmio_write(LAPIC_ADDRESS + 0xF0, 4, 0x1FF)
    mmio_write(LAPIC_ADDRESS + 0x350, 4, 0x18700 if intr.at_pin else 0x8700)
    if intr.at_pin:  # virtual wire through the I/O APIC: ExtINT to APIC ID 0, by edge
        for register, value in ((0x11, 0), (0x10, 0x700)):
            mmio_write(IOAPIC_ADDRESS, 4, register)
            mmio_write(IOAPIC_ADDRESS + 0x10, 4, value)
    mmio_write(LAPIC_ADDRESS + 0x360, 4, 0x8400)

    port_out(0xCF8, 4, 1 << 31 | COMMAND)
    command = HostBridgeCommand()
    command.serr = 1
    port_out(0xCFC, 2, command.value)

    levels = 0
    for slot, pin, irq, _ in pci_interrupts:
        levels |= 1 << irq
        for address, value in ((_PIIX | PIRQRC + pirq(slot, pin), irq), (1 << 31 | slot << 11 | _INTERRUPT_LINE, irq)):
            port_out(0xCF8, 4, address & ~3)
            port_out(0xCFC + (address & 3), 1, value)
    if levels:
        out(_ELCR, levels & 0xFF)
        out(_ELCR + 1, levels >> 8)
