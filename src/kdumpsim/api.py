# SPDX-License-Identifier: GPL-2.0-or-later
"""The public interface: one run, a machine that is booted once and crashed often, and what comes of it.

`kdumpsim` re-exports the public names of this module; what it promises is documented in ``docs/api.rst``.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack, overload

from kdumpsim.agent.errors import AgentFailure
from kdumpsim.choices import unknown
from kdumpsim.compiler import GuestError
from kdumpsim.console.command import Shell
from kdumpsim.console.errors import Quit, Refused
from kdumpsim.console.shell import parse
from kdumpsim.errors import KdumpsimError, QemuLost
from kdumpsim.explain.ending import explained
from kdumpsim.files import HostFailure, scratch_directory
from kdumpsim.lkdtt.outcome import Outcome
from kdumpsim.mechanisms.base import MechanismError
from kdumpsim.runfiles import CONSOLE_LOG, VMCORE
from kdumpsim.runs import forking
from kdumpsim.runs.account import story
from kdumpsim.runs.calls import Crash
from kdumpsim.runs.forking import Booted
from kdumpsim.runs.hosttime import HostTimeout
from kdumpsim.runs.result import Result as Record
from kdumpsim.runs.run import Leave, prepare, run_scenario
from kdumpsim.runs.session import MachineDead
from kdumpsim.scenario.conditions import NETWORK_DMA
from kdumpsim.scenario.parts import KernelPart, PcPart
from kdumpsim.scenario.profiles import changes
from kdumpsim.scenario.scenario import BootKey, Scenario
from kdumpsim.scenario.strikes import At, Fault
from kdumpsim.scenario.values import Reservation, ScenarioError
from kdumpsim.sweeps.store import StoreError
from kdumpsim.sweeps.sweeping import Sweep, sweep
from kdumpsim.vmcore.compare import Judgement
from kdumpsim.vmcore.lkcd import open_dump
from kdumpsim.vmcore.reader import Vmcore, VmcoreError

__all__ = [
    "At",
    "BootFailed",
    "BootSettings",
    "CommandError",
    "CrashSettings",
    "Fault",
    "GuestError",
    "HostFailure",
    "HostTimeout",
    "Judgement",
    "KdumpsimError",
    "Machine",
    "MachineBusy",
    "MachineDead",
    "Outcome",
    "PhysicalMemory",
    "QemuLost",
    "Reservation",
    "Result",
    "Scenario",
    "ScenarioError",
    "StoreError",
    "Sweep",
    "Vmcore",
    "VmcoreError",
    "WorkerDied",
    "boot",
    "run",
    "sweep",
]

PHYSICAL_ADDRESSES = 1 << 32
CONTINUE_NS = 120 * 10**9
"""Virtual time that the console's `continue` takes at most."""


class BootFailed(KdumpsimError):
    """The first kernel did not come up, or its dump mechanism could not be armed; `console` is what it said."""

    def __init__(self, why: str, console: str) -> None:
        super().__init__(why)
        self.console = console


class CommandError(KdumpsimError):
    """A command of `Machine.shell` that does not exist, or that the guest refuses."""


class WorkerDied(KdumpsimError):
    """The process that ran a crash was killed or failed.  It says nothing of the guest, so there is no result."""


class MachineBusy(KdumpsimError):
    """The machine is in use, by another thread or by what a signal's handler interrupted."""


class BootSettings(TypedDict, total=False):
    """What `boot` takes: the fields of `Scenario` that describe the machine and its kernels; sizes in bytes.

    `modules` are files with guest code of a user's own; with `traffic` there is a network card and a station that
    sends to it all the time, which is the crash condition ``dma=("net",)``.
    """

    seed: int
    cpus: int
    memory: int
    memory_holes: tuple[tuple[int, int], ...]
    dump_disk: str
    nic: bool
    nic_slot: int
    sata: str
    i8259: str
    traffic: bool
    crashkernel: Reservation
    mechanism: str
    profile: str
    kernel_options: tuple[tuple[str, str], ...]
    modules: Sequence[str | os.PathLike[str]]
    inject: str | None


class CrashSettings(TypedDict, total=False):
    """What `Machine.crash` takes: the fields of `Scenario` that describe a crash at a crash point.

    `patience` and `timeout` in virtual seconds, `phase` in virtual microseconds, `latency` in percent.
    """

    count: int
    draw: int
    vary: tuple[str, ...]
    phase: int
    latency: int
    breaks: tuple[str, ...]
    crash_cpu: int | None
    other_cpus: str | None
    dma: tuple[str, ...]
    pending_irq: bool
    load: tuple[str, ...]
    patience: int
    timeout: int


def run(
    scenario: Scenario,
    output: str | os.PathLike[str] | None = None,
    *,
    host_timeout: float | None = None,
    cached_boot: bool = True,
) -> Result:
    """Run one scenario, from power-on to the judged dump.

    With `output`, a directory, the dump, the kernel, the console's log and result.json are left in it, and without a
    dump truth.core, as by ``kdumpsim run``.  Without it nothing is kept on disk; the result keeps its dump for itself.
    `host_timeout`: real seconds that the run may take; None: no limit.  `cached_boot`: begin with the machine as an
    earlier run booted it, where the cache has it; the run is the same, byte for byte, and takes a third less time.

    Whatever the guest does is an outcome, never an exception.  Raises ScenarioError for a scenario that this machine
    or this host cannot have, GuestError for guest code that cannot be built, HostFailure for files that cannot be
    written, HostTimeout, and QemuLost for a QEMU that ended by itself.
    """
    if output is not None:
        directory = Path(output)
        record = run_scenario(scenario, directory, host_timeout=host_timeout, cached_boot=cached_boot)
        return Result(record, directory)
    with scratch_directory() as scratch:
        record = run_scenario(scenario, scratch, truth=False, host_timeout=host_timeout, cached_boot=cached_boot)
        return Result._taken(record, scratch)


def boot(*, host_timeout: float | None = None, **settings: Unpack[BootSettings]) -> Machine:
    """Boot a machine, arm its dump mechanism, and hold time still there.

    `settings`: see `BootSettings`.  `host_timeout`: real seconds for the boot, and for each crash; None: no limit.
    Raises ScenarioError for a machine that cannot be, GuestError for guest code that cannot be built, BootFailed for a
    kernel that does not come up, HostTimeout.
    """
    return Machine(settings, host_timeout)


class _Dump:
    """A dump whose file has no name any more: it is gone when this is."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self._descriptor)

    def again(self, path: str, flags: int) -> int:
        """For `open`: the file once more."""
        return os.dup(self._descriptor)


class Result:
    """What came of a run.  Use it as a context manager, or let it go: what it holds goes with it.

    A result without a directory holds its dump as a file without a name, which takes one descriptor of this process;
    it cannot be pickled.
    """

    def __init__(self, record: Record, directory: Path | None = None) -> None:
        self._record = record
        self.directory = directory
        """Where the files are; None for a result that keeps nothing on disk."""
        self._dump: _Dump | None = None
        self._console = ""

    @classmethod
    def _taken(cls, record: Record, scratch: Path) -> Self:
        """A result with what it needs of a directory that is about to go."""
        result = cls(record)
        result._console = (scratch / CONSOLE_LOG).read_text()
        if record.vmcore:
            result._dump = _Dump(scratch / VMCORE)
        return result

    @property
    def scenario(self) -> Scenario:
        """What was run."""
        return self._record.scenario

    @property
    def outcome(self) -> Outcome:
        """The outcome; as text in the LKDTT paper's legend: O, X, and marks in brackets."""
        return self._record.outcome

    @property
    def captured(self) -> bool:
        """Whether a complete dump was saved, by whatever means."""
        return self.outcome.captured

    @property
    def evidence(self) -> list[str]:
        """What was seen, in sentences."""
        return self.outcome.evidence

    @property
    def judgement(self) -> Judgement | None:
        """The dump beside the machine's own knowledge: pages that differ and whose they are, registers; or None."""
        return self._record.judgement

    @property
    def accuracy(self) -> float | None:
        """Share of the dump's pages that are true, a fraction of 1 (LKDTT paper, section 2); None without a dump."""
        return self.judgement.accuracy if self.judgement else None

    @property
    def completeness(self) -> float | None:
        """Share of the RAM's pages that the dump holds, a fraction of 1; None without a dump."""
        return self.judgement.completeness if self.judgement else None

    @property
    def crash(self) -> Crash | None:
        """When and on which CPU the kernel began to die, from where it was called, and what the CPU was at."""
        return self._record.crash

    @property
    def console(self) -> str:
        """All that both kernels said on the serial console."""
        return self._console if self.directory is None else (self.directory / CONSOLE_LOG).read_text()

    def vmcore(self) -> Vmcore:
        """Open the dump; close it after use, or use it as a context manager.

        VmcoreError if no dump was captured, or if this result was closed.
        """
        if not self.captured:
            raise VmcoreError(f"no dump was captured: the outcome is {self.outcome}")
        if self.directory is not None:
            return open_dump(self.directory / VMCORE)
        if self._dump is None:
            raise VmcoreError("the result is closed, and its dump gone; give run() or crash() an output directory")
        return open_dump(Path(VMCORE), self._dump.again)

    def explain(self, *, replay: bool = False) -> str:
        """Why it ended so, in plain text: outcome, reason, evidence, what is wrong with the dump, the console's end.

        The last line is the command that runs it again.  With `replay` it is the page of `kdumpsim explain`: the run is
        repeated and watched.  NotTheSame, an error of kdumpsim's, if it cannot be.
        """
        if not replay:
            return explained(self._record, self.console)
        from kdumpsim.explain.page import text
        from kdumpsim.explain.replay import explain_result

        return text(explain_result(self._record))

    def to_dict(self) -> dict[str, Any]:
        """The object of result.json; fractions of 1, times in ns (virtual) and s (host)."""
        return self._record.as_dict()

    def close(self) -> None:
        """Let go of the dump; all else stays.  Files in a directory stay, too."""
        dump, self._dump = self._dump, None
        if dump is not None:
            dump.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Result], tuple[Record, Path]]:
        if self.directory is None:
            raise TypeError("a result without an output directory cannot be pickled: its dump is this process's own")
        return Result, (self._record, self.directory)

    def __repr__(self) -> str:
        return f"<Result of {self.scenario.crash_point} {self.scenario.crash_type}: {self.outcome}>"


class PhysicalMemory:
    """The RAM of a machine by physical address: an index gives a byte, a slice gives bytes.

    Read as a bus master reads it: all ones where nothing answers, such as in a hole.
    """

    def __init__(self, booted: Booted) -> None:
        self._booted = booted

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> bytes: ...
    def __getitem__(self, place: int | slice) -> int | bytes:
        """IndexError outside the 4 GiB of addresses, ValueError for a slice without both ends or with a step."""
        if isinstance(place, int):
            return self[place : place + 1][0]
        if place.start is None or place.stop is None or place.step not in (None, 1):
            raise ValueError("give both ends of a slice of memory, and no step: memory[0x1000:0x1010]")
        if not 0 <= place.start <= place.stop <= PHYSICAL_ADDRESSES:
            raise IndexError(f"{place.start:#x} to {place.stop:#x} are no physical addresses")
        return self._booted.session.machine.memory.dma_read(place.start, place.stop - place.start)


class Machine:
    """A booted machine at its prompt, made by `boot`.  Time stands still but for what `shell` takes.

    `crash` crashes a copy, so the machine can be crashed again and again; where the host has fork, the copy is a
    process of its own, which ends when this one does.  Use the machine as a context manager, or close it.
    Ctrl-C (KeyboardInterrupt) ends a boot, a crash or a command; the machine can be used on.
    A machine is for one thread at a time: `crash`, `shell` and `close` raise MachineBusy while another is at it.
    """

    def __init__(self, settings: BootSettings, host_timeout: float | None) -> None:
        _check_names("boot", settings, BootSettings)
        described: dict[str, Any] = dict(settings)
        if isinstance(described.get("modules"), str | os.PathLike):
            raise ScenarioError("modules is a list of files: write modules=[…]")
        described["guest_modules"] = tuple(os.fspath(path) for path in described.pop("modules", ()))
        described["nic"] = described.get("nic", False) or described.get("traffic", False)
        asked = KernelPart(**_only(KernelPart, described))
        kernel = replace(asked, kernel_options=changes(asked.profile, dict(asked.kernel_options)))
        self._described = described
        self._in_use = threading.Lock()
        self._booted: Booted | None = Booted(BootKey(PcPart(**_only(PcPart, described)), kernel), None, host_timeout)
        if self._booted.failed is not None:
            console, why = self.console, self._booted.failed
            self.close()
            raise BootFailed(why, console)

    @contextmanager
    def _alone(self) -> Iterator[Booted]:
        """The machine for one user; the engine ends the process where two run it at once."""
        if not self._in_use.acquire(blocking=False):
            raise MachineBusy("this machine is in use by another thread; give each thread a machine of its own")
        try:
            yield self._alive
        finally:
            self._in_use.release()

    @property
    def _alive(self) -> Booted:
        if self._booted is None:
            raise MachineDead("the machine was closed")
        return self._booted

    @property
    def memory(self) -> PhysicalMemory:
        """Physical memory: ``machine.memory[0x1000:0x1010]``."""
        return PhysicalMemory(self._alive)

    @property
    def symbols(self) -> Mapping[str, int]:
        """The first kernel's symbols: linear addresses by name.  The kernel maps physical memory at 0xC0000000."""
        return self._alive.session.first.symbols

    @property
    def console(self) -> str:
        """What the kernel has said on the serial console up to now."""
        return self._alive.session.console.text

    @property
    def now(self) -> int:
        """Virtual time, ns since power-on."""
        return self._alive.session.machine.clock.now

    def crash(
        self,
        point: str,
        kind: str,
        *,
        output: str | os.PathLike[str] | None = None,
        **settings: Unpack[CrashSettings],
    ) -> Result:
        """Crash a copy of the machine as it is now, at a crash point in one of the ways to crash; judge its dump.

        On a machine that `shell` has not touched, the result is that of `run` with the same settings, byte for byte.
        `settings`: see `CrashSettings`; `output` as for `run`.  Raises ScenarioError for a crash that cannot be, or
        that needs another machine, HostFailure, HostTimeout, and WorkerDied if the copy's process was killed.
        """
        _check_names("crash", settings, CrashSettings)
        with self._alone() as booted:
            return self._crash(booted, point, kind, output, settings)

    def _crash(
        self, booted: Booted, point: str, kind: str, output: str | os.PathLike[str] | None, settings: CrashSettings
    ) -> Result:
        if self._described.get("traffic"):
            settings["dma"] = tuple(dict.fromkeys((*settings.get("dma", ()), NETWORK_DMA)))
        scenario = Scenario(point, kind, **self._described, **settings)
        if wanted := _differences(scenario.boot_key(), booted.key):
            raise ScenarioError(f"{point} {kind} needs a machine booted with {wanted}")
        booted.leave = Leave(truth=None if output is not None else False)
        if output is not None:
            directory = Path(output)
            prepare(directory)
            return Result(_crashed(booted, scenario, directory), directory)
        with scratch_directory() as scratch:
            return Result._taken(_crashed(booted, scenario, scratch), scratch)

    def shell(self, command: str) -> str:
        """Do a command of ``kdumpsim console`` on the machine itself; what it prints.

        ``cat``, ``ls``, ``dmesg``, ``ps``, ``echo TEXT > FILE``, ``ttutils``, ``start``, ``sysrq``, ``step`` and
        others: docs/console.md has them all.  The machine's time passes meanwhile, and what the command does stays
        done for all later crashes.  Raises CommandError for a command that there is not, or that the guest refuses,
        MachineDead if the kernel died of it or is dead.
        """
        said: list[str] = []
        try:
            action = parse(command)
        except ValueError as error:
            raise CommandError(str(error)) from error
        with self._alone() as booted, booted.use() as session:
            try:
                action(Shell(session, said.append, CONTINUE_NS))
            except Quit:
                raise CommandError("quit leaves a prompt; close() ends this machine") from None
            except (Refused, AgentFailure, MechanismError, ValueError) as error:
                if not session.gone:
                    raise CommandError(str(error)) from error
            if session.gone:
                raise MachineDead(f"{story(session)}; crash() would have done it to a copy")
        return "".join(said)

    def close(self) -> None:
        """Shut the machine down; results stay."""
        if self._booted is not None:
            with self._alone() as booted:
                self._booted = None
                booted.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_names(what: str, given: Mapping[str, Any], known: type[BootSettings] | type[CrashSettings]) -> None:
    """ScenarioError for a keyword that `what` does not take."""
    names = known.__annotations__
    for name in given:
        if name not in names:
            raise ScenarioError(unknown(f"setting of {what}()", name, names))


def _only(part: type[PcPart] | type[KernelPart], described: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one part."""
    names = {item.name for item in fields(part)}
    return {name: value for name, value in described.items() if name in names}


def _differences(wanted: BootKey, there: BootKey) -> str:
    """What a crash asks of its machine that the booted one has not."""
    return ", ".join(
        f"{name}={value!r}"
        for part, booted in zip(wanted, there, strict=True)
        for name, value in vars(part).items()
        if vars(booted)[name] != value
    )


def _crashed(booted: Booted, scenario: Scenario, directory: Path) -> Record:
    """Crash a copy, in a process of its own where there can be one."""
    if not forking.CAN_FORK:
        return booted.again(scenario, directory)
    report = booted.crashed(scenario, directory)
    if report.result is None:
        raise report.error or WorkerDied(report.died)
    return report.result
