# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong on the host side of kexec."""

from __future__ import annotations

from kdumpsim.errors import KdumpsimError


class KexecError(KdumpsimError):
    """A load that cannot be done; the text says why and what is allowed, for the person who asked for it."""
