# SPDX-License-Identifier: GPL-2.0-or-later
"""Local workers: processes that boot a machine each, and crash copies of it one after the other.

A worker has one boot group (`plan.Group`) and ends with it, so memory is flat however long a sweep is.  What it tells,
it tells run by run; a worker that dies or no longer answers costs the run it was at, and the rest of its group goes to
another.
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from kdumpsim.compiler import GuestError
from kdumpsim.files import HostFailure, host_failure, scratch_directory
from kdumpsim.runs.children import CAN_FORK, spawn
from kdumpsim.runs.forking import Booted, Report, cause
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S, HostTimeout, Poll
from kdumpsim.runs.run import Leave
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps.plan import Arm, Group
from kdumpsim.sweeps.row import HOST_TIMEOUT, WORKER_DIED, Row

GRACE_S = 30.0
"""What a worker may take beyond the host's time for a run, before it counts as one that no longer answers."""
PIECES = 4
"""Groups are cut so that each worker gets about so many, at least."""
LEAST_PIECE = 8
"""Runs for which a boot of their own is worth it."""
SMALL = Leave(large=False, sha256=False, truth=False)
_HEAD = 4
"""Bytes of a message's length."""
_BETWEEN_POLLS_S = 0.1
_READ = 1 << 16
_TOLD = (HostFailure, GuestError)
"""What ends a sweep."""

Told = tuple[int, Row | None]
"""The number of a run in its group; its row, or None when it begins."""


@dataclass(frozen=True)
class Ways:
    """How runs are run."""

    host_timeout: float | None = HOST_TIMEOUT_S
    """Real seconds for each boot and for each run; None: no limit."""
    keep: Path | None = None
    """Where the small files of each run go; None: nowhere."""


def run_group(scenarios: Iterable[Scenario], ways: Ways) -> Iterator[Told]:
    """Boot, and crash copies; tells before and after each run.  Runs that fail have rows, too.

    HostFailure where the host cannot go on, such as for want of space; GuestError where there is no kernel to boot.
    """
    scenarios = list(scenarios)
    try:
        booted = Booted(scenarios[0], None, ways.host_timeout, len(scenarios))
    except _TOLD:
        raise
    except Exception as error:
        end = HOST_TIMEOUT if isinstance(error, HostTimeout) else WORKER_DIED
        yield from ((number, Row.without_outcome(each, end, cause(error))) for number, each in enumerate(scenarios))
        return
    booted.leave = SMALL
    with closing(booted), scratch_directory(ways.keep) as scratch:
        for number, scenario in enumerate(scenarios):
            yield number, None
            report = _crashed(booted, scenario, scratch / str(number))
            if ways.keep is not None and report.result is None:
                report = report.meant_for(ways.keep / directory_name(Row.of(report)))
            if isinstance(report.error, HostFailure):
                raise report.error  # the next run would meet it, too
            row = Row.of(report)
            if ways.keep is not None and row.ok is not None:
                _keep(scratch / str(number), ways.keep / directory_name(row))
            yield number, row


def directory_name(row: Row) -> str:
    """Where the files of a run are kept; the beginning of its key tells arms apart."""
    return f"{row.crash_point}-{row.crash_type}-count{row.count}-seed{row.seed}-{row.key.hex()[:8]}"


def _crashed(booted: Booted, scenario: Scenario, directory: Path) -> Report:
    directory.mkdir()
    if CAN_FORK:
        if booted.may_crash_itself(scenario):
            return booted.itself(scenario, directory)
        return booted.fork(scenario, directory).report()
    try:
        return Report(scenario, directory, booted.again(scenario, directory))
    except Exception as error:
        return Report(scenario, directory, None, cause(error), isinstance(error, HostTimeout))


def _keep(made: Path, place: Path) -> None:
    place.mkdir(exist_ok=True)
    for file in made.iterdir():
        file.replace(place / file.name)


def run_locally(
    groups: Iterable[Group], jobs: int, ways: Ways, poll: Poll | None = None, *, grace: float = GRACE_S
) -> Generator[tuple[Arm, Row], None, None]:
    """Run groups, `jobs` workers side by side; rows come as runs end.

    Closing the iterator early, or what `poll` raises, ends the workers and what they run.
    """
    if not CAN_FORK:
        for group in groups:
            for _, row in run_group(group.scenarios, ways):
                if poll is not None:
                    poll()
                if row is not None:
                    yield group.arm, row
        return
    waiting: deque[Group] = deque()
    source = iter(groups)
    workers: set[_Worker] = set()
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                while len(workers) < jobs and (due := waiting.popleft() if waiting else next(source, None)):
                    worker = _Worker(due, ways, grace, workers)
                    selector.register(worker, selectors.EVENT_READ)
                if not workers:
                    return
                ready = {key.fileobj for key, _ in selector.select(_BETWEEN_POLLS_S)}
                if poll is not None:
                    poll()  # Ctrl-C kills the workers, too: they did not die of themselves
                for worker in list(workers):
                    if worker in ready:
                        yield from ((worker.group.arm, row) for row in worker.take())
                    if worker.over or worker.late:
                        selector.unregister(worker)
                        workers.discard(worker)
                        row = worker.end()
                        if row is not None:
                            yield worker.group.arm, row
                        if worker.left:
                            waiting.append(replace(worker.group, scenarios=worker.left))
        finally:
            for worker in workers:
                worker.end()


def pieces(groups: Iterable[Group], total: int, jobs: int) -> Iterator[Group]:
    """Groups cut where there are too few of them for all workers to have work to the end."""
    size = max(LEAST_PIECE, -(-total // (PIECES * jobs)))
    return (piece for group in groups for piece in group.pieces(size))


class _Worker:
    """A worker under way, seen from its parent."""

    def __init__(self, group: Group, ways: Ways, grace: float, workers: set[_Worker]) -> None:
        """Start it and add it to `workers`, even if a signal arrives meanwhile."""
        self.group = group
        self.left = group.scenarios
        """Runs that it has not begun."""
        self._at: Scenario | None = None
        self._why = ""
        self._received = bytearray()
        self.over = False
        self._limit = None if ways.host_timeout is None else ways.host_timeout + grace
        self._heard = time.monotonic()

        def started(pid: int, pipe: int) -> None:
            self.pid, self._pipe = pid, pipe
            workers.add(self)

        spawn(lambda pipe: _tell_all(pipe, run_group(group.scenarios, ways)), started)

    def fileno(self) -> int:
        """The pipe, for selectors."""
        return self._pipe

    @property
    def late(self) -> bool:
        """Whether it has told nothing for longer than a run may take."""
        return self._limit is not None and time.monotonic() - self._heard > self._limit

    def take(self) -> Iterator[Row]:
        """What it has told since the last time."""
        data = os.read(self._pipe, _READ)
        self.over = not data
        self._received += data
        self._heard = time.monotonic()
        while len(self._received) >= _HEAD:
            end = _HEAD + int.from_bytes(self._received[:_HEAD])
            if len(self._received) < end:
                return
            told = pickle.loads(bytes(self._received[_HEAD:end]))
            del self._received[:end]
            if isinstance(told, Exception):
                raise told
            if isinstance(told, str):
                self._why = told
                return
            number, row = told
            self.left = self.group.scenarios[number + 1 :]
            self._at = self.group.scenarios[number] if row is None else None
            if row is not None:
                yield row

    def end(self) -> Row | None:
        """End it, whatever it does; a row for the run that it was at."""
        late = not self.over
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # nothing after it has closed its pipe
        os.close(self._pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if self._at is None and self.left:  # it booted, or was between two runs
            self._at, self.left = self.left[0], self.left[1:]
        if self._at is None:
            return None
        if late:
            return Row.without_outcome(self._at, HOST_TIMEOUT, f"the worker told nothing for {self._limit:g} s")
        if self._why:
            return Row.without_outcome(self._at, WORKER_DIED, self._why)
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return Row.without_outcome(self._at, WORKER_DIED, f"the worker {how}")


def told_of(error: BaseException) -> Exception | str:
    """What a worker tells of what ended it: what ends the sweep, or what one run died of."""
    if isinstance(error, _TOLD):
        return error
    return host_failure(error) if isinstance(error, OSError | MemoryError) else cause(error)


def _tell(file: BinaryIO, what: Any) -> None:
    message = pickle.dumps(what)
    file.write(len(message).to_bytes(_HEAD) + message)
    file.flush()


def _tell_all(file: BinaryIO, run: Iterable[Told]) -> None:
    """What a worker does: run, and tell."""
    try:
        for told in run:
            _tell(file, told)
    except BaseException as error:
        _tell(file, told_of(error))
