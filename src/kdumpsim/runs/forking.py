# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot once, crash many times: a booted machine is forked for each run, and the run reports home through a pipe.

A run's seed takes effect at power-on, so scenarios that agree in everything that decides the machine up to the arming
of the crash point (`Scenario.boot_key`: seed, CPUs, memory, kernel options, …) share one boot, and only these.  What a
forked run does is therefore what a cold run does, byte for byte.  Where the host has no ``os.fork``, each run begins
with a new machine that is given the booted one's state as plain data (`Session.state`), to the same end.
"""

from __future__ import annotations

import os
import pickle
import select
import selectors
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from kdumpsim.compiler import GuestError
from kdumpsim.errors import KdumpsimError
from kdumpsim.faults.survey import Survey
from kdumpsim.files import HostFailure, host_failure
from kdumpsim.machines.pc import capable
from kdumpsim.notices import notice
from kdumpsim.runs.children import CAN_FORK as CAN_FORK
from kdumpsim.runs.children import spawn
from kdumpsim.runs.drawing import SurveyKey, wants_survey
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S, HostTimeout, Poll, check_host_timeout, within
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import EVERYTHING, Leave, build_kernels, drive, finish, look_ahead, power_on, start
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import BootKey, Scenario
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.signals import HeldSignals

WORTH_WARMING = 4
"""So many forks make up for a crash of the machine itself (`Booted.warm`)."""
WARMING_S = 2.0
"""Of the host's time: a crash takes a tenth."""
WARMING_POINT = "FS_DEVRW"
"""Where the machine is crashed for scenarios that strike elsewhere: a file-system load comes by at once."""
_PIECE = 1 << 16
_BETWEEN_POLLS_S = 0.1
_TOLD = (HostTimeout, HostFailure, ScenarioError)
"""What a worker's parent is told as it is."""


@dataclass(frozen=True)
class Report:
    """What came home of a run: its result, or how its worker died.  A dead worker says nothing about the guest."""

    scenario: Scenario
    directory: Path
    result: Result | None
    died: str | None = None
    timed_out: bool = False
    """It was ended because the host's time for it was up."""
    error: KdumpsimError | None = None
    """What it died of, where that is something that kdumpsim raises on purpose."""

    @property
    def end(self) -> str:
        """The outcome, or in a word or two why there is none."""
        if self.result is not None:
            return str(self.result.outcome)
        return "host time-out" if self.timed_out else "worker died"

    def meant_for(self, place: Path) -> Report:
        """The same with `place` for its directory, also in what is said: it ran in a scratch one."""
        died, error = self.died, self.error
        if died is not None:
            died = died.replace(str(self.directory), str(place))
        if isinstance(error, HostFailure):
            error = HostFailure(died)
        return replace(self, directory=place, died=died, error=error)


class Booted:
    """A machine at the prompt, its dump mechanism armed; `fork` and `again` crash copies of it, it stays as it is."""

    leave = EVERYTHING
    """What copies leave in their directories."""

    def __init__(
        self,
        of: Scenario | BootKey,
        poll: Poll | None = None,
        host_timeout: float | None = None,
        forks: int | None = None,
    ) -> None:
        """Power on and boot.  ScenarioError for a machine that cannot be.

        `host_timeout`: real seconds for the boot, and for each copy from then on; HostTimeout.  `forks`: how many
        there will be, if that is known.
        """
        check_host_timeout(host_timeout)
        self.key = pc, kernel = BootKey(of.pc, of.kernel)
        self._poll = poll
        self._host_timeout = host_timeout
        self.session = power_on(pc, kernel)
        capable(self.session.machine.copying, pc, "copied")
        self._state: dict[str, Any] | None = None
        self._surveys: dict[SurveyKey, Survey | None] = {}
        self._forks = 0
        self._warm_at = WORTH_WARMING if forks is None else 1 if forks > WORTH_WARMING else None
        """Before which fork to call `warm`; None: before none."""
        try:
            self.session.machine.poll = within(host_timeout, poll)
            self.failed = start(self.session)
            """What went wrong, or None."""
        except BaseException:
            self.close()
            raise
        self.session.machine.poll = None

    @contextmanager
    def use(self) -> Iterator[Session]:
        """Its session, for something that is to be done on the machine itself, and so on all later copies."""
        self._state = self._warm_at = None
        self._surveys.clear()
        self.session.machine.poll = within(self._host_timeout, self._poll)
        try:
            yield self.session
        finally:
            self.session.machine.poll = None

    def close(self) -> None:
        """Discard the machine; copies that are running continue."""
        self._state = None
        self.session.close()

    def fork(self, scenario: Scenario, directory: Path, workers: set[Worker] | None = None) -> Worker:
        """Crash a copy in a process of its own; its four files go to `directory`.

        Whatever signal comes meanwhile, a worker that was started is in `workers`.
        """
        self._warm_if_due(scenario)
        seen = self._look_ahead(scenario)
        self._forks += 1
        capable(self.session.machine.copying, self.key.pc, "copied").prepare_fork()
        made: list[Worker] = []

        def work(pipe: BinaryIO) -> None:
            pipe.write(_run(lambda: self._crash(self.session, scenario, directory, None, seen)))

        def started(pid: int, pipe: int) -> None:
            made.append(Worker(pid, pipe, scenario, directory))
            if workers is not None:
                workers.update(made)

        spawn(work, started)
        return made[0]

    def may_crash_itself(self, scenario: Scenario) -> bool:
        """Is a crash of the machine itself due (`warm`), and would this one do?"""
        if not scenario.crash_point or self.failed is not None:
            return False
        usual = replace(_warming(scenario), crash_type=scenario.crash_type) == scenario
        return usual and self._forks + 1 == self._warm_at

    def itself(self, scenario: Scenario, directory: Path) -> Report:
        """Crash the machine itself and put back what it was: a run that counts, and `warm` in one.

        For processes that may die of a run.
        """
        self._check(scenario)
        session, state = self.session, self.session.state()
        result, died, error = None, None, None
        try:
            result = self._crash(session, scenario, directory, None, None)
        except Exception as failure:
            died, error = cause(failure), failure if isinstance(failure, _TOLD) else None
        self.session = session.rewound(state, build_kernels(*self.key)[1])
        self.session.machine.poll = None
        if session.jumped:
            self._warm_at = None
        else:
            self.warm(scenario)
        return Report(scenario, directory, result, died, isinstance(error, HostTimeout), error)

    def crashed(self, scenario: Scenario, directory: Path) -> Report:
        """Crash a copy in a process of its own, and wait for it.

        What a signal's handler raises (KeyboardInterrupt) comes out of here once the process is gone: however many
        signals come, and however fast, none is heard between its start and its end but here.
        """
        self._warm_if_due(scenario)  # which a signal may end
        self._look_ahead(scenario)
        with HeldSignals(lambda: None) as signals:
            worker = self.fork(scenario, directory)
            try:
                return worker.report(signals.deliver)
            finally:
                worker.kill()

    def _warm_if_due(self, scenario: Scenario) -> None:
        """Before a fork."""
        self._check(scenario)
        if self._forks + 1 == self._warm_at:
            self.warm(scenario)

    def warm(self, scenario: Scenario) -> None:
        """Crash the machine itself and put back what it was: copies find the code translated that a crash runs.

        What they do is the same.  Not after `use`, which may have left what no state tells of.
        """
        self._warm_at = None
        if self.failed is not None:
            return
        state, crash = self.session.state(), _warming(scenario)
        try:
            self.session.machine.poll = within(WARMING_S)
            with suppress(Exception):  # whatever becomes of it, a copy's own run will tell
                drive(self.session, crash)
                self.session.mechanism.judge(self.session)
        finally:
            self.session = self.session.rewound(state, build_kernels(*self.key)[1])

    def again(self, scenario: Scenario, directory: Path) -> Result:
        """Crash a copy in this process, without fork."""
        self._check(scenario)
        seen = self._look_ahead(scenario)
        if self._state is None:
            if not CAN_FORK:
                notice("this host has no fork: each run restores the booted machine and translates its code anew")
            self._state = self.session.state()
        with closing(power_on(*self.key)) as copy:
            copy.restore(self._state)
            return self._crash(copy, scenario, directory, self._poll, seen)

    def _check(self, scenario: Scenario) -> None:
        if scenario.boot_key() != self.key:
            raise ValueError(f"'{scenario.command()}' needs a machine that was booted differently")

    def _look_ahead(self, scenario: Scenario) -> Survey | None:
        """The survey that a scenario needs: one for all scenarios with the same load."""
        if self.failed is not None or not wants_survey(scenario):
            return None
        key = SurveyKey.of(scenario)
        if key not in self._surveys:
            self.session.machine.poll = within(self._host_timeout, self._poll)
            try:
                self._surveys[key] = look_ahead(self.session, scenario)
            finally:
                self.session.machine.poll = None
        return self._surveys[key]

    def _crash(
        self, session: Session, scenario: Scenario, directory: Path, poll: Poll | None, seen: Survey | None
    ) -> Result:
        session.machine.poll = within(self._host_timeout, poll)
        return finish(session, scenario, directory, self.failed, self.leave, seen)


def _warming(scenario: Scenario) -> Scenario:
    """A crash that is like the scenario's as far as it matters for what is translated."""
    usual: dict[str, Any] = {"vary": (), "draw": 0, "faults": 1, "breaks": (), "latency": 100}
    if scenario.crash_point:
        return replace(scenario, crash_type="panic", **usual)
    # Most faults that end in a dump end in an oops.
    return replace(scenario, crash_point=WARMING_POINT, crash_type="exception", at=None, fault=(), **usual)


def _run(run: Callable[[], Result]) -> bytes:
    """What a worker tells its parent: a result, or what it died of."""
    try:
        return pickle.dumps(run())
    except BaseException as error:
        return pickle.dumps(error if isinstance(error, _TOLD) else cause(error))


def cause(error: BaseException) -> str:
    """What a worker died of: a sentence for the host's failures, a traceback for a bug."""
    if isinstance(error, _TOLD):
        return str(error)
    if isinstance(error, (OSError, MemoryError)):
        return str(host_failure(error))
    return f"exception in the worker: {''.join(traceback.format_exception(error)).strip()}"


class Worker:
    """A forked run that is under way, seen from its parent."""

    def __init__(self, pid: int, pipe: int, scenario: Scenario, directory: Path) -> None:
        self.pid = pid
        self._pipe = pipe
        self._scenario, self._directory = scenario, directory
        self._received = bytearray()
        self._reaped = False

    def fileno(self) -> int:
        """The pipe, for selectors."""
        return self._pipe

    def read(self) -> bool:
        """Take what the pipe has (waiting for something); True when the worker has closed it."""
        data = os.read(self._pipe, _PIECE)
        self._received += data
        return not data

    def report(self, between: Callable[[], object] = lambda: None) -> Report:
        """Wait for the end; what came of it.  `between` is called every now and then meanwhile, and may raise."""
        pipe = select.poll()
        pipe.register(self._pipe, select.POLLIN)
        while True:
            between()
            if pipe.poll(_BETWEEN_POLLS_S * 1000) and self.read():
                break
        os.close(self._pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._reaped = True
        message: object = None
        if status == 0:
            with suppress(Exception):
                message = pickle.loads(bytes(self._received))
        if isinstance(message, Result):
            return Report(self._scenario, self._directory, message)
        if isinstance(message, _TOLD):
            timed_out = isinstance(message, HostTimeout)
            return Report(self._scenario, self._directory, None, str(message), timed_out, message)
        if isinstance(message, str):
            died = message
        elif status < 0:
            died = f"the worker was killed by {signal.Signals(-status).name}"
        else:
            died = f"the worker ended with status {status} and no report"
        return Report(self._scenario, self._directory, None, died)

    def kill(self) -> None:
        """End it, whatever it does; nothing after `report`."""
        if self._reaped:
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._reaped = True
        with suppress(OSError):  # `report` may have closed it
            os.close(self._pipe)


Job = tuple[Scenario, Path]


def run_all(
    jobs: Iterable[Job],
    processes: int,
    *,
    fork: bool = CAN_FORK,
    poll: Poll | None = None,
    leave: Leave = EVERYTHING,
    host_timeout: float | None = HOST_TIMEOUT_S,
) -> Generator[Report, None, None]:
    """Run scenarios, each into a directory of its own, `processes` at a time; reports come as runs end.

    Scenarios that can share a boot do.  GuestError where there is no kernel to boot.  Closing the iterator early, or an
    exception in it (KeyboardInterrupt, or what `poll` raises), kills the workers under way.  `host_timeout`: real
    seconds for each boot and for each run; None: no limit.
    """
    groups: dict[tuple[object, ...], deque[Job]] = {}
    for job in jobs:
        groups.setdefault(job[0].boot_key(), deque()).append(job)
    for group in groups.values():
        if not fork:
            yield from _in_turn(group, poll, leave, host_timeout)
    if fork:
        yield from _forked(groups.values(), max(processes, 1), poll, leave, host_timeout)


def _in_turn(group: deque[Job], poll: Poll | None, leave: Leave, host_timeout: float | None) -> Iterator[Report]:
    booted: Booted | None = None
    for scenario, directory in group:
        result, died, timed_out = None, None, False
        try:
            booted = booted or Booted(scenario, poll, host_timeout)
            booted.leave = leave
            result = booted.again(scenario, directory)
        except GuestError:
            raise
        except Exception as error:
            died, timed_out = cause(error), isinstance(error, HostTimeout)
        yield Report(scenario, directory, result, died, timed_out)


def _forked(
    groups: Iterable[deque[Job]], processes: int, poll: Poll | None, leave: Leave, host_timeout: float | None
) -> Iterator[Report]:
    workers: set[Worker] = set()
    with selectors.DefaultSelector() as selector:

        def wait(most: int) -> Iterator[Report]:
            """Reports until at most `most` workers are under way."""
            while len(workers) > most:
                ready = selector.select(_BETWEEN_POLLS_S)
                if poll is not None:
                    poll()  # Ctrl-C kills the workers, too: they did not die of themselves
                for key, _ in ready:
                    worker = key.fileobj
                    assert isinstance(worker, Worker)
                    if worker.read():
                        selector.unregister(worker)
                        report = worker.report()
                        workers.discard(worker)
                        yield report

        try:
            for group in groups:
                yield from wait(processes - 1)
                try:
                    booted = Booted(group[0][0], poll, host_timeout, len(group))
                    booted.leave = leave
                except GuestError:
                    raise
                except Exception as error:
                    died, timed_out = cause(error), isinstance(error, HostTimeout)
                    yield from (Report(scenario, directory, None, died, timed_out) for scenario, directory in group)
                    continue
                with closing(booted):
                    for scenario, directory in group:
                        yield from wait(processes - 1)
                        worker = booted.fork(scenario, directory, workers)
                        selector.register(worker, selectors.EVENT_READ)
                del booted
            yield from wait(0)
        finally:
            for worker in workers:
                worker.kill()
