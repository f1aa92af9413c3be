# SPDX-License-Identifier: GPL-2.0-or-later
"""What all errors of the public face have in common."""

from __future__ import annotations


class KdumpsimError(Exception):
    """The base of all errors that kdumpsim raises on purpose; what a guest does is an outcome, never an exception."""
