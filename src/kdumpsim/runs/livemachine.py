# SPDX-License-Identifier: GPL-2.0-or-later
"""A booted machine whose time a person moves on, command by command, and what became of it in the end.

Time stands still between commands.  The hand-over to purgatory ends whatever was under way: from there on the capture
kernel is followed until the machine resets, or until nothing more happens.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from kdumpsim.agent.client import AgentClient, Reboot
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.machine import StopReason
from kdumpsim.disks.dumpdisk import extract, find_dump
from kdumpsim.kexec.load import kexec_load_normal, kexec_unload
from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.runs.result import write_atomically
from kdumpsim.runs.session import AGENT_TIMEOUT_S, DEAD, NS, Session
from kdumpsim.scenario.points import crash_types
from kdumpsim.target import physical
from kdumpsim.vmcore.compare import Judgement, judge
from kdumpsim.vmcore.oracle import INDUCED
from kdumpsim.vmcore.reader import Vmcore, VmcoreError

KEY_NS = 50_000_000
"""How long a key is waited for: the keyboard's bytes, their interrupts and what the kernel prints."""
MAX_NAME = 64
KEXEC_LOADED = "/sys/kernel/kexec_loaded"
CAPTURE_LOADED = "/sys/kernel/kexec_crash_loaded"


class MachineDead(Exception):
    """The first kernel is no more, or the machine has stopped: nobody can answer."""


@dataclass(frozen=True)
class Conclusion:
    """What became of a machine that crashed."""

    title: str
    outcome: Outcome
    judgement: Judgement | None = None
    vmcore: tuple[int, str] | None = None
    """Size in bytes and SHA-256."""


class LiveMachine:
    """The machine of a session.  `interrupt()` may be called from a signal handler."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.interrupted = False
        self._transport = MachineTransport(session.machine, AGENT_TIMEOUT_S * NS)
        self._transport.interrupted = self._cut
        session.agent.transport = self._transport

    @property
    def now(self) -> int:
        """Virtual time."""
        return self.session.machine.clock.now

    @property
    def crashed(self) -> bool:
        """The first kernel began to die."""
        return self.session.oracle.crash is not None

    @property
    def handed_over(self) -> bool:
        """Purgatory was entered."""
        return self.session.jumped

    @property
    def over(self) -> bool:
        """The machine has stopped for good."""
        return self._stopped in DEAD

    @property
    def agent(self) -> AgentClient:
        """The guest's agent; MachineDead if there can be none."""
        if self.over or self.handed_over:
            raise MachineDead("the kernel that could answer is no more")
        return self.session.agent

    def interrupt(self) -> None:
        """End what is under way (Ctrl-C)."""
        self.interrupted = True

    def advance(self, ns: int) -> None:
        """Let time pass; shorter if the kernel hands over, the machine stops or somebody interrupts."""
        if self.over:
            raise MachineDead("the machine has stopped")
        if not self.handed_over:
            self._run(self.now + ns, at_hand_over=True)

    def follow(self) -> None:
        """See purgatory and the capture kernel through, up to the scenario's timeout."""
        if self.handed_over and not self.over:
            self._run(self.now + self.session.scenario.timeout * NS, at_hand_over=False)

    def press_sysrq(self, key: str) -> None:
        """Alt-SysRq-KEY on the keyboard.  ValueError for a key there is not."""
        self.session.machine.i8042.chord("leftalt", "sysrq", key)
        self.advance(KEY_NS)

    def load_capture_kernel(self) -> None:
        """kexec -p."""
        _ = self.agent
        self.session.load_capture_kernel()

    def load_kernel(self, command_line: str) -> None:
        """kexec -l: the first kernel once more."""
        kexec_load_normal(self.agent, self.session.first.stripped, None, command_line)

    def unload(self, *, panic: bool) -> None:
        """kexec -u, kexec -p -u."""
        kexec_unload(self.agent, panic=panic)

    def capture_loaded(self) -> bool:
        """Whether a crash would find a capture kernel."""
        return self.agent.read_file(CAPTURE_LOADED).strip() == b"1"

    def kernel_loaded(self) -> bool:
        """Whether kexec -e would find something."""
        return self.agent.read_file(KEXEC_LOADED).strip() == b"1"

    def execute(self) -> str:
        """kexec -e: start what -l loaded; its version when its agent has said hello."""
        agent = self.agent
        agent.version = None
        agent.reboot(Reboot.KEXEC)
        return agent.hello()

    def conclude(self, output: Path) -> Conclusion:
        """Judge a crash; leaves vmlinux, console.log and, if there is a dump, vmcore in `output`."""
        session = self.session
        write_atomically(output / "vmlinux", session.first.elf)  # before the dump: gdb warns of a younger kernel
        header = find_dump(session.dump_disk)
        outcome = Outcome(header is not None, evidence=[self.story(), *map(str, session.oracle.ran_on())])
        outcome.reason = "the dump was captured" if header else f"no dump was captured: {self.ending()}"
        judgement, vmcore = None, None
        if header is not None:
            path = output / "vmcore"
            vmcore = (header.size, extract(session.dump_disk, header, path))
            if self._stopped is not StopReason.RESET:
                outcome.evidence.append(f"the machine did not reset itself: {self.ending()}")
            try:
                with Vmcore(path) as core:
                    judgement = judge(core, session.oracle)
            except (VmcoreError, ValueError) as error:
                outcome.evidence.append(f"the dump cannot be judged: {error}")
        elif last := session.console_log.rstrip().rpartition("\n")[2]:
            outcome.evidence.append(f"last line on the console: {last.strip()}")
        write_atomically(output / "console.log", session.console_log.encode())
        return Conclusion(self.crash_name() or "crash", outcome, judgement, vmcore)

    def story(self) -> str:
        """The crash in one line."""
        crash, jump = self.session.oracle.crash, self.session.oracle.jump
        if crash is None:
            return f"the kernel did not crash: {self.ending()}"
        where = f"{self.crash_name() or crash.where + '()'} on CPU {crash.cpu} at {crash.time_ns / NS:.3f} s"
        if jump is None:
            return f"{where}, purgatory was not reached"
        return f"{where}, purgatory {(jump.time_ns - crash.time_ns) / 1e6:.1f} ms later"

    def crash_name(self) -> str:
        """Crash point and type, as dtt_induce(kind, name) was called with them; empty for a crash nobody induced."""
        crash = self.session.oracle.crash
        if crash is None or crash.where != INDUCED or crash.ram is None:
            return ""
        stack = physical(crash.registers[crash.cpu].esp)
        kind, name = struct.unpack("<II", crash.ram.read(stack + 4, stack + 12))  # behind the return address
        text = crash.ram.read(physical(name), physical(name) + MAX_NAME).partition(b"\0")[0]
        return f"{text.decode('ascii', 'replace')} / {list(crash_types())[kind]}"

    def ending(self) -> str:
        """How it stands with the machine, or why it stopped."""
        seconds = f"at {self.now / NS:.3f} s"
        endings: dict[StopReason | None, str] = {
            StopReason.RESET: f"the machine reset {seconds}",
            StopReason.IDLE_FOREVER: f"every CPU halted for good {seconds}",
            StopReason.ALL_SHUTDOWN: f"the CPUs shut down (triple fault) {seconds}",
        }
        return endings.get(self._stopped, f"the machine was still running {seconds}")

    @property
    def _stopped(self) -> StopReason | None:
        """Why the machine stopped; a reset may come while the agent is waited for."""
        return StopReason.RESET if self.session.machine.reset_cause is not None else self.session.stop_reason

    def _cut(self) -> bool:
        """Whether nobody should wait for the agent any longer."""
        return self.interrupted or self.handed_over

    def _run(self, until: int, *, at_hand_over: bool) -> None:
        session = self.session

        def stop() -> bool:
            return self.interrupted or (at_hand_over and session.jumped)

        session.stop_reason = session.machine.run(until=until, stop=stop)
