# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways to the agent: the second serial port of our machine, or a socket (QEMU's ``-serial``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from .errors import AgentGone, AgentUnreachable, BadAddress

if TYPE_CHECKING:
    import socket

    from kdumpsim.board.machine import StopReason

NS = 1_000_000_000
AGENT_PORT = 1
"""COM2, as an index of ``machine.uarts``."""


class Clock(Protocol):
    """What time it is in a machine, in ns."""

    @property
    def now(self) -> int: ...


class SerialPort(Protocol):
    """The other end of a serial line."""

    on_output: Callable[[bytes], None]

    def feed(self, data: bytes, /) -> None:
        """Send to the guest."""

    def flush(self) -> None:
        """Have `on_output` told of all that the guest has sent."""


class SerialMachine(Protocol):
    """A machine that runs when it is asked to, and its serial ports."""

    @property
    def clock(self) -> Clock: ...
    @property
    def uarts(self) -> Sequence[SerialPort]: ...

    def run(self, *, until: int | None = None, stop: Callable[[], bool] | None = None) -> StopReason:
        """Let it run until then, or until `stop()` holds."""


class MachineTransport:
    """Bytes to and from a machine of this process; waiting for the guest runs it. The clock is the machine's.

    One request may take at most `timeout_ns` of it, whatever deadline the client sets.  Once `interrupted()` holds,
    nobody is waited for any more.
    """

    def __init__(self, machine: SerialMachine, timeout_ns: int = 60 * NS) -> None:
        self._machine = machine
        self.timeout_ns = timeout_ns
        self._received = bytearray()
        self.interrupted: Callable[[], bool] = lambda: False
        machine.uarts[AGENT_PORT].on_output = self._received.extend

    def send(self, data: bytes) -> None:
        """Queue bytes at the serial port's receiver."""
        self._machine.uarts[AGENT_PORT].feed(data)

    def receive(self, deadline: int, wanted: int = 1) -> bytes:
        """Run the machine until `wanted` bytes came, or until the deadline; AgentGone if it stops for good before."""
        from kdumpsim.board.machine import StopReason

        machine, received = self._machine, self._received
        if len(received) < wanted:
            until = min(deadline, machine.clock.now + self.timeout_ns)
            if self.interrupted():
                raise AgentGone("the guest's agent is gone")
            reason = machine.run(until=until, stop=lambda: len(received) >= wanted or self.interrupted())
            if len(received) < wanted and reason not in (StopReason.UNTIL, StopReason.STOPPED):
                raise AgentGone(f"the machine stopped before its agent answered: {reason.name.lower()}")
            if len(received) < wanted and self.interrupted():
                raise AgentGone("the guest's agent is gone")
        data = bytes(received)
        received.clear()
        return data

    def now(self) -> int:
        """Nanoseconds since power-on, by the machine's clock."""
        return self._machine.clock.now


class SocketTransport:
    """A stream socket whose other end is a guest's serial port."""

    def __init__(self, connection: socket.socket, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._socket = connection
        self._clock = clock

    @classmethod
    def connect(cls, address: str, timeout: float = 10.0) -> SocketTransport:
        """Connect to ``unix:PATH`` or ``tcp:HOST:PORT``; BadAddress or AgentUnreachable if that fails."""
        import socket  # most machines are in this process

        kind, _, rest = address.partition(":")
        try:
            if kind == "unix" and rest:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.settimeout(timeout)
                connection.connect(rest)
            elif kind == "tcp" and rest.rpartition(":")[2].isdecimal() and rest.rpartition(":")[0]:
                host, _, port = rest.rpartition(":")
                connection = socket.create_connection((host.strip("[]"), int(port)), timeout)
            else:
                raise BadAddress(f"'{address}' is no agent address; allowed are unix:PATH and tcp:HOST:PORT")
        except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
            reason = getattr(error, "strerror", None) or str(error)
            raise AgentUnreachable(f"cannot connect to the agent at {address}: {reason}") from None
        return cls(connection)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        try:
            self._socket.settimeout(None)
            self._socket.sendall(data)
        except OSError as error:
            raise AgentGone(f"the agent's connection broke: {error.strerror}") from None

    def receive(self, deadline: int, wanted: int = 1) -> bytes:
        """Wait for `wanted` bytes, in real time."""
        received = bytearray()
        while len(received) < wanted:
            left = deadline - self._clock()
            if left <= 0:
                break
            self._socket.settimeout(left / NS)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                break
            except OSError as error:
                raise AgentGone(f"the agent's connection broke: {error.strerror}") from None
            if not data:
                raise AgentGone("the agent's connection was closed")
            received += data
        return bytes(received)

    def now(self) -> int:
        """Real nanoseconds."""
        return self._clock()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
