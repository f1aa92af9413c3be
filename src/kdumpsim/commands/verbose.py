# SPDX-License-Identifier: GPL-2.0-or-later
"""The option --verbose: what makes a run slower than it could be (`kdumpsim.notices`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import cache_from_source
from typing import Any

import click

from kdumpsim.notices import LOGGER, notice


def verbose_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Declare --verbose, which is the command's no longer once its handler is in place."""
    return click.option(
        "--verbose",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_listen,
        help="Report on standard error what was cached, and what makes this run slower than necessary.",
    )(command)


def _listen(_context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        listen()


def listen() -> None:
    """Have notices on standard error from now on."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("kdumpsim: %(message)s"))
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    if not os.path.exists(cache_from_source(__file__)):
        why = "PYTHONDONTWRITEBYTECODE" if sys.dont_write_bytecode else "its folders cannot be written"
        notice(f"Python keeps no compiled modules here ({why}), so each start compiles them, which takes 0.4 s")
