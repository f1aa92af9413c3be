# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with the kernel on it, and its console."""

from __future__ import annotations

import struct
from collections.abc import Callable

from kdumpsim import images
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.target import PAGE_OFFSET

NS = 1_000_000_000
BOOTED = "VFS: Cannot mount root device"
"""The last line of a boot without disks."""


class Guest:
    """Machine, kernel and console of one boot."""

    def __init__(
        self, config: MachineConfig | None = None, cmdline: str = "console=ttyS0", base: int = 0x100000
    ) -> None:
        self.kernel = images.kernel(base)
        self.machine = Machine(config)
        self.console = ""
        self.machine.uarts[0].on_output = self._print
        self.machine.load_multiboot(self.kernel.stripped, cmdline)

    def _print(self, data: bytes) -> None:
        self.console += data.decode().replace("\r\n", "\n")

    def run(self, seconds: float, stop: Callable[[], bool] | None = None) -> StopReason:
        """Run for at most so much virtual time."""
        reason = self.machine.run(until=self.machine.clock.now + int(seconds * NS), stop=stop)
        self.machine.uarts[0].flush()
        return reason

    def until(self, text: str, seconds: float = 3) -> None:
        """Run until the console has said `text`."""
        self.run(seconds, lambda: text in self.console)
        assert text in self.console, self.console[-2000:]

    def word(self, symbol: str, index: int = 0) -> int:
        """A 32-bit variable of the kernel, or an element of an array of them."""
        address = self.kernel.symbols[symbol] - PAGE_OFFSET + 4 * index
        return int(struct.unpack_from("<I", self.machine.memory.view, address)[0])

    def crash(self, cpu: int) -> None:
        """Make a CPU that idles go on at address 0x10."""
        self.run(1, lambda: self.machine.cpus[cpu].halted)
        self.machine.cpus[cpu].set_registers(eip=0x10)
