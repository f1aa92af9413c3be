# SPDX-License-Identifier: GPL-2.0-or-later
"""The run that a command is to repeat: one that has left a directory, or one that options describe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kdumpsim._version import __version__
from kdumpsim.commands.inputs import KERNEL_BYTES, TEXT_BYTES, read_input
from kdumpsim.commands.settings import fields_of
from kdumpsim.runfiles import RESULT, VMLINUX
from kdumpsim.scenario.scenario import Scenario


@dataclass(frozen=True)
class Subject:
    """A run to be repeated."""

    scenario: Scenario
    directory: Path | None = None
    """Where it has left its files."""
    kernel: bytes | None = None
    """The one that it was run with, where that is known."""
    sha256: str | None = None
    """Of its dump, where there is one."""

    @property
    def folders(self) -> list[Path]:
        """Where the sources of its own guest modules are."""
        return [Path(path).absolute().parent for path in self.scenario.guest_modules]

    def check_build(self, kernel: bytes) -> None:
        """UsageError unless it was run with this kernel."""
        from kdumpsim.vmcore.debuginfo import build_id

        if self.kernel is not None and self.kernel != kernel:
            raise click.UsageError(
                f"{self.directory} was left by another build of kdumpsim's kernel: its {VMLINUX} has the build-id "
                f"{build_id(self.kernel)}, this one has {build_id(kernel)}; what is in it cannot be run again"
            )

    def warn_of_another(self, ending: str) -> None:
        """Say so if the run that was repeated has not ended as this one did."""
        if ending and self.sha256 is not None and self.sha256 not in ending:
            click.echo(
                f"Warning: this is not the run that left the directory, whose vmcore has sha256 {self.sha256}", err=True
            )


def subject_of(directory: Path | None, given: dict[str, Any]) -> Subject:
    """The run that left a directory, or the one that the options given to a command describe.

    UsageError for a directory that cannot be repeated, ScenarioError for options that describe no run.
    """
    if directory is None:
        fields = fields_of(Scenario, given)
        if not fields.keys() & {"crash_point", "at", "fault", "mce"}:
            raise click.UsageError("give the DIR that a run has left, or --crashpoint and --type as for `kdumpsim run`")
        return Subject(Scenario(**fields))
    context = click.get_current_context()
    extra = [name for name in given if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if extra:
        raise click.UsageError(f"{directory} says what was run; leave out {option_of(context, extra[0])}")
    return _left_in(directory)


def option_of(context: click.Context, name: str) -> str:
    """How a parameter of a command is written."""
    return next(each.opts[0] for each in context.command.params if each.name == name)


def _left_in(directory: Path) -> Subject:
    path = directory / RESULT
    for file in (path, directory / VMLINUX):
        if file.exists() and not file.is_file():
            raise click.UsageError(f"{file} is no regular file")
    try:
        data = json.loads(read_input(path, TEXT_BYTES))
        kernel = read_input(directory / VMLINUX, KERNEL_BYTES) if (directory / VMLINUX).exists() else None
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict) or "options" not in data:
        raise click.UsageError(f"{path} is not the result of a run")
    if data.get("kdumpsim") != __version__:
        raise click.UsageError(
            f"{path} was written by kdumpsim {data.get('kdumpsim')}, and this is {__version__}: only the same version "
            "can run it again"
        )
    try:
        vmcore = data.get("vmcore") or {}
        return Subject(Scenario.from_dict(data["options"]), directory, kernel, vmcore.get("sha256"))
    except (AttributeError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path} is damaged: {error!r} in its options") from error
