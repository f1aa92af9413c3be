# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of the console that move through time: step, continue, breakpoints, and back."""

from __future__ import annotations

import re

from kdumpsim.console.command import Action, Command, Shell, no_words, parse_time, tell_time
from kdumpsim.console.debugging import Debugging
from kdumpsim.console.errors import Refused
from kdumpsim.console.looking import check_address, debugging, here, resolve, size_of
from kdumpsim.console.places import check_place, program_counter
from kdumpsim.debugger.orders import Go, Place
from kdumpsim.target import hex_address
from kdumpsim.vmcore.disassembly import MAX_INSTRUCTION, disassemble

DEFAULT_STEP_NS = 10_000_000
MOST_INSTRUCTIONS = 10**9
DEFAULT_TRACE = 20
MOST_TRACE = 1000
MOST_WATCHED = 32
"""Bytes."""


def _count(text: str) -> int | None:
    """A number of instructions; None for what is no number."""
    if not re.fullmatch("[0-9]{1,10}", text):
        return None
    if not 0 < int(text) <= MOST_INSTRUCTIONS:
        raise ValueError(f"'{text}' is not a number of instructions from 1 to {MOST_INSTRUCTIONS}")
    return int(text)


def _is_past(shell: Shell) -> bool:
    return shell.debugging is not None and shell.debugging.past.place is not None


def tell_stop(shell: Shell) -> bool:
    """Say which breakpoint has stopped the machine; False if none has."""
    look = shell.debugging
    if look is None or look.stopped is None or look.cpu is None:
        return False
    shell.say(f"breakpoint {look.stopped.number}, {look.stopped.text}, at {shell.session.now / 1e9:.4f} s\n")
    shell.say(here(look, look.cpu))
    return True


def _tell_past(shell: Shell, place: Place | None, note: str = "") -> None:
    look = debugging(shell)
    if place is None:
        shell.say(f"this is the present, {shell.session.now / 1e9:.4f} s\n")
    else:
        shell.say(f"{note}{instructions(look.past.distance())} ago, at {look.past.ask('now') / 1e9:.4f} s\n")
    shell.say(here(look, look.looked_at() if place is None else place.cpu))


def instructions(count: int) -> str:
    """A number of them, in words."""
    return f"{count:,} instruction" + ("s" if count != 1 else "")


def _advance(shell: Shell, ns: int) -> None:
    """Let time pass, up to a breakpoint."""
    if shell.debugging is None:
        shell.session.advance(ns)
        return
    with shell.debugging.stopping():
        shell.session.advance(ns)


def _step(words: list[str]) -> Action:
    if len(words) > 1:
        raise ValueError("step takes one TIME, or one number of instructions")
    if words and (count := _count(words[0])) is not None:
        return lambda shell: _step_instructions(shell, count)
    ns = parse_time(words[0]) if words else DEFAULT_STEP_NS

    def act(shell: Shell) -> None:
        if _is_past(shell):
            _tell_past(shell, debugging(shell).past.forward_time(ns))
            return
        _advance(shell, ns)
        if not tell_stop(shell):
            tell_time(shell)

    return act


def _step_instructions(shell: Shell, count: int) -> None:
    look = debugging(shell)
    if _is_past(shell):
        _tell_past(shell, look.past.forward(count))
    elif look.step(count, shell.timeout_ns):
        shell.say(here(look, look.looked_at()))
    elif not tell_stop(shell):
        tell_time(shell)


def _continue(words: list[str]) -> Action:
    if len(words) > 1:
        raise ValueError("continue takes one TIME")
    ns = parse_time(words[0]) if words else None

    def act(shell: Shell) -> None:
        if _is_past(shell):
            look = debugging(shell)
            past = look.past
            place = past.forward_time(ns) if ns else past.forward_to(Go(breakpoints=look.addresses()))
            _tell_past(shell, place)
            return
        _advance(shell, shell.timeout_ns if ns is None else ns)
        if not tell_stop(shell) and not shell.session.jumped:
            tell_time(shell)

    return act


def _break(words: list[str]) -> Action:
    if len(words) > 1:
        raise ValueError("break takes one PLACE, or nothing")
    if words:
        check_place(words[0])

    def act(shell: Shell) -> None:
        look = debugging(shell)
        if not words:
            if not look.breakpoints:
                shell.say("no breakpoints; break PLACE sets one, for example: break panic\n")
            for point in look.breakpoints.values():
                shell.say(f"{point.number}  {point.text}\n")
                for address in sorted(point.addresses):
                    shell.say(f"   {look.kernels.text(address)}\n")
            return
        point = look.add(words[0])
        places = "".join(f"   {look.kernels.text(address)}\n" for address in sorted(point.addresses))
        shell.say(f"breakpoint {point.number}\n{places}")

    return act


def _delete(words: list[str]) -> Action:
    if len(words) > 1 or (words and _count(words[0]) is None):
        raise ValueError("delete takes one breakpoint's number, or nothing for all")

    def act(shell: Shell) -> None:
        look = debugging(shell)
        if words and int(words[0]) not in look.breakpoints:
            raise ValueError(f"there is no breakpoint {words[0]}; break lists them")
        for number in [int(words[0])] if words else list(look.breakpoints):
            del look.breakpoints[number]

    return act


def _back(words: list[str]) -> Action:
    if words[:1] == ["write"]:
        return _back_write(words[1:])
    if len(words) > 1:
        raise ValueError("back takes a number of instructions, a TIME, or write ADDR [LEN]")
    count = _count(words[0]) if words else None
    ns = parse_time(words[0]) if words and count is None else None

    def act(shell: Shell) -> None:
        look = debugging(shell)
        if count is not None:
            _tell_past(shell, look.past.back(count))
        elif ns is not None:
            _tell_past(shell, look.past.back_time(ns))
        elif not look.breakpoints:
            raise Refused("no breakpoint is set to go back to; how far then? For example: back 1, back 5ms")
        else:
            place = look.past.back_to(Go(breakpoints=look.addresses()))
            if place is None:
                raise Refused("no breakpoint was passed before this")
            _tell_past(shell, place)

    return act


def _back_write(words: list[str]) -> Action:
    if not 1 <= len(words) <= 2:
        raise ValueError("back write needs an ADDRESS, and takes a length in bytes")
    check_address(words[0])
    size = size_of(words[1], MOST_WATCHED) if len(words) == 2 else 4

    def act(shell: Shell) -> None:
        look = debugging(shell)
        address, cpu = resolve(shell, words[0]), look.looked_at()
        before = look.past.ask("memory", cpu, address, size)
        watches = look.past.watches(cpu, address, size)
        place = look.past.back_to(Go(watches=watches))
        if place is None or place.changed is None:
            raise Refused(f"nothing has changed the {size} bytes at {address:#x} before this")
        was = look.past.ask("memory", cpu, address, size)
        shell.say(f"{address:#x} was {_value(was)} and became {_value(before)}, written by {place.changed.by}\n")
        _tell_past(shell, place, "before that: ")

    return act


def _value(data: bytes) -> str:
    return f"{int.from_bytes(data, 'little'):#0{2 * len(data) + 2}x}" if len(data) <= 4 else data.hex(" ")


def _present(words: list[str]) -> Action:
    no_words(words, "present")

    def act(shell: Shell) -> None:
        debugging(shell).past.leave()
        _tell_past(shell, None)

    return act


def _trace(words: list[str]) -> Action:
    count = _count(words[0]) if words else DEFAULT_TRACE
    if len(words) > 1 or count is None or count > MOST_TRACE:
        raise ValueError(f"trace takes one number of instructions, at most {MOST_TRACE}")

    def act(shell: Shell) -> None:
        look = debugging(shell)
        shown: tuple[int, str] | None = None
        for place in look.past.walk(count):
            at = program_counter(look.past.ask("where")[place.cpu])
            name, where = look.kernels.at(at) or ("", "")
            if shown != (place.cpu, where):
                shown = place.cpu, where
                title = f"{name.partition('+')[0]}  {where}" if name else "in no kernel's code"
                shell.say(f"CPU {place.cpu}  {title}  {look.kernels.source(where)}".rstrip() + "\n")
            found = disassemble(look.past.ask("memory", place.cpu, at, MAX_INSTRUCTION), at)
            shell.say(f"    {hex_address(at)}  {found[0].text if found else '(no memory)'}\n")

    return act


def tell_passed(shell: Shell, look: Debugging) -> None:
    """After a command that does not stop at breakpoints: which of them it has gone past."""
    for point in look.forget_passed():
        times = "once" if point.passed == 1 else f"{point.passed} times"
        shell.say(f"breakpoint {point.number}, {point.text}, was passed {times}; back goes to the last time\n")


MOVING: dict[str, Command] = {
    "step": Command(
        "step [TIME|N]", "let virtual time pass (10ms, 1.5s, …; default 10ms), or run N instructions", _step,
        stays=True, group="Moving through time",
        more="step 1 runs one instruction. N counts those of all CPUs together, in the order in which they run.\n"
        "From the first `step N` on, the machine runs at a fifth of its speed.",
    ),
    "continue": Command(
        "continue [TIME]", "let it pass until a breakpoint, the hand-over, Ctrl-C or the time-out", _continue,
    ),
    "break": Command(
        "break [PLACE]", "stop step and continue there; without PLACE, list the breakpoints", _break, stays=True,
        more="PLACE is a function, symbol+OFFSET, file.py:LINE or an address; a function is meant in both kernels,\n"
        "capture:NAME in the capture kernel only. Other commands (cat, diskio, …) are not stopped: what they pass\n"
        "is reported, and back goes there.\nExamples: break panic    break ll_rw_block.py:129    break schedule+0x10",
    ),
    "delete": Command("delete [N]", "remove breakpoint N, or all", _delete, stays=True),
    "back": Command(
        "back [N|TIME|write ADDR]",
        "go back: N instructions, a time, to the last breakpoint, or to who wrote to memory", _back, looks=True,
        more="The past can be looked at, not changed: what you typed is part of the run. step and continue go\n"
        "forwards again, up to the present; present returns there. The first time, the session is repeated from\n"
        "power-on, which takes a few seconds.\nback write ADDR [LEN] goes to before the last change of memory: who "
        "wrote that?\nExamples: back 1    back 5ms    back    back write jiffies    back write $thread_info 16",
    ),
    "present": Command("present", "return from the past", _present, looks=True),
    "trace": Command(
        "trace [N]", "print the last N instructions before here (default 20), with their source lines", _trace,
        looks=True,
    ),
}  # fmt: skip
PAST = frozenset({"step", "continue", "break", "delete"})
"""Of the commands that are input, those that work in the past, where they are none."""
