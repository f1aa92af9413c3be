# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim explain`: why a run ended as it did, as a page of text."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdumpsim.commands.interrupts import Interrupts
from kdumpsim.commands.status import status_help
from kdumpsim.files import atomic_file, writable_directory

if TYPE_CHECKING:
    from kdumpsim.explain.facts import Facts
    from kdumpsim.explain.pictures.svg import Drawing

HELP = f"""Explain why a run ended as it did.

DIR is a directory that `kdumpsim run --output` wrote (default: dump). The run is repeated from power-on and watched;
it must end the same, with the same dump. The page shows what was armed and where it struck, with the source line;
what each CPU was doing, and which locks were taken; who noticed, and who could not; how the other CPUs were stopped;
what the way to the dump looked like; what the dump is worth; and why the outcome has its letter and marks.
After an overflow it names the first writes below the stack and to thread_info, and what was overwritten;
after a triple fault the chain of faults.

Each sentence is made of recorded facts, which the marks in brackets refer to: at the end of the page each has its
time, CPU, and number of the instruction, to which `kd-goto N` goes in `kdumpsim debug DIR --gdb`.
What is not known is said to be unknown.

Pictures show what was recorded, too: the timeline of CPUs, devices and the console; physical memory with both kernels;
interrupt controllers around the hand-over; the states of the crash point; and a stack that overflowed.

If the run cannot be repeated (another version or build, QEMU), the page has what result.json tells, and no pictures.

\b
Examples:
  kdumpsim run --crashpoint INT_HARDWARE_ENTRY --type overflow
  kdumpsim explain
  kdumpsim explain dump --json facts.json  # the facts, for programs
  kdumpsim explain dump --html run.html    # with pictures and a timeline
  kdumpsim explain dump --svg pictures     # each picture as a file

{status_help()}
"""
_MARKS = re.compile(r"\[#\d+\]")
SECOND, ERASED = 1.0, "\r\x1b[K"
_RULE = re.compile(r"=+")


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), default=Path("dump"))
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the facts to FILE as JSON.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the page with pictures to FILE, which needs nothing else.",
)
@click.option(
    "--svg",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write each picture to a file in FOLDER.",
)
@click.option("--text", "as_text", is_flag=True, help="Print the page of text, too, beside --html or --svg.")
@click.pass_obj
def explain(
    interrupts: Interrupts | None,
    /,
    directory: Path,
    json_file: Path | None,
    html: Path | None,
    svg: Path | None,
    *,
    as_text: bool,
) -> None:
    """The command."""
    for file in filter(None, (json_file, html)):
        writable_directory(file.parent)
    if svg is not None:
        writable_directory(svg)
    poll = None if interrupts is None else interrupts.poll
    facts, drawings = known(directory, poll, draw=html is not None or svg is not None)
    if json_file is not None:
        _write(json_file, f"{json.dumps(facts.as_dict(), indent=1)}\n")
    if html is not None:
        from kdumpsim.explain.page import heading
        from kdumpsim.explain.pictures.page import page
        from kdumpsim.explain.pictures.told import told

        _write(html, page(heading(facts), facts.command, told(facts), drawings))
    if svg is not None:
        from kdumpsim.explain.pictures.svg import by_itself

        for drawing in drawings:
            _write(svg / f"{drawing.name}.svg", by_itself(drawing.svg))
    if as_text or (html is None and svg is None):
        show(facts)
        return
    if html is not None:
        click.echo(f"Wrote {html}: the page, with {_pictures(drawings)}.")
    if svg is not None:
        names = "".join(f" {drawing.name}.svg" for drawing in drawings)
        click.echo(f"Wrote {_pictures(drawings)} to {svg}{':' if names else ''}{names}")


def _pictures(drawings: Sequence[Drawing]) -> str:
    return f"{len(drawings) or 'no'} picture{'' if len(drawings) == 1 else 's'}"


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as file:
        file.write(text.encode())


def known(directory: Path, poll: Callable[[], None] | None, *, draw: bool) -> tuple[Facts, list[Drawing]]:
    """Facts and, if asked for, pictures: of the run again if it can be, else the facts that its files hold."""
    gc.disable()
    try:
        from kdumpsim.explain.recorded import Unreadable
        from kdumpsim.explain.replay import NotTheSame, explain_and_draw, known_without_running
        from kdumpsim.explain.replay import explain as explained
    finally:
        gc.freeze()  # what is imported stays, and need not be looked through time and again
        gc.enable()

    try:
        try:
            with _progress(poll) as asked:
                return explain_and_draw(directory, asked) if draw else (explained(directory, asked), [])
        except NotTheSame as error:
            click.echo(f"{directory} cannot be run again: {error}. This is what its result.json tells:", err=True)
            return known_without_running(directory), []
    except Unreadable as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def _progress(poll: Callable[[], None] | None) -> Iterator[Callable[[], None] | None]:
    """In a terminal, a line on standard error as long as the run is repeated.

    It is drawn where the machine polls, and not in a thread: the process forks for the closer look at a stack.
    """
    if not sys.stderr.isatty():
        yield poll
        return
    begin = drawn = time.monotonic()
    owner = os.getpid()
    click.echo("Repeating the run …", err=True, nl=False)

    def asked() -> None:
        nonlocal drawn
        if poll is not None:
            poll()
        now = time.monotonic()
        if now - drawn > SECOND and os.getpid() == owner:
            drawn = now
            click.echo(f"\rRepeating the run … {now - begin:.0f} s", err=True, nl=False)

    try:
        yield asked
    finally:
        if os.getpid() == owner:
            click.echo(ERASED, err=True, nl=False)


def facts_of(directory: Path, poll: Callable[[], None] | None) -> Facts:
    """Those of the run again if it can be, else of its files."""
    return known(directory, poll, draw=False)[0]


def show(facts: Facts) -> None:
    """Print the page; in a terminal with headings and marks that stand out."""
    from rich.text import Text

    from kdumpsim.commands.screen import screen
    from kdumpsim.explain.page import text

    display = screen()
    lines = text(facts).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        styled = Text(line, style="bold" if _RULE.fullmatch(following) and line else "")
        styled.highlight_regex(_MARKS, "dim cyan")
        display.print(styled, soft_wrap=True)
