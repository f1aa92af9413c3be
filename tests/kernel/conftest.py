# SPDX-License-Identifier: GPL-2.0-or-later
"""A booted guest, talked to through its agent as kexec-tools do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.errors import AgentGone
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.board.network import NetworkConfig
from kdumpsim.disks.dumpdisk import DumpHeader, find_dump
from kdumpsim.disks.toyfs import mkfs
from kdumpsim.kexec import load
from toyfs_reader import Toyfs

MEMORY = 64 << 20
SYSTEM_SECTORS = 16384
COMMAND_LINE = "console=ttyS0,115200 combined_mode=ide root=/dev/hda panic_on_oops=1"
CAPTURE_PATH = "/boot/vmlinux-kdump"
UNCORRECTABLE = 0x40


class Booted:
    """A machine with a system disk and a dump disk, its agent ready."""

    def __init__(
        self,
        append: str = "",
        *,
        cpus: int = 2,
        command_line: str = COMMAND_LINE,
        one_cable: bool = False,
        network: NetworkConfig | None = None,
        files: dict[str, bytes] | None = None,
        memory: int = MEMORY,
        holes: tuple[tuple[int, int], ...] = (),
        modules: Sequence[Path] = (),
        sata: tuple[Disk | None, ...] | None = None,
        nic_slot: int = 3,
        prepare: Callable[[Machine], None] = lambda machine: None,
        timeout: int = 30,
    ) -> None:
        """`one_cable`: the system disk is hdd, beside the dump disk. `files` lie beside the programs.

        `sata`: disks at the native-mode ports; () has the system disk at the first one. `prepare` is called before
        the machine is switched on. `timeout`: virtual seconds until the agent must be there.
        """
        self.first, self.capture = images.kernel(modules=modules), images.kernel(16 << 20, modules=modules)
        self.system, self.dump = Disk.memory(SYSTEM_SECTORS), Disk.memory(2 * MEMORY // SECTOR)
        mkfs(self.system, SYSTEM_SECTORS, {CAPTURE_PATH: self.capture.stripped, **images.userland(), **(files or {})})
        system = None if sata == () else self.system
        disks = (None, None, self.dump, system) if one_cable else (system, None, self.dump, None)
        ports = (self.system, None) if sata == () else sata
        self.machine = Machine(
            MachineConfig(
                cpus=cpus, memory=memory, holes=holes, disks=disks, sata=ports, network=network, nic_slot=nic_slot
            )
        )
        prepare(self.machine)
        self.console = ""
        self.machine.uarts[0].on_output = self._print
        self.agent = AgentClient(MachineTransport(self.machine, timeout * 10**9), timeout)
        self.machine.load_multiboot(self.first.stripped, f"{command_line} crashkernel=16M@16M {append}")
        self.agent.hello()

    def _print(self, data: bytes) -> None:
        self.console += data.decode("latin-1")

    def text(self, path: str) -> str:
        return self.agent.read_file(path).decode()

    def kexec_p(self, append: str = "", *, defaults: Sequence[str] = load.CAPTURE_DEFAULTS) -> load.LoadPlan:
        line = f"{COMMAND_LINE} {append}"
        return load.kexec_load_panic(self.agent, self.capture.stripped, CAPTURE_PATH, line, defaults=defaults)

    def dtt(self, command: str) -> None:
        self.agent.write_file("/proc/dtt/ctrl", command.encode() + b"\n")

    def run(self, seconds: float) -> StopReason:
        return self.machine.run(until=self.machine.clock.now + round(seconds * 1e9))

    def crash(self, append: str = "", point: str = "FS_DEVRW panic 20") -> StopReason:
        """Load a capture kernel, cross a crash point under the workload, and see it through."""
        self.kexec_p(append)
        self.dtt(f"set {point}")
        try:
            self.agent.start("diskio")
        except AgentGone:  # crashed before the agent could answer, and is through with it
            return StopReason.RESET
        return self.run(60)

    def fail_dma(self, commands: set[int]) -> list[int]:
        """Let the system disk end some of its coming DMA commands with an error; counts them."""
        channel = self.machine.ide.channels[0]
        go, seen = channel._dma_go, [0]

        def troubled() -> None:
            if channel._dma and channel._transfer is not None and not channel._step and channel.bus_master.active:
                seen[0] += 1
                if seen[0] in commands:
                    channel._end(UNCORRECTABLE)
                    return
            go()

        channel._dma_go = troubled  # type: ignore[method-assign]
        return seen

    def dumped(self) -> DumpHeader | None:
        return find_dump(self.dump)

    def toyfs(self) -> Toyfs:
        return Toyfs(self.system)


@pytest.fixture
def boot() -> Callable[..., Booted]:
    return Booted
