# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim tui`: a run on the screen, forwards and backwards."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from kdumpsim.commands.settings import scenario_options
from kdumpsim.commands.status import Status, status_help
from kdumpsim.commands.subject import subject_of
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError

HELP = f"""Go through a run on the screen, forwards and backwards.

Give the DIR that a run has left, or the options of a run as for `kdumpsim run`. The run is repeated from power-on and
is the same, to the byte, however often you stop it and go back. The screen shows where each CPU is in the source and
what it does, registers, console, physical memory, and a timeline.

A run that has left a DIR begins where the crash begins; one that options describe begins at power-on, and plays.
--begin chooses another place. A terminal of 80x24 will do; with 110x34 all panes fit beside each other.

\b
Keys (? shows all of them; capital letters go back):
  i I   an instruction        c C     to the next breakpoint, or the last
  s S   a source line         space   play, and pause
  n N   a line, over calls    m       milestones: crash, panic, hand-over, …
  b     breakpoint, or click  q       leave

\b
Examples:
  kdumpsim tui dump                         # the run that left this directory
  kdumpsim tui --crashpoint FS_DEVRW --type panic
  kdumpsim tui --crashpoint TASKLET --type overflow --begin end

It needs textual: pip install 'kdumpsim[tui]'

{status_help()}
"""


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@scenario_options(Scenario)
@click.option(
    "--begin",
    "beginning",
    type=click.Choice(("boot", "crash", "end")),
    default=None,
    help="Where in the run to begin.  [default: crash with a DIR, else boot]",
)
def tui(directory: Path | None, beginning: str | None, **given: Any) -> None:
    """The command."""
    try:
        from kdumpsim.tui.app import Tui
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise click.UsageError("this needs textual: install it with pip install 'kdumpsim[tui]'") from error
    from kdumpsim.debugger.service import new_session
    from kdumpsim.tui.model import Model

    try:
        subject = subject_of(directory, given)
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("this needs a terminal; kdumpsim debug steps through a run without one")
        session = new_session(subject.scenario)
        subject.check_build(session.first.elf)
    except (ScenarioError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    live = directory is None and beginning is None
    with closing(Model(session, subject.scenario, subject.folders)) as model:
        app = Tui(model, beginning or ("boot" if live else "crash"), play=live)
        signal.signal(signal.SIGHUP, lambda *_: os._exit(Status.HANGUP))  # there is no screen left to be put in order
        app.run()
        ending, status = model.ending, app.return_code or 0
    if ending:
        click.echo(f"The run ends: {ending}")
    subject.warn_of_another(ending)
    sys.exit(status)
