# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's protocol."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.agent.client import ANSWER, CHUNK, MAX_PAYLOAD, AgentClient, Frame, FrameDecoder, Op, Reboot
from kdumpsim.agent.errors import (
    AgentError,
    AgentFailure,
    AgentGone,
    AgentProtocolError,
    AgentTimeout,
    AgentUnreachable,
)
from kdumpsim.agent.transport import SocketTransport
from kdumpsim.kexec.segments import FileData, Segment
from kexec.builders import FakeGuest

frames = st.builds(
    Frame,
    st.sampled_from([int(op) for op in Op] + [op | ANSWER for op in Op]),
    st.integers(0, 0xFFFF),
    st.binary(max_size=300),
)


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_cutting(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame.encode() for frame in sent)
    decoder, got, at, turn = FrameDecoder(), [], 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        got += decoder.feed(stream[at : at + step])
        assert decoder.wanted > 0
        at, turn = at + step, turn + 1
    assert got == sent
    assert decoder.skipped == 0


def test_noise_before_a_frame_is_skipped() -> None:
    frame = Frame(Op.HELLO, 0, b"\0\0\0\0toy")
    decoder = FrameDecoder()
    assert decoder.feed(b"\xff\0boot: K\xee" + frame.encode()) == [frame]
    assert decoder.skipped == 10


def test_a_length_beyond_reason_is_noise() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"K\x81\x01\x00" + (MAX_PAYLOAD + 1).to_bytes(4, "little")) == []
    assert decoder.feed(Frame(Op.READ, 2, b"x").encode()) == [Frame(Op.READ, 2, b"x")]


class Liar(FakeGuest):
    """A guest whose agent answers every request with the same words."""

    def __init__(self, status: int, data: bytes = b"") -> None:
        super().__init__()
        self.words = status.to_bytes(4, "little", signed=True) + data

    def _answer(self, frame: Frame) -> None:
        self.incoming += Frame(frame.op | ANSWER, frame.tag, self.words).encode()


@pytest.mark.parametrize("status", [-(2**31), -4096])
def test_a_status_that_is_no_errno(status: int) -> None:
    with pytest.raises(AgentProtocolError, match=f"status is {status}, which is no errno"):
        AgentClient(Liar(status)).open("/x")


def test_a_file_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdumpsim.agent.client.MAX_FILE", 100_000)
    with pytest.raises(AgentProtocolError, match=r"/x has no end: \d+ bytes were read"):
        AgentClient(Liar(CHUNK, bytes(CHUNK)), timeout=1e6).read_file("/x")


def test_more_taken_than_was_sent() -> None:
    with pytest.raises(AgentProtocolError, match="took 5000 of at most 4096 bytes"):
        AgentClient(Liar(5000)).write_file("/x", b"abc")


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_whatever_an_agent_answers_is_an_answer_or_a_failure(answers: list[bytes]) -> None:
    class Random(FakeGuest):
        def _answer(self, frame: Frame) -> None:
            if answers:
                self.incoming += Frame(frame.op | ANSWER, frame.tag, answers.pop()).encode()

    agent = AgentClient(Random(), timeout=3)
    for ask in (agent.identify, lambda: agent.read_file("/proc/iomem"), lambda: agent.start("diskio")):
        with contextlib.suppress(AgentFailure):
            ask()


def test_files() -> None:
    guest = FakeGuest({"/big": bytes(range(256)) * 50, "/out": b""})
    guest.chunk = 7
    agent = AgentClient(guest, timeout=1e6)
    assert agent.read_file("/big") == guest.files["/big"]
    agent.write_file("/out", b"abc" * 3000)
    assert guest.files["/out"] == b"abc" * 3000
    assert guest.open_files == {}


def test_refusals_name_the_file_and_the_errno() -> None:
    guest = FakeGuest()
    agent = AgentClient(guest)
    with pytest.raises(AgentError, match=r"open /nowhere: ENOENT \(No such file or directory\)") as caught:
        agent.read_file("/nowhere")
    assert (caught.value.errno, caught.value.name) == (errno.ENOENT, "ENOENT")
    guest.fail = {Op.WRITE: errno.EINVAL}
    with pytest.raises(AgentError, match="write to /proc/iomem: EINVAL"):
        agent.write_file("/proc/iomem", b"x")
    assert guest.open_files == {}


def test_silence_is_a_timeout_and_a_late_answer_is_dropped() -> None:
    guest = FakeGuest({"/a": b"first"})
    agent = AgentClient(guest, timeout=5)
    guest.mute = True
    with pytest.raises(AgentTimeout, match="open /a"):
        agent.read_file("/a")
    guest.mute = False
    guest.incoming += Frame(Op.OPEN | ANSWER, 1, b"\x63\0\0\0").encode()
    assert agent.read_file("/a") == b"first"


def test_greeting_and_identify() -> None:
    guest = FakeGuest()
    agent = AgentClient(guest, timeout=5)
    with pytest.raises(AgentTimeout):
        agent.hello()
    guest.incoming += b"\0" + Frame(Op.HELLO | ANSWER, 0, b"\0\0\0\0toy 1.0\n\0").encode()
    assert agent.hello() == "toy 1.0\n"
    assert AgentClient(guest).identify() == "toy 1.0"


def test_kexec_load_start_and_reboot() -> None:
    guest = FakeGuest({"/boot/kernel": b"0123456789"})
    agent = AgentClient(guest)
    agent.kexec_load(
        0x5000,
        [Segment("a", 0x1000, 0x1000, b"inline"), Segment("b", 0x4000, 0x2000, FileData("/boot/kernel", 2, 5))],
        1,
    )
    assert guest.loaded == (0x5000, 1, [(0x1000, 0x1000, 6, b"inline"), (0x4000, 0x2000, 5, b"23456")])
    assert agent.start("diskio", "-n", "3") == 42
    assert guest.started == ["diskio", "-n", "3"]
    agent.reboot(Reboot.KEXEC)
    assert guest.rebooted == 1


def test_socket_transport() -> None:
    ours, theirs = socket.socketpair()
    guest = FakeGuest({"/a": b"hello"})

    def serve() -> None:
        while data := theirs.recv(3):
            guest.send(data)
            theirs.sendall(guest.incoming)
            guest.incoming.clear()

    thread = threading.Thread(target=serve)
    thread.start()
    transport = SocketTransport(ours)
    assert AgentClient(transport, timeout=10).read_file("/a") == b"hello"
    assert transport.receive(transport.now() + 10_000_000) == b""
    transport.close()
    thread.join()
    theirs.close()


def test_socket_closed_by_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(AgentGone):
        AgentClient(SocketTransport(ours)).identify()


@pytest.mark.parametrize("address", ["", "unix", "unix:", "tcp:host", "tcp:1.2.3.4:http", "pipe:x", "tcp::1"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(AgentUnreachable, match=r"unix:PATH and tcp:HOST:PORT"):
        SocketTransport.connect(address)


@pytest.mark.parametrize(
    "address", ["unix:/nonexistent/socket", "tcp:127.0.0.1:1", "tcp:127.0.0.1:99999999", "tcp:a..b:1"]
)
def test_nobody_listens(address: str) -> None:
    with pytest.raises(AgentUnreachable, match="cannot connect to the agent"):
        SocketTransport.connect(address)
