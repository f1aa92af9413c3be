# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim boot`: any 32-bit Multiboot kernel on the machine, its serial console on the terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from kdumpsim.board.disk import Disk, DiskError
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.board.multiboot import BootError, Module
from kdumpsim.board.terminal import HELP as ESCAPE_KEYS
from kdumpsim.board.terminal import Terminal
from kdumpsim.board.vga import COLUMNS, ROWS, Screen
from kdumpsim.commands.inputs import KERNEL_BYTES, Seconds, read_input
from kdumpsim.commands.status import Status, status_help
from kdumpsim.commands.textscreen import Painter, plain
from kdumpsim.commands.typist import Typist
from kdumpsim.cpu import Cpu
from kdumpsim.scenario.values import ScenarioError, parse_size

SECOND = 1_000_000_000
STEP_NS = 10_000_000  # virtual time between looks at the keyboard
INTERRUPT_FLAG = 0x200
LAST = 4096  # bytes of the serial port's output that are remembered
NO_INIT = b"No init found"  # Linux's panic without a root file system, and our kernel's
HELP_S = 5  # how long the escape keys stay on the screen

HELP = f"""Boot FILE, a 32-bit Multiboot kernel, on an i386 PC.

The first serial port is the terminal. FILE is an ELF32 kernel or any image whose Multiboot header gives its load
addresses. Up to four disks are attached to the two IDE channels in the order given: primary master, primary slave,
secondary master, secondary slave.

With --screen, the terminal shows the VGA's text screen, with colours and cursor, and your typing goes to the PS/2
keyboard; the serial port's output is not shown. If standard output is not a terminal, it gets the serial port's
output, and the screen's text after it when the machine stops.

On a terminal, every key goes to the guest, including Ctrl-C, and virtual time runs no faster than real time. Press
Ctrl-A x to leave. With input from a pipe or a file, the machine runs as fast as it can.

The exit status is 0 if the guest resets the machine or halts for ever, or if you leave.

\b
Examples:
  kdumpsim boot vmlinux --append "console=ttyS0 maxcpus=1"
  kdumpsim boot kernel --disk root.img --disk swap.img --cpus 4
  kdumpsim boot textmode-kernel --screen
  echo help | kdumpsim boot monitor.elf --timeout 5

{status_help(Status.TIMEOUT)}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--disk", "disks", multiple=True, metavar="IMG", help="A raw disk image; the guest writes to the file.")
@click.option("--snapshot", is_flag=True, help="Leave the disk images unchanged: writes are discarded at the end.")
@click.option("--memory", default="64M", show_default=True, metavar="SIZE", help="RAM, with K, M or G.")
@click.option("--cpus", default=2, show_default=True, help="CPUs of the machine.")
@click.option("--append", default="", metavar="TEXT", help="The kernel's command line; the file's name precedes it.")
@click.option(
    "--module", "modules", multiple=True, metavar="FILE [TEXT]", help="A boot module and its command line; repeatable."
)
@click.option(
    "--keyboard",
    type=click.Choice(["serial", "ps2"]),
    help="Where your typing goes: the first serial port (default), or the PS/2 keyboard (default with --screen).",
)
@click.option("--screen", is_flag=True, help="Show the VGA's text screen instead of the serial port's output.")
@click.option("--seed", default=0, show_default=True, help="Seed of the scheduler's jitter.")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Stop after this much virtual time.")
def boot(
    file: Path,
    disks: tuple[str, ...],
    snapshot: bool,
    memory: str,
    cpus: int,
    append: str,
    modules: tuple[str, ...],
    keyboard: str | None,
    screen: bool,
    seed: int,
    timeout: float | None,
) -> None:
    """Set up, run, tell how it ended."""
    if len(disks) > 4:
        raise click.UsageError("--disk: an IDE controller has room for four disks")
    try:
        machine = Machine(
            MachineConfig(
                cpus=cpus,
                memory=parse_size(memory),
                disks=tuple(Disk.file(image, readonly=snapshot) for image in disks),
                seed=seed,
            )
        )
        image, loaded = read_input(file, KERNEL_BYTES), [_module(text) for text in modules]
        machine.load_multiboot(image, f"{file} {append}".rstrip(), loaded)
    except BootError as error:
        raise click.UsageError(f"{file}: {error}") from None
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from None
    except (DiskError, ScenarioError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    typed = keyboard or ("ps2" if screen else "serial")
    feed: Callable[[bytes], None] = Typist(machine.i8042).feed if typed == "ps2" else machine.uarts[0].feed
    with Terminal() as terminal:
        output = _Output(machine, terminal, screen=screen, diskless=not disks)
        ending = _run(machine, terminal, feed, None if timeout is None else int(timeout * SECOND), output.glance)
        output.finish()
    if terminal.error is not None:
        raise terminal.error
    if terminal.signal is not None:
        raise SystemExit(128 + terminal.signal)
    if ending:
        click.echo(f"kdumpsim: {ending}", err=True)
    if ending.startswith("time-out"):
        raise SystemExit(Status.TIMEOUT)


def _module(text: str) -> Module:
    """`FILE` or `FILE TEXT`; the module's string is the whole of it, as QEMU has it."""
    path = Path(text)
    if not path.exists() and " " in text:
        path = Path(text.split(" ", 1)[0])
    return Module(read_input(path, KERNEL_BYTES), text)


class _Output:
    """What a person sees of the guest: the serial port's output, or its screen."""

    def __init__(self, machine: Machine, terminal: Terminal, *, screen: bool, diskless: bool) -> None:
        self._machine, self._terminal, self._screen, self._diskless = machine, terminal, screen, diskless
        self._last = b"\n"  # the end of the serial port's output
        self._silent = True
        self._painter: Painter | None = None
        if screen and sys.stdout.isatty():
            self._painter = Painter(terminal.write, self._look, _window, sys.stdout.encoding)
            terminal.show_help = self._show_help
        else:
            machine.uarts[0].on_output = self._serial

    def _look(self) -> Screen:
        return self._machine.vga.screen(self._machine.memory.view)

    def _serial(self, data: bytes) -> None:
        self._silent, self._last = False, (self._last + data)[-LAST:]
        self._terminal.write(data)

    def _show_help(self) -> None:
        assert self._painter is not None
        self._painter.interrupted(HELP_S)
        self._terminal.write(ESCAPE_KEYS)

    def glance(self) -> None:
        """Between two steps of the machine."""
        self._hint_at_disks()
        if self._painter is not None:
            self._painter.refresh()
        elif self._silent and self._terminal.interactive and self._machine.clock.now >= SECOND:
            self._silent = not self._hint()

    def finish(self) -> None:
        """At the end."""
        if self._painter is not None:
            self._painter.leave()
        elif self._screen:
            text = plain(self._look()).encode(sys.stdout.encoding, "replace")
            self._terminal.write((b"" if self._last.endswith(b"\n") else b"\n") + text)
        elif self._silent:
            self._hint()
        self._hint_at_disks()

    def _hint(self) -> bool:
        """Point to --screen if there is something to be seen."""
        if not plain(self._look()):
            return False
        self._say("the guest writes to its screen, not to the serial port: --screen shows it")
        return True

    def _hint_at_disks(self) -> None:
        if self._diskless and NO_INIT in self._last:
            self._diskless = False
            self._say("no disk was given, so the kernel finds no init: name one with --disk")
            self._say("`kdumpsim run … --save-disks` writes the one of kdumpsim's own kernel, and says how to use it")

    def _say(self, text: str) -> None:
        """A line on standard error; the terminal is raw."""
        end = "\r\n" if self._terminal.interactive else "\n"
        sys.stderr.write(f"kdumpsim: {text}{end}")
        sys.stderr.flush()


def _window() -> tuple[int, int]:
    """The terminal's columns and lines."""
    try:
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return COLUMNS, ROWS
    return columns or COLUMNS, lines or ROWS


def _run(
    machine: Machine,
    terminal: Terminal,
    feed: Callable[[bytes], None],
    until: int | None,
    glance: Callable[[], None],
) -> str:
    """Run to the end, with a glance at the machine after every step.

    Return what to tell the user about it: nothing when the user left.
    """
    started, wait = time.monotonic(), 0.0
    retired, since = -1, 0
    while True:
        data = terminal.read(wait)
        if data:
            feed(data)
        if terminal.left:
            return ""
        step = machine.clock.now + (STEP_NS if terminal.interactive else 10 * STEP_NS)
        reason = machine.run(until=step if until is None else min(step, until), stop=lambda: terminal.left)
        now = machine.clock.now
        glance()
        if reason is StopReason.RESET:
            return f"the guest reset the machine ({machine.reset_cause})"
        if reason is StopReason.ALL_SHUTDOWN:
            return "all CPUs have shut down"
        if retired != (total := sum(cpu.retired for cpu in machine.cpus)):
            retired, since = total, now
        elif now - since >= SECOND and all(_asleep(cpu) for cpu in machine.cpus):
            return "the guest has halted for ever"
        if until is not None and now >= until:
            return f"time-out: {now / SECOND:g} seconds of virtual time have passed"
        # A person's clock and the guest's go together; a pipe's reader gets what there is as soon as possible.
        ahead = now / SECOND - (time.monotonic() - started)
        if ahead < 0:
            started -= ahead  # time lost is not made up for
        wait = max(0.0, ahead) if terminal.interactive else 0.0


def _asleep(cpu: Cpu) -> bool:
    """Can no interrupt wake it?"""
    if cpu.waiting_for_sipi or cpu.shutdown:
        return True
    return cpu.halted and not cpu.registers().eflags & INTERRUPT_FLAG
