# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own machine as a `machines.pc.Pc`: it can do all that a PC may be asked for."""

from __future__ import annotations

from kdumpsim.board.machine import Machine
from kdumpsim.board.vectors import vector_name


class OwnMachine(Machine):
    """The board's machine with its capabilities named."""

    @property
    def copying(self) -> Machine:
        """It can be saved as plain data."""
        return self

    @property
    def tracing(self) -> OwnMachine:
        """Its CPUs keep the blocks they ran last."""
        return self

    def vector_name(self, cpu: int, vector: int) -> str:
        """What an interrupt vector stands for on a CPU, as its controllers are programmed."""
        return vector_name(vector, self.lapics[cpu], self.ioapic, self.pic)

    @property
    def inspecting(self) -> Machine:
        """Its devices say what they are about."""
        return self

    @property
    def striking(self) -> Machine:
        """It can be struck between two instructions."""
        return self
