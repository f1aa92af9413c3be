# SPDX-License-Identifier: GPL-2.0-or-later
"""The option --host-timeout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def host_timeout_option(*, default: float | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare --host-timeout SECONDS; `default` None: no limit."""
    return click.option(
        "--host-timeout",
        type=float,
        default=default,
        show_default=default is not None,
        callback=_positive,
        metavar="SECONDS",
        help="End a run that takes more host time than this; it then has no outcome. inf: no limit.",
    )


def _positive(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise click.BadParameter(f"{value:g} is out of range: more than 0 seconds")
    return value
