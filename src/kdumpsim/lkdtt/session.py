# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine of one run and what happens on it, phase by phase.

The phases' ends are seen by the machine, not read off the console: watches on code addresses, the first write to the
dump disk, the reset line.
"""

from __future__ import annotations

from collections.abc import Callable

from kdumpsim import images
from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.cpu import Cpu
from kdumpsim.kexec.agent import AgentClient
from kdumpsim.kexec.load import LoadPlan, kexec_load_panic
from kdumpsim.kexec.transport import MachineTransport
from kdumpsim.lkdtt.dumpdisk import DATA_OFFSET, find_dump
from kdumpsim.lkdtt.events import Observer, PhaseClock
from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.lkdtt.scenario import PAGE_SIZE, Scenario
from kdumpsim.lkdtt.toyfs import mkfs
from kdumpsim.vmcore.oracle import Oracle

NS = 1_000_000_000
CAPTURE_KERNEL_PATH = "/boot/vmlinux-kdump"
SYSTEM_DISK_SECTORS = 16384
AGENT_TIMEOUT_S = 30
WORKLOAD = "diskio"
HARMLESS = "none"
AFTERMATH_NS = NS // 10  # how long the guest is watched after a crash that is none
COMMAND_LINE = "console=ttyS0,115200 root=/dev/hda panic_on_oops=1"
DEAD = (StopReason.RESET, StopReason.ALL_SHUTDOWN, StopReason.IDLE_FOREVER)


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
        self._first, self._capture, self._observer = first, capture, observer
        self._stop: StopReason | None = None
        self._deadline = scenario.timeout * NS
        self.dump_disk = Disk.memory(2 * (scenario.memory + DATA_OFFSET) // SECTOR)
        system_disk = Disk.memory(SYSTEM_DISK_SECTORS)
        mkfs(system_disk, SYSTEM_DISK_SECTORS, {CAPTURE_KERNEL_PATH: capture.stripped})
        self.machine = Machine(
            MachineConfig(
                cpus=scenario.cpus,
                memory=scenario.memory,
                disks=(system_disk, None, self.dump_disk, None),
                seed=scenario.seed,
            )
        )
        self.machine.uarts[0].on_output = self._console
        self.clock = PhaseClock(observer, lambda: self.machine.clock.now)
        self.oracle = Oracle(self.machine, first.symbols)
        patience = min(AGENT_TIMEOUT_S, scenario.timeout)
        self.agent = AgentClient(MachineTransport(self.machine, patience * NS, lambda: self.jumped), patience)

    def boot(self) -> None:
        """Power on; returns when the agent has said hello.  KexecError if it never does."""
        self.clock.begin("boot", "booting the first kernel")
        self.machine.load_multiboot(self._first.stripped, f"{COMMAND_LINE} crashkernel={self.scenario.crashkernel}")
        version = self.agent.hello()
        self.clock.end(f"{version.partition(' (')[0].strip()}, CPUs: {self.scenario.cpus}")

    def load_capture_kernel(self) -> None:
        """kexec -p through the agent; the capture kernel lies on the guest's own disk.  KexecError if refused."""
        self.clock.begin("load", "kexec -p: loading the capture kernel")
        self.plan = plan = kexec_load_panic(self.agent, self._capture.stripped, CAPTURE_KERNEL_PATH, COMMAND_LINE)
        self.oracle.watch_jump(plan.entry, plan.crash, plan.backup)
        self.machine.watch(self._capture.symbols["start_kernel"], self._capture_started)
        self.clock.end(f"capture kernel at {self.scenario.crashkernel}, {len(plan.segments)} segments")
        if self.scenario.inject == "corrupt-capture-kernel":
            self._corrupt()

    def arm(self) -> None:
        """Set the crash point through /proc/dtt/ctrl and start the workload that crosses it."""
        scenario = self.scenario
        self.clock.begin("arm", f"arming {scenario.crash_point}")
        command = f"set {scenario.crash_point} {scenario.crash_type} {scenario.count}\n"
        self.agent.write_file("/proc/dtt/ctrl", command.encode())
        self.agent.start(WORKLOAD)
        self.clock.end(f"{scenario.crash_point} {scenario.crash_type}, at crossing {scenario.count}; {WORKLOAD} runs")

    def crash(self) -> None:
        """Run until the dying kernel jumps to purgatory, or ends in some other way."""
        self.clock.begin("crash", f"waiting for {self.scenario.crash_point} to be crossed")
        self._run_until(lambda: self.jumped or self._harmless())
        self.clock.end(self._crash_story())

    def capture(self) -> None:
        """Run purgatory and the capture kernel until it begins to save, or ends in some other way."""
        self.clock.begin("capture", "purgatory checks, the capture kernel boots")
        self._run_until(self._dump_begun)
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

        self._run_until(report)
        header = find_dump(self.dump_disk)
        self.clock.end(f"{header.size / (1 << 20):.1f} MiB saved, {self._ending()}" if header else self._ending())

    @property
    def crashed(self) -> bool:
        """The kernel began to die (it may do so while the agent is still answering)."""
        return self.oracle.crash is not None

    @property
    def jumped(self) -> bool:
        """Purgatory was entered."""
        return self.oracle.jump is not None

    def outcome(self) -> Outcome:
        """What it is called in the paper's legend, with what was seen."""
        outcome = Outcome(find_dump(self.dump_disk) is not None)
        outcome.evidence.append(self._crash_story())
        if outcome.captured:
            outcome.reason = "the dump was captured"
            if self._stop is not StopReason.RESET:
                outcome.mark("nrbt", f"the header of the dump is on the disk, but {self._ending()}")
        elif self.capture_started_ns is not None:
            outcome.reason = "the capture kernel was reached and did not bring a dump home"
            outcome.mark("2c", f"capture kernel entered at {self.capture_started_ns / NS:.3f} s; {self._ending()}")
        elif self.jumped:
            refusal = self._last_line("purgatory:")
            outcome.reason = refusal or f"purgatory was entered, the capture kernel was not; {self._ending()}"
        elif self._harmless():
            outcome.reason = f"no dump was started: {self.scenario.crash_point} was crossed, and type none does nothing"
        else:
            outcome.reason = f"no dump was started: {self._ending()}"
        if not outcome.captured and (last := self._last_line("")):
            outcome.evidence.append(f"last line on the console: {last}")
        return outcome

    def _harmless(self) -> bool:
        """A crash of type none was asked for, and a while ago it did what it does: nothing."""
        crash = self.oracle.crash
        return (
            self.scenario.crash_type == HARMLESS
            and crash is not None
            and self.machine.clock.now >= crash.time_ns + AFTERMATH_NS
        )

    def _run_until(self, condition: Callable[[], bool]) -> None:
        if self._stop in DEAD:
            return
        reason = self.machine.run(until=self._deadline, stop=condition)
        if reason is not StopReason.STOPPED:
            self._stop = reason

    def _console(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        self.console_log += text
        self._observer.console(text)

    def _capture_started(self, cpu: Cpu) -> None:
        if self.capture_started_ns is None:
            self.capture_started_ns = self.machine.clock.now

    def _corrupt(self) -> None:
        """Flip a bit in each page of the loaded capture kernel's text, as a stray DMA might."""
        memory, base = self.machine.memory, self._capture.base
        for page in range(base, self._capture.symbols["_etext"] - images.PAGE_OFFSET, PAGE_SIZE):
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
        return {
            None: f"the machine was still running {seconds}",
            StopReason.RESET: f"the machine reset {seconds}",
            StopReason.UNTIL: f"nothing more happened until the timeout of {self.scenario.timeout} s",
            StopReason.IDLE_FOREVER: f"every CPU halted for good {seconds}",
            StopReason.ALL_SHUTDOWN: f"the CPUs shut down (triple fault) {seconds}",
        }[self._stop]
