# SPDX-License-Identifier: GPL-2.0-or-later
"""The `kdumpsim` command. Commands are imported when they are called, so that help is fast."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from kdumpsim._version import __version__
from kdumpsim.choices import unknown
from kdumpsim.commands.ending import status_of
from kdumpsim.commands.interrupts import Interrupted, Interrupts
from kdumpsim.commands.status import Status, status_help
from kdumpsim.files import host_failure

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("kdumpsim.commands.run", "Crash a kernel at a chosen point and judge the dump."),
    "options": ("kdumpsim.commands.options", "Show every kernel option and its value in each profile."),
    "table2": (
        "kdumpsim.commands.table2",
        "Crash at every point in every way, and compare with the LKDTT paper's table.",
    ),
    "ablate": ("kdumpsim.commands.ablate", "Switch off each option of a profile, and count the outcomes that change."),
    "sweep": ("kdumpsim.commands.sweep", "Run many scenarios, keep them in a store, and count their outcomes."),
    "campaign": ("kdumpsim.commands.campaign", "Inject many faults into running kernels, and count their effects."),
    "compare": ("kdumpsim.commands.compare", "Compare two options of a sweep, pair by pair."),
    "report": ("kdumpsim.commands.report", "Show a sweep's store as a web page, a table or test results."),
    "console": ("kdumpsim.commands.console", "Open a prompt in the running machine, or run a script in it."),
    "convert": ("kdumpsim.commands.convert", "Convert a dump to another format, whole or damaged."),
    "corpus": ("kdumpsim.commands.corpus", "Write sample dumps of every variant, with the truth about each."),
    "open": ("kdumpsim.commands.open", "Open a dump in gdb, crash, drgn or lldb."),
    "debug": ("kdumpsim.commands.debug", "Step through a run in gdb, forwards and backwards."),
    "tui": ("kdumpsim.commands.tui", "Go through a run on the screen, forwards and backwards."),
    "explain": ("kdumpsim.commands.explain", "Explain why a run ended as it did, with sources, locks and causes."),
    "decode": ("kdumpsim.commands.decode", "Explain the oopses and lockups in a run's console log."),
    "boot": ("kdumpsim.commands.boot", "Boot any 32-bit Multiboot kernel on the machine."),
    "kexec": ("kdumpsim.commands.kexec", "Load a kernel for kexec or kdump, or show what would be loaded."),
    "lesson": ("kdumpsim.commands.lesson", "Show a lesson or its questions, and check the answers."),
    "help": ("kdumpsim.commands.help", "Show the documentation."),
}


@contextmanager
def _own_ending() -> Iterator[None]:
    """Hide from click what it would end with status 1: a closed pipe, and Ctrl-C while a line is read."""
    try:
        yield
    except BrokenPipeError as error:
        raise host_failure(error) from error
    except (EOFError, KeyboardInterrupt) as error:
        raise Interrupted(signal.SIGINT) from error


class _LazyGroup(click.Group):
    """A group that knows its commands by name, imports one only to run it, and ends as `Status` says."""

    def main(self, *args: Any, **extra: Any) -> Any:
        def command() -> None:
            with Interrupts() as interrupts:
                super(_LazyGroup, self).main(*args, obj=interrupts, **extra)

        sys.exit(status_of(command))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _own_ending():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _own_ending():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(unknown("command", args[0], COMMANDS), ctx)
        return super().resolve_command(ctx, args)

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


HELP = f"""Crash kernels on purpose, and judge their dumps.

kdumpsim emulates an i386 SMP PC in one process, on which a small kernel boots, runs, and crashes. After the crash
a capture kernel starts from reserved memory and saves the crashed kernel's memory as an ELF vmcore.

\b
Begin with:
  kdumpsim run --crashpoint FS_DEVRW --type panic

{status_help(*Status)}
"""


@click.group(cls=_LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kdumpsim")
def main() -> None:
    """Entry point."""


if __name__ == "__main__":
    main()
