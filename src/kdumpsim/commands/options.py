# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim options`: every kernel option, and its value in each profile."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from kdumpsim.commands.screen import screen
from kdumpsim.commands.status import status_help
from kdumpsim.scenario.options import OPTIONS, Kernel, Option
from kdumpsim.scenario.profiles import PROFILES

HELP = f"""Show every kernel option: its values, what it does, and its value in each profile.

A profile is a named set of these options, the same for every crash. Choose one with `kdumpsim run --profile`, and
change single options of it with `--kernel-option NAME=VALUE`. `kdumpsim help options` says why each value
is what it is.

\b
Examples:
  kdumpsim options
  kdumpsim options --json | jq '.options[] | {{name, profiles}}'
  kdumpsim run --crashpoint FS_DEVRW --type hang --kernel-option sysrq=0

{status_help()}
"""


def _reaches(option: Option) -> str:
    """How a choice gets into a kernel, for people."""
    if option.constant:
        return f"compiled in ({option.constant})"
    which = "both kernels" if len(option.kernels) == len(Kernel) else f"{next(iter(option.kernels)).value} kernel"
    return f"{option.word}{'' if option.flag else '='} to the {which}" if which != "both kernels" else option.word + "="


def as_dict() -> dict[str, Any]:
    """The whole of it as plain data."""
    return {
        "options": [
            {
                "name": option.name,
                "values": list(option.values) or None,
                "help": option.help,
                "kernel_default": option.default,
                "reaches": _reaches(option),
                "profiles": {
                    profile.name: {"value": profile.options[option.name], "reason": profile.reason(option.name)}
                    for profile in PROFILES.values()
                },
            }
            for option in OPTIONS.values()
        ],
        "profiles": {profile.name: profile.help for profile in PROFILES.values()},
    }


@click.command(help=HELP, context_settings={"max_content_width": 110})
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def options(as_json: bool) -> None:
    """Show the table."""
    if as_json:
        click.echo(json.dumps(as_dict(), indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("option", style="bold", no_wrap=True)
    table.add_column("values", no_wrap=True)
    for profile in PROFILES.values():
        table.add_column(profile.name, no_wrap=True)
    table.add_column("what it does", overflow="fold")
    for option in OPTIONS.values():
        values = [profile.options[option.name] for profile in PROFILES.values()]
        table.add_row(option.name, option.allowed, *values, option.help)
    display = screen()
    display.print(table)
    for profile in PROFILES.values():
        display.print(f"profile [bold]{profile.name}[/]: {profile.help}")
