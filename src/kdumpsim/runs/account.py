# SPDX-License-Identifier: GPL-2.0-or-later
"""How a session ended: its crash in a line, its outcome in the paper's legend, its dump with the verdict.

It is the same account whether an operator attended to the machine (`runs.run`) or a person at the console did.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kdumpsim.board.machine import StopReason
from kdumpsim.faults.strikes import Strikes
from kdumpsim.lkdtt.outcome import NS, Note, Outcome, Seen, console_notes, name_outcome
from kdumpsim.mechanisms.base import Host, Mechanism
from kdumpsim.runfiles import CONSOLE_LOG, VMCORE, VMLINUX
from kdumpsim.runs.events import PhaseClock
from kdumpsim.runs.hardware import Conditions
from kdumpsim.runs.result import write_atomically
from kdumpsim.scenario.parts import CrashPart
from kdumpsim.scenario.points import crash_types
from kdumpsim.target import call_of, physical
from kdumpsim.vmcore.compare import Judgement
from kdumpsim.vmcore.oracle import INDUCED, Oracle
from kdumpsim.vmcore.reader import VmcoreError

MAX_NAME = 64
REASON = "panic_buf"
"""Where panic() and its like leave why, in a kernel."""
SIGNS = (Seen.NO_EFFECT, Seen.NMI_WATCHDOG, Seen.SOFT_LOCKUP, Seen.SILENT, Seen.NO_LOGIN, Seen.STUCK, Seen.NOT_CROSSED)
"""What is evidence as it stands."""


class Watched(Host, Protocol):
    """A machine and all that was seen of it (`runs.session.Session`)."""

    notes: list[Note]

    @property
    def mechanism(self) -> Mechanism: ...
    @property
    def clock(self) -> PhaseClock: ...
    @property
    def armed(self) -> CrashPart | None: ...
    @property
    def conditions(self) -> Conditions | None: ...
    @property
    def strikes(self) -> Strikes | None: ...
    @property
    def deadline(self) -> int: ...
    @property
    def jumped(self) -> bool: ...
    @property
    def interrupted(self) -> bool: ...
    @property
    def stop_reason(self) -> StopReason | None: ...

    def lines_since_arming(self) -> list[tuple[int, str]]: ...


@dataclass(frozen=True)
class Conclusion:
    """What a session came to."""

    outcome: Outcome
    judgement: Judgement | None = None
    vmcore: tuple[int, str | None] | None = None
    """Size in bytes and SHA-256, if it was wanted; None without a dump."""


def conclude(
    session: Watched, output: Path, failed: str | None = None, *, large: bool = True, sha256: bool = True
) -> Conclusion:
    """Judge the dump; leaves console.log in `output` and, if `large`, vmlinux and vmcore, if there is a dump.

    `failed` says why the machine did not get as far as a crash.  HostFailure for files that cannot be written.
    """
    if large:
        write_atomically(output / VMLINUX, session.first.elf)  # before the dump: gdb warns of a younger kernel
    if failed is None:
        outcome = outcome_of(session)
    else:
        outcome = Outcome(False, reason=f"the machine did not get as far as the crash: {failed}")
    judgement = None
    session.clock.begin("judge", "comparing the dump with the machine's own memory")
    vmcore = session.mechanism.extract(session, output / VMCORE if large else None, sha256=sha256)
    if vmcore is None:
        session.clock.end("no dump to judge")
    else:
        try:
            judgement = session.mechanism.judge(session)
            session.clock.end(f"accuracy {judgement.accuracy:.6f}, completeness {judgement.completeness:.6f}")
        except (VmcoreError, ValueError) as error:
            outcome.evidence.append(f"the dump cannot be judged: {error}")
            session.clock.end("the dump cannot be judged")
    write_atomically(output / CONSOLE_LOG, session.console.text.encode())
    return Conclusion(outcome, judgement, vmcore)


def outcome_of(session: Watched) -> Outcome:
    """What it is called in the paper's legend, with what was seen."""
    mechanism = session.mechanism
    now, captured = session.now, mechanism.captured(session)
    notes = console_notes(session.lines_since_arming()) + session.notes
    unsaid = unsaid_reason(session)
    if session.oracle.jump is not None:
        notes += (signs := console_notes([(session.oracle.jump.time_ns, unsaid)], "the kernel left in its memory"))
        unsaid = "" if signs else unsaid
        notes.append(Note(session.oracle.jump.time_ns, Seen.HANDED_OVER, f"{mechanism.hand_over} was entered"))
    notes += mechanism.notes(session)
    if captured:
        notes.append(Note(now, Seen.DUMP_SAVED, f"a complete dump is on {mechanism.place}"))
    if session.stop_reason is StopReason.RESET:
        notes.append(Note(now, Seen.RESET, f"the machine reset ({session.machine.reset_cause})"))
    elif captured and not session.interrupted:
        notes.append(Note(now, Seen.REBOOT_HANGS, f"the dump is whole on {mechanism.place}, but {ending(session)}"))
    outcome = name_outcome(notes)
    outcome.reason = _reason(session, outcome)
    conditions = session.conditions.seen(session.machine) if session.conditions else []
    struck = session.strikes.struck if session.strikes else []
    outcome.evidence[:0] = [*map(str, struck), story(session), *map(str, session.oracle.ran_on()), *conditions]
    outcome.evidence += [str(note) for note in outcome.timeline if note.seen in SIGNS]
    if unsaid:
        outcome.evidence.append(f"the kernel handed over before it said why: {unsaid}")
    if not outcome.captured and (last := session.console.last_line()):
        outcome.evidence.append(f"last line on the console: {last}")
    return outcome


def _reason(session: Watched, outcome: Outcome) -> str:
    """The outcome in a sentence."""
    if outcome.captured and outcome.ok:
        return "the dump was captured"
    if outcome.captured:
        return "a dump was captured, but the kernel did not start it by itself: counts as X"
    if session.jumped:
        return session.mechanism.failure(session, ending(session))
    if any(note.seen is Seen.NO_EFFECT for note in outcome.timeline):
        return "the fault had no effect: no dump was needed"
    if outcome.recovered:
        return "the system survived and still works: no dump was needed"
    return f"no dump was started: {ending(session)}"


def story(session: Watched) -> str:
    """The crash in one line."""
    crash, jump = session.oracle.crash, session.oracle.jump
    if crash is None:
        return f"the kernel did not crash: {ending(session)}"
    if session.armed is None:
        name = crash_name(session.oracle) or f"{crash.where}()"
    elif crash.where == INDUCED:
        name = session.armed.crash_point or f"{session.armed.crash_type} at an instant"
    elif session.armed.crash_point:
        name = f"{crash.where}(), not {session.armed.crash_point}, which was armed,"
    else:
        name = f"{crash.where}()"
    where = f"{name} on CPU {crash.cpu} at {crash.time_ns / NS:.3f} s"
    if jump is None:
        return f"{where}; {session.mechanism.hand_over} was not reached: {ending(session)}"
    return f"{where}, {jump.where} {(jump.time_ns - crash.time_ns) / 1e6:.1f} ms later"


def unsaid_reason(session: Watched) -> str:
    """What the dying kernel left as its reason and did not print (docs/hardened.md, fault_checks); empty for none."""
    jump, at = session.oracle.jump, session.first.symbols.get(REASON)
    if jump is None or jump.ram is None or at is None:
        return ""
    text = jump.ram.read(physical(at), physical(at) + MAX_NAME).partition(b"\0")[0].decode("ascii", "replace")
    return "" if text in session.console.text else text


def crash_name(oracle: Oracle) -> str:
    """Crash point and type, as dtt_induce(kind, name) was called with them; empty for a crash that was not induced."""
    crash = oracle.crash
    if crash is None or crash.where != INDUCED or (ram := crash.ram) is None:
        return ""

    def read(address: int, size: int) -> bytes:
        return ram.read(physical(address), physical(address) + size)

    kind, name = call_of(crash.registers[crash.cpu], read, arguments=2).arguments
    text = read(name, MAX_NAME).partition(b"\0")[0]
    return f"{text.decode('ascii', 'replace')} / {list(crash_types())[kind]}"


def ending(session: Watched) -> str:
    """How it stands with the machine, or why it stopped."""
    seconds = f"at {session.now / NS:.3f} s"
    if any(note.seen is Seen.PLUG_PULLED for note in session.notes):
        return f"the operator pulled the plug {seconds}"
    uncrossed = any(note.seen is Seen.NOT_CROSSED for note in session.notes)
    why = "the crash point was not crossed often enough" if uncrossed else "nothing more happened"
    return {
        None: f"the machine was still running {seconds}",
        StopReason.RESET: f"the machine reset {seconds}",
        StopReason.UNTIL: f"{why} until the timeout of {session.deadline // NS} s",
        StopReason.IDLE_FOREVER: f"every CPU halted for good {seconds}",
        StopReason.ALL_SHUTDOWN: f"the CPUs shut down (triple fault) {seconds}",
    }[session.stop_reason]
