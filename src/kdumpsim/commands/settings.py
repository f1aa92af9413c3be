# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of a command made from the settings of a scenario's parts (`kdumpsim.scenario.settings`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import click

from kdumpsim.scenario.parts import CrashPart, KernelPart, PcPart
from kdumpsim.scenario.settings import Named, settings_of

Command = TypeVar("Command", bound=Callable[..., Any])
PARTS: Mapping[type, str] = {CrashPart: "The crash", KernelPart: "The kernels", PcPart: "The PC"}


def scenario_options(part: type, only: Collection[str] | None = None) -> Callable[[Command], Command]:
    """Give a command an option for each setting of a part of a scenario, or for those named in `only`."""
    chosen = [named for named in settings_of(part) if only is None or named.name in only]

    def decorate(command: Command) -> Command:
        for named in reversed(chosen):
            command = _option(named)(command)
        return command

    return decorate


def _option(named: Named) -> Callable[[Command], Command]:
    chosen, default = named.setting, named.default
    names = [named.option, named.name]
    if chosen.flag:
        return click.option(*names, is_flag=True, help=named.help)
    if chosen.each:
        return click.option(*names, multiple=True, metavar=chosen.metavar, help=named.help)
    text = None if default in (None, (), "") else chosen.show(default)
    return click.option(*names, default=text, show_default=True, metavar=chosen.metavar, help=named.help)


def fields_of(part: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for a scenario from the values that click found; what was not given is left out.

    ScenarioError for a text that is none of a field's values.
    """
    fields = {}
    for named in settings_of(part):
        value = given.get(named.name)
        if value is None or value is False or value == ():
            continue
        chosen = named.setting
        if chosen.each:
            fields[named.name] = tuple(chosen.parse(item) for item in value)
        else:
            fields[named.name] = value if chosen.flag else chosen.parse(value)
    return fields


def options_table() -> str:
    """The table of docs/scenario.md: each part of a scenario with its options, what they take and their defaults."""
    lines = []
    for part, title in PARTS.items():
        lines += [f"## {title}", "", "| option | field | default | meaning |", "| --- | --- | --- | --- |"]
        for named in settings_of(part):
            chosen = named.setting
            option = f"`{named.option} {chosen.metavar}`" if chosen.metavar else f"`{named.option}`"
            cells = (option, f"`{named.name}`", _default(named), named.help)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def _default(named: Named) -> str:
    if named.setting.flag or named.default in (None, (), ""):
        return ""
    return f"`{named.setting.show(named.default)}`"
