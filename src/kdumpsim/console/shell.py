# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of the console.

A command line is parsed as a whole (:func:`parse`) before any of it is carried out, so that mistakes in a script are
found before a machine boots.  The commands act on the real guest: they read and write its files, run its programs and
press keys on its keyboard.  Apart from the passing of time, nothing happens that no command has asked for.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from kdumpsim.agent.client import CHUNK, O_CREAT, O_DIRECTORY, O_RDONLY, O_TRUNC, O_WRONLY, AgentClient
from kdumpsim.agent.errors import AgentError, AgentFailure
from kdumpsim.choices import suggestion, unknown
from kdumpsim.console import kexec
from kdumpsim.console.command import Action, Command, Shell, no_words, shortened
from kdumpsim.console.debugging import Debugging
from kdumpsim.console.errors import Quit, Refused
from kdumpsim.console.looking import LOOKING
from kdumpsim.console.moving import MOVING, PAST, tell_passed, tell_stop
from kdumpsim.console.past import Line
from kdumpsim.console.script import program, split
from kdumpsim.images import LOADS
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.load import CAPTURE_LOADED, KEXEC_LOADED
from kdumpsim.lkdtt import ttutils
from kdumpsim.machines.pc import capable
from kdumpsim.mechanisms.base import MechanismError
from kdumpsim.runs.account import ending
from kdumpsim.runs.session import MachineDead, Session
from kdumpsim.scenario.points import programs
from kdumpsim.scenario.scenario import NETWORK_LOAD

CRASH_KEY = "c"
SYSRQ_TRIGGER = "/proc/sysrq-trigger"
PATHS = (
    "/proc/cmdline", "/proc/cpuinfo", "/proc/dtt/cpoints", "/proc/dtt/ctrl", "/proc/interrupts", "/proc/iomem",
    "/proc/kmsg", "/proc/meminfo", "/proc/net/dev", "/proc/ps", SYSRQ_TRIGGER, "/proc/version", KEXEC_LOADED,
    CAPTURE_LOADED, "/sys/kernel/kexec_crash_size", "/boot/vmlinux-kdump",
)  # fmt: skip
"""Files worth knowing, for completion, which may not ask the guest: its time stands still while a person types."""


def parse(text: str) -> Action:
    """Return the action of a command line; raise ValueError, and nothing else, with a message for its author."""
    if any("\ud800" <= character <= "\udfff" for character in text):  # a terminal's bytes that are no UTF-8
        raise ValueError("the line is not valid UTF-8")
    words = split(text)
    if not words:
        return lambda shell: None
    name = program(words[0])
    if name not in COMMANDS:
        meant = suggestion(name, COMMANDS)
        hint = f"did you mean {meant}? " if meant else ""
        raise ValueError(f"unknown command '{shortened(words[0])}'; {hint}help lists the commands")
    return COMMANDS[name].parse(words[1:])


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"'{text}' is not an absolute path; paths of the guest begin with /")
    return text


def _text(agent: AgentClient, path: str, flags: int = O_RDONLY) -> str:
    """Return the contents of a guest file."""
    fd = agent.open(path, flags)
    pieces = []
    try:
        while piece := agent.read(fd, CHUNK):
            pieces.append(piece)
    finally:
        agent.close(fd)
    return b"".join(pieces).decode("utf-8", "backslashreplace")


def _cat(words: list[str]) -> Action:
    paths = [_path(word) for word in words]
    if not paths:
        raise ValueError("cat needs a FILE")

    def act(shell: Shell) -> None:
        for path in paths:
            shell.say(_text(shell.session.guest, path))

    return act


def _echo(words: list[str]) -> Action:
    if ">" not in words:
        return lambda shell: shell.say(" ".join(words) + "\n")
    if words.count(">") != 1 or words[-2:-1] != [">"]:
        raise ValueError("echo TEXT > FILE takes one FILE, at the end")
    data, path = f"{' '.join(words[:-2])}\n".encode(), _path(words[-1])

    def act(shell: Shell) -> None:
        agent = shell.session.guest
        fd = agent.open(path, O_WRONLY | O_CREAT | O_TRUNC)
        try:
            taken = agent.write(fd, data)
        except AgentError as error:
            agent.close(fd)
            raise Refused(f"{path}: {error.name}") from None
        agent.close(fd)
        if taken < len(data):
            raise Refused(f"{path}: only {taken} of {len(data)} bytes were written")
        if path == SYSRQ_TRIGGER and data.startswith(CRASH_KEY.encode()):
            _tell_why_no_dump(shell)

    return act


def _ls(words: list[str]) -> Action:
    if len(words) > 1:
        raise ValueError("ls takes one directory")
    path = _path(words[0]) if words else "/"

    def act(shell: Shell) -> None:
        names = _text(shell.session.guest, path.rstrip("/") + "/", O_DIRECTORY).splitlines()
        shell.say("".join(f"{name}\n" for name in sorted(names)))

    return act


def _dmesg(words: list[str]) -> Action:
    no_words(words, "dmesg")
    return lambda shell: shell.say(re.sub(r"(?m)^<[0-7]>", "", _text(shell.session.guest, "/proc/kmsg")))


def _ps(words: list[str]) -> Action:
    no_words(words, "ps")
    return lambda shell: shell.say(_text(shell.session.guest, "/proc/ps"))


def _ttutils(words: list[str]) -> Action:
    try:
        request = ttutils.parse(words)
    except ttutils.Usage as error:
        raise ValueError(f"ttutils: {error}\n{ttutils.usage()}") from None

    def act(shell: Shell) -> None:
        try:
            shell.say(ttutils.perform(request, shell.session.guest))
        except ttutils.TtutilsError as error:
            raise Refused(f"ttutils: {error}") from None

    return act


def _modprobe(words: list[str]) -> Action:
    if not words or words[0] not in ("dtt", "dtb"):  # the paper's Table 1 has it as dtb, its text as dtt
        raise ValueError("modprobe: this kernel cannot load modules; dtt is built in")

    def act(shell: Shell) -> None:
        shell.say("dtt is built into this kernel: nothing to load\n")
        if words[1:]:
            raise Refused(f"modprobe: {words[1]} is set at boot: use --kernel-option {words[1]}")

    return act


def _kexec(words: list[str]) -> Action:
    flags = kexec.parse(words)

    def act(shell: Shell) -> None:
        try:
            kexec.perform(flags, shell.session, shell.say)
        except KexecError as error:
            raise Refused(f"kexec: {error}") from None

    return act


def _load(name: str) -> Callable[[list[str]], Action]:
    def understand(words: list[str]) -> Action:
        def act(shell: Shell) -> None:
            session = shell.session
            if name == NETWORK_LOAD and not session.pc.nic:
                raise Refused(f"{name}: this machine has no network card; start it with kdumpsim console --nic")
            try:
                pid = shell.session.guest.start(name, *words)
            except AgentError as error:
                if error.errno == errno.ENOENT:
                    raise Refused(unknown("program", name, programs(session.kernel.modules))) from None
                raise
            shell.say(f"{name}: started, pid {pid}\n")

        return act

    return understand


def _start(words: list[str]) -> Action:
    if not words:
        raise ValueError("start needs a NAME")
    return _load(words[0])(words[1:])


def _sysrq(words: list[str]) -> Action:
    if len(words) != 1 or not re.fullmatch("[a-z0-9]", words[0]):
        raise ValueError("sysrq needs one KEY, a letter or a digit")

    def act(shell: Shell) -> None:
        shell.session.press_sysrq(words[0])
        if words[0] == CRASH_KEY:
            _tell_why_no_dump(shell)

    return act


def _tell_why_no_dump(shell: Shell) -> None:
    """After SysRq-C: a kernel without an armed mechanism prints one line and goes on, in 2.6.16 as here."""
    session = shell.session
    if session.jumped or session.over or session.interrupted:
        return
    if why := session.mechanism.unarmed(session):
        shell.say(f"{why}\n")


def _help(words: list[str]) -> Action:
    if len(words) > 1:
        raise ValueError("help takes one command, or nothing")
    if words and words[0] not in COMMANDS:
        raise ValueError(unknown("command", words[0], COMMANDS))

    def act(shell: Shell) -> None:
        if words:
            command = COMMANDS[words[0]]
            shell.say(f"{command.usage}: {command.help}\n" + (f"{command.more}\n" if command.more else ""))
            return
        width = max(len(command.usage) for command in COMMANDS.values()) + 2
        for command in COMMANDS.values():
            shell.say(f"{command.group}\n" if command.group else "")
            shell.say(f"  {command.usage:<{width}}{command.help}\n")
        shell.say("help COMMAND says more of one\n")

    return act


def _quit(words: list[str]) -> Action:
    no_words(words, "quit")

    def act(shell: Shell) -> None:
        raise Quit

    return act


COMMANDS: dict[str, Command] = {
    "cat": Command("cat FILE…", "print files of the guest", _cat, group="The guest's files and tasks"),
    "echo": Command("echo TEXT [> FILE]", "write to a file of the guest, such as /proc/sysrq-trigger", _echo),
    "ls": Command("ls [DIR]", "list a directory of the guest", _ls),
    "dmesg": Command("dmesg", "print the guest kernel's log", _dmesg),
    "ps": Command("ps", "list the guest's tasks", _ps),
    "ttutils": Command(
        "ttutils COMMAND …",
        "list and set crash points; see ttutils help",
        _ttutils,
        group="Crashing it",
        more="Example: ttutils set -p FS_DEVRW -t panic -c 10    diskio    continue",
    ),
    "modprobe": Command("modprobe dtt", "do nothing: the DTT module is built in", _modprobe),
    "kexec": Command("kexec -p|-l|-e|-u", "load a capture kernel (-p); load, start or unload a kernel", _kexec),
    **{name: Command(f"{name} [ARGUMENT…]", f"start a program: {text}", _load(name)) for name, text in LOADS.items()},
    "start": Command("start NAME [ARGUMENT…]", "start any program or workload of the guest", _start),
    "sysrq": Command("sysrq KEY", "press Alt-SysRq-KEY on the keyboard: b, c, m, t", _sysrq),
    **MOVING,
    **LOOKING,
    "help": Command("help [COMMAND]", "print this list, or what there is to know of a command", _help, looks=True),
    "quit": Command("quit", "leave; so does Ctrl-D", _quit, looks=True),
    "exit": Command("exit", "leave", _quit, looks=True),
}

ENGLISH = frozenset({*LOOKING, *MOVING} - {"step", "continue"})
"""Commands whose names a script written before them may have in a comment."""


def carry_out(shell: Shell, text: str) -> None:
    """Carry out one command, and follow what it led to; what cannot be done is raised, as by the command's action."""
    session, look = shell.session, shell.debugging
    action = parse(text)
    if not split(text):
        return
    name = program(split(text)[0])
    command = COMMANDS[name]
    away = look is not None and look.past.place is not None
    session.interrupted = False
    if command.looks or (away and name in PAST):
        action(shell)
        return
    if look is not None and away:
        raise Refused(
            f"this is the past, {look.past.distance():,} instructions ago, which cannot be changed; "
            "present returns from it"
        )
    try:
        _act(shell, action, command)
    finally:
        if look is not None:
            look.past.lines.append(Line(text, _settle(session)))


def _act(shell: Shell, action: Action, command: Command) -> None:
    session, look = shell.session, shell.debugging
    had_jumped = session.jumped
    if look is not None:
        look.stopped = None
    try:
        action(shell)
    except MachineDead:
        raise
    except AgentFailure:  # nobody answers who is interrupted, or dead
        if session.interrupted or session.over:
            shell.say(f"{ending(session)}\n")
        elif not session.jumped:
            raise
    stopped = look is not None and look.stopped is not None
    if session.jumped and not session.interrupted and not stopped and not (had_jumped and command.stays):
        _follow(shell)
    if look is not None:
        tell_passed(shell, look)


def _follow(shell: Shell) -> None:
    """See the capture kernel through, up to a breakpoint."""
    if shell.debugging is None:
        shell.session.follow(shell.timeout_ns)
        return
    with shell.debugging.stopping():
        shell.session.follow(shell.timeout_ns)
    tell_stop(shell)


def _settle(session: Session) -> int | None:
    """After an interruption: when it was, and the machine where a repetition can be interrupted as well."""
    if not session.interrupted or session.over:
        return None
    session.settle()
    return session.now


def repeat(session: Session, armed: bool, lines: list[Line], *, timeout_ns: int) -> None:
    """Boot a session, and carry out what was typed, interrupted where it was.

    `timeout_ns` is that of the shell in which it was typed.
    """
    with suppress(AgentFailure, MechanismError):
        session.boot()
        if armed:
            session.prepare_dump()
    shell = Shell(session, lambda text: None, timeout_ns, Debugging(session, partial(repeat, timeout_ns=timeout_ns)))
    for line in lines:
        with suppress(Refused, AgentFailure, MechanismError, ValueError):
            if line.interrupted_ns is not None:
                capable(session.machine.striking, session.pc, "gone back in").appoint(
                    line.interrupted_ns, session.interrupt
                )
            carry_out(shell, line.text)
