# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: power on, boot, load, arm, crash, capture, save, reboot, judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kdumpsim import images
from kdumpsim.kexec.errors import KexecError
from kdumpsim.lkdtt.dumpdisk import extract, find_dump
from kdumpsim.lkdtt.events import Observer, Silent
from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.lkdtt.result import Result, remove_stale, write_atomically
from kdumpsim.lkdtt.scenario import PAGE_SIZE, Scenario, ScenarioError, format_size
from kdumpsim.lkdtt.session import Session
from kdumpsim.vmcore.compare import Judgement, judge
from kdumpsim.vmcore.reader import Vmcore, VmcoreError

OUTPUT_FILES = ("vmcore", "vmlinux", "console.log", "result.json")
CAPTURE_WORKING_MEMORY = 1 << 20
"""What a capture kernel needs beyond its image: headers, backup region (640 KiB), page tables, buffers."""


def run_scenario(
    scenario: Scenario, output: Path, observer: Observer | None = None, poll: Callable[[], None] | None = None
) -> Result:
    """Run one scenario and leave its four files in `output`. `poll` is asked often, and ends the run by raising.

    Raises ScenarioError for a scenario or directory that cannot be used; nothing is written then.  Whatever the guest
    does is an outcome, never an exception.
    """
    first, capture = build_kernels(scenario)
    _prepare(output)
    write_atomically(output / "vmlinux", first.elf)  # before the dump: gdb warns of a kernel newer than its core
    session = Session(scenario, first, capture, observer or Silent())
    session.machine.poll = poll
    outcome = _drive(session)
    result = Result(scenario, outcome)
    session.clock.begin("judge", "comparing the dump with the machine's own memory")
    header = find_dump(session.dump_disk)
    if header is not None:
        result.vmcore_sha256 = extract(session.dump_disk, header, output / "vmcore")
        result.vmcore_bytes = header.size
        try:
            result.judgement = judgement = _judge(session, output / "vmcore")
            session.clock.end(f"accuracy {judgement.accuracy:.6f}, completeness {judgement.completeness:.6f}")
        except (VmcoreError, ValueError) as error:
            outcome.evidence.append(f"the dump cannot be judged: {error}")
            session.clock.end("the dump cannot be judged")
    else:
        session.clock.end("there is no dump to judge")
    result.phases = session.clock.phases
    write_atomically(output / "console.log", session.console_log.encode())
    write_atomically(output / "result.json", result.dumps().encode())
    return result


def build_kernels(scenario: Scenario) -> tuple[images.KernelImage, images.KernelImage]:
    """First and capture kernel for a scenario; ScenarioError where one of them does not fit the machine."""
    first = images.kernel()
    scenario.check_kernel(first.physical_end)
    region = scenario.crashkernel
    capture = images.kernel(region.base)
    needed = capture.physical_end - region.base + CAPTURE_WORKING_MEMORY
    if needed > region.size:
        least = -(-needed // PAGE_SIZE) * PAGE_SIZE
        raise ScenarioError(
            f"crashkernel {region} is too small: the capture kernel needs at least {format_size(least)}"
        )
    return first, capture


def _prepare(output: Path) -> None:
    """Make the directory and take away what an earlier run left in it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".kdumpsim-probe"
        probe.touch()
        probe.unlink()
        remove_stale(output, OUTPUT_FILES)
    except OSError as error:
        raise ScenarioError(f"cannot write to output directory '{output}': {error.strerror}") from error


def _drive(session: Session) -> Outcome:
    """Everything up to the reboot (or to where it ends instead), and what is to be called its outcome."""
    try:
        session.boot()
        session.load_capture_kernel()
        session.arm()
    except KexecError as error:
        if not session.crashed:
            return Outcome(False, reason=f"the machine did not get as far as the crash: {error}")
    session.crash()
    if session.jumped:
        session.capture()
    if session.saving:
        session.save()
    session.clock.end()
    return session.outcome()


def _judge(session: Session, path: Path) -> Judgement:
    with Vmcore(path) as vmcore:
        return judge(vmcore, session.oracle)
