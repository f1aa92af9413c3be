# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware conditions of a crash (LKDTT paper, sections 1.1 and 3.4): what may be asked for, and checks of it."""

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
    DISK_DMA: "long reads, one after the other, so that it writes to memory when the capture kernel takes over",
    NETWORK_DMA: "a network card whose receiver is on, and traffic on the network before and after the crash",
}
"""Devices that can be kept busy with DMA."""

BREAKS: dict[str, str] = {
    "timer": "the PIT's counters reach no end any more",
    "lapic-timer": "nor do those of the local APICs",
    "timer@handover": "from the hand-over on there are no timer interrupts at all",
    "disk": "the drives on the system disk's cable answer no command any more",
    "nic": "nothing arrives at the network card, and nothing leaves it",
}
"""Devices that can fail for good: when the crash is armed, or at the hand-over."""

VARIED: dict[str, str] = {
    "count": "crossings of the point, 1 to 40",
    "phase": "how long the load runs before the point is armed, up to 100 ms",
    "load": "a program more, or none",
    "latency": "how long the disks seek, a quarter to four times as long",
}
"""What can be drawn for a crash point."""

LEGACY, NATIVE = "legacy", "native"
SATA: dict[str, str] = {
    LEGACY: "at the legacy IDE ports, as an ICH5 answers in combined mode; IRQ 14, by edge",
    NATIVE: "behind PCI base addresses, with a level-triggered PCI interrupt on a pin of the I/O APIC above the ISA's",
}
"""How the SATA controller of the system disk is programmed."""

DUMP_DISKS: dict[str, str] = {
    "hdc": "on a cable of its own, the secondary channel",
    "hdb": "on the system disk's cable, its slave; with kernel option combined_mode=ide",
    "sdb": "on the second port of the SATA controller; with --sata native",
}
"""Where the dump disk can be, by the name the capture kernel has for it."""
USUAL_DUMP_DISK = "hdc"

KDUMPSIM, QEMU = "kdumpsim", "qemu"
MACHINES: dict[str, str] = {
    KDUMPSIM: "our own machine",
    QEMU: "the pc of qemu-system-i386, with the same images and the same tools",
}
"""PCs that a scenario can be run on."""

INJECTIONS: dict[str, str] = {
    "corrupt-capture-kernel": "flip bits of the capture kernel in the reserved region, after it was loaded",
}
"""What can be broken on purpose."""

MIB = 1 << 20
MAX_CPUS = 8
"""The guest kernel's NR_CPUS."""
QEMU_MEMORY_UNIT = 2 * PAGE_SIZE
QEMU_FIRMWARE = 128 << 10
"""Bytes at the top of RAM that QEMU's firmware keeps for its ACPI tables."""
E820MAX = 32
"""Ranges of a memory map that the guest kernel keeps (its E820MAX)."""


class ConditionError(ScenarioError):
    """Conditions that cannot be: the message says what is allowed."""


def check_holes(holes: Sequence[tuple[int, int]], memory: int, reserved: tuple[int, int]) -> None:
    """ConditionError if a hole (base, size) is not made of whole pages of RAM between 1 MiB and the end of memory,
    if it meets another or the reserved region, or if there are more than the kernel's memory map has room for."""
    end_of_last = MIB
    for base, size in sorted(holes):
        end = base + size
        where = f"memory hole {base:#x}:{size:#x}"
        if base % PAGE_SIZE or size % PAGE_SIZE or size <= 0:
            raise ConditionError(f"{where} is not made of whole pages: BASE and SIZE must be multiples of 4K")
        if base < MIB or end > memory:
            raise ConditionError(f"{where} is outside of what can be taken away: choose 1M to {memory >> 20}M")
        if base < end_of_last:
            raise ConditionError(f"{where} overlaps another one")
        if base < reserved[1] and end > reserved[0]:
            raise ConditionError(f"{where} overlaps the reserved region, {reserved[0]:#x} to {reserved[1]:#x}")
        end_of_last = end
    ranges = len(e820(memory, holes))
    if ranges > E820MAX:
        raise ConditionError(
            f"{len(holes)} memory holes make a memory map of {ranges} ranges: the kernel keeps {E820MAX} (E820MAX), "
            f"{len(holes) - (ranges - E820MAX)} such holes are allowed"
        )


def check_qemu(
    *, seed: int, memory: int, reserved_end: int, holes: Sequence[tuple[int, int]], nic: bool, sata: str
) -> None:
    """ConditionError for what QEMU's machine cannot be."""
    if sata != LEGACY:
        raise ConditionError(f"sata {sata} cannot be had with machine {QEMU}, whose pc has no such function")
    if seed:
        raise ConditionError(f"seed {seed} has no effect with machine {QEMU}, of which no two runs are alike")
    if holes:
        raise ConditionError(
            f"memory holes cannot be had with machine {QEMU}: its RAM is one piece; with {KDUMPSIM} they can"
        )
    if nic:
        raise ConditionError(
            f"a network card cannot be had with machine {QEMU}: nothing there is the station it is connected to; with "
            f"{KDUMPSIM} it can"
        )
    if memory % QEMU_MEMORY_UNIT:
        raise ConditionError(f"memory of {memory} bytes: machine {QEMU} has multiples of 8K")
    if reserved_end > memory - QEMU_FIRMWARE:
        raise ConditionError(
            f"the reserved region ends at {reserved_end:#x}: machine {QEMU} keeps the last 128K of memory for its "
            f"firmware; end it at {memory - QEMU_FIRMWARE:#x} or below"
        )


def check_qemu_dma(dma: Sequence[str]) -> None:
    """ConditionError for DMA that QEMU's machine cannot keep up."""
    if dma:
        raise ConditionError(
            f"dma {','.join(dma)} cannot be had with machine {QEMU}: its disks take no time; with {KDUMPSIM} it can"
        )


def check_dump_disk(disk: str, combined_mode: str, sata: str) -> None:
    """ConditionError if no driver would find the disk: libata's port has one disk, as a SATA port has."""
    if disk == "sdb" and sata != NATIVE:
        raise ConditionError("dump-disk sdb is on the second SATA port: add --sata native")
    if disk == "hdb" and sata == NATIVE:
        raise ConditionError("dump-disk hdb is on the system disk's IDE cable: with --sata native it has none")
    if combined_mode == "ide" and sata == NATIVE:
        raise ConditionError(
            "combined_mode=ide has no disk to drive with --sata native, where no channel is at the legacy ports"
        )
    if disk == "hdb" and combined_mode != "ide":
        raise ConditionError(
            f"dump-disk hdb is a slave, and {combined_mode} does not support slaves: "
            "add --kernel-option combined_mode=ide"
        )


def check_cpus(cpus: int, crash_cpu: int | None, other_cpus: str | None) -> None:
    """ConditionError if a CPU is named that is not there, or the state of others where there are none."""
    if crash_cpu is not None and not 0 <= crash_cpu < cpus:
        raise ConditionError(f"crash-cpu {crash_cpu} does not exist: with --cpus {cpus}, choose 0 to {cpus - 1}")
    if other_cpus is not None and cpus == 1:
        raise ConditionError(f"other-cpus {other_cpus} needs other CPUs: choose --cpus 2 to {MAX_CPUS}")
