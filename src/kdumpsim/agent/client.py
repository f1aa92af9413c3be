# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the agent: file access and kexec_load in the guest, over its second serial port.

The protocol stands in ``docs/kernel.md``, "Agent protocol (COM2)".  Frames are ``'K', op, tag, length, payload``, all
little-endian; an answer has bit 7 of `op` set and begins with a signed status, negative for an errno.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from kdumpsim.target import TARGET

from .errors import AgentError, AgentProtocolError, AgentTimeout
from .segments import FileData, LoadSegment

NS = 1_000_000_000
HEADER = struct.Struct("<BBHI")
MAGIC = ord("K")
ANSWER = 0x80
MAX_PAYLOAD = 1 << 20
MAX_FILE = 64 << 20
"""Bytes of a guest file that are read; an agent that goes on for ever is not listened to for ever."""
MAX_ERRNO = 4095
CHUNK = 4096
"""Bytes of file contents asked for or sent in one frame."""

SIGKILL = 9
O_RDONLY, O_WRONLY, O_RDWR = 0, 1, 2
O_CREAT, O_TRUNC, O_DIRECTORY = 0o100, 0o1000, 0o200000
"""Flags of open(), the guest's."""


class Op(IntEnum):
    """Requests."""

    HELLO = 0
    OPEN = 1
    READ = 2
    WRITE = 3
    CLOSE = 4
    KEXEC_LOAD = 5
    REBOOT = 6
    START = 7
    KILL = 8


class Reboot(IntEnum):
    """What REBOOT does."""

    RESTART = 0
    KEXEC = 1
    HALT = 2


class KexecFlags(IntEnum):
    """Flags of kexec_load(2)."""

    ON_CRASH = 0x1
    ARCH = TARGET.machine << 16


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, either direction."""

    op: int
    tag: int
    payload: bytes

    def encode(self) -> bytes:
        """The frame as bytes."""
        return HEADER.pack(MAGIC, self.op, self.tag, len(self.payload)) + self.payload


class FrameDecoder:
    """Bytes in, frames out. What cannot begin a frame (line noise at power-on) is skipped and counted."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes as they come; the frames that are now complete."""
        self._buffer += data
        frames: list[Frame] = []
        while self._synchronise() and self.wanted <= 0:
            _, op, tag, length = HEADER.unpack_from(self._buffer)
            end = HEADER.size + length
            frames.append(Frame(op, tag, bytes(self._buffer[HEADER.size : end])))
            del self._buffer[:end]
        return frames

    @property
    def wanted(self) -> int:
        """How many more bytes the frame under way needs at the least."""
        have = len(self._buffer)
        if have < HEADER.size:
            return HEADER.size - have
        length: int = HEADER.unpack_from(self._buffer)[3]
        return HEADER.size + length - have

    def _synchronise(self) -> bool:
        """Drop bytes until the buffer begins with a possible header; False if that takes more bytes."""
        buffer = self._buffer
        while buffer:
            if buffer[0] == MAGIC and (len(buffer) < 2 or buffer[1] & ~ANSWER in _OPS):
                if len(buffer) < HEADER.size:
                    return False
                if HEADER.unpack_from(buffer)[3] <= MAX_PAYLOAD:
                    return True
            del buffer[0]
            self.skipped += 1
        return False


_OPS = frozenset(Op)


class Transport(Protocol):
    """A byte stream to the agent with a clock of its own (virtual seconds for our machine, real ones for QEMU)."""

    def send(self, data: bytes) -> None:
        """Hand bytes to the guest."""

    def receive(self, deadline: int, wanted: int = 1) -> bytes:
        """What the guest sent: `wanted` bytes or more, or fewer when `deadline` has passed.

        AgentGone if none can come any more.
        """

    def now(self) -> int:
        """The clock of `deadline`, in whole nanoseconds: a deadline that is reached must compare as reached."""


class AgentClient:
    """Requests to the agent, one at a time.

    `timeout` is in seconds of the transport's clock.  A refusal is an AgentError, silence an AgentTimeout.
    """

    def __init__(self, transport: Transport, timeout: float = 60.0) -> None:
        self.transport = transport
        self.timeout = timeout
        self.version: str | None = None
        """The kernel's version text from the agent's greeting, once one came."""
        self._decoder = FrameDecoder()
        self._frames: list[Frame] = []
        self._tag = 0

    def state(self) -> dict[str, Any]:
        """What a client has to know to go on where this one is, between requests, as plain data."""
        return {"version": self.version, "tag": self._tag}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another client was."""
        self.version, self._tag = state["version"], state["tag"]

    def hello(self, timeout: float | None = None) -> str:
        """Wait for the greeting that the agent sends when it starts; the kernel's version text."""
        deadline = self._deadline(timeout)
        while self.version is None:
            self._note(self._next_frame(deadline, "waiting for the agent to start"))
        return self.version

    def identify(self, timeout: float | None = None) -> str:
        """Ask an agent that may have greeted long ago; the kernel's version text."""
        self.version = _text(self._request(Op.HELLO, b"", "hello", timeout)[1])
        return self.version

    def open(self, path: str, flags: int = O_RDONLY) -> int:
        """Open a guest file; a descriptor."""
        return self._request(Op.OPEN, struct.pack("<I", flags) + path.encode(), f"open {path}")[0]

    def read(self, fd: int, count: int = CHUNK) -> bytes:
        """Read up to `count` bytes; empty at the end."""
        status, data = self._request(Op.READ, struct.pack("<II", fd, count), f"read from descriptor {fd}")
        if status > len(data):
            raise AgentProtocolError(f"the agent announces {status} bytes and sends {len(data)}")
        return data[:status]

    def write(self, fd: int, data: bytes) -> int:
        """Write; how many bytes were taken."""
        return self._request(Op.WRITE, struct.pack("<I", fd) + data, f"write to descriptor {fd}")[0]

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        self._request(Op.CLOSE, struct.pack("<I", fd), f"close descriptor {fd}")

    def read_file(self, path: str) -> bytes:
        """The whole contents of a guest file."""
        with self._opened(path, O_RDONLY) as fd:
            pieces, size = [], 0
            while piece := self.read(fd):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_FILE:
                    raise AgentProtocolError(f"{path} has no end: {size} bytes were read")
        return b"".join(pieces)

    def write_file(self, path: str, data: bytes) -> None:
        """Write all of `data` to a guest file."""
        with self._opened(path, O_WRONLY) as fd:
            at = 0
            while at < len(data):
                try:
                    taken = self.write(fd, data[at : at + CHUNK])
                except AgentError as error:
                    raise AgentError(f"write to {path}", error.errno) from None
                if not 0 < taken <= CHUNK:
                    raise AgentProtocolError(f"{path} took {taken} of at most {CHUNK} bytes")
                at += taken

    def kexec_load(self, entry: int, segments: Sequence[LoadSegment], flags: int) -> None:
        """kexec_load(2) in the guest; no segments unload what was loaded."""
        payload = bytearray(struct.pack("<III", entry, flags, len(segments)))
        for segment in segments:
            data = segment.data
            inline = not isinstance(data, FileData)
            size = segment.bufsz
            payload += struct.pack("<IIII", 0 if inline else 1, segment.mem, segment.memsz, size)
            if isinstance(data, FileData):
                path = data.path.encode()
                payload += struct.pack("<II", data.offset, len(path)) + path
            else:
                payload += data
        self._request(Op.KEXEC_LOAD, bytes(payload), "kexec_load")

    def reboot(self, command: Reboot) -> None:
        """Restart, kexec -e or halt. The guest may be gone before it can answer, so no answer is waited for."""
        self.transport.send(Frame(Op.REBOOT, self._next_tag(), struct.pack("<I", command)).encode())

    def start(self, name: str, *arguments: str) -> int:
        """Start a workload thread in the guest; its pid."""
        payload = b"".join(word.encode() + b"\0" for word in (name, *arguments))
        return self._request(Op.START, payload, f"start {name}")[0]

    def kill(self, pid: int, signal: int = SIGKILL) -> None:
        """Send a signal to a process of the guest."""
        self._request(Op.KILL, struct.pack("<II", pid, signal), f"kill {pid}")

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        fd = self.open(path, flags)
        try:
            yield fd
        except AgentError:
            self.close(fd)
            raise
        self.close(fd)

    def _next_tag(self) -> int:
        self._tag = self._tag % 0xFFFF + 1
        return self._tag

    def _request(self, op: Op, payload: bytes, what: str, timeout: float | None = None) -> tuple[int, bytes]:
        tag = self._next_tag()
        self.transport.send(Frame(op, tag, payload).encode())
        deadline = self._deadline(timeout)
        while True:
            frame = self._next_frame(deadline, what)
            if frame.op == op | ANSWER and frame.tag == tag:
                break
            self._note(frame)
        if len(frame.payload) < 4:
            raise AgentProtocolError(f"{what}: the answer holds no status")
        (status,) = struct.unpack_from("<i", frame.payload)
        if status < -MAX_ERRNO:
            raise AgentProtocolError(f"{what}: the answer's status is {status}, which is no errno")
        if status < 0:
            raise AgentError(what, -status)
        return status, frame.payload[4:]

    def _note(self, frame: Frame) -> None:
        """Take an unsolicited frame: remember a greeting, drop a late answer to a request that was given up."""
        if frame.op & ~ANSWER == Op.HELLO and frame.tag == 0:
            self.version = _text(frame.payload[4:])

    def _deadline(self, timeout: float | None) -> int:
        return self.transport.now() + round((self.timeout if timeout is None else timeout) * NS)

    def _next_frame(self, deadline: int, what: str) -> Frame:
        while not self._frames:
            data = self.transport.receive(deadline, max(self._decoder.wanted, 1))
            self._frames = self._decoder.feed(data)
            if not self._frames and self.transport.now() >= deadline:
                raise AgentTimeout(f"{what}: no answer from the guest's agent in time")
        return self._frames.pop(0)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
