# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim corpus`: sample dumps of every variant, with the truth about each."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from kdumpsim.choices import unknown
from kdumpsim.commands.interrupts import Interrupts
from kdumpsim.commands.screen import screen
from kdumpsim.commands.status import status_help
from kdumpsim.sweeps.corpus import INDEX, entries, write_corpus
from kdumpsim.vmcore.formats.compressors import CompressorMissing

HELP = f"""Write sample dumps of every variant to DIR, each with the truth about it.

The samples are for authors of dump readers. DIR/NAME has the dump (vmcore, or truth.core if the kernel saved none),
its vmlinux, and truth.json: each CPU's registers and backtrace with source lines, the tasks, the log and the pages, as
the machine recorded them. DIR/corpus.json lists the files with their SHA-256. The same version writes the same bytes
on every host. `kdumpsim help corpus` describes truth.json.

Without NAMEs all samples are written; --list lists them.

\b
Examples:
  kdumpsim corpus samples
  kdumpsim corpus samples panic missing-note compressed-zstd
  kdumpsim open samples/panic

{status_help()}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path), required=False)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="List the names, but write nothing.")
@click.pass_obj
def corpus(interrupts: Interrupts | None, /, directory: Path | None, names: tuple[str, ...], only_list: bool) -> None:
    """The command."""
    known = entries()
    display = screen()
    width = max(map(len, known)) + 2
    if only_list:
        for entry in known.values():
            display.print(f"{entry.name:<{width}}{entry.help}", soft_wrap=True, markup=False)
        return
    if directory is None:
        raise click.UsageError("Missing argument 'DIR': name the directory to write to, or list the dumps with --list")
    for name in names:
        if name not in known:
            raise click.UsageError(unknown("dump", name, known))
    wanted = [known[name] for name in dict.fromkeys(names or known)]
    poll = None if interrupts is None else interrupts.poll
    try:
        for made in write_corpus(directory, wanted, poll):
            size = f"{made.size / (1 << 20):6.1f} MiB"
            display.print(f"{made.entry.name:<{width}}{size}  {made.sha256[:16]}  {made.file}", soft_wrap=True)
    except CompressorMissing as error:
        raise click.UsageError(str(error)) from error
    display.print(f"[dim]All of it: {escape(str(directory / INDEX))}[/]", soft_wrap=True)
