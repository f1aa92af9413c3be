# SPDX-License-Identifier: GPL-2.0-or-later
"""Bringing a machine into the hardware conditions that a scenario asks for, and seeing what they were.

All of it is done with the guest's own means before the crash (binding tasks and interrupts to CPUs, programs that spin
or keep the disk busy) or is input from outside (a key, a byte on the serial line).  Nothing in the crash path knows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kdumpsim.scenario.conditions import DISK_DMA

if TYPE_CHECKING:
    from kdumpsim.agent.client import AgentClient
    from kdumpsim.machines.pc import Devices, Pc
    from kdumpsim.scenario.parts import CrashPart

AFFINITY = ("/proc/self/cpus_allowed", "/proc/irq/smp_affinity")
"""What has to stay on the crashing CPU: the agent, whose children inherit it, and all interrupts."""
HOLDERS = {"spinning": "spin", "nmi": "nmihold"}
"""What takes the other CPUs away; each takes a mask of them."""
DMA_PROGRAM = "dmaread"
KEY, BYTE = "a", b"\r"
"""What arrives at the hand-over."""
USUAL_LATENCY = 100
TIMERS = {
    "timer": ("pit",),
    "lapic-timer": ("lapic",),
    "timer@handover": ("pit", "lapic"),
    "disk": ("ide0", "sata0"),
    "nic": ("network", "rtl8139"),
}
"""How the names begin of the timers without which a device does nothing."""
LATER = frozenset({"timer@handover"})
"""What does not fail before the hand-over."""


def _longer(usual: Callable[[], int], percent: int) -> int:
    return usual() * percent // 100


class Conditions:
    """The conditions of one crash on a machine with so many CPUs."""

    def __init__(self, crash: CrashPart, cpus: int) -> None:
        self._crash, self._cpus = crash, cpus
        self._evidence: list[str] = []
        self._written_at_jump: tuple[int, int] | None = None

    @property
    def cpu(self) -> int | None:
        """The CPU that is to crash, if it matters."""
        if self._crash.crash_cpu is None and self._crash.other_cpus is not None:
            return 0
        return self._crash.crash_cpu

    def set_command(self) -> str:
        """What /proc/dtt/ctrl is told; empty for a fault, of which the guest is told nothing."""
        crash = self._crash
        if not crash.crash_point:
            return f"strike {crash.crash_type}" if crash.at else ""
        command = f"set {crash.crash_point} {crash.crash_type} {crash.count}"
        return command if self.cpu is None else f"{command} {self.cpu}"

    def before_arming(self, agent: AgentClient) -> None:
        """Bind what has to be bound, and put the other CPUs where they are to be."""
        if self.cpu is None:
            return
        for path in AFFINITY:
            agent.write_file(path, f"{1 << self.cpu:x}".encode())
        agent.identify()  # having slept, it runs where it may
        others = sum(1 << cpu for cpu in range(self._cpus) if cpu != self.cpu)
        if self._crash.other_cpus in HOLDERS:
            agent.start(HOLDERS[self._crash.other_cpus], f"{others:x}")

    def programs(self) -> tuple[str, ...]:
        """What is to be started."""
        return (DMA_PROGRAM, *self._crash.load) if DISK_DMA in self._crash.dma else self._crash.load

    def at_arming(self, machine: Pc) -> None:
        """The load has begun: the disks take as long as they are to, and what is to fail fails."""
        crash = self._crash
        if machine.inspecting is not None and crash.latency != USUAL_LATENCY:
            for channel in machine.inspecting.channels.values():
                usual = channel.seek_ns
                channel.seek_ns = partial(_longer, usual, crash.latency)
        self._fail(machine, [device for device in crash.breaks if device not in LATER], "when the crash was armed")

    def _fail(self, machine: Pc, devices: list[str], when: str) -> None:
        """These devices do nothing from now on."""
        if machine.striking is not None and devices:
            prefixes = tuple(prefix for device in devices for prefix in TIMERS[device])
            machine.striking.clock.silence(lambda name: name.startswith(prefixes))
            self._evidence.append(f"failed for good {when}: {', '.join(devices)}")

    def at_jump(self, machine: Pc) -> None:
        """The kernel hands over."""
        if machine.inspecting is not None:
            self._look_at(machine.inspecting)
        self._fail(machine, [device for device in self._crash.breaks if device in LATER], "at the hand-over")
        if self._crash.pending_irq:
            machine.i8042.press(KEY)
            machine.uarts[0].feed(BYTE)
            self._evidence.append("a key and a byte on the serial line arrived at the hand-over")

    def _look_at(self, devices: Devices) -> None:
        if (nic := devices.nic) is not None:
            self._written_at_jump = (nic.frames_written, nic.bytes_written)
            state = "on" if nic.command.receive else "off"
            self._evidence.append(f"network card at the hand-over: receiver {state}")
        if DISK_DMA in self._crash.dma:
            busy = [name for name, channel in devices.channels.items() if channel.bus_master.active]
            self._evidence.append(f"DMA in flight at the hand-over: {', '.join(busy) or 'none'}")

    def seen(self, machine: Pc) -> list[str]:
        """What they turned out to be up to the hand-over, and what came of them since, as the devices counted it."""
        nic = machine.inspecting.nic if machine.inspecting else None
        if nic is None or self._written_at_jump is None:
            return list(self._evidence)
        frames, data = self._written_at_jump
        frames, data = nic.frames_written - frames, nic.bytes_written - data
        return [
            *self._evidence,
            f"network card after the hand-over: {frames} frames, {data} bytes written to memory by DMA",
        ]
