# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim convert`: a dump in another format, whole or damaged as real ones are."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from kdumpsim.choices import unknown
from kdumpsim.commands.dumpfiles import dump_in, layout_of
from kdumpsim.commands.screen import screen
from kdumpsim.commands.status import status_help
from kdumpsim.files import atomic_file
from kdumpsim.runfiles import VMLINUX
from kdumpsim.vmcore.formats.compressors import CompressorMissing
from kdumpsim.vmcore.formats.convert import FORMATS, Suffering, check
from kdumpsim.vmcore.formats.convert import convert as convert_dump
from kdumpsim.vmcore.lkcd import open_dump
from kdumpsim.vmcore.pagekinds import MAX_LEVEL
from kdumpsim.vmcore.reader import VmcoreError
from kdumpsim.vmcore.values import NotThere

HELP = f"""Convert a dump to another format, whole or with the damage that real dumps suffer.

DIR is a directory that `kdumpsim run --output` wrote (default: dump), or a core file with its vmlinux beside it.
The result is DIR/vmcore.FORMAT, or the file that --output names.

\b
Formats:
    elf           an ELF core, like /proc/vmcore and `makedumpfile -E`
  kdump-zlib    makedumpfile's own format, compressed page by page
  kdump-lzo     ... by LZO (needs the Python package lzallright)
  kdump-snappy  ... by Snappy (cramjam)
  kdump-zstd    ... by Zstandard (zstandard)
  flattened     kdump-zlib as `makedumpfile -F` sends it through a pipe
    raw           memory only: the offset is the physical address

\b
Dump levels (makedumpfile -d); add them up for --filter:
   1  pages of zeros                 8  pages of user programs
   2  page cache, not private       16  free pages
   4  page cache, private or not    31  all of these

\b
Examples:
  kdumpsim convert dump --to kdump-zlib --filter 31
  kdumpsim convert dump --to elf --drop-cpu 0 --output no-note-of-cpu-0
  kdumpsim convert dump --to flattened --truncate

{status_help()}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), default=Path("dump"))
@click.option("--to", "form", required=True, metavar="FORMAT", help="One of the formats above.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="The file to write.")
@click.option(
    "--filter", "level", type=int, default=0, metavar="LEVEL", help="Leave out these pages: 1 to 31 (see above)."
)
@click.option("--truncate", is_flag=True, help="Cut off the last quarter of the file, as a full disk may.")
@click.option("--drop-notes", is_flag=True, help="Leave out all notes: every CPU's registers, and VMCOREINFO.")
@click.option(
    "--drop-cpu", "cpus", type=int, multiple=True, metavar="N", help="Leave out CPU N's registers; repeatable."
)
@click.option("--incomplete", is_flag=True, help="Leave out half of the pages, and say so in the file's header.")
def convert(
    directory: Path,
    form: str,
    output: Path | None,
    level: int,
    truncate: bool,
    drop_notes: bool,
    cpus: tuple[int, ...],
    incomplete: bool,
) -> None:
    """The command."""
    if form not in FORMATS:
        raise click.UsageError(unknown("format", form, FORMATS))
    if not 0 <= level <= MAX_LEVEL:
        raise click.UsageError(f"--filter {level} is out of range: choose 1 to {MAX_LEVEL}")
    suffering = Suffering(level, drop_notes, cpus, incomplete, truncate)
    path = dump_in(directory)
    layout = layout_of(path.parent / VMLINUX, needed=False)
    target = path.with_name(f"{path.name}.{form}") if output is None else output
    for own in (path, path.parent / VMLINUX):
        if target.exists() and own.exists() and target.samefile(own):
            raise click.UsageError(f"--output {target} would replace {own}, which is read: choose another file")
    try:
        check(form, suffering)
        with open_dump(path) as dump, atomic_file(target) as file:
            convert_dump(dump, file, form, suffering, layout)
    except (VmcoreError, NotThere, CompressorMissing, ValueError) as error:
        text = f"{path}: {error}" if isinstance(error, NotThere) else str(error)
        raise click.UsageError(text) from error
    size = target.stat().st_size
    screen().print(f"{escape(str(target))}: {form}, {size / (1 << 20):.1f} MiB", soft_wrap=True)
