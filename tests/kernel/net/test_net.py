# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's network on our machine: the driver, the protocols as the station sees them, sockets, netload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdumpsim import images
from kdumpsim.agent.client import Reboot
from kdumpsim.board.network import GUEST, MAC, STATION, STATION_MAC, NetworkConfig, checksum, ethernet, ipv4, udp
from kdumpsim.compiler import compile_modules
from kdumpsim.compiler.linker import Layout, link
from kdumpsim.kexec import load

COMMAND_LINE = "console=ttyS0,115200 combined_mode=ide root=/dev/hda"
ADDRESS = "ip=10.0.2.15::10.0.2.2:255.255.255.0"


@pytest.fixture(scope="module")
def shared() -> list[Any]:
    """The guest these tests share, once one was booted."""
    return []


@pytest.fixture
def net(boot: Callable[..., Any], shared: list[Any]) -> Any:
    if not shared:
        modules = {"sockets_guest": Path(__file__).with_name("sockets_guest.py")}
        objects = compile_modules(["kdumpsim.userland.start"], extra_sources=modules)
        program = link(objects, Layout(images.USER_BASE, images.USER_BASE, "_start")).stripped()
        shared.append(boot(ADDRESS, network=NetworkConfig(), files={"/bin/sockets": program}))
    return shared[0]


def counts(guest: Any) -> list[int]:
    """/proc/net/dev: bytes, packets, errors, dropped, overruns received; bytes, packets, errors, dropped sent."""
    (line,) = (line for line in guest.text("/proc/net/dev").splitlines() if "eth0" in line)
    return [int(word) for word in line.partition(":")[2].split()]


def ask(guest: Any, frame: bytes) -> list[bytes]:
    """What the guest sends within 10 ms of a frame's arrival."""
    answers: list[bytes] = []
    before, guest.machine.nic.on_transmit = guest.machine.nic.on_transmit, answers.append
    guest.machine.nic.receive(frame)
    guest.run(0.01)
    guest.machine.nic.on_transmit = before
    return answers


def ping(target: bytes = GUEST, payload: bytes = b"0123456789") -> bytes:
    message = bytes.fromhex("0800 0000 1234 0001") + payload
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    return ipv4(STATION, target, 1, message)


def test_the_driver_finds_the_card_and_ip_brings_it_up(net: Any) -> None:
    assert "eth0: RealTek RTL8139 at 0xc100, 52:54:00:12:34:56, IRQ 11" in net.console
    assert "device=eth0, addr=10.0.2.15, mask=255.255.255.0, gw=10.0.2.2" in net.console
    (line,) = (line for line in net.text("/proc/interrupts").splitlines() if line.endswith("eth0"))
    assert line.split()[0] == "11:"
    assert "IO-APIC-level" in line


def test_who_asks_for_the_guest_is_told_and_who_pings_it_answered(net: Any) -> None:
    question = bytes.fromhex("0001080006040001") + STATION_MAC + STATION + bytes(6) + GUEST
    told = bytes.fromhex("0001080006040002") + MAC + GUEST + STATION_MAC + STATION
    assert ask(net, ethernet(b"\xff" * 6, STATION_MAC, 0x0806, question)) == [ethernet(STATION_MAC, MAC, 0x0806, told)]
    (answer,) = ask(net, ethernet(MAC, STATION_MAC, 0x0800, ping()))
    packet = answer[14:52]
    assert packet[9:10] + packet[12:20] == b"\x01" + GUEST + STATION
    assert checksum(packet[:20]) == checksum(packet[20:]) == 0
    assert packet[20:22] + packet[24:] == bytes.fromhex("0000 1234 0001") + b"0123456789"


@pytest.mark.parametrize(
    "packet",
    [
        ping()[:10] + b"\0\0" + ping()[12:],  # header checksum
        ping()[:-1] + b"x",  # ICMP checksum
        ping()[:15],
        ping(bytes([10, 0, 2, 16])),
        ping(bytes([10, 0, 2, 255])),  # to everybody: RFC 1122 lets us be silent
        b"\x46" + ping()[1:],  # options
    ],
    ids=["header", "checksum", "stump", "others", "broadcast", "options"],
)
def test_what_is_damaged_or_not_for_us_gets_no_answer(net: Any, packet: bytes) -> None:
    assert ask(net, ethernet(MAC, STATION_MAC, 0x0800, packet)) == []


def test_datagrams_that_nobody_waits_for_are_dropped_without_loss_of_memory(net: Any) -> None:
    datagram = udp(STATION, 9, GUEST, 9, bytes(500))
    frame = ethernet(MAC, STATION_MAC, 0x0800, ipv4(STATION, GUEST, 17, datagram))

    def free() -> int:
        (line,) = (line for line in net.text("/proc/meminfo").splitlines() if line.startswith("MemFree:"))
        return int(line.split()[1])

    for _ in range(100):  # so that the caches have what they keep at hand
        ask(net, frame)
    before = free()
    received, written = counts(net)[1], net.machine.nic.frames_written
    for _ in range(100):
        assert ask(net, frame) == []
    assert counts(net)[1] - received == net.machine.nic.frames_written - written == 100
    assert before - free() < 20  # kB; the datagrams were 54


def test_sockets_refuse_what_they_should_and_carry_the_rest(net: Any) -> None:
    net.agent.start("sockets")
    net.run(2)
    assert "sockets: 0 failures" in net.console, net.console[-500:]


def test_netload_gets_back_what_it_sends_around_the_ring_and_all_lengths(net: Any) -> None:
    before = counts(net)
    pid = net.agent.start("netload")
    net.run(4)
    after = counts(net)
    net.agent.kill(pid, 9)
    assert after[5] - before[5] > 4 * 32768
    assert after[1] - before[1] == pytest.approx(after[6] - before[6], abs=1)
    assert after[2:5] == before[2:5]
    assert "netload:" not in net.console


def test_netload_sends_again_what_is_lost_and_ends_when_nobody_answers(net: Any) -> None:
    network = net.machine.network
    deliver, lost = network._arrive, [0]

    def lossy(frame: bytes) -> None:
        lost[0] += 1
        if lost[0] % 3:
            deliver(frame)

    network._arrive = lossy
    net.agent.start("netload")
    net.run(5)
    assert lost[0] > 10
    assert "netload:" not in net.console
    network._arrive = lambda frame: None
    net.run(12)
    network._arrive = deliver
    assert "netload: nobody answers: error 11" in net.console


def test_netload_finds_out_that_a_datagram_came_back_changed(net: Any) -> None:
    network = net.machine.network
    deliver = network._arrive

    def wicked(frame: bytes) -> None:
        datagram = frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
        if frame[12:14] == b"\x08\x00" and len(datagram) > 100:
            forged = udp(STATION, 7, GUEST, int.from_bytes(datagram[2:4], "big"), datagram[8:-1] + b"!")
            frame = ethernet(MAC, STATION_MAC, 0x0800, ipv4(STATION, GUEST, 17, forged))
        deliver(frame)

    network._arrive = wicked
    net.agent.start("netload")
    net.run(1)
    network._arrive = deliver
    assert "netload: the exchange failed: error 5" in net.console


def test_a_kernel_that_hands_over_in_order_stops_the_card_first(boot: Callable[..., Any]) -> None:
    guest = boot(ADDRESS, network=NetworkConfig(traffic_ns=500_000))
    nic, written = guest.machine.nic, []
    guest.machine.watch(guest.first.symbols["machine_kexec"], lambda cpu: written.append(nic.frames_written))
    load.kexec_load_normal(guest.agent, guest.first.stripped, None, f"{COMMAND_LINE} second")
    guest.agent.version = None
    guest.agent.reboot(Reboot.KEXEC)
    guest.agent.hello()
    assert written[0] > 100
    assert nic.frames_written == written[0]  # the second kernel was told of no address
    assert "second" in guest.text("/proc/cmdline")


def test_without_an_address_the_card_stays_off_and_programs_are_told(boot: Callable[..., Any]) -> None:
    guest = boot(network=NetworkConfig(traffic_ns=100_000))
    assert "eth0: RealTek RTL8139" in guest.console
    assert guest.machine.nic.frames_written == 0
    guest.agent.start("netload")
    guest.run(0.1)
    assert "netload: the exchange failed: error 101" in guest.console
