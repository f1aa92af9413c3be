# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim debug`: a run under gdb, forwards and backwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from kdumpsim._version import __version__
from kdumpsim.commands.inputs import KERNEL_BYTES, TEXT_BYTES, read_input
from kdumpsim.commands.settings import fields_of, scenario_options
from kdumpsim.commands.status import status_help
from kdumpsim.files import HostFailure, host_failure
from kdumpsim.runfiles import RESULT, VMLINUX
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
    from kdumpsim.vmcore.debuginfo import build_id

    directory, more = _split(arguments)
    if more and not start_gdb:
        raise click.UsageError(f"'{more[0]}' is for gdb, which --gdb starts")
    if start_gdb and listen is not None:
        raise click.UsageError("--gdb and --listen exclude each other")
    try:
        scenario, folders, kernel, sha256 = _scenario(directory, given)
        address = None if start_gdb else Address.parse(DEFAULT_ADDRESS if listen is None else listen)
        session = new_session(scenario)
        if kernel is not None and kernel != session.first.elf:
            raise click.UsageError(
                f"{directory} was left by another build of kdumpsim's kernel: its {VMLINUX} has the build-id "
                f"{build_id(kernel)}, this one has {build_id(session.first.elf)}; what is in it cannot be run again"
            )
        if start_gdb:
            status = _under_gdb(session, scenario, folders, beginning, more, sha256)
        else:
            assert address is not None
            status = _for_others(session, scenario, folders, beginning, address, sha256)
    except (ScenarioError, CannotListen, ValueError) as error:
        raise click.UsageError(str(error)) from error
    sys.exit(status)


def _split(arguments: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """DIR, if there is one, and what is for gdb."""
    if arguments and not arguments[0].startswith("-"):
        return Path(arguments[0]), arguments[1:]
    return None, arguments


def _scenario(directory: Path | None, given: dict[str, Any]) -> tuple[Scenario, list[Path], bytes | None, str | None]:
    """What to run, where its own guest modules' sources are, the kernel that it was run with, its dump's SHA-256."""
    if directory is None:
        fields = fields_of(Scenario, given)
        if not fields.keys() & {"crash_point", "at", "fault", "mce"}:
            raise click.UsageError("give the DIR that a run has left, or --crashpoint and --type as for `kdumpsim run`")
        scenario, kernel, sha256 = Scenario(**fields), None, None
    else:
        context = click.get_current_context()
        extra = [name for name in given if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
        if extra:
            raise click.UsageError(f"{directory} says what was run; leave out --{extra[0].replace('_', '-')}")
        scenario, kernel, sha256 = _left_in(directory)
    folders = [Path(path).absolute().parent for path in scenario.guest_modules]
    return scenario, folders, kernel, sha256


def _left_in(directory: Path) -> tuple[Scenario, bytes | None, str | None]:
    path = directory / RESULT
    for file in (path, directory / VMLINUX):
        if file.exists() and not file.is_file():
            raise click.UsageError(f"{file} is no regular file")
    try:
        data = json.loads(read_input(path, TEXT_BYTES))
        kernel = read_input(directory / VMLINUX, KERNEL_BYTES) if (directory / VMLINUX).exists() else None
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict) or "options" not in data:
        raise click.UsageError(f"{path} is not the result of a run")
    if data.get("kdumpsim") != __version__:
        raise click.UsageError(
            f"{path} was written by kdumpsim {data.get('kdumpsim')}, and this is {__version__}: only the same version "
            "can run it again"
        )
    try:
        vmcore = data.get("vmcore") or {}
        return Scenario.from_dict(data["options"]), kernel, vmcore.get("sha256")
    except (AttributeError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path} is damaged: {error!r} in its options") from error


def _under_gdb(
    session: Any, scenario: Scenario, folders: list[Path], beginning: str, more: tuple[str, ...], sha256: str | None
) -> int:
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
            _be_the_server(session, scenario, listener, beginning, tell, place, folders, address.path)
        os.close(tell)
        listener.close()
        stack.callback(_end, pid)
        if beginning != "boot":
            click.echo(RUNNING, err=True)
        with open(ready, "rb") as pipe:  # gdb waits two seconds for an answer
            said = pipe.readline().decode()
        if not said.startswith(READY):
            raise HostFailure(said.strip() or "the machine's process has ended")
        _tell_ending(said.removeprefix(READY).strip(), sha256, err=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        words = [program, "-q", "-nx", "-iex", "set auto-load safe-path /", "-x", str(place / COMMANDS), *more]
        return subprocess.run(words, check=False, preexec_fn=_hear_ctrl_c).returncode


def _hear_ctrl_c() -> None:
    """In gdb's process: it stops the run with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _be_the_server(
    session: Any, scenario: Scenario, listener: Any, beginning: str, tell: int, place: Path, folders: list[Path],
    target: str,
) -> NoReturn:  # fmt: skip
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
        with closing(Traveller(session, scenario)) as traveller:
            begin(traveller, beginning)
            write_files(session, traveller, place, folders, target)
            os.write(tell, f"{READY}{traveller.ending}\n".encode())
            os.close(tell)
            serve(listener, traveller, session.pc.cpus, lambda _: None)
        status = 0
    except (OSError, HostFailure) as error:
        os.write(tell, f"{host_failure(error)}\n".encode())
    finally:
        os._exit(status)


def _tell_ending(ending: str, sha256: str | None, *, err: bool = False) -> None:
    if ending:
        click.echo(f"It ends: {ending}", err=err)
    if ending and sha256 is not None and sha256 not in ending:
        click.echo(f"Warning: this is not the run that left the directory, whose vmcore has sha256 {sha256}", err=True)


def _end(pid: int) -> None:
    """See a process end: it does once gdb has hung up."""
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


def _for_others(
    session: Any, scenario: Scenario, folders: list[Path], beginning: str, address: Any, sha256: str | None
) -> int:
    """Serve here, for a debugger that somebody else starts."""
    from kdumpsim.debugger.service import address_of, begin, serve, write_files
    from kdumpsim.debugger.travel import Traveller

    with ExitStack() as stack:
        listener = stack.enter_context(closing(address.listen()))
        address = address_of(listener)
        if address.path:
            stack.callback(lambda: Path(address.path).unlink(missing_ok=True))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kdumpsim-debug-")))
        traveller = stack.enter_context(closing(Traveller(session, scenario)))
        if beginning != "boot":
            click.echo(RUNNING)
        begin(traveller, beginning)
        _tell_ending(traveller.ending, sha256)
        commands = write_files(session, traveller, place, folders, str(address))
        click.echo(f"Listening at {address}. In another terminal:\n  gdb -x {commands}\nCtrl-C ends it.")
        serve(listener, traveller, session.pc.cpus, click.echo)
    return 0
