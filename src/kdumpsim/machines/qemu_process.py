# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU process with a PC in it: its command line, its files, its wires, and QMP.

Follows QEMU's "QMP protocol specification" and qemu-system-i386(1), tried with 7.2.  RAM and disks are files without a
name in memory (memfd), and all connections are socket pairs, so nothing is left on the host however a run ends.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import Any

from kdumpsim.errors import QemuLost
from kdumpsim.files import scratch_directory
from kdumpsim.machines.parent import die_with

TOOL = "qemu-system-i386"
PACKAGE = "qemu-system-x86"
KERNEL_NAME = "vmlinux"
"""QEMU puts the kernel's file name in front of its command line."""
PATIENCE_S = 30.0
"""For an answer over QMP; also for QEMU to start."""


class QemuMissing(Exception):
    """QEMU is not installed; the text names what is to be installed."""


def find_qemu() -> str:
    """Its path, or QemuMissing."""
    path = shutil.which(TOOL)
    if path is None:
        raise QemuMissing(
            f"machine qemu needs {TOOL}, which is not installed; on Debian it is in the package {PACKAGE}"
        )
    return path


@dataclass(frozen=True)
class PcConfig:
    """What QEMU is to build.  `disks`: file descriptors by place, the first cable's two and the second's."""

    cpus: int
    memory: int
    """Bytes; what `ram` (a file descriptor) holds."""
    ram: int
    disks: Mapping[int, int]


class QemuProcess:
    """A running QEMU, its PC stopped before the first instruction; `close` ends it."""

    def __init__(self, pc: PcConfig, kernel: bytes, command_line: str) -> None:
        """QemuMissing or QemuLost if there is none in the end."""
        tool = find_qemu()
        self._messages, self._log = (FileIO(os.memfd_create(name), "r+") for name in ("messages", "log"))
        self._schedstat: FileIO | None = None
        self._waited = 0
        ours: dict[str, socket.socket] = {}
        theirs: dict[str, socket.socket] = {}
        for name in ("console", "agent", "qmp", "gdb"):
            ours[name], theirs[name] = socket.socketpair()
        self._wires = ours.values()
        self.console, self.agent, self.gdb = ours["console"], ours["agent"], ours["gdb"]
        wires = {name: wire.fileno() for name, wire in theirs.items()}
        with scratch_directory() as directory:  # until QEMU has read the kernel
            (directory / KERNEL_NAME).write_bytes(kernel)
            self._process = subprocess.Popen(
                arguments(tool, pc, command_line, wires, self._log.fileno()),
                cwd=directory,
                pass_fds=[pc.ram, *pc.disks.values(), *wires.values(), self._log.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._messages,
                stderr=self._messages,
                start_new_session=True,  # Ctrl-C is for us, who end QEMU then
                preexec_fn=partial(die_with, os.getpid()),
            )
            try:
                for wire in theirs.values():
                    wire.close()
                self.qmp = Qmp(ours["qmp"])
                self._schedstat = self._open_schedstat()
            except QemuLost as error:
                lost = self.lost(error)
                self.close()
                raise lost from None
            except BaseException:
                self.close()
                raise

    def lost(self, error: Exception) -> QemuLost:
        """`error` with QEMU's last words."""
        try:
            how = f"exit status {self._process.wait(1)}"
        except subprocess.TimeoutExpired:
            how = str(error)
        words = _contents(self._messages).strip()
        return QemuLost(f"QEMU ended by itself: {how}" + (f": {words}" if words else ""))

    def waited_ns(self) -> int:
        """For how long the thread that runs the PC's CPUs was ready and the host had no CPU for it, in ns (proc(5)).

        The waits that are over; 0 where the host does not count them.
        """
        if self._schedstat is not None:
            with suppress(OSError):  # it has ended
                self._waited = int(os.pread(self._schedstat.fileno(), 100, 0).split()[1])
        return self._waited

    def triple_fault(self) -> bool:
        """Whether a CPU of the guest's has shut down, which resets a PC."""
        return "Triple fault" in _contents(self._log)

    def close(self) -> None:
        """Pull the plug; a second call does nothing."""
        self._process.kill()
        self._process.wait()
        for wire in self._wires:
            wire.close()
        for file in (self._messages, self._log, self._schedstat):
            if file is not None:
                file.close()
        self._schedstat = None

    def _open_schedstat(self) -> FileIO | None:
        """The scheduler's account of the one thread that all of the PC's CPUs share; None if the host keeps none."""
        thread = self.qmp.execute("query-cpus-fast")[0]["thread-id"]
        try:
            return FileIO(f"/proc/{self._process.pid}/task/{thread}/schedstat")
        except OSError:
            return None


def arguments(tool: str, pc: PcConfig, command_line: str, wires: Mapping[str, int], log: int) -> Sequence[str]:
    """QEMU's command line; `wires` are file descriptors by name, `log` is one where it tells of resets."""
    memory = f"{pc.memory >> 10}K"
    words = [
        tool, "-nodefaults", "-no-user-config", "-display", "none", "-S", "-no-reboot", "-no-shutdown",
        "-d", "cpu_reset", "-D", f"/proc/self/fd/{log}",
        "-machine", "pc,memory-backend=ram", "-accel", "tcg,thread=single",
        "-m", memory, "-smp", f"{pc.cpus},sockets={pc.cpus}",
        "-object", f"memory-backend-file,id=ram,size={memory},mem-path=/proc/self/fd/{pc.ram},share=on",
        "-kernel", KERNEL_NAME, "-append", command_line,
    ]  # fmt: skip
    for place, disk in pc.disks.items():
        words += ["-drive", f"file=/proc/self/fd/{disk},format=raw,if=ide,index={place}"]
    for name, wire in wires.items():
        words += ["-chardev", f"socket,id={name},fd={wire}"]
    return [*words, "-serial", "chardev:console", "-serial", "chardev:agent", "-gdb", "chardev:gdb",
            "-mon", "chardev=qmp,mode=control"]  # fmt: skip


class Qmp:
    """The monitor: commands, and events as they come."""

    def __init__(self, connection: socket.socket) -> None:
        """Greets; QEMU has read all its files when it answers."""
        self.on_event: Callable[[str, dict[str, Any]], None] = lambda name, data: None
        self._socket = connection
        self._buffer = b""
        while "QMP" not in self._next(PATIENCE_S):
            pass
        self.execute("qmp_capabilities")

    def fileno(self) -> int:
        """For select: readable when an event came."""
        return self._socket.fileno()

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command; what it returns.  Events that come before are told."""
        message = {"execute": command, "arguments": arguments}
        try:
            self._socket.settimeout(PATIENCE_S)
            self._socket.sendall(json.dumps(message).encode())
        except OSError as error:
            raise QemuLost(f"its monitor is gone: {error}") from None
        while True:
            answer = self._next(PATIENCE_S)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QemuLost(f"its monitor answers {command} with '{answer['error'].get('desc')}'")
            self._tell(answer)

    def events(self) -> None:
        """Tell what came."""
        while message := self._next(0):
            self._tell(message)

    def _tell(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self.on_event(message["event"], message.get("data", {}))

    def _next(self, timeout: float) -> dict[str, Any]:
        """The next message; none in time is an empty one, unless it was worth waiting for (QemuLost)."""
        while b"\n" not in self._buffer:
            self._socket.settimeout(timeout)
            try:
                data = self._socket.recv(65536)
            except (TimeoutError, BlockingIOError):
                if timeout:
                    raise QemuLost("its monitor does not answer") from None
                return {}
            except OSError as error:
                raise QemuLost(f"its monitor is gone: {error}") from None
            if not data:
                raise QemuLost("its monitor closed the connection")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


def _contents(file: FileIO) -> str:
    """All of it."""
    fd = file.fileno()
    return os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace")
