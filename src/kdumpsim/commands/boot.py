# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim boot`: any 32-bit Multiboot kernel on the machine, its serial console on the terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import click

from kdumpsim.board.disk import Disk, DiskError
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.board.multiboot import BootError, Module
from kdumpsim.board.terminal import Terminal
from kdumpsim.commands.status import Status, status_help
from kdumpsim.cpu import Cpu
from kdumpsim.scenario.scenario import ScenarioError, parse_size

SECOND = 1_000_000_000
STEP_NS = 10_000_000  # virtual time between looks at the keyboard
INTERRUPT_FLAG = 0x200

HELP = f"""Boot FILE, a 32-bit Multiboot kernel, on an i386 PC.

The first serial port is the terminal. FILE is an ELF32 kernel or any image whose Multiboot header gives its load
addresses. Up to four disks hang on the two IDE channels in the order given: primary master, primary slave,
secondary master, secondary slave.

On a terminal every key goes to the guest, Ctrl-C too, and time does not run faster than the wall clock's; Ctrl-A x
leaves. With input from a pipe or a file the machine runs as fast as it can.

The exit status is 0 when the guest resets the machine or halts for ever, or when you leave.

\b
Examples:
  kdumpsim boot vmlinux --append "console=ttyS0 maxcpus=1"
  kdumpsim boot kernel --disk root.img --disk swap.img --cpus 4
  echo help | kdumpsim boot monitor.elf --timeout 5

{status_help(Status.TIMEOUT)}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--disk", "disks", multiple=True, metavar="IMG", help="A raw disk image; the guest writes to the file.")
@click.option("--snapshot", is_flag=True, help="Leave the disk images as they are: writes last as long as the run.")
@click.option("--memory", default="64M", show_default=True, metavar="SIZE", help="RAM, with K, M or G.")
@click.option("--cpus", default=2, show_default=True, help="CPUs of the machine.")
@click.option("--append", default="", metavar="TEXT", help="The kernel's command line, after the file's name.")
@click.option("--module", "modules", multiple=True, metavar="FILE [TEXT]", help="A boot module, and its string.")
@click.option(
    "--keyboard",
    type=click.Choice(["serial", "ps2"]),
    default="serial",
    show_default=True,
    help="Where your typing goes: the first serial port, or the i8042's keyboard.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the scheduler's jitter.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up after this much virtual time.")
def boot(
    file: Path,
    disks: tuple[str, ...],
    snapshot: bool,
    memory: str,
    cpus: int,
    append: str,
    modules: tuple[str, ...],
    keyboard: str,
    seed: int,
    timeout: float | None,
) -> None:
    """Set up, run, tell how it ended."""
    if timeout is not None and not timeout > 0:
        raise click.UsageError("--timeout: more than 0 seconds")
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
        image, loaded = file.read_bytes(), [_module(text) for text in modules]
        machine.load_multiboot(image, f"{file} {append}".rstrip(), loaded)
    except BootError as error:
        raise click.UsageError(f"{file}: {error}") from None
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from None
    except (DiskError, ScenarioError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    feed: Callable[[bytes], None] = machine.uarts[0].feed
    if keyboard == "ps2":
        feed = _typist(machine)
    with Terminal() as terminal:
        machine.uarts[0].on_output = terminal.write
        ending = _run(machine, terminal, feed, None if timeout is None else int(timeout * SECOND))
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
    return Module(path.read_bytes(), text)


def _typist(machine: Machine) -> Callable[[bytes], None]:
    def feed(data: bytes) -> None:
        # Terminals send CR for Enter and DEL for Backspace; a keyboard has keys for both.
        for character in data.decode("latin-1").replace("\r", "\n").replace("\x7f", "\b"):
            with contextlib.suppress(ValueError, KeyError):  # no key for it
                machine.i8042.type_text(character)

    return feed


def _run(machine: Machine, terminal: Terminal, feed: Callable[[bytes], None], until: int | None) -> str:
    """Run to the end; what to tell the user about it (nothing when the user left)."""
    started, wait = time.monotonic(), 0.0
    retired, since = -1, 0
    while True:
        data = terminal.read(wait)
        if data:
            feed(data)
        if terminal.left:
            return ""
        step = machine.clock.now + (STEP_NS if terminal.interactive else 10 * STEP_NS)
        reason = machine.run(until=step if until is None else min(step, until))
        now = machine.clock.now
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
