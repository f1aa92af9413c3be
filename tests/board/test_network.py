# SPDX-License-Identifier: GPL-2.0-or-later
"""The station at the other end of the cable, asked by hand-made frames."""

from __future__ import annotations

import pytest

from kdumpsim.board.clock import Clock
from kdumpsim.board.network import (
    BROADCAST_MAC,
    GUEST,
    MAC,
    STATION,
    STATION_MAC,
    Network,
    NetworkConfig,
    checksum,
    ethernet,
    ipv4,
    udp,
)

from devices import run_for, transplant  # isort: skip

SECOND = 10**9


class Cable:
    def __init__(self, traffic_ns: int = 0, seed: int = 0) -> None:
        self.clock = Clock()
        self.arrived: list[tuple[int, bytes]] = []
        self._traffic_ns, self._seed = traffic_ns, seed
        self.network = self.make(self.clock)

    def make(self, clock: Clock) -> Network:
        return Network(
            clock, NetworkConfig(self._traffic_ns), self._seed, lambda frame: self.arrived.append((clock.now, frame))
        )

    def ask(self, frame: bytes) -> bytes | None:
        """What comes back within a millisecond."""
        self.arrived.clear()
        self.network.send(frame)
        run_for(self.clock, 1_000_000)
        return self.arrived[0][1] if self.arrived else None


@pytest.fixture
def cable() -> Cable:
    return Cable()


def packet(port: int, payload: bytes) -> bytes:
    """A datagram for the station."""
    return ethernet(STATION_MAC, MAC, 0x0800, ipv4(GUEST, STATION, 17, udp(GUEST, 1024, STATION, port, payload)))


def test_who_has_the_station_is_told(cable: Cable) -> None:
    ask = bytes.fromhex("0001080006040001") + MAC + GUEST + bytes(6) + STATION
    answer = cable.ask(ethernet(BROADCAST_MAC, MAC, 0x0806, ask))
    told = bytes.fromhex("0001080006040002") + STATION_MAC + STATION + MAC + GUEST
    assert answer == ethernet(MAC, STATION_MAC, 0x0806, told)
    assert cable.ask(ethernet(BROADCAST_MAC, MAC, 0x0806, ask[:-1] + b"\x63")) is None  # somebody else


def test_a_ping_is_answered(cable: Cable) -> None:
    message = bytes.fromhex("0800 0000 1234 0001") + b"abc"
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    answer = cable.ask(ethernet(STATION_MAC, MAC, 0x0800, ipv4(GUEST, STATION, 1, message)))
    assert answer is not None
    packet = answer[14 : 14 + 31]
    assert checksum(packet[:20]) == checksum(packet[20:]) == 0
    assert packet[20:22] + packet[24:] == bytes.fromhex("0000 1234 0001") + b"abc"


def test_a_datagram_for_the_echo_port_comes_back(cable: Cable) -> None:
    answer = cable.ask(packet(7, b"hello, station"))
    back = ipv4(STATION, GUEST, 17, udp(STATION, 7, GUEST, 1024, b"hello, station"))
    assert answer == ethernet(MAC, STATION_MAC, 0x0800, back)
    assert cable.ask(packet(8, b"nobody listens there")) is None
    damaged = bytearray(packet(7, b"hello, station"))
    damaged[45] ^= 1
    assert cable.ask(bytes(damaged)) is None


def test_a_datagram_for_the_ha_cluster_port_is_noted_with_its_time(cable: Cable) -> None:
    """And nothing else is, nor one whose header is damaged."""
    damaged = bytearray(packet(694, b"damaged"))
    damaged[22] ^= 1
    for frame in (packet(694, b"crash"), packet(9, b"discard"), bytes(damaged)):
        cable.network.send(frame)
    assert [text for _, text in cable.network.notices] == [b"crash"]


def test_traffic_comes_at_seeded_times_and_never_two_frames_at_once() -> None:
    runs = []
    for seed in (1, 1, 2):
        cable = Cable(traffic_ns=1_000_000, seed=seed)
        run_for(cable.clock, SECOND)
        runs.append(cable.arrived)
    assert runs[0] == runs[1] != runs[2]
    assert 900 < len(runs[0]) < 1100
    times = [now for now, _ in runs[0]]
    for (now, frame), earlier in zip(runs[0][1:], times, strict=False):
        assert now - earlier >= (len(frame) + 24) * 80  # 100 Mb/s
        assert frame[:6] == BROADCAST_MAC
        length = int.from_bytes(frame[16:18], "big")
        assert checksum(frame[14:34]) == 0
        assert 60 <= max(14 + length, 60) == len(frame)


def test_a_quiet_network_has_no_events() -> None:
    assert Cable().clock.next_deadline() is None


def test_a_restored_network_sends_what_the_first_would_have(cable: Cable) -> None:
    whole, parts = Cable(traffic_ns=10_000), Cable(traffic_ns=10_000)
    for cut in (whole, parts):
        run_for(cut.clock, 105_000)
    parts.network = transplant(parts.network, parts.clock, parts.make)
    parts.clock = parts.network._timers  # type: ignore[assignment]
    for cut in (whole, parts):
        run_for(cut.clock, 105_000)
    assert parts.arrived == whole.arrived
