# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim console`: a prompt in the running machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from kdumpsim.agent.errors import AgentFailure, AgentTimeout
from kdumpsim.commands.display import PlainDisplay
from kdumpsim.commands.inputs import TEXT_BYTES, read_input
from kdumpsim.commands.run import closing_panel, next_steps
from kdumpsim.commands.screen import screen
from kdumpsim.commands.settings import fields_of, scenario_options
from kdumpsim.commands.status import Status, status_help
from kdumpsim.console.command import Shell
from kdumpsim.console.debugging import Debugging
from kdumpsim.console.errors import Quit, Refused
from kdumpsim.console.looking import THREAD_INFO
from kdumpsim.console.script import PROMPT, Line, ScriptError, program, read_script
from kdumpsim.console.shell import COMMANDS, ENGLISH, PATHS, carry_out, parse, repeat
from kdumpsim.files import HostFailure
from kdumpsim.images import LOADS
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.mechanisms.base import MechanismError
from kdumpsim.runfiles import OUTPUT_FILES
from kdumpsim.runs.account import conclude, crash_name, ending
from kdumpsim.runs.result import remove_stale
from kdumpsim.runs.run import power_on, prepare
from kdumpsim.runs.session import Session
from kdumpsim.scenario.parts import KernelPart, PcPart
from kdumpsim.scenario.points import crash_points, crash_types
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import FRAME_POINTER, PROGRAM_COUNTER, STACK_POINTER

HELP = f"""Boot a machine, arm its dump mechanism, and open a prompt in it.

The commands read and write the guest's files, set crash points with ttutils, start loads, press keys and let
virtual time pass, which stops between commands. Others look at registers, memory and source lines, stop at
breakpoints, and go back. After a crash the guest's console is shown until the machine resets, and the dump is judged
as by `kdumpsim run`.

With SCRIPT, the commands come from a file, or from standard input if SCRIPT is -. A script has one command per
line, or is a recorded session with '# ' prompts, such as Table 1 of the LKDTT paper. It is checked before the
machine boots.

Commands: {", ".join(COMMANDS)}

Ctrl-C interrupts a command that takes long; Ctrl-D leaves.

\b
Examples:
  kdumpsim console
  kdumpsim console --kernel-option combined_mode=ide session.txt
  echo 'echo c > /proc/sysrq-trigger' | kdumpsim console -

{status_help(Status.FAILURE, Status.NO_MACHINE, Status.SCRIPT_FAILED)}
"""
CHOICES = (
    "seed",
    "cpus",
    "memory",
    "memory_holes",
    "nic",
    "nic_slot",
    "sata",
    "i8259",
    "crashkernel",
    "mechanism",
    "profile",
    "kernel_options",
    "guest_modules",
)
"""The options that choose the machine and the kernel."""
WAITING = ("step", "continue", "quit")


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("script", required=False, metavar="[SCRIPT]")
@scenario_options(Scenario, only=CHOICES)
@click.option("--timeout", default=120, show_default=True, help="Longest virtual time of `continue`, in seconds.")
@click.option(
    "--no-kexec", is_flag=True, help="Do not arm the dump mechanism (load no capture kernel); kexec -p can do so later."
)
@click.option(
    "--output",
    default="console-dump",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where vmcore, vmlinux and console.log go after a crash.",
)
def console(
    script: str | None,
    timeout: int,
    no_kexec: bool,
    output: Path,
    **given: Any,
) -> None:
    """Check the script, boot, carry out the commands, judge the dump."""
    interactive = script is None and sys.stdin.isatty()
    lines = None if interactive else _script(script or "-")
    display = screen()
    try:
        pc, kernel = PcPart(**fields_of(PcPart, given)), KernelPart(**fields_of(KernelPart, given))
        with PlainDisplay(display, guest_console=True) as observer:
            session = power_on(pc, kernel, observer)
            prepare(output)
            name = "-" if script is None else script
            talk = Talk(session, display, "script" if name == "-" else name, timeout * NS, observer.fresh_line)
            with talk.interrupts():
                status = talk.boot(armed=not no_kexec) or (talk.replay(lines) if lines is not None else talk.prompt())
    except ScenarioError as error:
        raise click.UsageError(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(Status.INTERRUPTED)
    if session.crashed or session.jumped:
        session.oracle.crash = session.oracle.led_to_dump  # no crash is what the session was about, as in a run
        try:
            conclusion = conclude(session, output)
        except HostFailure:
            remove_stale(output, OUTPUT_FILES)
            raise
        title = crash_name(session.oracle) or "crash"
        display.print(closing_panel(title, conclusion.outcome, conclusion.judgement, conclusion.vmcore))
        for line in next_steps(
            output, conclusion.judgement, captured=conclusion.vmcore is not None, modules=kernel.guest_modules
        ):
            display.print(line, soft_wrap=True)
        status = status or (Status.SUCCESS if conclusion.outcome.captured else Status.FAILURE)
    sys.exit(status)


def _script(name: str) -> list[Line]:
    """Return the commands of a file or of standard input, checked."""
    try:
        data = sys.stdin.buffer.read(TEXT_BYTES) if name == "-" else read_input(name, TEXT_BYTES)
        text = data.decode()  # whatever the locale
        return read_script(text, COMMANDS, parse, "script" if name == "-" else name, ENGLISH)
    except OSError as error:
        raise click.UsageError(f"{name}: {error.strerror}") from None
    except (ScriptError, UnicodeDecodeError) as error:
        raise click.UsageError(str(error)) from None


class Talk:
    """A dialogue between a person, or a script, and the machine."""

    def __init__(
        self,
        session: Session,
        screen: Console,
        name: str,
        timeout_ns: int,
        fresh_line: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait for the kernels for at most `timeout_ns` of virtual time.

        `fresh_line` ends a line that the guest has begun on the same screen.
        """
        self._session = session
        self._fresh_line = fresh_line
        self._screen = screen
        self._name = name
        self._busy = False
        self._debugging = Debugging(session, partial(repeat, timeout_ns=timeout_ns))
        self._shell = Shell(session, self._say, timeout_ns, self._debugging)

    @contextlib.contextmanager
    def interrupts(self) -> Iterator[None]:
        """Let Ctrl-C interrupt the machine; at the prompt, let it abandon the line."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            if not self._busy:
                raise KeyboardInterrupt
            self._session.interrupt()
            self._debugging.past.interrupt()

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self._debugging.past.close()

    def boot(self, *, armed: bool) -> int:
        """Power on; return an exit status, 0 for success."""
        self._session.interrupted = False
        self._busy = True
        self._debugging.past.armed = armed
        try:
            self._session.boot()
            if armed:
                self._session.prepare_dump()
        except (AgentFailure, MechanismError) as error:
            click.echo(f"kdumpsim: {'interrupted' if self._session.interrupted else error}", err=True)
            return Status.INTERRUPTED if self._session.interrupted else Status.NO_MACHINE
        finally:
            self._busy = False
        return 0

    def replay(self, lines: list[Line]) -> int:
        """Carry out a script's commands, echoing each one after a prompt."""
        for line in lines:
            command = COMMANDS[program(line.text.split()[0])]
            if self._session.over and not (command.looks or self._debugging.past.place):
                if program(line.text.split()[0]) in WAITING:
                    continue  # it asked for what has happened
                click.echo(f"{self._name}:{line.number}: not run: {ending(self._session)}", err=True)
                return Status.SCRIPT_FAILED
            self._fresh_line()
            self._screen.print(f"{PROMPT}{line.text}", markup=False, soft_wrap=True)
            try:
                self._do(line.text)
            except Quit:
                return 0
            except (Refused, AgentFailure, MechanismError, ValueError) as error:
                click.echo(f"{self._name}:{line.number}: {error}", err=True)
                return Status.INTERRUPTED if self._session.interrupted else Status.SCRIPT_FAILED
            if self._session.interrupted:
                return Status.INTERRUPTED
        return 0

    def prompt(self) -> int:
        """Take commands until the person leaves."""
        self._screen.print("[dim]help lists the commands; virtual time stops while you type[/]")
        told = False
        with _readline(self._debugging.kernels.names):
            while True:
                if self._session.over and not told:
                    told = True
                    self._screen.print(f"[dim]{ending(self._session)}; back looks at how it came to that, quit ends[/]")
                try:
                    line = input(self._prompt())
                except (EOFError, OSError):  # Ctrl-D, or the terminal is gone
                    self._screen.print()
                    break
                except KeyboardInterrupt:
                    self._screen.print()
                    continue
                except ValueError as error:  # bytes that are no text
                    self._complain(str(error))
                    continue
                if not self.take(line):
                    break
        return 0

    def _prompt(self) -> str:
        past = self._debugging.past
        if past.place is None:
            return f"[{self._session.now / 1e9:9.3f}] {PROMPT}"
        return f"[{past.ask('now') / 1e9:9.3f}, past] {PROMPT}"

    def take(self, line: str) -> bool:
        """Carry out what a person typed; return False if that was to leave.

        Every exception becomes a line of text, even one of kdumpsim's own bugs: a machine that took long to bring to
        this point must not be lost to one bad line.
        """
        try:
            self._do(line)
        except Quit:
            return False
        except KeyboardInterrupt:
            self._screen.print()
        except (Refused, AgentFailure, MechanismError, ValueError) as error:
            self._complain(str(error))
            if isinstance(error, AgentTimeout):
                self._screen.print("[dim]the machine may be hung: continue waits for it, sysrq c asks for a dump[/]")
        except Exception as error:
            self._complain(f"{type(error).__name__}: {error}")
        return True

    def _complain(self, text: str) -> None:
        self._screen.print(text, style="red", markup=False, soft_wrap=True)

    def _do(self, text: str) -> None:
        """Carry out one command; Ctrl-C ends it."""
        self._busy = True
        try:
            carry_out(self._shell, text)
        finally:
            self._busy = False

    def _say(self, text: str) -> None:
        self._fresh_line()
        sys.stdout.write(text)
        sys.stdout.flush()


@contextlib.contextmanager
def _readline(names: Callable[[], list[str]]) -> Iterator[None]:
    """Provide history and completion if Python has readline; `names` are the kernel's symbols."""
    try:
        import readline
    except ImportError:
        yield
        return
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    history = state / "kdumpsim" / "console_history"
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_completer(_completer(readline.get_line_buffer, names))
    readline.set_completer_delims(" \t")
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            readline.set_history_length(1000)
            readline.write_history_file(history)


def _completer(line: Callable[[], str], names: Callable[[], list[str]]) -> Callable[[str, int], str | None]:
    def complete(word: str, number: int) -> str | None:
        found = [choice for choice in completions(line(), names) if choice.startswith(word)]
        return f"{found[number]} " if number < len(found) else None

    return complete


def completions(line: str, names: Callable[[], list[str]] = list) -> list[str]:
    """Return the words that can complete `line`; `names` are the kernel's symbols."""
    words = line.split()
    before = words if not line or line[-1].isspace() else words[:-1]
    if not before:
        return list(COMMANDS)
    command = program(before[0])
    if command == "ttutils":
        if len(before) == 1:
            return ["help", "ver", "list", "ls", "set", "reset", "add", "rmv"]
        return {"-p": list(crash_points()), "-t": list(crash_types())}.get(before[-1], ["-p", "-t", "-c", "-n", "-f"])
    if command == "kexec":
        return ["-p", "-l", "-e", "-u"]
    if command == "help":
        return list(COMMANDS)
    if command in ("break", "mem") or before == ["back", "write"]:
        registers = [] if command == "break" else [THREAD_INFO, STACK_POINTER, FRAME_POINTER, PROGRAM_COUNTER]
        return [*(f"${register}" for register in registers), *names()] if len(before) == 1 or command == "back" else []
    if command == "back":
        return ["write"]
    return [] if command in LOADS or (command in COMMANDS and COMMANDS[command].looks) else list(PATHS)
