# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of devices: whatever has a state is in it, so a restored machine is the one that was saved."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable

import pytest

from kdumpsim.apic.messages import unconnected
from kdumpsim.board.clock import Clock
from kdumpsim.board.devices import DeviceList
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.board.network import BROADCAST_MAC, GUEST, MAC, STATION, NetworkConfig, ethernet, ipv4, udp
from kdumpsim.board.pit import Pit
from kdumpsim.board.port92 import Port92
from kdumpsim.board.rtc import UPDATE_NS
from kdumpsim.compiler.assembler import assemble

from deepstate import differences  # isort: skip
from devices import Probe  # isort: skip
from test_machine import BASE, EPILOGUE, PROLOGUE  # isort: skip

MILLISECOND = 1_000_000
BUFFER, TABLE, RING = 0x180000, 0x190000, 0x1A0000
NIC, IDE_MASTER = 0xC100, 0xC000
LAPIC, IOAPIC = 0xFEE00000, 0xFEC00000


@pytest.fixture(scope="module")
def image() -> bytes:
    return assemble(PROLOGUE + "main:\ncli\n1: incl 0x70000\njmp 1b\n" + EPILOGUE, BASE)


class Pc:
    """A PC with everything in it, whose guest counts; tests play the driver."""

    def __init__(self, image: bytes, *, native: bool = False) -> None:
        """`native`: with a SATA function, whose line the network card shares."""
        disks = (Disk.memory(4096), None, Disk.memory(512), None)
        sata = (Disk.memory(4096), Disk.memory(512)) if native else None
        traffic = NetworkConfig(traffic_ns=MILLISECOND)
        self.machine = Machine(MachineConfig(cpus=2, memory=2 << 20, disks=disks, sata=sata, network=traffic, seed=3))
        self.output: list[bytes] = []
        for uart in self.machine.uarts:
            uart.on_output = self.output.append
        self.machine.load_multiboot(image, "")

    def out(self, port: int, value: int, size: int = 1) -> None:
        self.machine.port_out(0, port, size, value)

    def outs(self, *pairs: tuple[int, int]) -> None:
        for port, value in pairs:
            self.out(port, value)

    def read(self, port: int, size: int = 1) -> int:
        return self.machine.port_in(0, port, size)

    def pci(self, slot: int, function: int, offset: int, size: int, value: int) -> None:
        self.out(0xCF8, 0x80000000 | slot << 11 | function << 8 | offset & 0xFC, 4)
        self.out(0xCFC + (offset & 3), value, size)

    def ioapic(self, register: int, value: int) -> None:
        self.machine.mmio_write(0, IOAPIC, 4, register)
        self.machine.mmio_write(0, IOAPIC + 0x10, 4, value)

    def run(self, ns: int) -> None:
        self.machine.run(until=self.machine.clock.base + ns)

    # What can be under way.

    def dma(self, code: int, sectors: int) -> None:
        self.machine.memory.view[TABLE : TABLE + 8] = struct.pack("<IHH", BUFFER, sectors * 512 & 0xFFFF, 0x8000)
        self.pci(1, 1, 4, 2, 5)
        self.out(IDE_MASTER + 4, TABLE, 4)
        direction = 8 if code == 0xC8 else 0
        self.outs((IDE_MASTER, direction), (0x1F6, 0xE0), (0x1F2, sectors), (0x1F3, 7), (0x1F4, 0), (0x1F5, 0))
        self.outs((0x1F7, code), (IDE_MASTER, direction | 1))

    def network(self, *, master: bool = True) -> None:
        self.pci(3, 0, 4, 2, 5 if master else 1)
        self.out(NIC + 0x30, RING, 4)
        self.out(NIC + 0x37, 0x0C)
        self.out(NIC + 0x44, 0x8E, 4)
        self.out(NIC + 0x3C, 0xFFFF, 2)

    def ping(self) -> None:
        """Send a datagram for the station to send back."""
        frame = ethernet(BROADCAST_MAC, MAC, 0x800, ipv4(GUEST, STATION, 17, udp(GUEST, 9, STATION, 7, bytes(300))))
        self.machine.memory.view[BUFFER : BUFFER + len(frame)] = frame
        self.out(NIC + 0x20, BUFFER, 4)
        self.out(NIC + 0x10, len(frame), 4)


def idle(pc: Pc) -> None:
    """Nothing but the guest and the traffic on the cable."""


def disk_reads(pc: Pc) -> None:
    pc.dma(0xC8, 100)
    pc.run(700_000)
    assert pc.machine.ide.channels[0].bus_master.active


def disk_writes(pc: Pc) -> None:
    pc.dma(0xCA, 100)
    pc.run(700_000)
    assert pc.machine.ide.channels[0].bus_master.active


def disk_writes_by_pio(pc: Pc) -> None:
    pc.outs((0x1F6, 0xE0), (0x1F2, 3), (0x1F3, 9), (0x1F7, 0x30))
    for at in range(100):
        pc.out(0x1F0, at, 2)


def disk_reads_by_pio_without_the_bus(pc: Pc) -> None:
    """A timer of a channel whose function may not master the bus."""
    pc.pci(1, 1, 4, 2, 1)
    pc.outs((0x1F6, 0xE0), (0x1F2, 3), (0x1F3, 9), (0x1F7, 0x20))


def second_disk_reset(pc: Pc) -> None:
    pc.outs((0x176, 0xE0), (0x376, 4), (0x376, 2))


def moved_disk(pc: Pc) -> None:
    pc.pci(1, 1, 0x20, 4, 0xD001)
    assert pc.read(0xD002) == pc.machine.ide.channels[0].bus_master.status.value
    assert pc.read(0xC002) == 0xFF


def sata_reads(pc: Pc) -> None:
    """Both ports at work, and their line in service at the I/O APIC."""
    pc.machine.mmio_write(0, LAPIC + 0xF0, 4, 0x1FF)
    pc.ioapic(0x10 + 2 * 18 + 1, 0)
    pc.ioapic(0x10 + 2 * 18, 0xA0C1)
    pc.machine.memory.view[TABLE : TABLE + 8] = struct.pack("<IHH", BUFFER, 100 * 512, 0x8000)
    pc.out(0xC224, TABLE, 4)
    pc.outs((0xC220, 8), (0xC206, 0xE0), (0xC202, 100), (0xC203, 7), (0xC207, 0xC8), (0xC220, 9))
    pc.outs((0xC216, 0xE0), (0xC217, 0xE7))
    pc.run(700_000)
    assert pc.machine.channels["sata0"].bus_master.active
    assert pc.machine.ioapic._table[18].remote_irr


def sata_asks_in_vain(pc: Pc) -> None:
    pc.pci(31, 0, 4, 2, 0x405)
    pc.outs((0xC216, 0xE0), (0xC217, 0xE7))
    pc.run(700_000)
    assert pc.machine.sata is not None
    assert pc.machine.sata._asking == [False, True]


def moved_sata(pc: Pc) -> None:
    pc.pci(31, 0, 0x10, 4, 0xE009)
    assert (pc.read(0xE00F), pc.read(0xC207)) == (pc.read(0xC20A), 0xFF)


def card_and_sata_share_a_line(pc: Pc) -> None:
    frames_arrive(pc)
    sata_reads(pc)


def uart_sends(pc: Pc) -> None:
    pc.outs((0x3FB, 3), (0x3FA, 0xC1), (0x3F9, 3), (0x3FC, 0x0B))
    for byte in b"half a li":
        pc.out(0x3F8, byte)
    pc.machine.uarts[0].feed(bytes(range(40)))
    pc.read(0x3F8)


def uart_waits(pc: Pc) -> None:
    """Loop-back, an overrun, a byte short of the trigger and its time-out."""
    pc.outs((0x2FB, 3), (0x2FA, 0x81), (0x2F9, 0x0D), (0x2FC, 0x1B))
    for byte in range(5):
        pc.out(0x2F8, byte)


def pit_counts(mode: int) -> Callable[[Pc], None]:
    def start(pc: Pc) -> None:
        pc.outs((0x43, 0x30 | mode << 1), (0x40, 0x34), (0x40, 0x12))
        pc.outs((0x61, 1), (0x43, 0xB1 | mode << 1), (0x42, 0x99), (0x42, 0x15), (0x61, 0), (0x61, 1))
        pc.run(1_500_000)
        pc.outs((0x40, 0x78), (0x43, 0x80), (0x43, 0xE8))  # half a count, two latches

    start.__name__ = f"pit mode {mode}"
    return start


def rtc_updates(pc: Pc) -> None:
    pc.outs((0x70, 0x0B), (0x71, 0x72), (0x70, 0x8A), (0x71, 0x2A))
    second = 1_000_000_000
    clock = pc.machine.rtc._clock_ns() % second
    pc.machine.run(until=pc.machine.clock.base + second - UPDATE_NS // 2 - clock)
    assert pc.read(0x71) & 0x80


def rtc_is_set(pc: Pc) -> None:
    pc.outs((0x70, 0x0B), (0x71, 0x82), (0x70, 0x04), (0x71, 0x23), (0x70, 0x50), (0x71, 0x77), (0x70, 0x02))


def keys_are_queued(pc: Pc) -> None:
    pc.outs((0x64, 0x60), (0x60, 0x47), (0x60, 0xED))
    for key in ("leftalt", "a", "up"):
        pc.machine.i8042.press(key)
    pc.machine.i8042.release("a")
    pc.read(0x60)
    pc.outs((0x64, 0xD4), (0x60, 0xF3), (0x64, 0x20), (0x64, 0xD2))


def frames_arrive(pc: Pc) -> None:
    pc.network()
    pc.run(3 * MILLISECOND)
    assert pc.machine.nic is not None
    while not pc.machine.nic._fifo:
        pc.run(1_000)
    pc.ping()


def frames_wait_without_the_bus(pc: Pc) -> None:
    pc.network(master=False)
    pc.run(4 * MILLISECOND)
    assert pc.machine.nic is not None
    assert pc.machine.nic._fifo


def frame_is_sent(pc: Pc) -> None:
    pc.network()
    pc.ping()
    pc.run(10_000)


def eeprom_is_read(pc: Pc) -> None:
    for level in (0, 1, 1, 0, 0, 0):
        for clock in (0, 4):
            pc.out(NIC + 0x50, 0x88 | clock | level << 1)
    pc.out(NIC + 0x37, 0x10)


def moved_card(pc: Pc) -> None:
    pc.pci(3, 0, 0x10, 4, 0xE001)
    assert (pc.read(0xE040, 4), pc.read(NIC + 0x40, 4)) == (0x77000000, 0xFFFFFFFF)


def lapic_timer_is_armed(pc: Pc) -> None:
    for cpu in range(2):
        for offset, value in ((0xF0, 0x1FF), (0x320, 0x20041 if cpu else 0x41), (0x3E0, 3), (0x380, 5000 + 99 * cpu)):
            pc.machine.mmio_write(cpu, LAPIC + offset, 4, value)
    pc.run(30_000)


def level_interrupt_is_in_service(pc: Pc) -> None:
    pc.machine.mmio_write(0, LAPIC + 0xF0, 4, 0x1FF)
    pc.ioapic(0x10 + 2 * 4 + 1, 0)
    pc.ioapic(0x10 + 2 * 4, 0x8051)
    pc.outs((0x3F9, 2))  # COM1's transmitter is empty
    assert pc.machine.ioapic._table[4].remote_irr


def pic_is_being_set_up(pc: Pc) -> None:
    pc.outs((0x20, 0x11), (0x21, 0x20), (0xA0, 0x11), (0xA1, 0x28), (0xA1, 0x02))
    pc.outs((0x4D0, 0x20), (0x21, 0x04))


def pic_is_polled(pc: Pc) -> None:
    pc.outs((0x21, 0x00), (0xA1, 0x00), (0x20, 0x0C), (0xA0, 0x6B), (0x20, 0xC3), (0xA0, 0x80))


def screen_is_drawn(pc: Pc) -> None:
    pc.outs((0x3C0, 0x33), (0x3C8, 5), (0x3C9, 1), (0x3D4, 0x0E), (0x3C7, 9))
    pc.read(0x3DA)


def pci_is_configured(pc: Pc) -> None:
    pc.pci(1, 0, 0x62, 1, 10)
    pc.outs((0xCF9, 2), (0x92, 0x80))
    pc.network()
    pc.run(3 * MILLISECOND)
    pc.out(0xCF8, 0x80001844, 4)


def second_cpu_starts(pc: Pc) -> None:
    """In the middle of a round of both, with leads, jitter, and what an AP has been sent."""
    pc.machine.memory.view[0x8000:0x8002] = b"\xeb\xfe"
    pc.machine.mmio_write(0, LAPIC + 0x310, 4, 1 << 24)
    pc.machine.mmio_write(0, LAPIC + 0x300, 4, 0xC4500)
    pc.machine.mmio_write(0, LAPIC + 0x300, 4, 0xC4608)
    pc.run(350_000)
    pc.machine.mmio_write(1, LAPIC + 0x300, 4, 0xC4400)


def reset_is_pulled(pc: Pc) -> None:
    pc.out(0x64, 0xFE)


SCENES = [
    idle, disk_reads, disk_writes, disk_writes_by_pio, disk_reads_by_pio_without_the_bus, second_disk_reset, moved_disk,
    uart_sends, uart_waits, *map(pit_counts, range(6)), rtc_updates, rtc_is_set, keys_are_queued, frames_arrive,
    frames_wait_without_the_bus, frame_is_sent, eeprom_is_read, moved_card, lapic_timer_is_armed,
    level_interrupt_is_in_service, pic_is_being_set_up, pic_is_polled, screen_is_drawn, pci_is_configured,
    second_cpu_starts, reset_is_pulled,
]  # fmt: skip
NATIVE_SCENES = [sata_reads, sata_asks_in_vain, moved_sata, card_and_sata_share_a_line]


def saved(pc: Pc) -> bytes:
    """Plain data, as another process would get it."""
    return pickle.dumps(pc.machine.snapshot())


def mapped(machine: Machine) -> list[tuple[str, list[tuple[int, int]], list[tuple[int, int]]]]:
    return [(fitted.device.name, fitted.ports, fitted.memory) for fitted in machine.devices]


@pytest.mark.parametrize("scene", [*SCENES, *NATIVE_SCENES], ids=lambda scene: scene.__name__)
def test_a_new_machine_restored_in_mid_operation_is_the_same_and_goes_on_the_same(
    scene: Callable[[Pc], None], image: bytes
) -> None:
    """In each attribute of each object."""
    native = scene in NATIVE_SCENES
    first, copy = Pc(image, native=native), Pc(image, native=native)
    scene(first)
    copy.machine.restore(pickle.loads(saved(first)))
    assert differences(first.machine, copy.machine) == {}
    assert mapped(copy.machine) == mapped(first.machine)
    for pc in (first, copy):
        pc.output.clear()
        pc.run(5 * MILLISECOND)
    assert differences(first.machine, copy.machine) == {}
    assert copy.output == first.output


def test_what_a_machine_was_before_is_gone(image: bytes) -> None:
    """Each scene restored over those in which most is under way. That a snapshot has everything is shown above."""
    scenes = {}
    for scene in SCENES:
        pc = Pc(image)
        scene(pc)
        scenes[scene] = pc.machine.snapshot()
    worn = Pc(image).machine
    for before in (disk_reads, frames_arrive, frames_wait_without_the_bus, moved_card, moved_disk, second_cpu_starts):
        for scene, snapshot in scenes.items():
            worn.restore(scenes[before])
            worn.restore(snapshot)
            assert worn.snapshot() == snapshot, f"{scene.__name__} restored over {before.__name__}"


def test_what_a_machine_with_sata_was_before_is_gone(image: bytes) -> None:
    scenes = {}
    for scene in NATIVE_SCENES:
        pc = Pc(image, native=True)
        scene(pc)
        scenes[scene] = pc.machine.snapshot()
    worn = Pc(image, native=True).machine
    for before, first in scenes.items():
        for scene, snapshot in scenes.items():
            worn.restore(first)
            worn.restore(snapshot)
            assert worn.snapshot() == snapshot, f"{scene.__name__} restored over {before.__name__}"


def test_a_reset_brings_sata_back_to_what_firmware_set_up(image: bytes) -> None:
    pc, fresh = Pc(image, native=True), Pc(image, native=True)
    card_and_sata_share_a_line(pc)
    moved_sata(pc)
    pc.pci(31, 0, 4, 2, 0x405)
    pc.machine.reset()
    fresh.machine.reset()
    assert pc.machine.sata is not None
    assert fresh.machine.sata is not None
    assert pc.machine.sata.state() == fresh.machine.sata.state()
    assert pc.machine.ioapic._levels >> 16 & 0xF == 0xF  # nobody asks: high


def test_the_comparison_sees_what_a_snapshot_forgets(image: bytes) -> None:
    first, copy = Pc(image).machine, Pc(image).machine
    assert first.nic is not None
    first.nic.eeprom.words[3] ^= 1  # nothing can change it: it isn't in the snapshot
    first.vga._forgotten = 5  # type: ignore[attr-defined]
    copy.restore(first.snapshot())
    assert {path.split(".")[-1] for path in differences(first, copy)} == {"_forgotten", "words[3]"}


def test_the_list_is_the_pcs_map(image: bytes) -> None:
    """Where QEMU's `pc` and the manuals have each device; the PCI bus may be routed to any free line."""
    listed = {
        fitted.device.name: (fitted.ports, fitted.memory, fitted.irqs) for fitted in Pc(image).machine.devices
    }  # fmt: skip
    assert {name: places for name, places in listed.items() if any(places)} == {
        "lapic0": ([], [(LAPIC, 0x1000)], ()),
        "lapic1": ([], [(LAPIC, 0x1000)], ()),
        "ioapic": ([], [(IOAPIC, 0x1000)], ()),
        "pic": ([(0x20, 2), (0xA0, 2), (0x4D0, 2)], [], ()),
        "pit": ([(0x40, 4), (0x61, 1)], [], (0,)),
        "rtc": ([(0x70, 2)], [], (8,)),
        "ttyS0": ([(0x3F8, 8)], [], (4,)),
        "ttyS1": ([(0x2F8, 8)], [], (3,)),
        "i8042": ([(0x60, 1), (0x64, 1)], [], (1, 12)),
        "port92": ([(0x92, 1)], [], ()),
        "vga": ([(0x3C0, 0x20)], [], ()),
        "pci": ([(0xCF8, 8)], [], (3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15)),
        "ide": ([(0x1F0, 8), (0x3F6, 1), (0x170, 8), (0x376, 1), (0xC000, 16)], [], (14, 15)),
        "rtl8139": ([(0xC100, 0x100)], [], ()),
    }
    native = {fitted.device.name: (fitted.ports, fitted.irqs) for fitted in Pc(image, native=True).machine.devices}
    assert native["sata"] == ([(0xC200, 8), (0xC208, 4), (0xC210, 8), (0xC218, 4), (0xC220, 16)], ())
    assert native.keys() - listed.keys() == {"sata"}
    assert listed.keys() - {name for name, places in listed.items() if any(places)} == {
        "clock", "memory", "schedule", "network", "cpu0", "cpu1",
    }  # fmt: skip


def test_the_list_takes_no_two_at_one_place() -> None:
    devices = DeviceList(1, lambda number: Probe())
    clock = Clock()
    devices.fit(lambda irq: Pit(clock, irq(0), unconnected))
    with pytest.raises(ValueError, match="a device 'pit' already"):
        devices.fit(lambda irq: Pit(Clock(), irq(0), unconnected))
    port = Port92(lambda: None)
    devices.add(port)
    port.name = "another"  # type: ignore[misc]
    with pytest.raises(ValueError, match="port 0x92 is taken"):
        devices.add(port)


def test_a_snapshot_of_another_machine_is_refused(image: bytes) -> None:
    snapshot = Pc(image).machine.snapshot()
    other = Machine(MachineConfig(cpus=3, memory=2 << 20))
    with pytest.raises(ValueError, match=r"no cpu2, no lapic2, network, which is not in this machine, rtl8139, which"):
        other.restore(snapshot)
