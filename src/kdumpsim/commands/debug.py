# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim debug`: a run under gdb, forwards and backwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NoReturn

import click

from kdumpsim.commands.settings import scenario_options
from kdumpsim.commands.status import status_help
from kdumpsim.commands.subject import Subject, subject_of
from kdumpsim.files import HostFailure, host_failure
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError

DEFAULT_ADDRESS = "1234"
READY = "ready: "
"""What the serving process says before how the run ends; else it says what went wrong."""
RUNNING = "Running to the end once, to have all of it within reach …"
HELP = f"""Step through a run in gdb, forwards and backwards.

Give the options of a run as for `kdumpsim run`, or the DIR that a run has left. The run is repeated from power-on, and
is the same, to the byte, however often you stop it, inspect it and go back. Each CPU is a thread. gdb's reverse-step,
reverse-next, reverse-finish, reverse-continue and watchpoints work, from the capture kernel's last line back to boot;
a watchpoint names the writer: an instruction, the delivery of an event, or a device.

gdb begins where the crash begins, and can go anywhere before and after; --begin chooses another place.
Registers and memory cannot be written, because that would make a different run.

\b
In gdb:
  monitor help            list the queries: where, irqs, apic, …
  kd-goto jump            go to where the crashed kernel hands over
  watch -l VARIABLE       then reverse-continue: find its last writer
  kd-ps, kd-dmesg, …      as in `kdumpsim open`

\b
Examples:
  kdumpsim debug --crashpoint FS_DEVRW --type panic --gdb
  kdumpsim debug dump --gdb                 # the run that left this directory
  kdumpsim debug dump --gdb -- -batch -ex bt -ex "monitor where"
  kdumpsim debug dump --listen 2345         # for a debugger that you start
  # how it ended, and from there backwards
  kdumpsim debug --crashpoint TASKLET --type overflow --begin end --gdb

Arguments after -- are passed to gdb.

{status_help()}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("arguments", metavar="[DIR] [-- GDB'S ARGUMENTS]", nargs=-1)
@scenario_options(Scenario)
@click.option("--gdb", "start_gdb", is_flag=True, help="Start gdb here, with all symbols.")
@click.option(
    "--listen",
    default=None,
    metavar="PORT|HOST:PORT|PATH",
    help=f"Address that a debugger connects to; without HOST, on this host only.  [default: {DEFAULT_ADDRESS}]",
)
@click.option(
    "--begin",
    "beginning",
    type=click.Choice(("boot", "crash", "end")),
    default="crash",
    show_default=True,
    help="Where in the run the debugger begins.",
)
def debug(arguments: tuple[str, ...], start_gdb: bool, listen: str | None, beginning: str, **given: Any) -> None:
    """The command."""
    from kdumpsim.debugger.service import Address, CannotListen, new_session

    directory, more = _split(arguments)
    if more and not start_gdb:
        raise click.UsageError(f"'{more[0]}' is for gdb, which --gdb starts")
    if start_gdb and listen is not None:
        raise click.UsageError("--gdb and --listen exclude each other")
    try:
        subject = subject_of(directory, given)
        address = None if start_gdb else Address.parse(DEFAULT_ADDRESS if listen is None else listen)
        session = new_session(subject.scenario)
        subject.check_build(session.first.elf)
        if start_gdb:
            status = _under_gdb(session, subject, beginning, more)
        else:
            assert address is not None
            status = _for_others(session, subject, beginning, address)
    except (ScenarioError, CannotListen, ValueError) as error:
        raise click.UsageError(str(error)) from error
    sys.exit(status)


def _split(arguments: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """DIR, if there is one, and what is for gdb."""
    if arguments and not arguments[0].startswith("-"):
        return Path(arguments[0]), arguments[1:]
    return None, arguments


def _under_gdb(session: Any, subject: Subject, beginning: str, more: tuple[str, ...]) -> int:
    """Serve in a process of its own, and be gdb's parent: Ctrl-C is gdb's."""
    from kdumpsim.debugger.service import COMMANDS, Address
    from kdumpsim.debugger.tools import TOOLS, ToolMissing

    try:
        program = TOOLS["gdb"].path()
    except ToolMissing as error:
        raise click.UsageError(str(error)) from error
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kdumpsim-debug-")))
        address = Address(path=str(place / "gdb.sock"))
        listener = stack.enter_context(closing(address.listen()))
        ready, tell = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(ready)
            _be_the_server(session, subject, listener, beginning, tell, place, address.path)
        os.close(tell)
        listener.close()
        stack.callback(_end, pid)
        if beginning != "boot":
            click.echo(RUNNING, err=True)
        with open(ready, "rb") as pipe:  # gdb waits two seconds for an answer
            said = pipe.readline().decode()
        if not said.startswith(READY):
            raise HostFailure(said.strip() or "the machine's process has ended")
        _tell_ending(said.removeprefix(READY).strip(), subject, err=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        words = [program, "-q", "-nx", "-iex", "set auto-load safe-path /", "-x", str(place / COMMANDS), *more]
        return subprocess.run(words, check=False, preexec_fn=_hear_ctrl_c).returncode


def _hear_ctrl_c() -> None:
    """In gdb's process: it stops the run with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _be_the_server(
    session: Any, subject: Subject, listener: Any, beginning: str, tell: int, place: Path, target: str
) -> NoReturn:
    from kdumpsim.debugger.service import begin, serve, write_files
    from kdumpsim.debugger.travel import Traveller
    from kdumpsim.machines.parent import die_with

    parent = os.getppid()
    os.setsid()
    die_with(parent)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    status = 1
    try:
        with closing(Traveller(session, subject.scenario)) as traveller:
            begin(traveller, beginning)
            write_files(session, traveller, place, subject.folders, target)
            os.write(tell, f"{READY}{traveller.ending}\n".encode())
            os.close(tell)
            serve(listener, traveller, session.pc.cpus, lambda _: None)
        status = 0
    except (OSError, HostFailure) as error:
        os.write(tell, f"{host_failure(error)}\n".encode())
    finally:
        os._exit(status)


def _tell_ending(ending: str, subject: Subject, *, err: bool = False) -> None:
    if ending:
        click.echo(f"It ends: {ending}", err=err)
    subject.warn_of_another(ending)


def _end(pid: int) -> None:
    """See a process end: it does once gdb has hung up."""
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


def _for_others(session: Any, subject: Subject, beginning: str, address: Any) -> int:
    """Serve here, for a debugger that somebody else starts."""
    from kdumpsim.debugger.service import address_of, begin, serve, write_files
    from kdumpsim.debugger.travel import Traveller

    with ExitStack() as stack:
        listener = stack.enter_context(closing(address.listen()))
        address = address_of(listener)
        if address.path:
            stack.callback(lambda: Path(address.path).unlink(missing_ok=True))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kdumpsim-debug-")))
        traveller = stack.enter_context(closing(Traveller(session, subject.scenario)))
        if beginning != "boot":
            click.echo(RUNNING)
        begin(traveller, beginning)
        _tell_ending(traveller.ending, subject)
        commands = write_files(session, traveller, place, subject.folders, str(address))
        click.echo(f"Listening at {address}. In another terminal:\n  gdb -x {commands}\nCtrl-C ends it.")
        serve(listener, traveller, session.pc.cpus, click.echo)
    return 0
