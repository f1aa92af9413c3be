# SPDX-License-Identifier: GPL-2.0-or-later
"""A number of instructions of a machine of this process, after which it stops."""

from __future__ import annotations

from typing import Any

from kdumpsim.cpu.steps import Steps

NEAR = 10_000
"""Up to here before the last one, instructions that the engine begins twice count as two."""


class Stepper:
    """Stops a machine before an instruction; made once for a machine, which is slower from then on."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._steps = Steps(machine.cpus, self._before)
        self._left = 0
        self.stopped: int | None = None
        """The CPU that was stopped before its instruction."""

    def arm(self, count: int) -> None:
        """Have `run` of the machine come back once all CPUs together have run so many instructions from now on."""
        self.stopped, self._left = None, min(count, NEAR)
        self._steps.alarm(self._steps.number + 1 + count - self._left)

    def disarm(self) -> None:
        """Let it run."""
        self._steps.alarm(None)

    def _before(self, index: int, address: int) -> None:
        if self._steps.begins_again(index, address):
            return
        if self._left:
            self._left -= 1
            return
        self.disarm()
        self.stopped = index
        self._machine.request_stop()
        self._machine.cpus[index].stop_before(address)
