# SPDX-License-Identifier: GPL-2.0-or-later
"""Bringing a machine into the hardware conditions that a scenario asks for, and seeing what they were.

All of it is done with the guest's own means before the crash (binding tasks and interrupts to CPUs, programs that spin
or keep the disk busy) or is input from outside (a key, a byte on the serial line).  Nothing in the crash path knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.board.machine import Machine
from kdumpsim.board.network import NetworkConfig

if TYPE_CHECKING:
    from kdumpsim.agent.client import AgentClient
    from kdumpsim.machines.pc import Pc
    from kdumpsim.scenario.scenario import Scenario

AFFINITY = ("/proc/self/cpus_allowed", "/proc/irq/smp_affinity")
"""What has to stay on the crashing CPU: the agent, whose children inherit it, and all interrupts."""
HOLDERS = {"spinning": "spin", "nmi": "nmihold"}
"""What takes the other CPUs away; each takes a mask of them."""
DMA_PROGRAM = "dmaread"
KEY, BYTE = "a", b"\r"
"""What arrives at the hand-over."""
CHANNELS = ("ide0", "ide1")
TRAFFIC_NS = 2_000_000
"""Mean time between the frames of `--dma net`: a kernel of this speed spends a tenth of its time on them."""


class Conditions:
    """The conditions of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.evidence: list[str] = []
        """What they turned out to be, up to the hand-over."""
        self._written_at_jump: tuple[int, int] | None = None

    @property
    def cpu(self) -> int | None:
        """The CPU that is to crash, if it matters."""
        if self._scenario.crash_cpu is None and self._scenario.other_cpus is not None:
            return 0
        return self._scenario.crash_cpu

    def set_command(self) -> str:
        """What /proc/dtt/ctrl is told."""
        scenario = self._scenario
        command = f"set {scenario.crash_point} {scenario.crash_type} {scenario.count}"
        return command if self.cpu is None else f"{command} {self.cpu}"

    def before_arming(self, agent: AgentClient) -> None:
        """Bind what has to be bound, and put the other CPUs where they are to be."""
        if self.cpu is None:
            return
        for path in AFFINITY:
            agent.write_file(path, f"{1 << self.cpu:x}".encode())
        agent.identify()  # having slept, it runs where it may
        others = sum(1 << cpu for cpu in range(self._scenario.cpus) if cpu != self.cpu)
        if self._scenario.other_cpus in HOLDERS:
            agent.start(HOLDERS[self._scenario.other_cpus], f"{others:x}")

    def programs(self) -> tuple[str, ...]:
        """What is to be started."""
        return (DMA_PROGRAM, *self._scenario.load) if "disk" in self._scenario.dma else self._scenario.load

    def network(self) -> NetworkConfig | None:
        """What the machine's network card is connected to, if it has one."""
        scenario = self._scenario
        return NetworkConfig(TRAFFIC_NS if "net" in scenario.dma else 0) if scenario.has_nic else None

    def at_jump(self, machine: Pc) -> None:
        """The capture kernel is about to take over."""
        if isinstance(machine, Machine):  # another does not tell what its devices are about
            self._look_at_devices(machine)
        if self._scenario.pending_irq:
            machine.i8042.press(KEY)
            machine.uarts[0].feed(BYTE)
            self.evidence.append("a key and a byte on the serial line arrived at the hand-over")

    def _look_at_devices(self, machine: Machine) -> None:
        if machine.nic is not None:
            self._written_at_jump = (machine.nic.frames_written, machine.nic.bytes_written)
            state = "on" if machine.nic.command.receive else "off"
            self.evidence.append(f"network card at the hand-over: receiver {state}")
        if "disk" in self._scenario.dma:
            busy = [
                name for name, channel in zip(CHANNELS, machine.ide.channels, strict=True) if channel.bus_master.active
            ]
            self.evidence.append(f"DMA in flight at the hand-over: {', '.join(busy) or 'none'}")

    def at_end(self, machine: Pc) -> list[str]:
        """What came of them after the hand-over, as the devices counted it."""
        if not isinstance(machine, Machine) or machine.nic is None or self._written_at_jump is None:
            return []
        frames, data = self._written_at_jump
        frames, data = machine.nic.frames_written - frames, machine.nic.bytes_written - data
        return [f"network card after the hand-over: {frames} frames, {data} bytes written to memory by DMA"]
