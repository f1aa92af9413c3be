# SPDX-License-Identifier: GPL-2.0-or-later
"""What all errors of the public face have in common, and one that is caught where its machine may not be imported."""

from __future__ import annotations


class KdumpsimError(Exception):
    """The base of all errors that kdumpsim raises on purpose; what a guest does is an outcome, never an exception."""


class QemuLost(KdumpsimError):
    """QEMU ended or broke off by itself.  That says nothing of the guest, so it is no outcome."""
