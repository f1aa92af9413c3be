# SPDX-License-Identifier: GPL-2.0-or-later
"""How a command of the console ends other than by being done."""

from __future__ import annotations


class Refused(Exception):
    """A valid command that could not be carried out."""


class Quit(Exception):
    """The user wants to leave."""
