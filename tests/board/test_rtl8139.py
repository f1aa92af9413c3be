# SPDX-License-Identifier: GPL-2.0-or-later
"""The RTL8139 as its data sheet has it: seen from a driver's side, and from the wire."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.clock import Clock
from kdumpsim.board.memory import Memory
from kdumpsim.board.pci_registers import BAR0, COMMAND
from kdumpsim.board.rtl8139 import RESET_NS, Rtl8139
from properties import examples

from devices import Probe, run_for, transplant  # isort: skip

BASE = 0xC100
MAC = bytes.fromhex("020304050607")
RING, BUFFER = 0x100000, 0x120000
IDR, MAR, TSD, TSAD, RBSTART, CR, CAPR, CBR, IMR, ISR = 0x00, 0x08, 0x10, 0x20, 0x30, 0x37, 0x38, 0x3A, 0x3C, 0x3E
TCR, RCR, MPC, EECR, CONFIG1, TSAD_STATUS, BMSR = 0x40, 0x44, 0x4C, 0x50, 0x52, 0x60, 0x64
BUFE, TE, RE, RST = 1, 4, 8, 0x10
ROK, TOK, TER, RXOVW, FOVW = 0x01, 0x04, 0x08, 0x10, 0x40
APM, AM, AB, AAP, WRAP = 0x02, 0x04, 0x08, 0x01, 0x80
OWN, TRANSMITTED, ABORTED = 1 << 13, 1 << 15, 1 << 30
MILLISECOND = 1_000_000


class Bench:
    """The card in a machine that is a clock and a piece of memory."""

    def __init__(self) -> None:
        self.clock, self.memory, self.line = Clock(), Memory(4 << 20), Probe()
        self.sent: list[bytes] = []
        self.card = self.make(self.clock)

    def make(self, clock: Clock) -> Rtl8139:
        card = Rtl8139(clock, self.memory, self.line, MAC)
        card.on_transmit = self.sent.append
        return card

    def read(self, offset: int, size: int) -> int:
        return self.card.port_read(BASE + offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self.card.port_write(BASE + offset, size, value)

    def master(self, on: bool = True) -> None:
        self.card.pci.write(COMMAND, 2, 5 if on else 1)

    def start(self, config: int = APM | AB | WRAP) -> None:
        self.master()
        self.write(RBSTART, 4, RING)
        self.write(CR, 1, RE | TE)
        self.write(RCR, 4, config)
        self.write(IMR, 2, 0xFFFF)

    def arrive(self, frame: bytes, ns: int = MILLISECOND) -> None:
        self.card.receive(frame)
        run_for(self.clock, ns)

    def packet(self, at: int) -> tuple[int, bytes, bytes]:
        """Status, frame and CRC of what lies in the ring."""
        status, length = struct.unpack("<HH", self.memory.dma_read(RING + at, 4))
        data = self.memory.dma_read(RING + at + 4, length)
        return status, data[:-4], data[-4:]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def frame(target: bytes = MAC, size: int = 60, fill: int = 0x5A) -> bytes:
    return (target + b"\x02\0\0\0\0\x01" + b"\x08\x00").ljust(size, bytes([fill]))


def test_identity_and_state_after_power_on(bench: Bench) -> None:
    assert bench.card.pci.read(0, 4) == 0x813910EC
    assert bench.card.pci.read(0x0A, 2) == 0x0200
    assert bench.card.pci.read(0x3D, 1) == 1  # INTA#
    assert bench.read(IDR, 4).to_bytes(4, "little") + bench.read(IDR + 4, 2).to_bytes(2, "little") == MAC
    assert bench.read(CR, 1) == BUFE
    assert bench.read(CAPR, 2) == 0xFFF0
    assert bench.read(CBR, 2) == 0
    assert bench.read(TCR, 4) & 0x7C000000 == 0x74000000  # an RTL8139C
    assert [bench.read(TSD + 4 * number, 4) for number in range(4)] == [OWN] * 4
    assert bench.read(BMSR, 2) & 0x24 == 0x24  # negotiated, link up


def test_a_frame_for_us_comes_into_the_ring_by_dma_and_interrupts(bench: Bench) -> None:
    bench.start()
    bench.card.receive(frame(size=61))
    assert bench.read(CR, 1) & BUFE  # it takes time
    run_for(bench.clock, MILLISECOND)
    assert not bench.read(CR, 1) & BUFE
    status, data, crc = bench.packet(0)
    assert (status, data) == (0x4001, frame(size=61))
    assert crc == zlib.crc32(data).to_bytes(4, "little")
    assert bench.read(CBR, 2) == 72  # header, frame and CRC, up to the next doubleword
    assert bench.read(ISR, 2) == ROK
    assert bench.line.level
    bench.write(ISR, 2, ROK)
    assert not bench.line.level
    bench.write(CAPR, 2, 72 - 16)
    assert bench.read(CR, 1) & BUFE


def test_a_masked_interrupt_shows_in_isr_and_not_on_the_line(bench: Bench) -> None:
    bench.start()
    bench.write(IMR, 2, 0)
    bench.arrive(frame())
    assert bench.read(ISR, 2) == ROK
    assert not bench.line.level
    bench.write(IMR, 2, ROK)
    assert bench.line.level


@pytest.mark.parametrize(
    ("config", "target", "status"),
    [
        (APM, MAC, 0x4001),
        (AB, b"\xff" * 6, 0x2001),
        (AAP, bytes.fromhex("0a0b0c0d0e0f"), 0x0001),
        (APM, bytes.fromhex("0a0b0c0d0e0f"), None),
        (APM | AM, b"\xff" * 6, None),
        (AB | AM, MAC, None),
        (AM, bytes.fromhex("01005e000001"), None),  # not in the hash
    ],
)
def test_the_filter(bench: Bench, config: int, target: bytes, status: int | None) -> None:
    bench.start(config)
    bench.arrive(frame(target))
    assert bool(bench.read(CR, 1) & BUFE) == (status is None)
    if status is not None:
        assert bench.packet(0)[0] == status


def test_the_multicast_hash_is_the_top_of_the_ethernet_crc(bench: Bench) -> None:
    bench.start(AM)
    crc = 0xFFFFFFFF  # of 01:00:5e:00:00:01, bit by bit as IEEE 802.3 has it
    group = bytes.fromhex("01005e000001")
    for byte in group:
        for bit in range(8):
            feedback = (crc >> 31 & 1) ^ (byte >> bit & 1)
            crc = (crc << 1 ^ (0x04C11DB7 if feedback else 0)) & 0xFFFFFFFF
    index = crc >> 26
    bench.write(MAR + index // 32 * 4, 4, 1 << index % 32)
    bench.arrive(frame(group))
    assert bench.packet(0)[0] == 0x8001


def test_a_full_ring_misses_frames_until_the_driver_reads(bench: Bench) -> None:
    bench.start()
    for _ in range(5):
        bench.arrive(frame(size=1500))
    assert bench.read(ISR, 2) == ROK
    written = bench.card.frames_written
    bench.arrive(frame(size=1500))  # 8 KiB hold five
    assert bench.read(ISR, 2) == ROK | RXOVW
    assert bench.read(MPC, 4) == 1
    assert bench.card.frames_written == written == 5
    bench.write(CAPR, 2, 1508 - 16)
    bench.arrive(frame(size=100))
    assert bench.card.frames_written == 6
    bench.write(MPC, 4, 0)
    assert bench.read(MPC, 4) == 0


@pytest.mark.parametrize("wrap", [0, WRAP])
def test_a_frame_at_the_rings_end(bench: Bench, wrap: int) -> None:
    bench.start(APM | wrap)
    at = 0
    for _ in range(5):
        bench.arrive(frame(size=1500))
        at += 1508
        bench.write(CAPR, 2, at - 16)
    bench.arrive(frame(size=1500, fill=0x77))
    split = 0x2000 - at
    packet = struct.pack("<HH", 0x4001, 1504) + frame(size=1500, fill=0x77)
    assert bench.memory.dma_read(RING + at, split) == packet[:split]
    tail = RING + 0x2000 if wrap else RING
    assert bench.memory.dma_read(tail, len(packet) - split) == packet[split:]
    assert bench.read(CBR, 2) == (at + 1508) % 0x2000


def test_frames_that_come_faster_than_dma_wait_in_the_fifo_and_overflow_it(bench: Bench) -> None:
    bench.start()
    for number in range(3):
        bench.card.receive(frame(size=1000, fill=number))
    run_for(bench.clock, MILLISECOND)
    assert bench.card.frames_written == 2
    assert bench.read(ISR, 2) == ROK | FOVW
    assert bench.packet(1008)[1] == frame(size=1000, fill=1)


def test_without_bus_mastering_nothing_reaches_memory(bench: Bench) -> None:
    bench.start()
    bench.master(False)
    bench.arrive(frame())
    assert bench.card.bytes_written == 0
    bench.master()
    run_for(bench.clock, MILLISECOND)
    assert bench.card.frames_written == 1


def test_the_receiver_goes_on_until_it_is_told_otherwise(bench: Bench) -> None:
    bench.start()
    bench.arrive(frame())
    bench.write(CR, 1, TE)
    bench.arrive(frame())
    assert bench.card.frames_written == 1
    bench.write(CR, 1, TE | RE)
    bench.arrive(frame())
    assert bench.card.frames_written == 2


def test_descriptors_are_sent_in_turn(bench: Bench) -> None:
    bench.start()
    for number in range(4):
        bench.memory.dma_write(BUFFER + 0x800 * number, frame(b"\xff" * 6, fill=number))
        bench.write(TSAD + 4 * number, 4, BUFFER + 0x800 * number)
    bench.write(TSD + 4, 4, 60)  # not its turn
    run_for(bench.clock, MILLISECOND)
    assert bench.sent == []
    bench.write(TSD, 4, 60)
    assert bench.read(TSD, 4) & (OWN | TRANSMITTED) == 0
    run_for(bench.clock, 2_000)
    assert bench.read(TSD, 4) & (OWN | TRANSMITTED) == OWN  # fetched, not yet sent
    bench.memory.dma_write(BUFFER, bytes(60))  # too late to change anything
    run_for(bench.clock, MILLISECOND)
    assert bench.sent == [frame(b"\xff" * 6, fill=number) for number in (0, 1)]
    assert bench.read(TSD, 4) & (OWN | TRANSMITTED) == OWN | TRANSMITTED
    assert bench.read(ISR, 2) == TOK
    assert bench.read(TSAD_STATUS, 2) == 0x300F


def test_a_frame_too_long_is_aborted_and_blocks_until_cleared(bench: Bench) -> None:
    bench.start()
    bench.write(TSD, 4, 0x1FFF)
    assert bench.read(TSD, 4) & ABORTED
    assert bench.read(ISR, 2) == TER
    bench.write(TSD, 4, 60)
    run_for(bench.clock, MILLISECOND)
    assert len(bench.sent) == 1


def test_loop_back(bench: Bench) -> None:
    bench.start()
    bench.write(TCR, 4, 3 << 17)
    bench.memory.dma_write(BUFFER, frame())
    bench.write(TSAD, 4, BUFFER)
    bench.write(TSD, 4, 60)
    run_for(bench.clock, MILLISECOND)
    assert bench.sent == []
    assert bench.packet(0)[1] == frame()


def test_software_reset_stops_everything_and_keeps_the_address(bench: Bench) -> None:
    bench.start()
    bench.arrive(frame())
    bench.card.receive(frame())
    bench.write(CR, 1, RST)
    assert bench.read(CR, 1) & RST
    assert not bench.line.level
    bench.write(CR, 1, RE)  # too early
    run_for(bench.clock, RESET_NS)
    assert bench.read(CR, 1) == BUFE
    bench.arrive(frame())
    assert bench.card.frames_written == 1
    assert bench.read(IMR, 2) == bench.read(CBR, 2) == 0
    assert bench.card.mac == MAC
    assert bench.card.pci.may_master


def microwire(bench: Bench, address: int, words: int = 1) -> list[int]:
    """Read the EEPROM as a driver does: each bit with the clock low, then high."""

    def clock(bit: int) -> int:
        bench.write(EECR, 1, 0x88 | bit << 1)
        bench.write(EECR, 1, 0x8C | bit << 1)
        return bench.read(EECR, 1) & 1

    bench.write(EECR, 1, 0x80)
    bench.write(EECR, 1, 0x88)
    command = 0b110 << 6 | address
    for at in reversed(range(9)):
        dummy = clock(command >> at & 1)
    assert dummy == 0
    values = [int("".join(str(clock(0)) for _ in range(16)), 2) for _ in range(words)]
    bench.write(EECR, 1, 0)
    return values


def test_the_eeprom_holds_signature_and_address(bench: Bench) -> None:
    assert microwire(bench, 0) == [0x8129]
    assert struct.pack("<3H", *microwire(bench, 7, 3)) == MAC
    assert microwire(bench, 63) == [0xFFFF]


def test_configuration_and_address_are_locked_until_9346cr_unlocks_them(bench: Bench) -> None:
    bench.write(CONFIG1, 1, 0x20)
    bench.write(IDR, 4, 0)
    assert bench.read(CONFIG1, 1) == 0
    assert bench.card.mac == MAC
    bench.write(EECR, 1, 0xC0)
    bench.write(CONFIG1, 1, 0x20)
    bench.write(IDR, 4, 0x44332211)
    assert bench.read(CONFIG1, 1) == 0x20
    assert bench.card.mac == bytes.fromhex("112233440607")
    bench.write(EECR, 1, 0x40)  # auto-load
    assert bench.card.mac == MAC
    assert bench.read(EECR, 1) & 0xC0 == 0


def test_two_registers_in_one_access_and_one_in_two(bench: Bench) -> None:
    bench.start()
    bench.arrive(frame())
    bench.write(IMR, 4, ROK << 16 | 0x1234)  # IMR and ISR
    assert (bench.read(IMR, 2), bench.read(ISR, 2)) == (0x1234, 0)
    bench.write(IMR + 1, 1, 0x56)
    assert bench.read(IMR, 4) == 0x5634
    bench.write(TSD, 1, 60)  # TSD wants 32 bits
    assert bench.read(TSD, 4) & OWN


def test_moving_its_ports(bench: Bench) -> None:
    moves: list[list[tuple[int, int]]] = []
    bench.card.on_remap = lambda: moves.append(bench.card.ports())
    bench.card.pci.write(BAR0, 4, 0xD000)
    bench.card.pci.write(COMMAND, 2, 0)
    assert moves == [[(0xD000, 256)], []]


@examples(25)
@given(st.lists(st.sampled_from(["receive", "send", "read", "wait"]), max_size=12), st.integers(0, 12))
def test_a_restored_card_goes_on_as_the_first_does(gestures: list[str], cut: int) -> None:
    def act(bench: Bench, gesture: str, number: int) -> None:
        if gesture == "receive":
            bench.card.receive(frame(size=60 + 97 * number))
        elif gesture == "send":
            bench.write(TSD + number % 4 * 4, 4, 60 + number)
        elif gesture == "read":
            bench.write(CAPR, 2, bench.read(CBR, 2) - 16 & 0xFFFF)
        run_for(bench.clock, 700 if gesture != "wait" else 20_000)

    whole, parts = Bench(), Bench()
    for bench in (whole, parts):
        bench.start()
    for number, gesture in enumerate(gestures):
        act(whole, gesture, number)
        if number == cut:
            parts.card = transplant(parts.card, parts.clock, parts.make)
            parts.clock = parts.card._timers  # type: ignore[assignment]
        act(parts, gesture, number)
    assert parts.card.state() == whole.card.state()
    assert parts.sent == whole.sent
