# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said to QEMU's gdbstub and monitor, and what their answers are taken for."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from kdumpsim.errors import QemuLost
from kdumpsim.machines.qemu_gdb import GdbStub, Stop
from kdumpsim.machines.qemu_process import Qmp


def packet(text: str) -> bytes:
    return f"${text}#{sum(text.encode()) % 256:02x}".encode()


def stub(*answers: str) -> tuple[GdbStub, socket.socket]:
    """A client, and the wire's far end, where these answers are already on their way."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"".join(packet(text) for text in ("PacketSize=1000;multiprocess+", *answers)))
    return GdbStub(ours), theirs


def test_a_stop_names_its_cpu_from_zero() -> None:
    client, _wire = stub("T05thread:p01.02;")
    assert client.stopped() == Stop(5, 1)
    assert client.stopped() is None


def test_registers_are_asked_of_one_cpu_and_taken_apart() -> None:
    words = [*range(0x10, 0x20), 0, 0, 0, 0x80000011, 0xC0DE, 0x2000, 0x90]
    client, wire = stub("OK", "".join(word.to_bytes(4, "little").hex() for word in words) + "00" * 64)
    registers = client.registers(3)
    assert (registers.eax, registers.ecx, registers.ebx, registers.esp) == (0x10, 0x11, 0x13, 0x14)
    assert (registers.eip, registers.cs, registers.gs) == (0x18, 0x1A, 0x1F)
    assert (registers.cr0, registers.cr2, registers.cr3, registers.cr4) == (0x80000011, 0xC0DE, 0x2000, 0x90)
    said = wire.recv(4096)
    assert said.index(packet("Hgp1.4")) < said.index(packet("g"))


def test_memory_that_is_not_mapped_is_none_and_a_refused_breakpoint_an_error() -> None:
    client, _wire = stub("OK", "E14", "E22")
    assert client.read_linear(0, 0x1000, 4) is None
    with pytest.raises(QemuLost, match="answers Z0,c0100000,1 with 'E22'"):
        client.insert(0xC0100000)


def test_a_stub_that_hangs_up_is_lost() -> None:
    client, wire = stub()
    wire.close()
    with pytest.raises(QemuLost, match="gdbstub"):
        client.stopped()


def monitor(*messages: dict[str, Any]) -> tuple[Qmp, socket.socket]:
    ours, theirs = socket.socketpair()
    for message in ({"QMP": {}}, {"return": {}}, *messages):
        theirs.sendall(json.dumps(message).encode() + b"\r\n")
    return Qmp(ours), theirs


def test_events_are_told_whether_somebody_waits_for_an_answer_or_not() -> None:
    told = []
    client, _wire = monitor(
        {"event": "RESUME"}, {"return": {"running": True}}, {"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}
    )
    client.on_event = lambda name, data: told.append((name, data))
    assert client.execute("query-status") == {"running": True}
    assert told == [("RESUME", {})]
    client.events()
    assert told[1:] == [("SHUTDOWN", {"reason": "guest-reset"})]


def test_a_command_the_monitor_refuses_is_an_error() -> None:
    client, _wire = monitor({"error": {"class": "GenericError", "desc": "no such key"}})
    with pytest.raises(QemuLost, match="answers send-key with 'no such key'"):
        client.execute("send-key")
