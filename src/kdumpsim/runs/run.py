# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: power on, boot, load, arm, crash, capture, save, reboot, judge."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpsim import images
from kdumpsim.agent.errors import AgentFailure
from kdumpsim.compiler.cache import digest
from kdumpsim.disks.dumpdisk import save_image
from kdumpsim.faults.survey import Survey
from kdumpsim.files import writable_directory
from kdumpsim.lkdtt.operator import Operator
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.mechanisms.base import Mechanism, MechanismError, check_guest, mechanism_of
from kdumpsim.runfiles import DUMP_IMAGE, MADE_OF_VMCORE, OUTPUT_FILES, RESULT, SYSTEM_IMAGE, TRACE, VMLINUX
from kdumpsim.runs.account import conclude
from kdumpsim.runs.bootcache import begin, usable
from kdumpsim.runs.calls import Crash
from kdumpsim.runs.drawing import drawn, survey, wants_survey
from kdumpsim.runs.effect import effect_of, without_effect
from kdumpsim.runs.events import Observer, Silent
from kdumpsim.runs.hosttime import check_host_timeout, within
from kdumpsim.runs.result import DumpFile, Failover, Result, remove_stale, write_atomically
from kdumpsim.runs.session import Session, kernel_command_line
from kdumpsim.runs.truth import write_truth
from kdumpsim.scenario.options import Kernel, config
from kdumpsim.scenario.parts import KernelPart, PcPart
from kdumpsim.scenario.points import points_of
from kdumpsim.scenario.scenario import Scenario, check_together
from kdumpsim.scenario.values import ScenarioError, format_size

if TYPE_CHECKING:
    from kdumpsim.runs.timeline import Timeline
    from kdumpsim.runs.trace import Trace


@dataclass(frozen=True)
class Leave:
    """What a run leaves in its directory, beside result.json and console.log."""

    large: bool = True
    """vmcore and vmlinux."""
    sha256: bool = True
    """result.json tells the dump's, a sixth of what a forked run costs."""
    truth: bool | None = None
    """truth.core and truth-end.core, with vmlinux; None: if no dump was captured."""


EVERYTHING = Leave()


def run_scenario(
    scenario: Scenario,
    output: Path,
    observer: Observer | None = None,
    poll: Callable[[], None] | None = None,
    *,
    trace: int = 0,
    perfetto: Path | None = None,
    save_disks: bool = False,
    truth: bool | None = None,
    host_timeout: float | None = None,
    cached_boot: bool = True,
) -> Result:
    """Run one scenario and leave its four files in `output`. `poll` is asked often, and ends the run by raising.

    With `cached_boot` it begins with a machine that an earlier run of the same PC and kernel booted, where the cache
    has one, and is the same run; not with `trace`, which would miss what was run before.

    With `trace`, trace.txt is the fifth: the last so many basic blocks of each CPU before the first kernel was gone.

    With `perfetto`, that file is the run's timeline (`runs.timeline`), from power-on, too.

    With `truth`, truth.core and truth-end.core are the machine's own memory and registers at the crash and at the end
    (`runs.truth`); None: if no dump was captured.

    With `save_disks`, system.img and dump.img are the disks as the run left them.

    Raises ScenarioError for a scenario that cannot be used, QemuLost for a QEMU that ended by itself, HostFailure for
    files that cannot be written, HostTimeout after `host_timeout` real seconds; nothing of the run is left in `output`
    then.  What an earlier one left goes when this one's files are written.
    Whatever the guest does is an outcome, never an exception.
    """
    check_host_timeout(host_timeout)

    def new_session() -> Session:
        session = power_on(scenario.pc, scenario.kernel, observer)
        session.give(scenario.timeout)
        session.machine.poll = within(host_timeout, poll)
        return session

    with ExitStack() as stack:
        session = new_session()
        stack.callback(lambda: session.close())
        recorded = _record(session, trace) if trace else None
        timeline = _timeline(session) if perfetto is not None else None
        if perfetto is not None:
            _check_timeline(perfetto, output)
        writable_directory(output)
        if cached_boot and recorded is None and timeline is None and usable(session):
            session, failed = begin(session, new_session, start)
        else:
            failed = start(session)
        seen = look_ahead(session, scenario) if failed is None else None
        died, failed = _die(session, scenario, failed, seen)
        with _new_files(output):
            result = _leave(session, died, scenario, output, failed, Leave(truth=truth))
            if recorded is not None:
                write_atomically(output / TRACE, recorded.text().encode())
            if timeline is not None and perfetto is not None:
                write_atomically(perfetto, timeline.dumps().encode())
            if save_disks:
                save_image(session.system_disk, output / SYSTEM_IMAGE)
                save_image(session.dump_disk, output / DUMP_IMAGE)
        return result


def _record(session: Session, trace: int) -> Trace:
    from kdumpsim.runs.trace import Trace  # and what disassembles, and reads DWARF

    return Trace(session, trace)


def _check_timeline(file: Path, output: Path) -> None:
    """ScenarioError for a file that a timeline must not replace; HostFailure where none can be written."""
    if file.parent.resolve() == output.resolve() and file.name in OUTPUT_FILES:
        raise ScenarioError(f"{file} is a file that the run writes itself; give the timeline another name")
    if not file.name or (file.exists() and not file.is_file()):
        raise ScenarioError(f"'{file}' is not a regular file, so the timeline cannot replace it")
    if not file.parent.is_dir():
        raise ScenarioError(f"there is no directory {file.parent} for the timeline")
    writable_directory(file.parent)


def _timeline(session: Session) -> Timeline:
    from kdumpsim.runs.timeline import Timeline

    return Timeline(session)


def boot_command(scenario: Scenario, output: Path) -> str:
    """The command that boots a scenario's first kernel again, from the disk that was saved in `output`."""
    words = ["kdumpsim", "boot", f"{output}/{VMLINUX}", "--disk", f"{output}/{SYSTEM_IMAGE}"]
    words += ["--cpus", str(scenario.cpus), "--memory", format_size(scenario.memory)]
    return shlex.join([*words, "--append", kernel_command_line(scenario.pc, scenario.kernel)])


def power_on(pc: PcPart, kernel: KernelPart, observer: Observer | None = None) -> Session:
    """A machine and its kernels, not yet started.  ScenarioError for one that cannot be."""
    first, mechanism = build_kernels(pc, kernel)
    return Session(pc, kernel, first, mechanism, observer or Silent())


def start(session: Session) -> str | None:
    """Boot and arm the dump mechanism: all that comes before the crash point is armed.  What went wrong, or None."""
    try:
        session.boot()
        session.prepare_dump()
    except (AgentFailure, MechanismError) as error:
        return str(error)
    return None


def look_ahead(session: Session, scenario: Scenario) -> Survey | None:
    """A survey of the booted machine under the scenario's load, on a copy, where the scenario wants one."""
    if not wants_survey(scenario):
        return None
    state = session.state()
    copy = power_on(session.pc, session.kernel)
    copy.restore(state)
    copy.machine.poll = session.machine.poll
    return survey(copy, scenario)


def finish(
    session: Session,
    scenario: Scenario,
    output: Path,
    failed: str | None,
    leave: Leave = EVERYTHING,
    seen: Survey | None = None,
) -> Result:
    """Arm, crash, capture, save, judge; leave the files in `output`, a directory that was prepared.

    `failed` is what `start` said, `seen` what `look_ahead` did.
    """
    died, failed = _die(session, scenario, failed, seen)
    with _new_files(output):
        return _leave(session, died, scenario, output, failed, leave)


@contextmanager
def _new_files(output: Path) -> Iterator[None]:
    """The place of those that an earlier run left; whatever ends this one now, an interrupt too, takes them along."""
    remove_stale(output, (*OUTPUT_FILES, *MADE_OF_VMCORE))
    try:
        yield
    except BaseException:
        remove_stale(output, OUTPUT_FILES)
        raise


def _die(session: Session, asked: Scenario, failed: str | None, seen: Survey | None) -> tuple[Scenario, str | None]:
    """From arming to the end of the run: the scenario with what was drawn, and why there was no crash, or None."""
    scenario = drawn(asked, seen, session) if failed is None else asked
    return scenario, failed or drive(session, scenario, seen)


def _leave(
    session: Session, scenario: Scenario, asked: Scenario, output: Path, failed: str | None, leave: Leave
) -> Result:
    """Judge, and write the files."""
    conclusion = conclude(session, output, failed, large=leave.large, sha256=leave.sha256)
    if leave.truth or (leave.truth is None and conclusion.vmcore is None and not conclusion.outcome.ok):
        write_truth(session, output)
        if not leave.large:
            write_atomically(output / VMLINUX, session.first.elf)
    result = Result(scenario, conclusion.outcome, session.clock.phases, conclusion.judgement)
    if conclusion.vmcore is not None:
        size, sha256 = conclusion.vmcore
        result.vmcore = DumpFile(sha256, size)
    result.ran_on = session.oracle.ran_on()
    result.crash = Crash.of(session.oracle)
    network = session.machine.inspecting.network if session.machine.inspecting is not None else None
    result.failover = Failover.of(session.oracle, network.notices if network is not None else ())
    result.effect = effect_of(session, conclusion)
    result.struck = session.strikes.struck if session.strikes is not None else []
    result.asked = asked.command() if asked != scenario else None
    write_atomically(output / RESULT, result.dumps().encode())
    return result


def build_kernels(pc: PcPart, kernel: KernelPart) -> tuple[images.KernelImage, Mechanism]:
    """The first kernel, and its dump mechanism with the images that it needs.  ScenarioError where one of them does
    not fit the machine."""
    check_together(pc, kernel)
    mechanism = mechanism_of(kernel)(pc, kernel)
    constants = {**config(kernel.options, Kernel.FIRST), **mechanism.constants}
    first = images.kernel(config=constants, modules=kernel.guest_modules, folders=mechanism.folders)
    check_guest(type(mechanism), kernel, first)
    points_of(first)  # those of the guest modules may not be possible
    mechanism.build(first, constants)
    return first, mechanism


def images_digest(pc: PcPart, kernel: KernelPart) -> str:
    """Stand for all guest code of a run: the kernel, what its mechanism needs, the programs.  Errors as for a run."""
    first, mechanism = build_kernels(pc, kernel)
    files = {**mechanism.files(), **images.userland()}
    return digest([first.stripped, *mechanism.parts(), *(part for pair in sorted(files.items()) for part in pair)])


def prepare(output: Path) -> None:
    """Make the directory and remove what an earlier run left in it.  HostFailure if it cannot be written to."""
    writable_directory(output)
    remove_stale(output, (*OUTPUT_FILES, *MADE_OF_VMCORE))


def drive(session: Session, scenario: Scenario, seen: Survey | None = None) -> str | None:
    """From arming up to the reboot, or to where it ends instead; why there was no crash to wait for, or None.

    With a survey's control, a fault without effect ends it early.
    """
    try:
        session.arm(scenario.crash_part)
    except AgentFailure as error:
        return str(error)
    if seen is not None and without_effect(session, seen):
        return None
    session.crash(Operator(scenario.patience * NS))
    if session.jumped:
        session.dump()
    session.clock.end()
    return None
