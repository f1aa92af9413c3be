# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of the remote protocol, as the manual (appendix E, "Overview") has them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.debugger.packets import INTERRUPT, DebuggerGone, Packets

Line = tuple[Packets, socket.socket]


@pytest.fixture
def line() -> Iterator[Line]:
    ours, theirs = socket.socketpair()
    yield Packets(ours), theirs
    ours.close()
    theirs.close()


def test_a_packet_is_acknowledged(line: Line) -> None:
    packets, gdb = line
    gdb.sendall(b"$g#67")
    assert packets.receive() == "g"
    assert gdb.recv(10) == b"+"


def test_a_damaged_packet_is_asked_for_again(line: Line) -> None:
    packets, gdb = line
    gdb.sendall(b"$g#68$g#67")
    assert packets.receive() == "g"
    assert gdb.recv(10) == b"-+"


def test_what_gdb_did_not_understand_is_sent_again(line: Line) -> None:
    packets, gdb = line
    packets.send("OK")
    gdb.sendall(b"-$g#67")
    assert packets.receive() == "g"
    assert gdb.recv(100) == b"$OK#9a$OK#9a+"


def test_without_acknowledgements_none_is_sent(line: Line) -> None:
    packets, gdb = line
    packets.acknowledging = False
    gdb.sendall(b"$g#67")
    packets.receive()
    packets.send("1")
    assert gdb.recv(100) == b"$1#31"


def test_ctrl_c_is_no_packet(line: Line) -> None:
    packets, gdb = line
    gdb.sendall(b"\x03$g#67")
    assert [packets.receive(), packets.receive()] == [INTERRUPT, "g"]
    gdb.sendall(b"\x03")
    assert packets.interrupted()


def test_a_debugger_that_hangs_up_is_gone(line: Line) -> None:
    packets, gdb = line
    gdb.close()
    with pytest.raises(DebuggerGone):
        packets.receive()


def test_noise_without_end_is_no_packet(line: Line) -> None:
    packets, gdb = line
    gdb.setblocking(False)

    def babble() -> None:
        for _ in range(100):
            gdb.send(b"$" * 60_000)
            packets.interrupted()
            packets._next()

    with pytest.raises(DebuggerGone, match="no packet"):
        babble()


@given(st.binary(max_size=300))
def test_any_bytes_arrive(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    try:
        sender, receiver = Packets(ours), Packets(theirs)
        sender.send(data)
        assert receiver.receive().encode("latin-1") == data
    finally:
        ours.close()
        theirs.close()
