# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with its two kernels, and what happens on it: moved on by a person, or phase by phase to a saved dump.

Between calls time stands still.  The phases' ends are seen by the machine, not read off the console: watches on code
addresses, the first write to the dump disk, the reset line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kdumpsim import images
from kdumpsim.agent.client import AgentClient, Reboot
from kdumpsim.agent.errors import AgentGone, AgentTimeout
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.disk import SECTOR
from kdumpsim.board.machine import StopReason
from kdumpsim.choices import unknown
from kdumpsim.disks.dumpdisk import DATA_OFFSET, find_dump
from kdumpsim.disks.swaparea import mkswap
from kdumpsim.disks.toyfs import mkfs
from kdumpsim.kexec.load import LoadPlan, kexec_load_normal, kexec_load_panic, kexec_unload
from kdumpsim.lkdtt.operator import Scene
from kdumpsim.lkdtt.outcome import NS, Note, Seen
from kdumpsim.machines.pc import capable, new_disk, new_pc
from kdumpsim.runs.account import ending, story
from kdumpsim.runs.consolelog import ConsoleLog
from kdumpsim.runs.events import Observer, PhaseClock
from kdumpsim.runs.hardware import Conditions
from kdumpsim.runs.scene import MachineScene
from kdumpsim.scenario.conditions import PAGE_SIZE, USUAL_DUMP_DISK
from kdumpsim.scenario.options import Kernel, command_line
from kdumpsim.scenario.parts import CrashPart, KernelPart, PcPart
from kdumpsim.scenario.points import crash_points
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import physical
from kdumpsim.vmcore.oracle import Oracle

CAPTURE_KERNEL_PATH = "/boot/vmlinux-kdump"
SYSTEM_DISK_SECTORS = 16384
SWAP_SECTORS = 65536
"""Behind the file system."""
AGENT_TIMEOUT_S = 30
ARMED_TIMEOUT_S = 3
"""Once a crash point is armed, silence of the agent may be the crash."""
PASSWD = b"root::0:0:root:/root:/bin/sh\n"
COMMAND_LINE = "console=ttyS0,115200"
ROOT = {"libata": "/dev/sda", "ide": "/dev/hda"}
"""The system disk's name, by who drives it (kernel option combined_mode)."""
NETWORK_ADDRESS = "ip=10.0.2.15::10.0.2.2:255.255.255.0"
"""For the first kernel of a machine with a network card; a capture kernel has no business on the network."""
CAPTURE_DEFAULTS = ("maxcpus=1",)
KEY_NS = 50_000_000
"""How long a key is waited for: the keyboard's bytes, their interrupts and what the kernel prints."""
KEXEC_LOADED = "/sys/kernel/kexec_loaded"
CAPTURE_LOADED = "/sys/kernel/kexec_crash_loaded"
NEVER = 1 << 62
DEAD = (StopReason.RESET, StopReason.ALL_SHUTDOWN, StopReason.IDLE_FOREVER)


class MachineDead(AgentGone):
    """The first kernel is no more, or the machine has stopped: nobody can answer."""


class Attendant(Protocol):
    """Whoever attends to a machine on which a crash point was armed (`lkdtt.operator.Operator`)."""

    def attend(self, scene: Scene, loads: Mapping[int, str], /) -> Sequence[Note]:
        """Stay until the first kernel is gone or given up; what was seen and done.

        `loads` are the programs that were started in the guest, by pid.
        """


def kernel_command_line(pc: PcPart, kernel: KernelPart, which: Kernel) -> str:
    """What a kernel is told: where its console and its disk are, and the options that it would not take itself."""
    options = kernel.options
    words = [COMMAND_LINE, f"root={ROOT[options['combined_mode']]}", command_line(options, which)]
    if which is Kernel.FIRST:
        words += [f"crashkernel={kernel.crashkernel}", NETWORK_ADDRESS if pc.nic else ""]
    elif pc.dump_disk != USUAL_DUMP_DISK:
        words.append(f"dumpdisk={pc.dump_disk}")
    return " ".join(filter(None, words))


class Session:
    """A PC with its two disks, its two kernels, its console, the agent in it and the oracle.

    `interrupt()` may be called from a signal handler.
    """

    def __init__(
        self,
        pc: PcPart,
        kernel: KernelPart,
        first: images.KernelImage,
        capture: images.KernelImage,
        observer: Observer,
    ) -> None:
        self.pc, self.kernel = pc, kernel
        self.first, self._capture = first, capture
        self.console = ConsoleLog()
        self.plan: LoadPlan | None = None
        self.capture_started_ns: int | None = None
        self.saving = False
        self.interrupted = False
        self.deadline = NEVER
        """When the first kernel's time ends, in virtual time (`give`)."""
        self._stopped: StopReason | None = None
        self._workloads: tuple[str, ...] | None = None
        self.armed: CrashPart | None = None
        """The crash that was armed, and the conditions it asked for."""
        self.conditions: Conditions | None = None
        self.loads: dict[int, str] = {}
        """Programs that were started in the guest, by pid."""
        self.notes: list[Note] = []
        """What the operator saw and did."""
        self._armed_at = 0
        self._jumped_at: int | None = None
        self.dump_disk = new_disk(pc, 2 * (pc.memory + DATA_OFFSET) // SECTOR)
        self.system_disk = new_disk(pc, SYSTEM_DISK_SECTORS + SWAP_SECTORS)
        files = {CAPTURE_KERNEL_PATH: capture.stripped, "/etc/passwd": PASSWD, "/var/log/wtmp": b""}
        files.update(images.userland())
        mkfs(self.system_disk, SYSTEM_DISK_SECTORS, files)
        mkswap(self.system_disk, SYSTEM_DISK_SECTORS, SWAP_SECTORS)
        self.machine = new_pc(pc, {"hda": self.system_disk, pc.dump_disk: self.dump_disk}, first.symbols)
        self.machine.uarts[0].on_output = self._said
        self.clock = PhaseClock(observer, lambda: self.now)
        self.oracle = Oracle(self.machine, first.symbols, first.stack_size)
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
        """Purgatory was entered."""
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
        """The first kernel no longer runs: purgatory was entered, or the machine has stopped."""
        return self.jumped or self.over

    @property
    def guest(self) -> AgentClient:
        """The guest's agent; MachineDead if there can be none."""
        if self.gone:
            raise MachineDead("the kernel that could answer is no more")
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
        self.run_to(self.now + ns)

    def follow(self, ns: int) -> None:
        """See purgatory and the capture kernel through, for so long at most."""
        if self.jumped and not self.over:
            self._note_death(self.machine.run(until=self.now + ns, stop=lambda: self.interrupted))

    def press_sysrq(self, key: str) -> None:
        """Alt-SysRq-KEY on the keyboard.  ValueError for a key there is not."""
        self.machine.i8042.chord("leftalt", "sysrq", key)
        self.advance(KEY_NS)

    def close(self) -> None:
        """Away with the machine; what the session knows stays."""
        self.machine.close()

    # Kernels.

    def boot(self) -> None:
        """Power on; returns when the agent has said hello.  AgentFailure if it never does."""
        self.clock.begin("boot", "booting the first kernel")
        self.machine.load_multiboot(self.first.stripped, kernel_command_line(self.pc, self.kernel, Kernel.FIRST))
        version = self.agent.hello()
        self.clock.end(f"{version.partition(' (')[0].strip()}, CPUs: {self.pc.cpus}")

    def load_capture_kernel(self) -> None:
        """kexec -p through the agent; the capture kernel lies on the guest's own disk.

        AgentFailure or KexecError if refused.
        """
        agent = self.guest
        self.clock.begin("load", "kexec -p: loading the capture kernel")
        line = kernel_command_line(self.pc, self.kernel, Kernel.CAPTURE)
        self.plan = plan = kexec_load_panic(
            agent, self._capture.stripped, CAPTURE_KERNEL_PATH, line, defaults=CAPTURE_DEFAULTS
        )
        self._watch_capture(plan)
        self.clock.end(f"capture kernel at {self.kernel.crashkernel}, {len(plan.segments)} segments")
        if self.kernel.inject == "corrupt-capture-kernel":
            self._corrupt()

    def load_kernel(self, command_line: str) -> None:
        """kexec -l: the first kernel once more."""
        kexec_load_normal(self.guest, self.first.stripped, None, command_line)

    def unload(self, *, panic: bool) -> None:
        """kexec -u, kexec -p -u."""
        kexec_unload(self.guest, panic=panic)

    def execute(self) -> str:
        """kexec -e: start what -l loaded; its version when its agent has said hello."""
        agent = self.guest
        agent.version = None
        agent.reboot(Reboot.KEXEC)
        return agent.hello()

    def capture_loaded(self) -> bool:
        """Whether a crash would find a capture kernel."""
        return self.guest.read_file(CAPTURE_LOADED).strip() == b"1"

    def kernel_loaded(self) -> bool:
        """Whether kexec -e would find something."""
        return self.guest.read_file(KEXEC_LOADED).strip() == b"1"

    # Copies.

    def state(self) -> dict[str, Any]:
        """The booted machine and what the host knows of it, as plain data.

        ScenarioError where the machine cannot be copied.
        """
        return {
            "machine": capable(self.machine.copying, self.pc, "copied").snapshot(),
            "agent": self.agent.state(),
            "console": self.console.text,
            "plan": self.plan,
            "workloads": self._workloads,
            "phases": list(self.clock.phases),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Make a session of the same PC and kernel, just made, what the saved one was."""
        capable(self.machine.copying, self.pc, "copied").restore(state["machine"])
        self.agent.restore(state["agent"])
        self.console.restore(state["console"])
        self.clock.phases = list(state["phases"])
        self.plan = state["plan"]
        self._workloads = state["workloads"]
        if self.plan is not None:
            self._watch_capture(self.plan)

    # A crash, phase by phase.

    def workloads(self) -> tuple[str, ...]:
        """Threads that the kernel can be told to start, by name.  It is asked once: forked runs share the answer."""
        if self._workloads is None:
            self._workloads = tuple(self.agent.read_file("/proc/workloads").decode().split())
        return self._workloads

    def programs(self) -> list[str]:
        """What the agent can start: programs in /bin, and threads of the kernel."""
        return [path.removeprefix("/bin/") for path in images.USER_PROGRAMS if path.startswith("/bin/")] + list(
            self.workloads()
        )

    def arm(self, crash: CrashPart) -> None:
        """Start the load and set the crash point that it crosses through /proc/dtt/ctrl.

        ScenarioError for a load the guest does not have.  The crash may come as soon as the point is set.
        """
        self.clock.begin("arm", f"arming {crash.crash_point}")
        self._check_load(crash)
        self.give(crash.timeout)
        self.armed = crash
        self.conditions = conditions = Conditions(crash, self.pc.cpus)
        self._armed_at = len(self.console.lines) - 1
        self.agent.timeout = ARMED_TIMEOUT_S
        if number := crash_points(self.kernel.guest_modules)[crash.crash_point].dynamic:
            self.agent.write_file("/proc/dtt/ctrl", f"add {crash.crash_point} {number}\n".encode())
        conditions.before_arming(self.agent)
        command = f"{conditions.set_command()}\n"
        try:
            # As in the paper's Table 1: what crosses the point is the load at work, not its being started.
            for name in conditions.programs():
                self.loads[self.agent.start(name)] = name
            self.agent.write_file("/proc/dtt/ctrl", command.encode())
        except (AgentGone, AgentTimeout):
            if not self.crashed:
                raise
        runs = f"; {', '.join(self.loads.values())} runs" if self.loads else ""
        self.clock.end(f"{crash.crash_point} {crash.crash_type}, at crossing {crash.count}{runs}")

    def crash(self, operator: Attendant) -> None:
        """Leave the armed machine to its load and to the operator, until the first kernel is gone or given up."""
        assert self.armed is not None
        self.clock.begin("crash", f"waiting for {self.armed.crash_point} to be crossed")
        self.notes += operator.attend(MachineScene(self), self.loads)
        if not self.gone and self.now >= self.deadline:
            self._stopped = StopReason.UNTIL
        self.clock.end(story(self))

    def capture(self) -> None:
        """Run purgatory and the capture kernel until it begins to save, or ends in some other way."""
        self.clock.begin("capture", "purgatory checks, the capture kernel boots")
        self._run_patiently(self._dump_begun)
        self.saving = self._dump_begun()
        cpu = self.oracle.jump.cpu if self.oracle.jump else 0
        self.clock.end(f"capture kernel on CPU {cpu}" if self.capture_started_ns else "no capture kernel came up")

    def save(self) -> None:
        """Run until the machine resets itself, or does not."""
        self.clock.begin("save", "saving /proc/vmcore to the dump disk")
        total = self.pc.memory - self.kernel.crashkernel.size

        def report() -> bool:
            self.clock.observer.progress(min(self.dump_disk.written, total), total)
            return False

        self._run_patiently(report)
        header = find_dump(self.dump_disk)
        self.clock.end(f"{header.size / (1 << 20):.1f} MiB saved, {ending(self)}" if header else ending(self))

    def _run_patiently(self, condition: Callable[[], bool]) -> None:
        """Run until `condition()` holds; give up when nothing is to be seen for as long as the operator waits."""
        assert self.armed is not None
        patience = self.armed.patience
        while not self.over and self.now < self.deadline and not condition():
            seen = (len(self.console.text), self.dump_disk.written)
            until = min(self.now + patience * NS, self.deadline)
            reason = self.machine.run(until=until, stop=condition)
            if reason is StopReason.STOPPED:
                return
            if reason in DEAD or until == self.deadline:
                self._stopped = reason
            elif seen == (len(self.console.text), self.dump_disk.written):
                text = f"nothing to be seen for {patience} s: the operator pulled the plug"
                self.notes.append(Note(self.now, Seen.PLUG_PULLED, text))
                return

    # What comes in from the machine.

    def _note_death(self, reason: StopReason) -> None:
        if reason in DEAD:
            self._stopped = reason

    def _jump(self) -> None:
        """Purgatory is about to run: what the console says from here on is not the first kernel's."""
        self.machine.uarts[0].flush()
        self._jumped_at = len(self.console.lines)
        if self.conditions is not None:
            self.conditions.at_jump(self.machine)

    def _said(self, data: bytes) -> None:
        self.clock.observer.console(self.console.take(data, self.now))

    def _watch_capture(self, plan: LoadPlan) -> None:
        self.oracle.watch_jump(plan.entry, plan.crash, plan.crash_notes)
        self.machine.watch(self._capture.symbols["start_kernel"], self._capture_started)

    def _capture_started(self, _cpu: Any) -> None:
        if self.capture_started_ns is None:
            self.capture_started_ns = self.now

    def _dump_begun(self) -> bool:
        return self.dump_disk.written > 0

    def _check_load(self, crash: CrashPart) -> None:
        """ScenarioError if the guest does not have a program that is to be started."""
        known = self.programs()
        for name in crash.load:
            if name not in known:
                raise ScenarioError(unknown("load", name, known))

    def _corrupt(self) -> None:
        """Flip a bit in each page of the loaded capture kernel's text, as a stray DMA might."""
        memory, base = self.machine.memory, self._capture.base
        for page in range(base, physical(self._capture.symbols["_etext"]), PAGE_SIZE):
            address = page + PAGE_SIZE // 2
            memory.dma_write(address, bytes([memory.dma_read(address, 1)[0] ^ 1]))
