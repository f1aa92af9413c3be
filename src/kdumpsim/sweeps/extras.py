# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages that only some of the sweeps' instruments need, imported when one is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kdumpsim.errors import KdumpsimError


class MissingExtra(KdumpsimError):
    """A package that is not installed, and how to install it."""


def extra(module: str, name: str = "sweep") -> Any:
    """A module of the packages of an extra.  MissingExtra without it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtra(f"this needs {package}: install it with pip install 'kdumpsim[{name}]'") from error
