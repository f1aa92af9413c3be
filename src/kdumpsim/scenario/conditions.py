# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware conditions of a crash (LKDTT paper, sections 1.1 and 3.4): the choices, and their checks."""

from __future__ import annotations

from collections.abc import Sequence

from kdumpsim.board.firmware import e820
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import PAGE_SIZE

OTHER_CPUS: dict[str, str] = {
    "halted": "idle: the load is bound to the crashing CPU",
    "spinning": "busy for ever with interrupts off",
    "nmi": "inside an NMI handler that does not return",
}
"""States the other CPUs can be put into before the crash."""

DISK_DMA, NETWORK_DMA = "disk", "net"
DMA: dict[str, str] = {
    DISK_DMA: "reads without a pause, so that the disk writes to memory while the capture kernel takes over",
    NETWORK_DMA: "a network card that receives traffic before and after the crash",
}
"""Devices that can be kept busy with DMA."""

BREAKS: dict[str, str] = {
    "timer": "the PIT's counters never expire",
    "lapic-timer": "the local APICs' timers never expire",
    "timer@handover": "no timer interrupts at all from the hand-over on",
    "disk": "the drives on the system disk's cable complete no command",
    "nic": "the network card neither receives nor sends",
}
"""Devices that can fail for good: when the crash is armed, or at the hand-over."""

VARIED: dict[str, str] = {
    "count": "crossings of the point, 1 to 40",
    "phase": "how long the load runs before the point is armed, up to 100 ms",
    "load": "one more program, or none",
    "latency": "the disks' seek time, from a quarter to four times the usual",
}
"""What can be drawn for a crash point."""

LEGACY, NATIVE = "legacy", "native"
SATA: dict[str, str] = {
    LEGACY: "at the legacy IDE ports, like an ICH5 in combined mode; IRQ 14, edge triggered",
    NATIVE: "at PCI base addresses, with a level-triggered PCI interrupt on I/O APIC pin 18",
}
"""How the SATA controller of the system disk is programmed."""

I8259: dict[str, str] = {
    "lint0": "at LINT0 of every CPU, as the MP table says",
    "ioapic": "at pin 0 of the I/O APIC, as the MP table says",
    "ioapic-unlisted": "at pin 0 of the I/O APIC; the MP table does not say so, but the firmware has set the pin",
    "lint0-mislisted": "at LINT0, but the MP table claims pin 0 of the I/O APIC",
}
"""Where the i8259s' interrupts arrive, and whether the firmware's table is right about it."""

DUMP_DISKS: dict[str, str] = {
    "hdc": "on a cable of its own, the secondary channel",
    "hdb": "the slave on the system disk's cable; needs kernel option combined_mode=ide",
    "sdb": "on the second port of the SATA controller; needs --sata native",
}
"""Where the dump disk can be, by its name in the capture kernel."""
USUAL_DUMP_DISK = "hdc"

KDUMPSIM, QEMU = "kdumpsim", "qemu"
MACHINES: dict[str, str] = {
    KDUMPSIM: "our own machine",
    QEMU: "the pc of qemu-system-i386, with the same images and the same tools",
}
"""PCs that a scenario can be run on."""

INJECTIONS: dict[str, str] = {
    "corrupt-capture-kernel": "flip bits of the capture kernel in the reserved region after it is loaded",
}
"""Damage that can be done on purpose."""

MIB = 1 << 20
MAX_CPUS = 8
"""The guest kernel's NR_CPUS."""
QEMU_MEMORY_UNIT = 2 * PAGE_SIZE
QEMU_FIRMWARE = 128 << 10
"""Bytes at the top of RAM that QEMU's firmware keeps for its ACPI tables."""
E820MAX = 32
"""The number of ranges in a memory map that the guest kernel can keep (its E820MAX)."""


class ConditionError(ScenarioError):
    """Impossible conditions; the message says what is allowed."""


def check_holes(holes: Sequence[tuple[int, int]], memory: int, reserved: tuple[int, int]) -> None:
    """Raise ConditionError if a hole (base, size) is not whole pages of RAM between 1 MiB and the end of memory, if it
    overlaps another one or the reserved region, or if there are too many for the kernel's memory map."""
    end_of_last = MIB
    for base, size in sorted(holes):
        end = base + size
        where = f"memory hole {base:#x}:{size:#x}"
        if base % PAGE_SIZE or size % PAGE_SIZE or size <= 0:
            raise ConditionError(f"{where} is not made of whole pages: BASE and SIZE must be multiples of 4K")
        if base < MIB or end > memory:
            raise ConditionError(f"{where} is out of range: choose addresses from 1M to {memory >> 20}M")
        if base < end_of_last:
            raise ConditionError(f"{where} overlaps another one")
        if base < reserved[1] and end > reserved[0]:
            raise ConditionError(f"{where} overlaps the reserved region, {reserved[0]:#x} to {reserved[1]:#x}")
        end_of_last = end
    ranges = len(e820(memory, holes))
    if ranges > E820MAX:
        raise ConditionError(
            f"{len(holes)} memory holes make a memory map of {ranges} ranges, but the kernel keeps only {E820MAX} "
            f"(E820MAX): choose at most {len(holes) - (ranges - E820MAX)} holes"
        )


def check_qemu(
    *, seed: int, memory: int, reserved_end: int, holes: Sequence[tuple[int, int]], nic: bool, sata: str, i8259: str
) -> None:
    """Raise ConditionError for what QEMU's machine does not support."""
    if i8259 != "lint0":
        raise ConditionError(
            f"machine {QEMU} does not support i8259 {i8259}: its i8259 is at LINT0; choose machine {KDUMPSIM}"
        )
    if sata != LEGACY:
        raise ConditionError(
            f"machine {QEMU} does not support sata {sata}: its pc has no such controller; choose sata {LEGACY}"
        )
    if seed:
        raise ConditionError(
            f"seed {seed} has no effect with machine {QEMU}, where no two runs are alike: leave it out"
        )
    if holes:
        raise ConditionError(
            f"machine {QEMU} does not support memory holes: its RAM is one piece; choose machine {KDUMPSIM}"
        )
    if nic:
        raise ConditionError(
            f"machine {QEMU} does not support the network card: it has no station to connect it to; choose machine "
            f"{KDUMPSIM}"
        )
    if memory % QEMU_MEMORY_UNIT:
        raise ConditionError(f"memory of {memory} bytes does not suit machine {QEMU}: choose a multiple of 8K")
    if reserved_end > memory - QEMU_FIRMWARE:
        raise ConditionError(
            f"the reserved region ends at {reserved_end:#x}: machine {QEMU} keeps the last 128K of memory for its "
            f"firmware; end it at {memory - QEMU_FIRMWARE:#x} or below"
        )


def check_qemu_dma(dma: Sequence[str]) -> None:
    """Raise ConditionError for DMA, which QEMU's machine cannot keep going."""
    if dma:
        raise ConditionError(
            f"machine {QEMU} does not support dma {','.join(dma)}: its disks take no time; choose machine {KDUMPSIM}"
        )


def check_dump_disk(disk: str, combined_mode: str, sata: str) -> None:
    """Raise ConditionError if no driver would find the disk: a port of libata has one disk, like a SATA port."""
    if disk == "sdb" and sata != NATIVE:
        raise ConditionError("dump-disk sdb is on the second SATA port: add --sata native")
    if disk == "hdb" and sata == NATIVE:
        raise ConditionError(
            "dump-disk hdb is on the system disk's IDE cable, absent with --sata native: choose hdc or sdb"
        )
    if combined_mode == "ide" and sata == NATIVE:
        raise ConditionError(
            "combined_mode=ide has no effect with --sata native, where no channel is at the legacy ports: leave out "
            "one of them"
        )
    if disk == "hdb" and combined_mode != "ide":
        raise ConditionError(
            f"dump-disk hdb is a slave device, which {combined_mode} does not support: "
            "add --kernel-option combined_mode=ide"
        )


def check_cpus(cpus: int, crash_cpu: int | None, other_cpus: str | None) -> None:
    """Raise ConditionError for a CPU that does not exist, or for a state of other CPUs if there are none."""
    if crash_cpu is not None and not 0 <= crash_cpu < cpus:
        raise ConditionError(f"crash-cpu {crash_cpu} does not exist: with --cpus {cpus}, choose 0 to {cpus - 1}")
    if other_cpus is not None and cpus == 1:
        raise ConditionError(f"other-cpus {other_cpus} needs other CPUs: choose --cpus 2 to {MAX_CPUS}")
