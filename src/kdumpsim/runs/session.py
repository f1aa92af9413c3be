# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with its kernels, and what happens on it: moved on by a person, or phase by phase to a saved dump.

Between calls time stands still.  The phases' ends are seen by the machine, not read off the console: watches on code
addresses, what is written to disks, the reset line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.errors import AgentGone, AgentTimeout
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.board.machine import StopReason
from kdumpsim.disks.dumpdisk import DATA_OFFSET
from kdumpsim.disks.swaparea import mkswap
from kdumpsim.disks.toyfs import mkfs
from kdumpsim.faults.strikes import Strikes
from kdumpsim.lkdtt.effect import EffectClass
from kdumpsim.lkdtt.operator import Scene
from kdumpsim.lkdtt.outcome import NS, Note, Seen
from kdumpsim.machines.pc import Pc, capable, new_disk, new_pc, system_place
from kdumpsim.mechanisms.base import Mechanism, kernel_words, mechanism_of
from kdumpsim.mechanisms.base import Phase as DumpPhase
from kdumpsim.runs.account import ending, story
from kdumpsim.runs.consolelog import ConsoleLog
from kdumpsim.runs.events import Observer, Phase, PhaseClock
from kdumpsim.runs.hardware import Conditions
from kdumpsim.runs.scene import MachineScene
from kdumpsim.scenario.options import Kernel
from kdumpsim.scenario.parts import CrashPart, KernelPart, PcPart
from kdumpsim.scenario.points import crash_points
from kdumpsim.vmcore.oracle import Oracle

SYSTEM_DISK_SECTORS = 16384
SWAP_SECTORS = 65536
"""After the file system."""
AGENT_TIMEOUT_S = 30
ARMED_TIMEOUT_S = 3
"""Once a crash point is armed, silence of the agent may be the crash."""
PASSWD = b"root::0:0:root:/root:/bin/sh\n"
NETWORK_ADDRESS = "ip=10.0.2.15::10.0.2.2:255.255.255.0"
"""For the first kernel of a machine with a network card; a capture kernel has no business on the network."""
KEY_NS = 50_000_000
"""How long a key is waited for: the keyboard's bytes, their interrupts and what the kernel prints."""
NEVER = 1 << 62
DEAD = (StopReason.RESET, StopReason.ALL_SHUTDOWN, StopReason.IDLE_FOREVER)


class MachineDead(AgentGone):
    """The first kernel is gone or the machine has stopped, so the agent cannot answer."""


class Attendant(Protocol):
    """Whoever attends to a machine on which a crash point was armed (`lkdtt.operator.Operator`)."""

    def attend(self, scene: Scene, loads: Mapping[int, str], /) -> Sequence[Note]:
        """Stay until the first kernel is gone or given up; what was seen and done.

        `loads` are the programs that were started in the guest, by pid.
        """


def kernel_command_line(pc: PcPart, kernel: KernelPart) -> str:
    """What the first kernel is told."""
    words = [*kernel_words(kernel, Kernel.FIRST), *mechanism_of(kernel)(pc, kernel).words()]
    return " ".join(filter(None, [*words, NETWORK_ADDRESS if pc.nic else ""]))


@dataclass(frozen=True)
class Hardware:
    """A PC and its two disks."""

    machine: Pc
    system_disk: Disk
    dump_disk: Disk


def new_hardware(pc: PcPart, first: images.KernelImage, mechanism: Mechanism) -> Hardware:
    """A PC, not yet started; on its system disk are the programs, and what the mechanism needs."""
    dump_disk = new_disk(pc, 2 * (pc.memory + DATA_OFFSET) // SECTOR)
    system_disk = new_disk(pc, SYSTEM_DISK_SECTORS + SWAP_SECTORS + mechanism.partition())
    files = {**mechanism.files(), "/etc/passwd": PASSWD, "/var/log/wtmp": b"", **images.userland()}
    mkfs(system_disk, SYSTEM_DISK_SECTORS, files)
    mkswap(system_disk, SYSTEM_DISK_SECTORS, SWAP_SECTORS)
    disks = {system_place(pc): system_disk, pc.dump_disk: dump_disk}
    return Hardware(new_pc(pc, disks, first.symbols, mechanism.entry), system_disk, dump_disk)


class Session:
    """A PC with its two disks, its kernel and the mechanism to dump it, its console, the agent in it and the oracle.

    `interrupt()` may be called from a signal handler.
    """

    def __init__(
        self,
        pc: PcPart,
        kernel: KernelPart,
        first: images.KernelImage,
        mechanism: Mechanism,
        observer: Observer,
        hardware: Hardware | None = None,
    ) -> None:
        """`hardware`: that of another session, which is over then; None: made for this one."""
        self.pc, self.kernel = pc, kernel
        self.first, self.mechanism = first, mechanism
        self.console = ConsoleLog()
        self.interrupted = False
        self.deadline = NEVER
        """When the first kernel's time ends, in virtual time (`give`)."""
        self._stopped: StopReason | None = None
        self.armed: CrashPart | None = None
        """The crash that was armed, and the conditions it asked for."""
        self.conditions: Conditions | None = None
        self.strikes: Strikes | None = None
        """What strikes other than at a crash point."""
        self.no_effect: EffectClass | None = None
        """The class of a fault that was found to have none."""
        self.loads: dict[int, str] = {}
        """Programs that were started in the guest, by pid."""
        self.notes: list[Note] = []
        """What the operator saw and did."""
        self.armed_ns = 0
        """When the arming was over, in virtual time."""
        self._armed_at = 0
        self._jumped_at: int | None = None
        self.hardware = hardware = hardware or new_hardware(pc, first, mechanism)
        self.machine, self.system_disk, self.dump_disk = hardware.machine, hardware.system_disk, hardware.dump_disk
        self.machine.uarts[0].on_output = self._said
        self.clock = PhaseClock(observer, lambda: self.now)
        self.oracle = Oracle(
            self.machine,
            first.symbols,
            first.stack_size,
            mechanism.entry,
            save_cpu=mechanism.save_cpu,
            savers=mechanism.savers,
        )
        self.oracle.on_jump = self._jump
        self._transport = MachineTransport(self.machine, AGENT_TIMEOUT_S * NS)
        self._transport.interrupted = lambda: self.interrupted or self.gone
        self.agent = AgentClient(self._transport, AGENT_TIMEOUT_S)

    # How it stands.

    @property
    def now(self) -> int:
        """Virtual time, ns."""
        return self.machine.clock.now

    @property
    def crashed(self) -> bool:
        """The kernel began to die (it may do so while the agent is still answering)."""
        return self.oracle.crash is not None

    @property
    def jumped(self) -> bool:
        """The dying kernel has handed over to its mechanism."""
        return self.oracle.jump is not None

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the machine stopped for good, once it has; a reset may come while the agent is waited for."""
        return StopReason.RESET if self.machine.reset_cause is not None else self._stopped

    @property
    def over(self) -> bool:
        """The machine has stopped for good."""
        return self.stop_reason in DEAD

    @property
    def gone(self) -> bool:
        """The first kernel no longer runs: it has handed over, or the machine has stopped."""
        return self.jumped or self.over

    @property
    def guest(self) -> AgentClient:
        """The guest's agent; MachineDead if there can be none."""
        if self.gone:
            raise MachineDead("the first kernel, which had the agent, is gone")
        return self.agent

    def lines_since_arming(self) -> list[tuple[int, str]]:
        """The first kernel's console since the crash point was armed, or since power-on: (virtual ns, line)."""
        return self.console.lines[self._armed_at : self._jumped_at]

    # Moving it on.

    def give(self, seconds: int) -> None:
        """Limit the time of the run, counted from power-on in virtual time; nothing waits longer for the agent."""
        self.deadline = seconds * NS
        self.agent.timeout = min(AGENT_TIMEOUT_S, seconds)
        self._transport.timeout_ns = self.agent.timeout * NS

    def interrupt(self) -> None:
        """End what is under way (Ctrl-C), until `interrupted` is reset."""
        self.interrupted = True

    def run_to(self, until_ns: int, condition: Callable[[], bool] = lambda: False) -> None:
        """Let the first kernel run until then (up to the deadline), until `condition()` holds, or until it is gone."""
        if self.gone:
            return
        self._note_death(
            self.machine.run(
                until=min(until_ns, self.deadline), stop=lambda: self.jumped or self.interrupted or condition()
            )
        )

    def advance(self, ns: int) -> None:
        """Let time pass; less if the kernel hands over, the machine stops or somebody interrupts.  MachineDead."""
        if self.over:
            raise MachineDead("the machine has stopped")
        if self.jumped:
            self.follow(ns)
        else:
            self.run_to(self.now + ns)

    def settle(self) -> None:
        """After an interruption: end the round of the CPUs that it has cut."""
        self._note_death(self.machine.run(stop=lambda: True))

    def follow(self, ns: int) -> None:
        """See what comes after the hand-over through, for so long at most."""
        if self.jumped and not self.over:
            self._note_death(self.machine.run(until=self.now + ns, stop=lambda: self.interrupted))

    def press_sysrq(self, key: str) -> None:
        """Alt-SysRq-KEY on the keyboard.  ValueError for a key there is not."""
        self.machine.i8042.chord("leftalt", "sysrq", key)
        self.advance(KEY_NS)

    def close(self) -> None:
        """Shut the machine down; what the session knows stays."""
        self.machine.close()

    # Kernels.

    def boot(self) -> None:
        """Power on; returns when the agent has said hello.  AgentFailure if it never does."""
        self.clock.begin("boot", "booting the first kernel")
        self.machine.load_multiboot(self.first.stripped, kernel_command_line(self.pc, self.kernel))
        version = self.agent.hello()
        self.clock.end(f"{version.partition(' (')[0].strip()}, CPUs: {self.pc.cpus}")

    def prepare_dump(self) -> None:
        """Arm the dump mechanism.  AgentFailure or MechanismError if the guest refuses."""
        _ = self.guest
        self.clock.begin("load", self.mechanism.preparation)
        self.clock.end(self.mechanism.prepare(self))

    # Copies.

    def state(self) -> dict[str, Any]:
        """The booted machine and what the host knows of it, as plain data.

        ScenarioError where the machine cannot be copied.
        """
        return {
            "machine": capable(self.machine.copying, self.pc, "copied").snapshot(),
            "agent": self.agent.state(),
            "console": self.console.text,
            "mechanism": self.mechanism.state(),
            "phases": [phase.as_dict() for phase in self.clock.phases],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Make a session of the same PC and kernel, just made, what the saved one was."""
        capable(self.machine.copying, self.pc, "copied").restore(state["machine"])
        self.agent.restore(state["agent"])
        self.console.restore(state["console"])
        self.mechanism.restore(state["mechanism"], self)
        self.clock.phases = [Phase.from_dict(phase) for phase in state["phases"]]

    def rewound(self, state: dict[str, Any], mechanism: Mechanism) -> Session:
        """A session with this one's machine put back to a `state()` of it; `mechanism` is as new.

        It is what a new machine given that state would be, but for the code that the CPUs have translated, which they
        keep where memory is the same.  This session is over.
        """
        capable(self.machine.copying, self.pc, "copied").forget_observers()
        again = Session(self.pc, self.kernel, self.first, mechanism, self.clock.observer, self.hardware)
        again.restore(state)
        return again

    # A crash, phase by phase.

    def arm(self, crash: CrashPart) -> None:
        """Start the load and set the crash point that it crosses through /proc/dtt/ctrl, or have strikes come in time.

        The crash may come as soon as the point is set.  Strikes that are not drawn yet do not come.
        """
        self.clock.begin("arm", f"arming {crash.title}")
        self.give(crash.timeout)
        self.armed = crash
        self.conditions = conditions = Conditions(crash, self.pc.cpus)
        self._armed_at = len(self.console.lines) - 1
        self.agent.timeout = ARMED_TIMEOUT_S
        if crash.crash_point and (number := crash_points(self.kernel.modules)[crash.crash_point].dynamic):
            self.agent.write_file("/proc/dtt/ctrl", f"add {crash.crash_point} {number}\n".encode())
        conditions.before_arming(self.agent)
        try:
            # As in the paper's Table 1: what crosses the point is the load at work, not its being started.
            for name in conditions.programs():
                self.loads[self.agent.start(name)] = name
            conditions.at_arming(self.machine)
            self.run_to(self.now + crash.phase * 1000)
            if command := conditions.set_command():
                self.agent.write_file("/proc/dtt/ctrl", f"{command}\n".encode())
        except (AgentGone, AgentTimeout):
            if not self.crashed:
                raise
        runs = f"; {', '.join(self.loads.values())} runs" if self.loads else ""
        if crash.strikes and all(not strike.to_draw for strike in crash.strikes):
            self.strikes = Strikes(capable(self.machine.striking, self.pc, "struck"), self.first, crash.strikes)
            self.strikes.appoint()
        self.armed_ns = self.now
        where = f"{crash.crash_point} {crash.crash_type}, at crossing {crash.count}"
        self.clock.end(f"{where if crash.crash_point else crash.title}{runs}")

    def crash(self, operator: Attendant) -> None:
        """Leave the armed machine to its load and to the operator, until the first kernel is gone or given up."""
        assert self.armed is not None
        waiting = f"{self.armed.crash_point} to be crossed" if self.armed.crash_point else self.armed.title
        self.clock.begin("crash", f"waiting for {waiting}")
        self.notes += operator.attend(MachineScene(self), self.loads)
        if not self.gone and self.now >= self.deadline:
            self._stopped = StopReason.UNTIL
        self.clock.end(story(self))

    def dump(self) -> None:
        """Go through the mechanism's phases, from the hand-over to the saved dump and the reboot, as far as it gets."""
        for phase in self.mechanism.phases(self):
            self.clock.begin(phase.name, phase.title)
            self._run_patiently(partial(self._over, phase))
            self.clock.end(phase.story(ending(self)))
            if not phase.over():
                return

    def _over(self, phase: DumpPhase) -> bool:
        if phase.progress is not None:
            self.clock.observer.progress(*phase.progress())
        return phase.over()

    def _run_patiently(self, condition: Callable[[], bool]) -> None:
        """Run until `condition()` holds; give up when nothing is to be seen for as long as the operator waits."""
        assert self.armed is not None
        patience = self.armed.patience
        while not self.over and self.now < self.deadline and not condition():
            seen = (len(self.console.text), self.mechanism.activity(self))
            until = min(self.now + patience * NS, self.deadline)
            reason = self.machine.run(until=until, stop=condition)
            if reason is StopReason.STOPPED:
                return
            if reason in DEAD or until == self.deadline:
                self._stopped = reason
            elif seen == (len(self.console.text), self.mechanism.activity(self)):
                text = f"no activity for {patience} s: the operator pulled the plug"
                self.notes.append(Note(self.now, Seen.PLUG_PULLED, text))
                return

    # What comes in from the machine.

    def _note_death(self, reason: StopReason) -> None:
        if reason in DEAD:
            self._stopped = reason

    def _jump(self) -> None:
        """The mechanism takes over: what the console says from here on is not the dying kernel's."""
        self.machine.uarts[0].flush()
        lines = self.console.lines
        self._jumped_at = len(lines) if lines[-1][1] else len(lines) - 1  # the last one may not have begun
        if self.conditions is not None:
            self.conditions.at_jump(self.machine)

    def _said(self, data: bytes) -> None:
        self.clock.observer.console(self.console.take(data, self.now))
