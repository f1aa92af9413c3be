# SPDX-License-Identifier: GPL-2.0-or-later
"""The network behind the card: a cable of 100 Mb/s, and one station at its other end.

The station follows RFC 826 (ARP), 791 (IPv4), 792 (ICMP echo), 768 (UDP) and 862 (UDP echo, port 7): it says where it
is, answers pings, and sends a datagram for its port 7 back. With `traffic_ns` it also broadcasts UDP datagrams to
port 9 (discard, RFC 863), at times and with lengths drawn from the seed, from power-on to power-off: it knows nothing
of what becomes of them. Datagrams for its port 694 (IANA: ha-cluster) it notes, with the time. Its frames leave in the
order in which it made up its mind. Addresses are those of QEMU's user network: the station is 10.0.2.2, the guest
10.0.2.15.

Not modelled: IP options and fragments (dropped), TCP, DHCP, other stations, collisions, loss.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdumpsim.apic.timers import Timers
from kdumpsim.board.jitter import Jitter
from kdumpsim.board.rtl8139 import WIRE_NS_PER_BYTE, WIRE_OVERHEAD

MAC = bytes.fromhex("525400123456")
"""The guest's card."""
GUEST, STATION = bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2])
STATION_MAC = bytes.fromhex("525500000202")
BROADCAST_MAC, BROADCAST = b"\xff" * 6, bytes([10, 0, 2, 255])
REPLY_NS = 100_000
"""How long the station thinks before it answers, give or take an eighth."""
MIN_FRAME = 60
MIN_PAYLOAD, MAX_PAYLOAD = 18, 512
ECHO, DISCARD, HA_CLUSTER = 7, 9, 694
_IP, _ARP = 0x0800, 0x0806
_ICMP, _UDP = 1, 17
_ARP_HEADER = struct.pack(">HHBB", 1, _IP, 6, 4)


@dataclass(frozen=True)
class NetworkConfig:
    """`traffic_ns`: mean time between two broadcasts; 0: nobody speaks without being spoken to."""

    traffic_ns: int = 0


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def ethernet(target: bytes, source: bytes, kind: int, payload: bytes) -> bytes:
    """A frame without its CRC."""
    return (target + source + struct.pack(">H", kind) + payload).ljust(MIN_FRAME, b"\0")


def ipv4(source: bytes, target: bytes, protocol: int, payload: bytes, identification: int = 0) -> bytes:
    """A packet with a header of 20 bytes."""
    length = 20 + len(payload)
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length, identification, 0, 64, protocol, 0, source, target)
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def udp(source: bytes, source_port: int, target: bytes, target_port: int, payload: bytes) -> bytes:
    """A datagram with its checksum."""
    length = 8 + len(payload)
    head = struct.pack(">HHHH", source_port, target_port, length, 0)
    pseudo = source + target + struct.pack(">BBH", 0, _UDP, length)
    return head[:6] + struct.pack(">H", checksum(pseudo + head + payload) or 0xFFFF) + payload


class Network:
    """`arrive` gets each frame that reaches the card; `send` is given those that leave it."""

    name = "network"

    def __init__(self, timers: Timers, config: NetworkConfig, seed: int, arrive: Callable[[bytes], None]) -> None:
        self._timers, self._config, self._arrive = timers, config, arrive
        self._jitter = Jitter(seed)
        self.notices: list[tuple[int, bytes]] = []
        """When a datagram came to port 694, and what it says."""
        self._cable: deque[tuple[int, bytes]] = deque()  # (arrival, frame) on the way to the card
        self._cable_timer = timers.timer("network cable", self._arrived)
        self._traffic_timer = timers.timer("network traffic", self._broadcast)
        self.reset()

    def reset(self) -> None:
        """The station's power doesn't come from this machine: what is on the cable is lost, its traffic goes on."""
        self._cable.clear()
        self._cable_timer.cancel()
        if self._config.traffic_ns and self._traffic_timer.deadline is None:
            self._next_broadcast()

    # The cable, towards the card: one frame after the other.

    def _transmit(self, frame: bytes, delay: int = 0) -> None:
        """The station sends a frame, no sooner than after `delay`."""
        start = self._timers.now + delay
        if self._cable:
            start = max(start, self._cable[-1][0])
        self._cable.append((start + (len(frame) + WIRE_OVERHEAD) * WIRE_NS_PER_BYTE, frame))
        self._wait_for_cable()

    def _wait_for_cable(self) -> None:
        if self._cable:
            self._cable_timer.arm(self._cable[0][0])

    def _arrived(self) -> None:
        _, frame = self._cable.popleft()
        self._wait_for_cable()
        self._arrive(frame)

    # Traffic nobody asked for.

    def _next_broadcast(self) -> None:
        mean = self._config.traffic_ns
        self._traffic_timer.arm(self._timers.now + mean // 2 + self._jitter.draw() % (mean + 1))

    def _broadcast(self) -> None:
        number = self._jitter.draw()
        payload = number.to_bytes(8, "little") * (MAX_PAYLOAD // 8)
        payload = payload[: MIN_PAYLOAD + number % (MAX_PAYLOAD - MIN_PAYLOAD + 1)]
        datagram = udp(STATION, DISCARD, BROADCAST, DISCARD, payload)
        self._transmit(
            ethernet(BROADCAST_MAC, STATION_MAC, _IP, ipv4(STATION, BROADCAST, _UDP, datagram, number & 0xFFFF))
        )
        self._next_broadcast()

    # The station.

    def send(self, frame: bytes) -> None:
        """The card has sent a frame: what the station does about it."""
        if len(frame) < MIN_FRAME or frame[:6] not in (STATION_MAC, BROADCAST_MAC):
            return
        kind, payload = int.from_bytes(frame[12:14], "big"), frame[14:]
        answer: bytes | None = None
        if kind == _ARP:
            answer = self._answer_arp(payload)
        elif kind == _IP:
            answer = self._answer_ip(payload)
        if answer is not None:
            self._transmit(ethernet(frame[6:12], STATION_MAC, kind, answer), self._jitter.around(REPLY_NS))

    @staticmethod
    def _answer_arp(request: bytes) -> bytes | None:
        operation, sender, target = int.from_bytes(request[6:8], "big"), request[8:18], request[24:28]
        if request[:6] != _ARP_HEADER or operation != 1 or target != STATION:
            return None
        return _ARP_HEADER + struct.pack(">H", 2) + STATION_MAC + STATION + sender

    def _answer_ip(self, packet: bytes) -> bytes | None:
        length, fragment = struct.unpack(">H2xH", packet[2:8])
        source, target = packet[12:16], packet[16:20]
        sound = packet[0] == 0x45 and 20 <= length <= len(packet) and not checksum(packet[:20])
        if not sound or fragment & 0x3FFF or target != STATION:
            return None
        protocol, payload = packet[9], packet[20:length]
        if protocol == _ICMP:
            answer = self._answer_icmp(payload)
        elif protocol == _UDP:
            answer = self._answer_udp(source, payload)
        else:
            answer = None
        return None if answer is None else ipv4(STATION, source, protocol, answer)

    @staticmethod
    def _answer_icmp(message: bytes) -> bytes | None:
        if len(message) < 8 or message[:2] != b"\x08\x00" or checksum(message):
            return None
        reply = bytes(4) + message[4:]
        return reply[:2] + struct.pack(">H", checksum(reply)) + reply[4:]

    def _answer_udp(self, source: bytes, datagram: bytes) -> bytes | None:
        if len(datagram) < 8:
            return None
        source_port, target_port, length, check = struct.unpack(">4H", datagram[:8])
        pseudo = source + STATION + struct.pack(">BBH", 0, _UDP, length)
        if target_port == HA_CLUSTER and length == len(datagram):
            self.notices.append((self._timers.now, datagram[8:]))
        if target_port != ECHO or length != len(datagram) or (check and checksum(pseudo + datagram)):
            return None
        return udp(STATION, ECHO, source, source_port, datagram[8:])

    # State.

    def state(self) -> dict[str, Any]:
        return {
            "jitter": self._jitter.state,
            "cable": list(self._cable),
            "notices": list(self.notices),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._jitter.state = state["jitter"]
        self._cable = deque(state["cable"])
        self.notices = list(state["notices"])
