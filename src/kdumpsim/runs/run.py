# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: power on, boot, load, arm, crash, capture, save, reboot, judge."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kdumpsim import images
from kdumpsim.agent.errors import AgentFailure
from kdumpsim.disks.dumpdisk import extract, find_dump, save_image
from kdumpsim.files import writable_directory
from kdumpsim.kexec.errors import KexecError
from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.runs.events import Observer, Silent
from kdumpsim.runs.hosttime import within
from kdumpsim.runs.result import Result, remove_stale, write_atomically
from kdumpsim.runs.session import Session, kernel_command_line
from kdumpsim.runs.trace import Trace
from kdumpsim.scenario.conditions import KDUMPSIM, PAGE_SIZE
from kdumpsim.scenario.options import Kernel, config
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError, format_size
from kdumpsim.vmcore.compare import Judgement, judge
from kdumpsim.vmcore.reader import Vmcore, VmcoreError

SYSTEM_IMAGE = "system.img"
OUTPUT_FILES = ("vmcore", "vmlinux", "console.log", "result.json", "trace.txt", SYSTEM_IMAGE, "dump.img")
CAPTURE_WORKING_MEMORY = 1 << 20
"""What a capture kernel needs beyond its image: headers, backup region (640 KiB), page tables, buffers."""


def run_scenario(
    scenario: Scenario,
    output: Path,
    observer: Observer | None = None,
    poll: Callable[[], None] | None = None,
    *,
    trace: int = 0,
    save_disks: bool = False,
    host_timeout: float | None = None,
) -> Result:
    """Run one scenario and leave its four files in `output`. `poll` is asked often, and ends the run by raising.

    With `trace`, trace.txt is the fifth: the last so many basic blocks of each CPU before the first kernel was gone.

    With `save_disks`, system.img and dump.img are the disks as the run left them.

    Raises ScenarioError for a scenario that cannot be used, QemuLost for a QEMU that ended by itself, HostFailure for
    files that cannot be written, HostTimeout after `host_timeout` real seconds; nothing is left in `output` then.
    Whatever the guest does is an outcome, never an exception.
    """
    if trace and scenario.machine != KDUMPSIM:
        raise ScenarioError(f"only kdumpsim's own machine can be traced, not {scenario.machine}")
    session = power_on(scenario, observer)
    session.machine.poll = within(host_timeout, poll)
    prepare(output)
    with closing(session):
        recorded = Trace(session, trace) if trace else None
        failed = start(session)
        with _nothing_half(output):
            result = _finish(session, output, failed)
            if recorded is not None:
                write_atomically(output / "trace.txt", recorded.text().encode())
            if save_disks:
                save_image(session.system_disk, output / SYSTEM_IMAGE)
                save_image(session.dump_disk, output / "dump.img")
        return result


def boot_command(scenario: Scenario, output: Path) -> str:
    """The command that boots a scenario's first kernel again, from the disk that was saved in `output`."""
    words = ["kdumpsim", "boot", f"{output}/vmlinux", "--disk", f"{output}/{SYSTEM_IMAGE}"]
    words += ["--cpus", str(scenario.cpus), "--memory", format_size(scenario.memory)]
    return shlex.join([*words, "--append", kernel_command_line(scenario, Kernel.FIRST)])


def power_on(scenario: Scenario, observer: Observer | None = None) -> Session:
    """The machine of a scenario, not yet started.  ScenarioError for one that cannot be."""
    first, capture = build_kernels(scenario)
    return Session(scenario, first, capture, observer or Silent())


def start(session: Session) -> str | None:
    """Boot and load the capture kernel: all that comes before the crash point is armed.  What went wrong, or None."""
    try:
        session.boot()
        session.load_capture_kernel()
        session.workloads()
    except (AgentFailure, KexecError) as error:
        return str(error)
    return None


def finish(session: Session, output: Path, failed: str | None) -> Result:
    """Arm, crash, capture, save, judge; leave the four files in `output`, a directory that was prepared.

    `failed` is what `start` said.
    """
    with _nothing_half(output):
        return _finish(session, output, failed)


@contextmanager
def _nothing_half(output: Path) -> Iterator[None]:
    """Whatever ends a run early, an interrupt too, takes the files it wrote along."""
    try:
        yield
    except BaseException:
        remove_stale(output, OUTPUT_FILES)
        raise


def _finish(session: Session, output: Path, failed: str | None) -> Result:
    # Before the dump: gdb warns of a kernel newer than its core.
    write_atomically(output / "vmlinux", session.first.elf)
    outcome = _drive(session, failed)
    result = Result(session.scenario, outcome, ran_on=session.oracle.ran_on())
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
    constants = config(scenario.options)
    first = images.kernel(config=constants, modules=scenario.guest_modules)
    scenario.check_kernel(first.physical_end)
    region = scenario.crashkernel
    capture = images.kernel(region.base, constants, scenario.guest_modules)
    needed = capture.physical_end - region.base + CAPTURE_WORKING_MEMORY
    if needed > region.size:
        least = -(-needed // PAGE_SIZE) * PAGE_SIZE
        raise ScenarioError(
            f"crashkernel {region} is too small: the capture kernel needs at least {format_size(least)}"
        )
    return first, capture


def prepare(output: Path) -> None:
    """Make the directory and remove what an earlier run left in it.  HostFailure if it cannot be written to."""
    writable_directory(output)
    remove_stale(output, OUTPUT_FILES)


def _drive(session: Session, failed: str | None) -> Outcome:
    """From arming up to the reboot (or to where it ends instead), and what is to be called its outcome."""
    try:
        if failed is None:
            session.arm()
    except AgentFailure as error:
        failed = str(error)
    if failed is not None:
        return Outcome(False, reason=f"the machine did not get as far as the crash: {failed}")
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
