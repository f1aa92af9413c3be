# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command of the console is, and what it works on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from kdumpsim.console.debugging import Debugging
from kdumpsim.runs.account import ending
from kdumpsim.runs.session import Session

MAX_TIME_NS = 10**6 * 60 * 10**9
"""The longest TIME: a million minutes, two years."""
_UNITS = {"us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9}


@dataclass
class Shell:
    """The context of commands: a session, and `say`, which prints their output."""

    session: Session
    say: Callable[[str], None]
    timeout_ns: int
    """The longest virtual time that `continue` may take."""
    debugging: Debugging | None = None
    """Breakpoints, and the way back; None: not to be had here."""


Action = Callable[[Shell], None]


@dataclass(frozen=True)
class Command:
    """A command; `parse` turns the words after its name into an action, or raises ValueError."""

    usage: str
    help: str
    parse: Callable[[list[str]], Action]
    more: str = ""
    """What `help COMMAND` adds."""
    group: str = ""
    """The heading in the list of commands under which it and those after it stand."""
    looks: bool = False
    """It gives the guest nothing: it is no input of the run, and works in the past and after the run, too."""
    stays: bool = False
    """After the hand-over, the capture kernel is not waited for."""


def no_words(words: list[str], name: str) -> None:
    """Raise ValueError if there are arguments."""
    if words:
        raise ValueError(f"{name} takes no arguments")


def parse_time(text: str) -> int:
    """Return a time such as `500us`, `10ms`, `1.5s` or `2min` in nanoseconds."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{0,12})?)(us|ms|s|min)", text)
    if match is None or not (ns := round(Fraction(match[1].rstrip(".")) * _UNITS[match[2]])):
        raise ValueError(f"'{shortened(text)}' is not a time: write, for example, 500us, 10ms, 1.5s or 2min")
    if ns > MAX_TIME_NS:
        raise ValueError(f"'{text}' is too long: at most {MAX_TIME_NS // _UNITS['min']}min")
    return ns


def shortened(text: str, width: int = 40) -> str:
    """Return `text`, cut to `width` characters with an ellipsis if it is longer, for a message."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def tell_time(shell: Shell) -> None:
    """Say what time it is, and why, after time has passed."""
    session = shell.session
    if session.interrupted:
        shell.say(f"interrupted at {session.now / 1e9:.3f} s; continue goes on\n")
    elif not session.jumped:
        shell.say(f"{ending(session)}\n" if session.over else f"it is {session.now / 1e9:.3f} s\n")
