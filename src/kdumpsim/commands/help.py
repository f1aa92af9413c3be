# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim help`: the documentation, wherever kdumpsim is installed."""

from __future__ import annotations

import re
from pathlib import Path

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Markdown
from rich.text import Text

import kdumpsim
from kdumpsim.choices import unknown
from kdumpsim.commands.screen import screen
from kdumpsim.commands.status import status_help

HELP = f"""Show the documentation of TOPIC, or the help of a command; without TOPIC, list the topics.

\b
Examples:
  kdumpsim help outcomes        # what O, X and their marks mean
  kdumpsim help table2 | less
  kdumpsim help run             # the same as kdumpsim run --help

{status_help()}
"""
_PACKAGE = Path(kdumpsim.__file__).parent
_PLACES = (_PACKAGE / "docs", _PACKAGE.parent.parent / "docs")
"""In a wheel, and in a checkout."""


def documents() -> Path:
    """The folder of the documentation."""
    return next(place for place in _PLACES if place.is_dir())


def topics() -> dict[str, Path]:
    """The documents by name."""
    return {path.stem: path for path in sorted(documents().glob("*.md"))}


class _Verbatim(CodeBlock):
    """A block of code or output, to be copied: neither wrapped nor indented."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(str(self.text).rstrip(), style="markdown.code_block", no_wrap=True, overflow="ignore")


class Page(Markdown):
    """A document at a terminal. What it links to is found by `kdumpsim help` or beside it, not by a click."""

    elements = Markdown.elements | {"fence": _Verbatim, "code_block": _Verbatim}


def show(text: str) -> None:
    """Print a document: formatted at a terminal, else as it is."""
    display = screen()
    if display.is_terminal:
        text = re.sub(r"\[([^]]+)\]\((?!https?:)[^)]+\)", r"\1", text)  # a terminal cannot follow these
        display.print(Page(text), crop=False)
    else:
        click.echo(text, nl=False)


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("topic", required=False, metavar="[TOPIC]")
@click.pass_context
def help(context: click.Context, topic: str | None) -> None:
    """Show a document."""
    found = topics()
    group = context.find_root().command
    commands = group.list_commands(context) if isinstance(group, click.Group) else []
    if topic is None:
        width = max(map(len, found)) + 2
        for name, path in found.items():
            click.echo(f"{name:<{width}}{path.read_text(encoding='utf-8').partition(chr(10))[0].lstrip('# ')}")
    elif topic in found:
        show(found[topic].read_text(encoding="utf-8"))
    elif topic in commands and isinstance(group, click.Group):
        command = group.get_command(context, topic)
        assert command is not None
        with click.Context(command, info_name=topic, parent=context.find_root()) as own:
            click.echo(command.get_help(own))
    else:
        raise click.UsageError(unknown("topic", topic, found, others=commands))
