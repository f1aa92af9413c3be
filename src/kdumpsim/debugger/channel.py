# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages between the process that talks to a debugger and those that are the machine, with ends of new channels."""

from __future__ import annotations

import pickle
import select
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<IB")


class ChannelClosed(Exception):
    """The other process is no more."""


class Channel:
    """One end of a connected pair, within one program's own processes: what comes is trusted."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two ends."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def send(self, message: Any, gift: Channel | None = None) -> None:
        """Send anything, and the end of another channel with it.  ChannelClosed."""
        data = pickle.dumps(message)
        try:
            head = _LENGTH.pack(len(data), gift is not None)
            if gift is None:
                self._socket.sendall(head + data)
            else:
                socket.send_fds(self._socket, [head], [gift.fileno()])
                self._socket.sendall(data)
        except OSError as error:
            raise ChannelClosed from error

    def receive(self) -> tuple[Any, Channel | None]:
        """The next message, and the channel's end that came with it.  ChannelClosed."""
        try:
            head, fds, _, _ = socket.recv_fds(self._socket, _LENGTH.size, 1)
        except OSError as error:
            raise ChannelClosed from error
        if not head:
            raise ChannelClosed
        length, gift = _LENGTH.unpack(head + self._exactly(_LENGTH.size - len(head)))
        message = pickle.loads(self._exactly(length))
        return message, Channel(socket.socket(fileno=fds[0])) if gift else None

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                data = self._socket.recv(size)
            except OSError as error:
                raise ChannelClosed from error
            if not data:
                raise ChannelClosed
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def waiting(self) -> bool:
        """Has the other end sent something, or is it gone?"""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        """The other end notices."""
        self._socket.close()
