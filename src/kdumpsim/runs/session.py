# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine of one run and what happens on it, phase by phase.

The phases' ends are seen by the machine, not read off the console: watches on code addresses, the first write to the
dump disk, the reset line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.errors import AgentGone, AgentTimeout
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.disk import SECTOR
from kdumpsim.board.machine import Machine, StopReason
from kdumpsim.choices import unknown
from kdumpsim.disks.dumpdisk import DATA_OFFSET, find_dump
from kdumpsim.disks.swaparea import mkswap
from kdumpsim.disks.toyfs import mkfs
from kdumpsim.kexec.load import LoadPlan, kexec_load_panic
from kdumpsim.lkdtt.operator import Operator
from kdumpsim.lkdtt.outcome import Note, Outcome, Seen, console_notes, name_outcome
from kdumpsim.machines.pc import new_disk, new_pc
from kdumpsim.runs.events import Observer, PhaseClock
from kdumpsim.runs.hardware import Conditions
from kdumpsim.runs.scene import MachineScene
from kdumpsim.scenario.conditions import PAGE_SIZE, USUAL_DUMP_DISK
from kdumpsim.scenario.options import Kernel, command_line
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import physical
from kdumpsim.vmcore.oracle import Oracle

NS = 1_000_000_000
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
DEAD = (StopReason.RESET, StopReason.ALL_SHUTDOWN, StopReason.IDLE_FOREVER)


def kernel_command_line(scenario: Scenario, kernel: Kernel) -> str:
    """What a kernel is told: where its console and its disk are, and the options that it would not take itself."""
    words = [COMMAND_LINE, f"root={ROOT[scenario.options['combined_mode']]}", command_line(scenario.options, kernel)]
    if kernel is Kernel.FIRST:
        words += [f"crashkernel={scenario.crashkernel}", NETWORK_ADDRESS if scenario.has_nic else ""]
    elif scenario.dump_disk != USUAL_DUMP_DISK:
        words.append(f"dumpdisk={scenario.dump_disk}")
    return " ".join(filter(None, words))


class Session:
    """One machine with its two disks, its console and its oracle."""

    def __init__(
        self, scenario: Scenario, first: images.KernelImage, capture: images.KernelImage, observer: Observer
    ) -> None:
        self.scenario = scenario
        self.console_log = ""
        self.plan: LoadPlan | None = None
        self.capture_started_ns: int | None = None
        self.saving = False
        self.first, self._capture, self._observer = first, capture, observer
        self.stop_reason: StopReason | None = None
        """Why the machine stopped for good, once it has."""
        self.deadline = scenario.timeout * NS
        """When the run ends at the latest, in virtual time."""
        self._workloads: tuple[str, ...] | None = None
        self.loads: dict[int, str] = {}
        """Programs that were started in the guest, by pid."""
        self.notes: list[Note] = []
        """What the operator saw and did."""
        self.conditions = Conditions(scenario)
        self._lines: list[tuple[int, str]] = [(0, "")]
        self._held = ""
        self._armed_at = 0
        self._jumped_at: int | None = None
        self.dump_disk = new_disk(scenario, 2 * (scenario.memory + DATA_OFFSET) // SECTOR)
        self.system_disk = new_disk(scenario, SYSTEM_DISK_SECTORS + SWAP_SECTORS)
        files = {CAPTURE_KERNEL_PATH: capture.stripped, "/etc/passwd": PASSWD, "/var/log/wtmp": b""}
        files.update(images.userland())
        mkfs(self.system_disk, SYSTEM_DISK_SECTORS, files)
        mkswap(self.system_disk, SYSTEM_DISK_SECTORS, SWAP_SECTORS)
        disks = {"hda": self.system_disk, scenario.dump_disk: self.dump_disk}
        self.machine = new_pc(scenario, disks, self.conditions.network(), first.symbols)
        self.machine.uarts[0].on_output = self._console
        self.clock = PhaseClock(observer, lambda: self.machine.clock.now)
        self.oracle = Oracle(self.machine, first.symbols, first.stack_size)
        self.oracle.on_jump = self._jump
        patience = min(AGENT_TIMEOUT_S, scenario.timeout)
        transport = MachineTransport(self.machine, patience * NS)
        transport.interrupted = lambda: self.gone
        self.agent = AgentClient(transport, patience)

    def boot(self) -> None:
        """Power on; returns when the agent has said hello.  AgentFailure if it never does."""
        self.clock.begin("boot", "booting the first kernel")
        self.machine.load_multiboot(self.first.stripped, kernel_command_line(self.scenario, Kernel.FIRST))
        version = self.agent.hello()
        self.clock.end(f"{version.partition(' (')[0].strip()}, CPUs: {self.scenario.cpus}")

    def load_capture_kernel(self) -> None:
        """kexec -p through the agent; the capture kernel lies on the guest's own disk.

        AgentFailure or KexecError if refused.
        """
        self.clock.begin("load", "kexec -p: loading the capture kernel")
        line = kernel_command_line(self.scenario, Kernel.CAPTURE)
        self.plan = plan = kexec_load_panic(
            self.agent, self._capture.stripped, CAPTURE_KERNEL_PATH, line, defaults=CAPTURE_DEFAULTS
        )
        self._watch_capture(plan)
        self.clock.end(f"capture kernel at {self.scenario.crashkernel}, {len(plan.segments)} segments")
        if self.scenario.inject == "corrupt-capture-kernel":
            self._corrupt()

    def retarget(self, scenario: Scenario, observer: Observer) -> None:
        """Go on from here for a scenario that agrees with this one in all that came before (`Scenario.boot_key`)."""
        self.scenario = scenario
        self.conditions = Conditions(scenario)
        self._observer = self.clock.observer = observer
        self.deadline = scenario.timeout * NS

    def state(self) -> dict[str, Any]:
        """The booted machine and what the host knows of it, as plain data."""
        assert isinstance(self.machine, Machine)  # the only one that can be copied
        return {
            "machine": self.machine.snapshot(),
            "agent": self.agent.state(),
            "console": self.console_log,
            "plan": self.plan,
            "workloads": self._workloads,
            "phases": list(self.clock.phases),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Make a session of the same scenario, just made, what the saved one was."""
        assert isinstance(self.machine, Machine)
        self.machine.restore(state["machine"])
        self.agent.restore(state["agent"])
        self.console_log = state["console"]
        self._lines = [(0, line) for line in self.console_log.split("\n")]
        self.clock.phases = list(state["phases"])
        self.plan = state["plan"]
        self._workloads = state["workloads"]
        if self.plan is not None:
            self._watch_capture(self.plan)

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

    def arm(self) -> None:
        """Start the load and set the crash point that it crosses through /proc/dtt/ctrl.

        ScenarioError for a load the guest does not have.  The crash may come as soon as the point is set.
        """
        scenario = self.scenario
        self.clock.begin("arm", f"arming {scenario.crash_point}")
        self._check_load()
        self._armed_at = len(self._lines) - 1
        self.agent.timeout = ARMED_TIMEOUT_S
        if scenario.point.dynamic:
            command = f"add {scenario.crash_point} {scenario.point.dynamic}\n"
            self.agent.write_file("/proc/dtt/ctrl", command.encode())
        self.conditions.before_arming(self.agent)
        command = f"{self.conditions.set_command()}\n"
        try:
            # As in the paper's Table 1: what crosses the point is the load at work, not its being started.
            for name in self.conditions.programs():
                self.loads[self.agent.start(name)] = name
            self.agent.write_file("/proc/dtt/ctrl", command.encode())
        except (AgentGone, AgentTimeout):
            if self.oracle.crash is None:
                raise
        runs = f"; {', '.join(self.loads.values())} runs" if self.loads else ""
        self.clock.end(f"{scenario.crash_point} {scenario.crash_type}, at crossing {scenario.count}{runs}")

    def crash(self) -> None:
        """Leave the machine to its load and to the operator, until the first kernel is gone or given up."""
        self.clock.begin("crash", f"waiting for {self.scenario.crash_point} to be crossed")
        operator = Operator(MachineScene(self), self.scenario.patience * NS, self.loads)
        operator.attend()
        self.notes += operator.notes
        if not self.gone and self.machine.clock.now >= self.deadline:
            self.stop_reason = StopReason.UNTIL
        self.clock.end(self._crash_story())

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
        total = self._dump_size()

        def report() -> bool:
            self._observer.progress(min(self._written(), total), total)
            return False

        self._run_patiently(report)
        header = find_dump(self.dump_disk)
        self.clock.end(f"{header.size / (1 << 20):.1f} MiB saved, {self._ending()}" if header else self._ending())

    def close(self) -> None:
        """Away with the machine; what the session knows stays."""
        self.machine.close()

    @property
    def crashed(self) -> bool:
        """The kernel began to die (it may do so while the agent is still answering)."""
        return self.oracle.crash is not None

    @property
    def jumped(self) -> bool:
        """Purgatory was entered."""
        return self.oracle.jump is not None

    @property
    def gone(self) -> bool:
        """The first kernel no longer runs: purgatory was entered, or the machine has stopped."""
        if self.machine.reset_cause is not None:
            self.stop_reason = StopReason.RESET
        return self.jumped or self.stop_reason in DEAD

    def run_to(self, until_ns: int, condition: Callable[[], bool] = lambda: False) -> None:
        """Let the first kernel run until then (up to the deadline), until `condition()` holds, or until it is gone."""
        if self.gone:
            return
        reason = self.machine.run(until=min(until_ns, self.deadline), stop=lambda: self.jumped or condition())
        if reason in DEAD:
            self.stop_reason = reason

    def lines_since_arming(self) -> list[tuple[int, str]]:
        """The first kernel's console since the crash point was armed: (virtual ns, line)."""
        return self._lines[self._armed_at : self._jumped_at]

    def outcome(self) -> Outcome:
        """What it is called in the paper's legend, with what was seen."""
        now, captured = self.machine.clock.now, find_dump(self.dump_disk) is not None
        notes = console_notes(self.lines_since_arming()) + self.notes
        if self.oracle.jump is not None:
            notes.append(Note(self.oracle.jump.time_ns, Seen.HANDED_OVER, "purgatory was entered"))
        if self.capture_started_ns is not None:
            notes.append(Note(self.capture_started_ns, Seen.CAPTURE_STARTED, "the capture kernel was entered"))
        if captured:
            notes.append(Note(now, Seen.DUMP_SAVED, "a whole dump stands on the dump disk"))
        if self.stop_reason is StopReason.RESET:
            notes.append(Note(now, Seen.RESET, f"the machine reset ({self.machine.reset_cause})"))
        elif captured:
            notes.append(Note(now, Seen.REBOOT_HANGS, f"the dump is whole on the dump disk, but {self._ending()}"))
        outcome = name_outcome(notes)
        outcome.reason = self._reason(outcome)
        conditions = [*self.conditions.evidence, *self.conditions.at_end(self.machine)]
        outcome.evidence[:0] = [self._crash_story(), *map(str, self.oracle.ran_on()), *conditions]
        signs = (Seen.NMI_WATCHDOG, Seen.SOFT_LOCKUP, Seen.SILENT, Seen.NO_LOGIN, Seen.STUCK, Seen.NOT_CROSSED)
        outcome.evidence += [str(note) for note in outcome.timeline if note.seen in signs]
        if not outcome.captured and (last := self._last_line("")):
            outcome.evidence.append(f"last line on the console: {last}")
        return outcome

    def _reason(self, outcome: Outcome) -> str:
        """The outcome in a sentence."""
        if outcome.captured and outcome.ok:
            return "the dump was captured"
        if outcome.captured:
            return "a dump was captured, but the kernel did not get there by itself"
        if self.capture_started_ns is not None:
            return "the capture kernel was reached and did not bring a dump home"
        if self.jumped:
            refusal = self._last_line("purgatory:")
            return refusal or f"purgatory was entered, the capture kernel was not; {self._ending()}"
        if outcome.recovered:
            return "the system survived and works: no dump was called for"
        return f"no dump was started: {self._ending()}"

    def _run_patiently(self, condition: Callable[[], bool]) -> None:
        """Run until `condition()` holds; give up when nothing is to be seen for as long as the operator waits."""
        while self.stop_reason not in DEAD and self.machine.clock.now < self.deadline and not condition():
            seen = (len(self.console_log), self._written())
            until = min(self.machine.clock.now + self.scenario.patience * NS, self.deadline)
            reason = self.machine.run(until=until, stop=condition)
            if reason is StopReason.STOPPED:
                return
            if reason in DEAD or until == self.deadline:
                self.stop_reason = reason
            elif seen == (len(self.console_log), self._written()):
                text = f"nothing to be seen for {self.scenario.patience} s: the operator pulled the plug"
                self.notes.append(Note(self.machine.clock.now, Seen.PLUG_PULLED, text))
                return

    def _jump(self) -> None:
        """Purgatory is about to run: what the console says from here on is not the first kernel's."""
        self.machine.uarts[0].flush()
        self._jumped_at = len(self._lines)
        self.conditions.at_jump(self.machine)

    def _check_load(self) -> None:
        """ScenarioError if the guest does not have a program that is to be started."""
        known = self.programs()
        for name in self.scenario.load:
            if name not in known:
                raise ScenarioError(unknown("load", name, known))

    def _watch_capture(self, plan: LoadPlan) -> None:
        self.oracle.watch_jump(plan.entry, plan.crash, plan.crash_notes)
        self.machine.watch(self._capture.symbols["start_kernel"], self._capture_started)

    def _console(self, data: bytes) -> None:
        text = self._held + data.decode("utf-8", "replace")
        self._held = "\r" if text.endswith("\r") else ""  # its "\n" may be on the way
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        self.console_log += text
        now = self.machine.clock.now
        first, *more = text.split("\n")
        begun, line = self._lines[-1]
        self._lines[-1] = (begun if line else now, line + first)
        self._lines += [(now, line) for line in more]
        self._observer.console(text)

    def _capture_started(self, _cpu: Any) -> None:
        if self.capture_started_ns is None:
            self.capture_started_ns = self.machine.clock.now

    def _corrupt(self) -> None:
        """Flip a bit in each page of the loaded capture kernel's text, as a stray DMA might."""
        memory, base = self.machine.memory, self._capture.base
        for page in range(base, physical(self._capture.symbols["_etext"]), PAGE_SIZE):
            address = page + PAGE_SIZE // 2
            memory.dma_write(address, bytes([memory.dma_read(address, 1)[0] ^ 1]))

    def _written(self) -> int:
        return self.dump_disk.written

    def _dump_begun(self) -> bool:
        return self._written() > 0

    def _dump_size(self) -> int:
        return self.scenario.memory - self.scenario.crashkernel.size

    def _last_line(self, containing: str) -> str:
        lines = [line for line in self.console_log.splitlines() if containing in line and line.strip()]
        return lines[-1].strip() if lines else ""

    def _crash_story(self) -> str:
        crash, jump = self.oracle.crash, self.oracle.jump
        if crash is None:
            return f"the kernel did not crash: {self._ending()}"
        where = f"{self.scenario.crash_point} on CPU {crash.cpu} at {crash.time_ns / NS:.3f} s"
        if jump is None:
            return f"{where}; purgatory was not reached: {self._ending()}"
        return f"{where}, purgatory {(jump.time_ns - crash.time_ns) / 1e6:.1f} ms later"

    def _ending(self) -> str:
        seconds = f"at {self.machine.clock.now / NS:.3f} s"
        if any(note.seen is Seen.PLUG_PULLED for note in self.notes):
            return f"the operator pulled the plug {seconds}"
        uncrossed = any(note.seen is Seen.NOT_CROSSED for note in self.notes)
        why = "the crash point was not crossed often enough" if uncrossed else "nothing more happened"
        return {
            None: f"the machine was still running {seconds}",
            StopReason.RESET: f"the machine reset {seconds}",
            StopReason.UNTIL: f"{why} until the timeout of {self.scenario.timeout} s",
            StopReason.IDLE_FOREVER: f"every CPU halted for good {seconds}",
            StopReason.ALL_SHUTDOWN: f"the CPUs shut down (triple fault) {seconds}",
        }[self.stop_reason]
