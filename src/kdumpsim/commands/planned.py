# SPDX-License-Identifier: GPL-2.0-or-later
"""A plan run in the terminal: where its runs are run, and what is shown meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from kdumpsim.commands.interrupts import Interrupted
from kdumpsim.commands.screen import screen
from kdumpsim.commands.status import Status
from kdumpsim.sweeps.row import HOST_TIMEOUT, Row
from kdumpsim.sweeps.running import Progress

LINE_EVERY_S = 5.0

jobs_option = click.option(
    "--jobs", default=None, type=click.IntRange(1), help="Number of parallel workers.  [default: the host's CPUs]"
)


class _Display:
    """Progress: a bar on a terminal, elsewhere a line every few seconds."""

    def __init__(self, console: Console, progress: Progress, *, quiet: bool) -> None:
        self._progress, self._console, self._quiet = progress, console, quiet
        self._last = time.monotonic()
        self._bar: Bar | None = None
        if console.is_terminal and not quiet:
            columns = (BarColumn(30), MofNCompleteColumn(), TextColumn("{task.description}"))
            # Drawn only when told to: a thread of its own would not survive a fork.
            self._bar = Bar(*columns, console=console, auto_refresh=False, transient=True)
            self._task = self._bar.add_task("booting", total=progress.total)
            self._bar.start()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def tell(self) -> None:
        """Show how it stands."""
        progress, now = self._progress, time.monotonic()
        if self._bar is not None:
            done = progress.before + progress.done
            self._bar.update(self._task, completed=done, description=_story(progress), refresh=True)
        elif not self._quiet and (now - self._last >= LINE_EVERY_S or progress.left == 0):
            self._last = now
            done = progress.before + progress.done
            self._console.print(f"{done}/{progress.total} runs, {_story(progress)}", soft_wrap=True, markup=False)


def _story(progress: Progress) -> str:
    ends = ", ".join(f"{end} {runs}" for end, runs in sorted(progress.ends.items()))
    eta = f", {_duration(progress.eta)} left" if progress.eta is not None else ""
    return f"{progress.rate:.0f} a minute{eta}: {ends}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def check_store(store: Path | None, *, resume: bool) -> None:
    """Raise UsageError if a new sweep's store exists already, or if a sweep to resume has none."""
    if resume and store is None:
        raise click.UsageError("--resume needs a store to continue: name it with --store")
    if store is not None and store.exists() and not resume:
        raise click.UsageError(f"the store '{store}' exists: continue it with --resume, or choose another --store")


def check_elsewhere(scheduler: str | None, jobs: int | None, keep: Path | None) -> None:
    """Raise UsageError for options that only workers on this machine support, if the workers are elsewhere."""
    if scheduler is not None and (jobs or keep):
        raise click.UsageError("--jobs and --keep are for workers on this machine: leave them out with --dask")


def run_shown(
    rows: Callable[[Progress], Generator[Row, None, None]],
    total: int,
    show: Callable[[Progress], object],
    *,
    quiet: bool,
) -> list[Row]:
    """Run with the progress on the screen; the rows without an outcome.

    `rows` runs (`run_plan`), and keeps the progress that it is given; `show` prints what came of it, however it ends.
    """
    progress = Progress(total)
    display = _Display(screen(stderr=quiet), progress, quiet=quiet)
    dead = []
    try:
        with closing(display), closing(rows(progress)) as ended:
            for row in ended:
                display.tell()
                if row.ok is None:
                    dead.append(row)
    except Interrupted:
        show(progress)
        raise
    show(progress)
    return dead


def leave(dead: Sequence[Row]) -> None:
    """Name runs without an outcome; SystemExit with their status if there are any."""
    for row in dead:
        click.echo(
            f"{row.end}: {row.crash_point} {row.crash_type} count {row.count} seed {row.seed}: {row.reason}", err=True
        )
    if dead:
        sys.exit(Status.HOST_TIMEOUT if all(row.end == HOST_TIMEOUT for row in dead) else Status.HOST_FAILURE)
