# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim run`: one crash, from power-on to a judged dump."""

from __future__ import annotations

import gc
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import kdumpsim
from kdumpsim.commands.hosttime import host_timeout_option
from kdumpsim.commands.interrupts import Interrupts
from kdumpsim.commands.settings import fields_of, scenario_options
from kdumpsim.commands.status import Status, status_help
from kdumpsim.commands.truth import truth_option
from kdumpsim.commands.verbose import verbose_option
from kdumpsim.errors import QemuLost
from kdumpsim.runfiles import CONSOLE_LOG, TRACE, TRUTH_CORE, VMCORE, VMLINUX
from kdumpsim.runs.hosttime import HostTimeout
from kdumpsim.scenario.conditions import KDUMPSIM
from kdumpsim.scenario.mechanisms import DEFAULT_MECHANISM, MECHANISMS
from kdumpsim.scenario.parts import KernelPart
from kdumpsim.scenario.points import CrashPoint, CrashType, Modules, crash_points, crash_types
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError

if TYPE_CHECKING:  # the machine and what draws are imported when a run is run: its help stays quick
    from rich.panel import Panel

    from kdumpsim.lkdtt.outcome import Outcome
    from kdumpsim.runs.result import Result
    from kdumpsim.vmcore.compare import Judgement


def _table(title: str, rows: Mapping[str, CrashPoint] | Mapping[str, CrashType]) -> str:
    width = max(map(len, rows)) + 2
    return f"\b\n{title}\n" + "\n".join(f"  {name:<{width}}{row.help}" for name, row in rows.items())


HELP = """Boot a machine, crash its kernel at a chosen point, and judge the dump.

The run powers on an i386 PC, boots the first kernel, arms its dump mechanism and then the crash
point, and starts a file-system workload. When the point has been crossed --count times the kernel crashes, and
the mechanism takes a dump. With {usual}, the default, {story}.
The dump is then compared with the machine's own record of the crash.

{points}

{types}

A simulated operator attends to the machine. If it no longer answers, or a login fails, the operator waits, presses
Alt-SysRq-C, and in the end pulls the plug; a system that has recovered is rebooted.

The outcome is O (success) or X (failure), with the paper's marks in brackets; `kdumpsim help
outcomes` explains them.
A dump that was started only by SysRq is judged too, but counts as X.

With --machine qemu the same happens on the pc of qemu-system-i386, with the same images and tools, and the dump is
judged by QEMU's gdbstub and memory. QEMU uses the host's time, so no two of its runs are alike.

\b
Examples:
  kdumpsim run --crashpoint FS_DEVRW --type panic
  kdumpsim run --crashpoint TIMERADD --type exception --cpus 4 --seed 7
  kdumpsim run --crashpoint FS_DEVRW --type panic --console  # watch it
  kdumpsim run --crashpoint FS_DEVRW --type panic --json | jq .outcome
  # the same crash on another PC
  kdumpsim run --crashpoint FS_DEVRW --type panic --machine qemu
  # what led to the triple fault
  kdumpsim run --crashpoint INT_HARDWARE_ENTRY --type overflow --trace 200
  # anywhere in the kernel; --draw 8 chooses another place
  kdumpsim run --at instant --type oops --draw 7
  # a fault instead of a crash: a bit flips, or an instruction changes
  kdumpsim run --fault text:executed

{statuses}
"""


MAX_TRACE = 1 << 20


class _NoMachine(click.ClickException):
    """The machine to run on has gone; this is not the guest's fault."""

    exit_code = Status.NO_MACHINE


class _TimedOut(click.ClickException):
    """The run exceeded its limit of host time."""

    exit_code = Status.HOST_TIMEOUT


STATUSES = status_help(Status.FAILURE, Status.NO_MACHINE, Status.HOST_TIMEOUT)


_ARGUMENTS = f"{__name__}.arguments"


class _RunCommand(click.Command):
    """A command whose help lists the kernel's crash points and types, read from the kernel when help is shown."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.help = HELP.format(
            points=_table("Crash points (LKDTT paper, section 4.1):", crash_points(self._modules(ctx))),
            types=_table("Crash types (LKDTT paper, section 3.3; its bug is oops here, its loop hang):", crash_types()),
            statuses=STATUSES,
            usual=DEFAULT_MECHANISM,
            story=MECHANISMS[DEFAULT_MECHANISM],
        )
        super().format_help_text(ctx, formatter)

    def _modules(self, ctx: click.Context) -> Modules:
        """Return the guest modules on the command line, which click has not parsed when it shows help."""
        try:
            given, _, _ = self.make_parser(ctx).parse_args(ctx.meta.get(_ARGUMENTS, []))
            return KernelPart(guest_modules=tuple(given.get("guest_modules", ()))).modules
        except ScenarioError as error:
            raise click.UsageError(str(error)) from error


@click.command(cls=_RunCommand, help=HELP, context_settings={"max_content_width": 110})
@scenario_options(Scenario)
@host_timeout_option(default=None)
@click.option(
    "--output",
    default="dump",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory for vmcore, vmlinux, console.log and result.json.",
)
@click.option(
    "--trace",
    default=0,
    type=click.IntRange(0, MAX_TRACE),
    metavar="N",
    help="Write DIR/trace.txt: the last N basic blocks of each CPU before the hand-over, or before the machine reset.",
)
@click.option(
    "--perfetto",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write FILE, a timeline of CPUs, interrupts, tasks, DMA and console lines, for ui.perfetto.dev.",
)
@click.option(
    "--save-disks",
    is_flag=True,
    help="Write DIR/system.img and DIR/dump.img, the disks at the end of the run; `kdumpsim boot` can use the former.",
)
@truth_option
@click.option(
    "--no-cached-boot",
    is_flag=True,
    help="Boot from power-on even if the cache has the booted machine. The run is the same, byte for byte.",
)
@click.option("--console", is_flag=True, help="Stream the guest's serial console.")
@click.option("--explain", "explaining", is_flag=True, help="Then explain why it ended so, as `kdumpsim explain` does.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json on stdout, and nothing else there.")
@verbose_option
@click.pass_obj
def run(
    interrupts: Interrupts | None,
    /,
    host_timeout: float | None,
    output: Path,
    trace: int,
    perfetto: Path | None,
    save_disks: bool,
    truth: bool | None,
    no_cached_boot: bool,
    console: bool,
    explaining: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Parse, run, show."""
    if explaining and as_json:
        raise click.UsageError("--explain and --json exclude each other; `kdumpsim explain --json FILE` writes facts")
    try:
        fields = fields_of(Scenario, given)
        if not fields.keys() & {"crash_point", "at", "fault", "mce"}:
            points = crash_points(KernelPart(guest_modules=fields.get("guest_modules", ())).modules)
            raise click.UsageError(
                f"Missing option '--crashpoint', '--at', '--fault' or '--mce'. Crash points: {', '.join(points)}; "
                "or use --at instant or --fault MODEL"
            )
        scenario = Scenario(**fields)
        result = _run(
            scenario,
            output,
            guest_console=console,
            as_json=as_json,
            poll=None if interrupts is None else interrupts.poll,
            trace=trace,
            perfetto=perfetto,
            save_disks=save_disks,
            truth=truth,
            host_timeout=host_timeout,
            cached_boot=not no_cached_boot,
        )
    except ScenarioError as error:
        raise click.UsageError(str(error)) from error
    except QemuLost as error:
        raise _NoMachine(str(error)) from error
    except HostTimeout as error:
        raise _TimedOut(str(error)) from error
    if interrupts is not None:
        interrupts.poll()
    if as_json:
        click.echo(result.dumps(), nl=False)
    else:
        _show(result, output, save_disks=save_disks)
    if explaining:
        _explain(output, None if interrupts is None else interrupts.poll)
    sys.exit(Status.SUCCESS if result.outcome.ok else Status.FAILURE)


def _run(
    scenario: Scenario,
    output: Path,
    *,
    guest_console: bool,
    as_json: bool,
    poll: Callable[[], None] | None,
    **how: Any,
) -> Result:
    gc.disable()
    try:
        from kdumpsim.runs.run import run_scenario
    finally:
        gc.freeze()  # what is imported stays, and need not be looked through time and again
        gc.enable()

    if as_json and not guest_console and not sys.stderr.isatty():
        return run_scenario(scenario, output, poll=poll, **how)
    from kdumpsim.commands.display import LiveDisplay, PlainDisplay
    from kdumpsim.commands.screen import screen

    console = screen(stderr=as_json)
    live = console.is_terminal and not guest_console
    with LiveDisplay(console) if live else PlainDisplay(console, guest_console=guest_console) as display:
        return run_scenario(scenario, output, display, poll, **how)


def _explain(output: Path, poll: Callable[[], None] | None) -> None:
    from kdumpsim.commands.explain import facts_of, show

    show(facts_of(output, poll))


def _show(result: Result, output: Path, *, save_disks: bool) -> None:
    from kdumpsim.commands.screen import screen
    from kdumpsim.runs.run import boot_command

    scenario, display = result.scenario, screen()
    title = scenario.title
    if scenario.machine != KDUMPSIM:
        title += f" on machine {scenario.machine}"
    vmcore = (result.vmcore.bytes, result.vmcore.sha256) if result.vmcore else None
    display.print(closing_panel(title, result.outcome, result.judgement, vmcore))
    for line in next_steps(output, result.judgement, captured=vmcore is not None, modules=scenario.guest_modules):
        display.print(line, soft_wrap=True)
    if result.asked is not None:
        drawn = _escape(result.scenario.command())
        display.print(f"[dim]The same run, with what was drawn: {drawn}[/]", soft_wrap=True)
    if save_disks:
        again = _escape(boot_command(scenario, output))
        display.print(f"[dim]To boot its kernel and disk again: {again}[/]", soft_wrap=True)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _percent(fraction: float) -> str:
    """Return a percentage, which is 100 only if nothing is missing."""
    return "100 %" if fraction == 1 else f"{min(fraction * 100, 99.999):.3f} %"


def next_steps(output: Path, judgement: Judgement | None, *, captured: bool, modules: Sequence[str] = ()) -> list[str]:
    """Return the commands to type next, each on a line of its own.  `modules` are the user's guest modules."""
    from kdumpsim.explain.oops import find_reports
    from kdumpsim.vmcore.formats.kinds import Kind, kind_of

    log = output / CONSOLE_LOG
    opened = _escape(shlex.join(["kdumpsim", "open", str(output)]))
    if captured and kind_of(output / VMCORE) != Kind.ELF:
        converted = _escape(shlex.join(["kdumpsim", "convert", str(output), "--to", "elf"]))
        lines = [f"Next: [bold]{opened} crash[/]", f"[dim]For gdb: {converted}[/]"]
    elif captured:
        files = [f"{output}/{VMLINUX}", f"{output}/{VMCORE}"]
        lines = [f"Next: [bold]{opened}[/]"]
        thread = crashing_thread(judgement)
        if thread is None:
            text = "The crashing CPU left no registers; the others, with source lines"
            commands = ["-ex", "thread apply all bt"]
        else:
            text, commands = "Where it crashed, with source lines", ["-ex", f"thread {thread}", "-ex", "bt"]
        folders = dict.fromkeys(
            [Path(kdumpsim.__file__).parent.parent, *(Path(path).absolute().parent for path in modules)]
        )
        sources = [word for folder in folders for word in ("-d", str(folder))]
        gdb = shlex.join(["gdb", *sources, *commands, *files])
        lines.append(f"[dim]{text}: {_escape(gdb)}[/]")
        if shutil.which("gdb") is None:
            lines.append("[yellow]gdb is not installed; on Debian: sudo apt-get install gdb[/]")
    else:
        lines = [f"Next: [bold]{_escape(shlex.join(['less', str(log)]))}[/]"]
        if (output / TRUTH_CORE).exists():
            lines.append(f"[dim]The machine's own memory at the crash, in gdb: {opened}[/]")
    if (output / TRACE).exists():
        lines.append(f"[dim]What the CPUs ran last: {_escape(shlex.join(['less', f'{output}/{TRACE}']))}[/]")
    if find_reports(log.read_text(errors="replace")):
        explained = _escape(shlex.join(["kdumpsim", "decode", str(output)]))
        lines.append(f"[dim]What the kernel reported, with source lines: {explained}[/]")
    return lines


def crashing_thread(judgement: Judgement | None) -> int | None:
    """Return gdb's number for the CPU that crashed; None if the dump does not have its registers."""
    from kdumpsim.vmcore.oracle import CRASHING

    checks = judgement.registers if judgement else []
    return next((check.thread for check in checks if check.role == CRASHING), None)


def closing_panel(
    title: str, outcome: Outcome, judgement: Judgement | None, vmcore: tuple[int, str | None] | None
) -> Panel:
    """Return the panel that sums up a run; `vmcore` is its size in bytes and its SHA-256, if that is known."""
    from rich.panel import Panel
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    good = str(outcome).startswith("O")
    grid.add_row("outcome", f"[bold {'green' if good else 'red'}]{outcome}[/]  {_escape(outcome.reason)}")
    for line in outcome.evidence:
        grid.add_row("evidence", _escape(line))
    if judgement is not None:
        grid.add_row("completeness", f"{_percent(judgement.completeness)}  of the RAM pages are in the dump")
        grid.add_row("accuracy", f"{_percent(judgement.accuracy)}  of them equal the machine's truth at the jump")
        right = sum(check.ok for check in judgement.registers)
        grid.add_row("registers", f"{right} of {len(judgement.registers)} CPUs as the machine saw them")
    if vmcore is not None:
        size, sha256 = vmcore
        grid.add_row("vmcore", f"{size / (1 << 20):.1f} MiB" + (f", sha256 {sha256[:16]}" if sha256 else ""))
    return Panel(grid, title=title, title_align="left", border_style="green" if good else "red")
