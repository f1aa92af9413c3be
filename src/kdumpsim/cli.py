# SPDX-License-Identifier: GPL-2.0-or-later
"""The `kdumpsim` command. Commands are imported when they are called, so that help stays quick."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from kdumpsim import __version__
from kdumpsim.commands.interrupts import Interrupted, Interrupts

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("kdumpsim.commands.run", "Crash a kernel at a chosen point and judge the dump."),
    "options": ("kdumpsim.commands.options", "Show every kernel option and its value in each profile."),
    "table2": ("kdumpsim.commands.table2", "Crash at every point in every way, beside the LKDTT paper's table."),
    "console": ("kdumpsim.commands.console", "A prompt in the running machine, or a script for it."),
    "decode": ("kdumpsim.commands.decode", "Explain the oopses and lockups in a run's console log."),
    "boot": ("kdumpsim.commands.boot", "Boot any 32-bit Multiboot kernel on the machine."),
    "kexec": ("kdumpsim.commands.kexec", "Load a kernel for kexec or kdump, or show what would be loaded."),
}


class _LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it; signals and broken guests end it well."""

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            with Interrupts() as interrupts:
                return super().main(*args, obj=interrupts, **extra)
        except Interrupted as interrupted:
            click.echo(interrupted, err=True)
            sys.exit(interrupted.status)
        except Exception as error:
            from kdumpsim.compiler import GuestError  # only now: help stays quick

            if not isinstance(error, GuestError):
                raise
            click.echo(error, err=True)
            sys.exit(2)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


HELP = """Crash kernels on purpose, and judge their dumps.

kdumpsim is an i386 SMP PC in one process, with a small kernel that boots, runs, and dies on it. When it dies,
kexec starts a capture kernel from reserved memory, which saves the dead kernel's memory as an ELF vmcore.

\b
Begin with:
  kdumpsim run --crashpoint FS_DEVRW --type panic
"""


@click.group(cls=_LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kdumpsim")
def main() -> None:
    """Entry point."""


if __name__ == "__main__":
    main()
