# SPDX-License-Identifier: GPL-2.0-or-later
"""ttutils, the user-space bit of LKDTT (LKDTT paper, section 3.3 and Table 1).

It writes commands to the guest's /proc/dtt/ctrl and reads /proc/dtt/cpoints, which are the guest's DTT module.
A command line is checked here first, so that a script's mistakes are found before anything boots.
"""

from __future__ import annotations

import errno
import getopt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kdumpsim._version import __version__
from kdumpsim.agent.errors import AgentError
from kdumpsim.choices import suggestion, unknown
from kdumpsim.scenario.points import DEFAULT_COUNT, MAX_ID, crash_points, crash_types

CTRL = "/proc/dtt/ctrl"
CPOINTS = "/proc/dtt/cpoints"
MAX_COUNT = 0x7FFFFFFF

_USAGE = """\
usage: ttutils command [options]

commands:
  help                   display usage information
  ver(sion)              display version number of LKDTT
  list|ls                show registered crash points
  set                    configure a crash point (CP)
    -p cpoint_name       CP's name
    -t cpoint_type       CP's crash type: {types}
    -c pass_num          times the CP has to be crossed before the failure is induced (default {count})
  reset                  disable a CP and reset its counter
    -p cpoint_name       CP's name
    -f                   revert its type to none, too
  add                    register a CP of a driver that does not do it itself
    -p cpoint_name       CP's name
    -n id                ID to be associated with the CP (1 to {most})
  rmv                    remove a CP registered using add
    -p cpoint_name       CP's name"""


def usage() -> str:
    """What ``ttutils help`` prints: the crash types by ttutils' names for them."""
    types = (f"{kind.ttutils} ({name})" if kind.ttutils != name else name for name, kind in crash_types().items())
    return _USAGE.format(types=" ".join(types), count=DEFAULT_COUNT, most=MAX_ID)


class Usage(ValueError):
    """Wrong use of ttutils; :func:`usage` says what is right."""


class TtutilsError(Exception):
    """The guest's DTT module refused."""


class Files(Protocol):
    """What ttutils needs of a guest: :class:`kdumpsim.agent.client.AgentClient` has it."""

    def read_file(self, path: str) -> bytes: ...
    def write_file(self, path: str, data: bytes) -> None: ...


@dataclass(frozen=True)
class Request:
    """A command line that was understood: `ctrl` is what is written to /proc/dtt/ctrl, if anything."""

    command: str
    point: str = ""
    ctrl: str = ""


@dataclass(frozen=True)
class _Syntax:
    """Options in getopt's notation, and those that must be there."""

    options: str = ""
    needed: tuple[str, ...] = field(default=())


_COMMANDS = {
    "help": _Syntax(),
    "ver": _Syntax(),
    "ls": _Syntax(),
    "set": _Syntax("p:t:c:", ("-p", "-t")),
    "reset": _Syntax("p:f", ("-p",)),
    "add": _Syntax("p:n:", ("-p", "-n")),
    "rmv": _Syntax("p:", ("-p",)),
}
_SYNONYMS = {"version": "ver", "list": "ls"}


def parse(words: Sequence[str]) -> Request:
    """Understand ``command [options]``; Usage says what is wrong with it."""
    if not words:
        raise Usage("no command")
    command = _SYNONYMS.get(words[0], words[0])
    if command not in _COMMANDS:
        raise Usage(unknown("command", words[0], _COMMANDS, others=_SYNONYMS))
    syntax = _COMMANDS[command]
    try:
        pairs, rest = getopt.getopt(list(words[1:]), syntax.options)
    except getopt.GetoptError as error:
        raise Usage(f"{command}: {error}") from None
    if rest:
        raise Usage(f"{command}: unknown argument '{rest[0]}'")
    options = dict(pairs)
    missing = [name for name in syntax.needed if not options.get(name)]
    if missing:
        raise Usage(f"{command} needs {' and '.join(missing)}")
    point = _point(options.get("-p", ""))
    return Request(command, point, _ctrl(command, point, options))


def run(words: Sequence[str], guest: Files) -> str:
    """Do what a command line says; what ttutils prints.  Usage or TtutilsError if it cannot."""
    return perform(parse(words), guest)


def perform(request: Request, guest: Files) -> str:
    """Do what was understood; what ttutils prints."""
    if request.command == "help":
        return usage() + "\n"
    if request.command == "ver":
        return f"LKDTT of kdumpsim {__version__}\n"
    if request.command == "ls":
        return guest.read_file(CPOINTS).decode("ascii", "replace")
    try:
        guest.write_file(CTRL, f"{request.ctrl}\n".encode())
    except AgentError as error:
        reason = _REFUSALS.get((request.command, error.errno)) or _REFUSALS.get(("", error.errno))
        if reason is None:
            raise
        meant = suggestion(request.point, crash_points()) if error.errno == errno.ENOENT else None
        hint = f"; did you mean {meant}?" if meant and meant != request.point else ""
        raise TtutilsError(f"{request.command} {request.point}: {reason}{hint}") from None
    return ""


_REFUSALS: dict[tuple[str, int], str] = {
    ("", errno.ENOENT): "the crash point does not exist; ttutils ls lists them",
    ("add", errno.ENOENT): "no driver has a crash point of this name",
    ("add", errno.EEXIST): "the crash point is registered already",
    ("add", errno.EINVAL): "the ID belongs to another crash point",
    ("rmv", errno.EPERM): "a crash point of the kernel itself cannot be removed",
}


def _point(name: str) -> str:
    if any(character.isspace() for character in name):
        raise Usage(f"'{name}' is not a valid name for a crash point")
    return name


def _ctrl(command: str, point: str, options: dict[str, str]) -> str:
    """The words for /proc/dtt/ctrl (kernel/lkdtt/dtt_proc.py)."""
    if command == "set":
        kind, types = options["-t"], crash_types()
        known = [kind.ttutils for kind in types.values()]
        if kind not in known and kind not in types:
            raise Usage(unknown("crash type", kind, known, others=types))
        count = _number("pass_num", options.get("-c", str(DEFAULT_COUNT)), MAX_COUNT)
        return f"set {point} {kind} {count}"
    if command == "reset":
        return f"reset {point} -f" if "-f" in options else f"reset {point}"
    if command == "add":
        return f"add {point} {_number('id', options['-n'], MAX_ID)}"
    return f"rmv {point}" if command == "rmv" else ""


def _number(what: str, text: str, most: int) -> int:
    digits = text.lstrip("0")
    if not (text.isascii() and text.isdigit() and len(digits) <= len(str(most)) and 1 <= int(digits or "0") <= most):
        raise Usage(f"{what} '{text if len(text) <= 20 else text[:20] + '…'}' is not a number from 1 to {most}")
    return int(text)
