# SPDX-License-Identifier: GPL-2.0-or-later
"""its gdbstub from the host's side: stops, breakpoints, registers and memory of a PC that QEMU runs.

GDB's remote serial protocol ("Debugging with GDB", appendix E) with the extension for several processes, of which QEMU
has one: its threads are the CPUs, from 1 on.  TCG keeps breakpoints beside the guest's code, so nothing in the guest's
memory changes for them.  Not used: watchpoints, acknowledgements switched off (QEMU 7.2 has no QStartNoAckMode).
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass

from kdumpsim.cpu import Registers
from kdumpsim.errors import QemuLost

PATIENCE_S = 30.0
"""For an answer; a stopped QEMU takes microseconds."""
TRAP = 5
"""The signal of a stop at a breakpoint, or after a step."""
_INTERRUPT = b"\x03"
_STOP = re.compile(r"T(?P<signal>[0-9a-f]{2})thread:p[0-9a-f]+\.(?P<thread>[0-9a-f]+);")
_G_PACKET = (
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags", "cs", "ss", "ds", "es", "fs", "gs",
    None, None, None, "cr0", "cr2", "cr3", "cr4",
)  # fmt: skip
"""Words of QEMU's `g` packet for an i386; the three without a name are segment bases."""


@dataclass(frozen=True)
class Stop:
    """Why the PC stopped, and the CPU it happened on."""

    signal: int
    cpu: int


class GdbStub:
    """One connection.  Commands are for a stopped PC; `resume` starts it, `stopped` sees that it stopped."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self._selected: int | None = None
        self._command("qSupported:multiprocess+")

    def fileno(self) -> int:
        """For select: readable when a running PC stopped."""
        return self._socket.fileno()

    def insert(self, address: int) -> None:
        """A breakpoint on every CPU."""
        self._done(f"Z0,{address:x},1")

    def remove(self, address: int) -> None:
        """Take it away."""
        self._done(f"z0,{address:x},1")

    def registers(self, cpu: int) -> Registers:
        """What a CPU holds."""
        self._select(cpu)
        words = struct.unpack_from(f"<{len(_G_PACKET)}I", bytes.fromhex(self._command("g")))
        return Registers(**{name: word for name, word in zip(_G_PACKET, words, strict=True) if name is not None})

    def read_linear(self, cpu: int, address: int, size: int) -> bytes | None:
        """Memory through a CPU's page tables; None where it has none."""
        self._select(cpu)
        answer = self._command(f"m{address:x},{size:x}")
        return None if answer.startswith("E") else bytes.fromhex(answer)

    def step(self, cpu: int) -> None:
        """One instruction on one CPU, interrupts held off; the others stand still."""
        self._send(f"vCont;s:p1.{cpu + 1:x}")
        self._wait_for_stop()

    def resume(self) -> None:
        """Let all CPUs run."""
        self._selected = None
        self._send("vCont;c")

    def interrupt(self) -> Stop:
        """Stop a running PC; it may have stopped at a breakpoint just before."""
        self._write(_INTERRUPT)
        return self._wait_for_stop()

    def stopped(self) -> Stop | None:
        """Whether a running PC has stopped by itself."""
        packet = self._receive(0)
        return None if packet is None else _parse_stop(packet)

    def _wait_for_stop(self) -> Stop:
        packet = self._receive(PATIENCE_S)
        if packet is None:
            raise QemuLost("its gdbstub does not say that the PC stopped")
        return _parse_stop(packet)

    def _select(self, cpu: int) -> None:
        if self._selected != cpu:
            self._done(f"Hgp1.{cpu + 1:x}")
            self._selected = cpu

    def _done(self, command: str) -> None:
        answer = self._command(command)
        if answer != "OK":
            raise QemuLost(f"its gdbstub answers {command} with '{answer}'")

    def _command(self, command: str) -> str:
        self._send(command)
        answer = self._receive(PATIENCE_S)
        if answer is None:
            raise QemuLost(f"its gdbstub does not answer {command}")
        return answer

    def _send(self, command: str) -> None:
        data = command.encode()
        self._write(b"$%s#%02x" % (data, sum(data) & 0xFF))

    def _write(self, data: bytes) -> None:
        self._socket.settimeout(PATIENCE_S)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise QemuLost(f"its gdbstub is gone: {error}") from None

    def _receive(self, timeout: float) -> str | None:
        """The next packet, acknowledged; None if none comes in time."""
        while True:
            start, end = self._buffer.find(b"$"), self._buffer.find(b"#")
            if 0 <= start < end <= len(self._buffer) - 3:
                packet, self._buffer = self._buffer[start + 1 : end], self._buffer[end + 3 :]
                self._write(b"+")
                return packet.decode("ascii")
            self._socket.settimeout(timeout)
            try:
                data = self._socket.recv(65536)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError as error:
                raise QemuLost(f"its gdbstub is gone: {error}") from None
            if not data:
                raise QemuLost("its gdbstub closed the connection")
            self._buffer += data


def _parse_stop(packet: str) -> Stop:
    match = _STOP.match(packet)
    if match is None:
        raise QemuLost(f"its gdbstub says '{packet}' where a stop was due")
    return Stop(int(match["signal"], 16), int(match["thread"], 16) - 1)
