# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of GDB's remote serial protocol ("Debugging with GDB", appendix E), the answering side.

Not used: run-length encoding, notifications.
"""

from __future__ import annotations

import socket

from kdumpsim.errors import KdumpsimError

INTERRUPT = "\x03"
PATIENCE_S = 30.0
"""For the rest of a packet that has begun."""
MOST = 1 << 20
"""Bytes of a packet."""


class DebuggerGone(KdumpsimError):
    """The debugger has closed the connection, or speaks another language."""


class Packets:
    """A connection to a debugger."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self.acknowledging = True
        self._last = b""

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def receive(self) -> str:
        """The next packet, or INTERRUPT.  DebuggerGone."""
        while True:
            packet = self._next()
            if packet is not None:
                return packet
            self._more()

    def _next(self) -> str | None:
        while self._buffer:
            if self._buffer[:1] == b"\x03":
                self._buffer = self._buffer[1:]
                return INTERRUPT
            if self._buffer[:1] == b"-":
                self._write(self._last)
            if self._buffer[:1] != b"$":
                self._buffer = self._buffer[1:]  # an acknowledgement, or noise
                continue
            end = self._buffer.find(b"#")
            if end < 0 or len(self._buffer) < end + 3:
                if len(self._buffer) > MOST:
                    raise DebuggerGone("what the debugger sends is no packet")
                return None
            body, digits = self._buffer[1:end], self._buffer[end + 1 : end + 3]
            self._buffer = self._buffer[end + 3 :]
            good = digits == b"%02x" % (sum(body) & 0xFF)
            if self.acknowledging:
                self._write(b"+" if good else b"-")
            if good:
                return _unescaped(body).decode("latin-1")
        return None

    def interrupted(self) -> bool:
        """Has the debugger asked to stop?  To be called when the connection has something.  DebuggerGone."""
        self._more()
        if INTERRUPT.encode() in self._buffer:
            self._buffer = self._buffer.replace(INTERRUPT.encode(), b"")
            return True
        return False

    def _more(self) -> None:
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise DebuggerGone("the debugger is gone") from error
        if not data:
            raise DebuggerGone("the debugger is gone")
        self._buffer += data

    def send(self, body: str | bytes) -> None:
        """Send a packet.  DebuggerGone."""
        data = _escaped(body.encode("latin-1", "replace") if isinstance(body, str) else body)
        self._last = b"$%s#%02x" % (data, sum(data) & 0xFF)
        self._write(self._last)

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise DebuggerGone("the debugger is gone") from error

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _escaped(data: bytes) -> bytes:
    return b"".join(b"}" + bytes([byte ^ 0x20]) if byte in b"#$}*" else bytes([byte]) for byte in data)


def _unescaped(data: bytes) -> bytes:
    parts, at = [], 0
    while (found := data.find(b"}", at)) >= 0 and found + 1 < len(data):
        parts += [data[at:found], bytes([data[found + 1] ^ 0x20])]
        at = found + 2
    return b"".join([*parts, data[at:]])
