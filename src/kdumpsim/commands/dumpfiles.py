# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of a run that a command is given: its dump and its kernel."""

from __future__ import annotations

from pathlib import Path

import click

from kdumpsim.commands.inputs import KERNEL_BYTES, read_input
from kdumpsim.runfiles import TRUTH_CORE, VMCORE
from kdumpsim.vmcore.debuginfo import DebugInfoError
from kdumpsim.vmcore.layout import Layout


def dump_in(place: Path, *, truth: bool = False) -> Path:
    """The dump that a user means: a file, or the vmcore in a directory.

    With `truth`, the machine's own truth.core where a directory has no vmcore.  UsageError if there is none.
    """
    if not place.is_dir():
        if not place.exists():
            raise click.UsageError(f"cannot read {place}: no such file or directory; `kdumpsim run` writes one")
        return place
    for name in (VMCORE, TRUTH_CORE) if truth else (VMCORE,):
        if (place / name).exists():
            return place / name
    if (place / TRUTH_CORE).exists():
        raise click.UsageError(f"{place} has no {VMCORE}, since no dump was captured; give {place / TRUTH_CORE}")
    raise click.UsageError(f"{place} has no {VMCORE}; `kdumpsim run --output {place}` writes one")


def layout_of(path: Path, *, needed: bool = True) -> Layout | None:
    """What a kernel file says of its data; None where it is neither there nor needed.  UsageError if it is damaged."""
    if not needed and not path.exists():
        return None
    try:
        return Layout(read_input(path, KERNEL_BYTES))
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}") from error
    except DebugInfoError as error:
        raise click.UsageError(f"{path}: {error}") from error
