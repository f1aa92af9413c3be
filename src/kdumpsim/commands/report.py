# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim report`: what a sweep's store says, for people and for other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kdumpsim.commands.status import status_help
from kdumpsim.files import atomic_file
from kdumpsim.sweeps.export import FORMATS, export, junit
from kdumpsim.sweeps.extras import MissingExtra
from kdumpsim.sweeps.store import Store, StoreError
from kdumpsim.sweeps.tally import cells, table

HELP = f"""Evaluate STORE, the store of a sweep; without an option, print its table.

The page of --html needs no network. It shows how the runs ended, the rates of crash points by crash types with
intervals, the times from the crash to the hand-over, the differences between options, and similar failures in
groups, each with a command that repeats one of them.

\b
Examples:
  kdumpsim report stacks.sqlite
  kdumpsim report stacks.sqlite --html out.html
  kdumpsim report stacks.sqlite --junit out.xml --export parquet

{status_help()}
"""


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Declare --html, --junit, --export; `write` does what they ask for."""
    file = click.Path(path_type=Path, dir_okay=False)
    for decorate in (
        click.option(
            "--export", "form", type=click.Choice(list(FORMATS)), help="Write all runs to a file beside the store."
        ),
        click.option(
            "--junit", "junit_file", type=file, metavar="FILE", help="Write JUnit test results, one case per scenario."
        ),
        click.option("--html", "html_file", type=file, metavar="FILE", help="Write a web page."),
    ):
        command = decorate(command)
    return command


def write(store: Store, html_file: Path | None, junit_file: Path | None, form: str | None) -> list[Path]:
    """Write what was asked for; the files.  StoreError, MissingExtra, HostFailure."""
    place = None if form is None else store.path.with_suffix(f".{form}")
    for path in (html_file, junit_file, place):
        if path is not None and path.exists() and path.samefile(store.path):
            raise StoreError(f"'{path}' is the store itself and would be overwritten: choose another file")
    written = []
    if html_file is not None:
        from kdumpsim.sweeps.report import page

        text = page(store)
        with atomic_file(html_file) as file:
            file.write(text.encode())
        written.append(html_file)
    if junit_file is not None:
        junit(store, junit_file)
        written.append(junit_file)
    if form is not None and place is not None:
        export(store, form, place)
        written.append(place)
    return written


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("store", type=click.Path(path_type=Path, dir_okay=False))
@report_options
def report(store: Path, html_file: Path | None, junit_file: Path | None, form: str | None) -> None:
    """Parse, write."""
    try:
        with Store(store) as opened:
            written = write(opened, html_file, junit_file, form)
            if not written:
                if not len(opened):
                    raise StoreError(f"'{store}' has no runs yet: continue the sweep with --resume")
                for line in table(cells(opened), opened.arms):
                    click.echo(line)
    except (StoreError, MissingExtra) as error:
        raise click.UsageError(str(error)) from error
    for path in written:
        click.echo(f"Wrote {path}.")
