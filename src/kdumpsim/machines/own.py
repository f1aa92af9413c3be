# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own machine as a `machines.pc.Pc`: it can do all that a PC may be asked for."""

from __future__ import annotations

from kdumpsim.board.machine import Machine


class OwnMachine(Machine):
    """The board's machine with its capabilities named."""

    @property
    def copying(self) -> Machine:
        """It can be saved as plain data."""
        return self

    @property
    def tracing(self) -> Machine:
        """Its CPUs keep the blocks they ran last."""
        return self

    @property
    def inspecting(self) -> Machine:
        """Its devices say what they are about."""
        return self

    @property
    def striking(self) -> Machine:
        """It can be struck between two instructions."""
        return self
