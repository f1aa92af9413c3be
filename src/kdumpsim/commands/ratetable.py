# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim table2` with several counts or profiles: the table as rates."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from kdumpsim.commands.matrix import SIGNS
from kdumpsim.commands.planned import check_store, leave, run_shown
from kdumpsim.files import scratch_directory, writable_directory
from kdumpsim.lkdtt.paper import Agreement
from kdumpsim.runs.hosttime import Poll
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.extras import MissingExtra
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.ratetable import CellRate, rate_summary, rates
from kdumpsim.sweeps.running import Progress, run_plan, runner
from kdumpsim.sweeps.store import Store, StoreError
from kdumpsim.sweeps.tally import columns
from kdumpsim.sweeps.workers import Ways

_FIELDS = (
    "profile", "crash_point", "crash_type", "runs", "ok", "n", "rate", "low", "high", "usual", "paper", "agreement",
    "runs_that_agree", "runs_that_agree_in_letter", "ends", "contexts",
)  # fmt: skip


def show_rates(
    plan: Plan,
    path: Path | None,
    *,
    resume: bool,
    jobs: int,
    ways: Ways,
    poll: Poll | None,
    form: str,
    verbose: bool,
) -> None:
    """Run the plan and print the table, in the `form` text, json or csv; without a store's `path` none is kept.

    SystemExit if runs have no outcome.
    """
    check_store(path, resume=resume)
    if ways.keep is not None:
        writable_directory(ways.keep)
    quiet = form != "text"

    def show(progress: Progress) -> None:
        found = rates(store)
        if form == "json":
            click.echo(json.dumps([rate.as_dict() for rate in found], indent=2))
        elif form == "csv":
            click.echo(_as_csv(found), nl=False)
        else:
            _print(found, verbose=verbose)
            if path is not None and progress.before + progress.done < plan.total:
                click.echo(
                    f"{progress.before + progress.done} of {plan.total} runs are in {path}: continue with --resume."
                )
            elif path is not None:
                click.echo(f"The runs are in {path}: kdumpsim report {path} --html FILE shows them.")

    try:
        with scratch_directory() as scratch, Store(path or scratch / "table2.sqlite", create=True) as store:
            run_by = runner(plan, jobs, None, ways, poll)
            leave(run_shown(lambda p: run_plan(plan, store, run_by, p), plan.total, show, quiet=quiet))
    except (ScenarioError, StoreError, MissingExtra) as error:
        raise click.UsageError(str(error)) from error


def _as_csv(found: Iterable[CellRate]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for rate in found:
        entry: dict[str, Any] = rate.as_dict()
        entry["low"], entry["high"] = entry["interval"]
        writer.writerow({**entry, "ends": _shares(rate.tally.ends), "contexts": _shares(rate.contexts)})
    return text.getvalue()


def _print(found: Sequence[CellRate], *, verbose: bool) -> None:
    for profile, group in groupby(found, key=lambda rate: rate.profile):
        mine = list(group)
        click.echo(f"LKDTT Table 2 as rates, profile {profile}, beside the paper's column {mine[0].column}")
        for line in _details(mine) if verbose else _matrix(mine):
            click.echo(line)
        click.echo()
        for line in _closing(mine):
            click.echo(line)
        click.echo()
    if not verbose:
        click.echo("To see how the runs of each cell ended, and in which context they crashed: --verbose")


def _matrix(found: Sequence[CellRate]) -> Iterator[str]:
    """Points by types: the rate of O in per cent with the paper's sign, and its interval below."""
    points = list(dict.fromkeys(rate.cell.crash_point for rate in found))
    types = list(dict.fromkeys(rate.cell.crash_type for rate in found))
    by_name = {(rate.cell.crash_point, rate.cell.crash_type): rate for rate in found}
    rows: list[list[str]] = [["O in % of runs", *types]]
    for point in points:
        cells = [by_name.get((point, kind)) for kind in types]
        rows.append([point, *(_rate(cell) for cell in cells)])
        rows.append(["", *(_interval(cell) for cell in cells)])
    yield from columns(rows)
    words = {rate.agreement for rate in found}
    yield ""
    yield "Below each rate: its 95 % interval (Wilson's)."
    if Agreement.NONE in words:
        yield "* the usual outcome is not the paper's letter"
    if Agreement.LETTER in words:
        yield "~ the usual outcome has other marks than the paper's"


def _rate(rate: CellRate | None) -> str:
    if rate is None:
        return ""
    if rate.tally.rate is None:
        return "-"
    return f"{100 * rate.tally.rate:.0f} {SIGNS.get(rate.agreement or '', '')}".rstrip()


def _interval(rate: CellRate | None) -> str:
    if rate is None or not rate.tally.n:
        return ""
    return f"{100 * rate.tally.interval.low:.0f}-{100 * rate.tally.interval.high:.0f}"


def _details(found: Sequence[CellRate]) -> Iterator[str]:
    """Each cell in a few lines."""
    for rate in found:
        tally, cell = rate.tally, rate.cell
        share = "-" if tally.rate is None else f"{100 * tally.rate:.0f} % {tally.interval}"
        yield f"{cell.crash_point} / {cell.crash_type}: O in {tally.ok} of {tally.n}, {share}"
        yield f"    ended  {_shares(tally.ends)}"
        if rate.contexts:
            yield f"    in     {_shares(rate.contexts)}"
        if cell.published is not None:
            yield (
                f"    paper  {cell.published}: {rate.agreeing(Agreement.FULL)} of {tally.n} runs are that, "
                f"{rate.agreeing(Agreement.FULL, Agreement.LETTER)} have its letter"
            )


def _shares(counted: Counter[str]) -> str:
    return ", ".join(f"{what} {runs}" for what, runs in counted.most_common())


def _closing(found: Sequence[CellRate]) -> Iterator[str]:
    total = rate_summary(found)
    if total.compared:
        yield (
            f"The usual outcome is the paper's in {total.full} of {total.compared} cells, "
            f"and has its letter in {total.letter} more."
        )
        yield (
            f"A single run of each cell is the paper's outcome in {100 * total.single:.0f} % of cells, "
            f"and has its letter in {100 * total.single_letter:.0f} %."
        )
    yield f"Every run was O in {total.captured} of {total.cells} cells."
    if unknown := sum(rate.tally.without_outcome for rate in found):
        yield f"Runs without an outcome: {unknown}."
