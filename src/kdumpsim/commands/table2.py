# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim table2`: every crash point and crash type, beside the paper's table."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from textwrap import wrap
from types import TracebackType
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from kdumpsim.choices import unknown
from kdumpsim.commands.hosttime import host_timeout_option
from kdumpsim.commands.interrupts import Interrupts
from kdumpsim.commands.matrix import details, matrix
from kdumpsim.commands.ratetable import show_rates
from kdumpsim.commands.screen import screen
from kdumpsim.commands.settings import fields_of, scenario_options
from kdumpsim.commands.status import Status, status_help
from kdumpsim.commands.truth import truth_option
from kdumpsim.commands.verbose import listen
from kdumpsim.lkdtt.paper import cells, column_of
from kdumpsim.runfiles import CONSOLE_LOG
from kdumpsim.runs.forking import Report
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S, Poll
from kdumpsim.scenario.conditions import LEGACY
from kdumpsim.scenario.points import DEFAULT_COUNT, aliases, crash_points, crash_types
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError, words_of
from kdumpsim.sweeps.ratetable import rate_plan
from kdumpsim.sweeps.sweep import directory_name, sweep
from kdumpsim.sweeps.table2 import CellRuns, plan, scenarios_of, summary
from kdumpsim.sweeps.workers import Ways

HELP = f"""Run the cells of the LKDTT paper's Table 2, and compare them with its column for the profile's kernel.

Each crash point is crashed with each crash type, and each run ends with an outcome in the paper's legend: O (dump
captured) or X (not), with marks. No run uses the paper's results. A mechanism that
has a column is compared with that one, and a profile without a column with 2.6.16.
A machine is booted once for each seed and forked for each cell; the command that is printed for a cell (--json,
--csv, result.json) repeats it alone, from power-on, byte for byte. `kdumpsim help table2` explains what decided each
cell. With --sata native the cells of IDE_CORE_CP are left out, because the IDE driver has no disk there.

With --counts, or several profiles, the table shows rates: every cell is crashed at each count on each seed, since the
outcome depends on which crossing of a point is hit. Such runs are kept in a --store; --resume continues them.

The exit status is 0 if every run had an outcome, whichever it was.

\b
Examples:
  kdumpsim table2
  kdumpsim table2 --profile 2.6.16 --runs 3
  kdumpsim table2 --profile default,2.6.16 --counts 1-20 --store table2.sqlite
  kdumpsim table2 --point FS_DEVRW --type hang --json
  # LKCD, in the older kernel of the paper, beside the column of LKCD 6.1.0
  kdumpsim table2 --mechanism lkcd --profile 2.6.13-rc7
  # keep result.json, console.log and, without a dump, truth.core of each run
  kdumpsim table2 --keep table2-runs

{status_help(Status.HOST_TIMEOUT)}
"""
_FIELDS = ("crash_point", "crash_type", "outcome", "paper", "seed", "command", "evidence")


class _Bar:
    """Progress on a terminal.  Drawn only when told to: a thread of its own would not survive a fork."""

    def __init__(self, console: Console, total: int) -> None:
        columns = (TextColumn("{task.description:<34}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._task = self._progress.add_task("booting", total=total)

    def __enter__(self) -> _Bar:
        self._progress.start()
        self._progress.refresh()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def tell(self, report: Report) -> None:
        """One run more."""
        self._progress.update(self._task, advance=1, description=_story(report), refresh=True)


class _Lines:
    """Progress elsewhere: a line a run, or nothing."""

    def __init__(self, console: Console | None, total: int) -> None:
        self._console, self._total, self._done = console, total, 0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def tell(self, report: Report) -> None:
        """One run more."""
        self._done += 1
        if self._console is not None:
            width = len(str(self._total))
            line = f"[{self._done:>{width}}/{self._total}] {_story(report)}"
            self._console.print(line, soft_wrap=True, markup=False)


def _story(report: Report) -> str:
    scenario = report.scenario
    return f"{scenario.crash_point} {scenario.crash_type} seed {scenario.seed}: {report.end}"


CHOICES = ("mechanism", "profile", "kernel_options", "guest_modules", "sata")
"""What every cell has in common."""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@scenario_options(Scenario, only=CHOICES)
@click.option("--runs", "--seeds", "runs", default=1, show_default=True, help="Seeds for each cell: S, S+1, …")
@click.option("--seed", default=0, show_default=True, metavar="S", help="The first seed.")
@click.option("--counts", metavar="N,…", help="Crossings before the crash, such as 1-20; makes a table of rates.")
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the runs of a table of rates in FILE, like a sweep's.",
)
@click.option("--resume", is_flag=True, help="Continue with an existing store.")
@click.option("--jobs", default=None, type=int, help="Number of parallel runs.  [default: the host's CPUs]")
@click.option("--point", "points", multiple=True, metavar="P", help="Only this crash point; repeatable.")
@click.option("--type", "types", multiple=True, metavar="T", help="Only this crash type; repeatable.")
@click.option(
    "--output",
    "--keep",
    "output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep result.json and console.log of each run in DIR/POINT-TYPE-seedN, and truth.core (see --truth).",
)
@truth_option
@host_timeout_option(default=HOST_TIMEOUT_S)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one per run, and nothing else.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the same as CSV.")
@click.option("--verbose", is_flag=True, help="Print a line for each cell, and what was observed in it.")
@click.pass_obj
def table2(
    interrupts: Interrupts | None,
    /,
    runs: int,
    seed: int,
    counts: str | None,
    store: Path | None,
    resume: bool,
    jobs: int | None,
    points: tuple[str, ...],
    types: tuple[str, ...],
    output: Path | None,
    truth: bool | None,
    host_timeout: float,
    as_json: bool,
    as_csv: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Parse, run, show."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if truth and output is None:
        raise click.UsageError("--truth needs a directory to write to: add --keep DIR")
    for what, value in (("--runs", runs), ("--jobs", jobs)):
        if value is not None and value < 1:
            raise click.UsageError(f"{what} {value} is out of range: choose 1 or more")
    quiet = as_json or as_csv
    display = screen(stderr=quiet)
    profiles = words_of(given["profile"])
    poll = None if interrupts is None else interrupts.poll
    jobs = jobs or os.cpu_count() or 1
    try:
        common = fields_of(Scenario, given)
        chosen = {
            "points": _names("crash point", points, [cell.crash_point for cell in cells()], aliases(crash_points()))
            or _points(common.get("sata", LEGACY)),
            "types": _names("crash type", types, [cell.crash_type for cell in cells()], aliases(crash_types())),
        }
        if counts is not None or store is not None or resume or len(profiles) > 1:
            if truth:
                raise click.UsageError(
                    "--truth cannot be combined with --counts; add it to the command of a single run"
                )
            del common["profile"]
            show_rates(
                rate_plan(profiles, counts or str(DEFAULT_COUNT), range(seed, seed + runs), **chosen, **common),
                store, resume=resume, jobs=jobs, ways=Ways(host_timeout, output), poll=poll,
                form="json" if as_json else "csv" if as_csv else "text", verbose=verbose,
            )  # fmt: skip
            return
        planned = plan(range(seed, seed + runs), **chosen, **common)
        if verbose:
            listen()
        sha256 = as_json or output is not None
        _run(
            planned, jobs, output, display,
            quiet=quiet, poll=poll, truth=truth, sha256=sha256, host_timeout=host_timeout,
        )  # fmt: skip
    except ScenarioError as error:
        raise click.UsageError(str(error)) from error
    objects = [entry for cell in planned for entry in cell.as_dicts()]
    if as_json:
        click.echo(json.dumps(objects, indent=2))
    elif as_csv:
        click.echo(_as_csv(objects), nl=False)
    else:
        column = column_of(common["profile"], common["mechanism"])
        _print_table(planned, display, common["profile"], column, verbose=verbose)
    dead = [report for cell in planned for report in cell.dead]
    for report in dead:
        click.echo(
            f"{report.end} (seed {report.scenario.seed}): {report.scenario.command()}\n  {report.died}", err=True
        )
    kept = (report.scenario for cell in planned for report in cell.reports if report.result is not None)
    if output is not None and not quiet and (example := next(kept, None)) is not None:
        place = f"{escape(str(output))}: {directory_name(example)}/{CONSOLE_LOG}"
        display.print(f"[dim]Kept in {place} and so on.[/]", soft_wrap=True)
    if not dead:
        sys.exit(Status.SUCCESS)
    sys.exit(Status.HOST_TIMEOUT if all(report.timed_out for report in dead) else Status.HOST_FAILURE)


def _points(sata: str) -> list[str]:
    """The table's points, without those of a driver that has no disk there; none stands for all."""
    if sata == LEGACY:
        return []
    points = crash_points()
    named = dict.fromkeys(cell.crash_point for cell in cells())
    return [name for name in named if name in points and points[name].needs.get("combined_mode") != "ide"]


def _names(what: str, given: Iterable[str], known: Iterable[str], aliases: dict[str, str]) -> list[str]:
    """Names as the table has them; ScenarioError for an unknown one."""
    known = list(dict.fromkeys(known))
    names = [aliases.get(name, name) for name in given]
    for name in names:
        if name not in known:
            raise ScenarioError(unknown(what, name, known, others=aliases))
    return names


def _run(
    planned: list[CellRuns],
    jobs: int,
    output: Path | None,
    console: Console,
    *,
    quiet: bool,
    poll: Poll | None,
    truth: bool | None,
    sha256: bool,
    host_timeout: float,
) -> None:
    by_scenario = {scenario: cell for cell in planned for scenario in cell.scenarios}
    total = len(by_scenario)
    display = _Bar(console, total) if console.is_terminal else _Lines(None if quiet else console, total)

    scenarios = scenarios_of(planned)
    runs = sweep(scenarios, jobs, output, poll=poll, truth=truth, sha256=sha256, host_timeout=host_timeout)
    with display, closing(runs) as reports:
        for report in reports:
            by_scenario[report.scenario].reports.append(report)
            display.tell(report)


def _as_csv(objects: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for entry in objects:
        evidence = entry["evidence"]
        assert isinstance(evidence, list)
        writer.writerow({**entry, "evidence": "; ".join(evidence)})
    return text.getvalue()


def _print_table(planned: list[CellRuns], console: Console, profile: str, column: str, *, verbose: bool) -> None:
    column = column.replace("-", " ", 1)
    console.print(f"LKDTT Table 2, {column}, profile {profile}", style="italic", soft_wrap=True)
    for line in details(planned) if verbose else matrix(planned):
        if console.is_terminal and len(line) > console.width:
            indent = " " * (len(line.plain) - len(line.plain.lstrip()) + 4)
            line = Text("\n".join(wrap(line.plain, console.width, subsequent_indent=indent)), style=line.style)
        console.print(line, soft_wrap=True)
    console.print()
    for text in _closing(planned):
        console.print(text, soft_wrap=True, markup=False)
    if not verbose:
        console.print("[dim]To see what was observed in each cell: --verbose[/]", soft_wrap=True)


def _closing(planned: list[CellRuns]) -> list[str]:
    total = summary(planned)
    lines = [
        f"{total.full} of {total.compared} cells agree with the paper; {total.letter} more agree in O or X, "
        f"not in the marks."
    ]
    if total.unequal_seeds:
        lines.append(f"Cells in which the seeds disagree with each other: {total.unequal_seeds}.")
    if total.not_built:
        lines.append(f"Cells that are not built: {total.not_built}.")
    if total.dead:
        lines.append(f"Runs without an outcome, since their worker died or the host's time was up: {total.dead}.")
    return lines
