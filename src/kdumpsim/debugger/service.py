# SPDX-License-Identifier: GPL-2.0-or-later
"""A run offered to a debugger: on a socket, with the files and commands that gdb needs for it."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdumpsim import images
from kdumpsim.debugger.orders import Go
from kdumpsim.debugger.packets import DebuggerGone, Packets
from kdumpsim.debugger.stub import Stub
from kdumpsim.debugger.tools import HELPERS, PACKAGE
from kdumpsim.debugger.travel import Traveller
from kdumpsim.errors import KdumpsimError
from kdumpsim.files import host_failure
from kdumpsim.machines.pc import capable
from kdumpsim.runs.run import power_on
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import TARGET

COMMANDS = "gdb.cmd"
LOOPBACK = "127.0.0.1"


class CannotListen(KdumpsimError):
    """The address is not to be had."""


@dataclass(frozen=True)
class Address:
    """Where to listen: a port, or a Unix socket's path."""

    host: str | None = None
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """PORT, HOST:PORT or a path.  ValueError."""
        if match := re.fullmatch(r"(?:(?P<host>[^:/]+):)?(?P<port>[0-9]{1,5})", text):
            port = int(match["port"])
            if port > 0xFFFF:
                raise ValueError(f"{port} is no port: at most {0xFFFF}")
            return cls(match["host"] or LOOPBACK, port)
        if "/" in text:
            return cls(path=text)
        raise ValueError(f"'{text}' is neither a port, nor HOST:PORT, nor a path with a / in it")

    def listen(self) -> socket.socket:
        """A listening socket.  CannotListen."""
        try:
            if self.path:
                listener = socket.socket(socket.AF_UNIX)
                _clear_abandoned(self.path)
                listener.bind(self.path)
                os.chmod(self.path, 0o600)
            else:
                listener = socket.socket()
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self.host, self.port))
            listener.listen(1)
            return listener
        except OSError as error:
            listener.close()
            raise CannotListen(
                f"cannot listen at {self}: {error.strerror or error}; --listen names another place"
            ) from error

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


def _clear_abandoned(path: str) -> None:
    """Remove a socket at which nobody listens: its process was killed."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()


def address_of(listener: socket.socket) -> Address:
    """Where a socket listens, with the port that port 0 has become."""
    name = listener.getsockname()
    return Address(path=name) if isinstance(name, str) else Address(*name)


def new_session(scenario: Scenario) -> Session:
    """The machine of a scenario, not yet started.  ScenarioError where it cannot be debugged."""
    if any(strike.to_draw for strike in scenario.strikes):
        raise ScenarioError(
            "this leaves something to chance; run it first, then debug the directory that it has left, or the command "
            "that it has printed"
        )
    session = power_on(scenario.pc, scenario.kernel)
    capable(session.machine.copying, scenario.pc, "debugged")
    session.give(scenario.timeout)
    return session


def begin(traveller: Traveller, where: str) -> None:
    """Go to where the debugger is to begin: to the end first, so that all milestones are known, unless it is boot."""
    if where == "boot":
        return
    traveller.forward(Go())
    if where == "crash":
        found = [milestone.number for milestone in traveller.milestones() if milestone.name == "crash"]
        if found:
            traveller.goto(found[0])


def write_files(session: Session, traveller: Traveller, directory: Path, folders: Sequence[Path], target: str) -> Path:
    """Kernels, programs, what else was loaded, and a file of commands for gdb; the latter's path.

    What is loaded where is known once the traveller has been past it.
    """
    try:
        return _write_files(session, traveller, directory, folders, target)
    except OSError as error:
        raise host_failure(error, f"write gdb's files to {directory}") from error


def _write_files(session: Session, traveller: Traveller, directory: Path, folders: Sequence[Path], target: str) -> Path:
    kernels, objects = traveller.ask("loaded")
    lines = ["set pagination off", f"set architecture {TARGET.name}", "set confirm off"]
    lines += ["set stack-cache off", "set code-cache off"]  # memory is another after kd-goto
    for folder in dict.fromkeys([PACKAGE.parent, *folders]):
        lines.append(f"directory {folder}")
    lines.append(f"file {_written(directory / 'vmlinux', session.first.elf)}")
    for number, (elf, moved) in enumerate(kernels, 2):
        lines.append(f"add-symbol-file {_written(directory / f'vmlinux-{number}', elf)} -o {moved}")
    for number, (obj, sections) in enumerate(objects, 1):
        places = "".join(f" -s {name} {address:#x}" for name, address in sections.items())
        lines.append(f"add-symbol-file {_written(directory / f'object-{number}', obj)}{places}")
    programs = directory / "programs"
    programs.mkdir()
    for path in images.USER_PROGRAMS:
        _written(programs / Path(path).name, images.user_program(path))
    lines += [f'set $kd_programs = "{programs}"', f"source {HELPERS}", "set confirm on", f"target remote {target}"]
    commands = directory / COMMANDS
    commands.write_text("\n".join(lines) + "\n")
    return commands


def _written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return shlex.quote(str(path))


def serve(listener: socket.socket, traveller: Traveller, cpus: int, said: Callable[[str], None]) -> None:
    """One debugger's visit, from its connection to its leaving."""
    connection, _ = listener.accept()
    listener.close()  # a second debugger is refused
    said("A debugger is here.")
    packets = Packets(connection)
    try:
        Stub(packets, traveller, cpus).serve()
        said("The debugger has left.")
    except DebuggerGone as error:
        said(f"{str(error)[0].upper()}{str(error)[1:]}.")
    finally:
        packets.close()
