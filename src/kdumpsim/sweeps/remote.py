# SPDX-License-Identifier: GPL-2.0-or-later
"""Workers on other machines, by dask.distributed (extra ``dask``): a task a boot group.

A task runs its group in a process of its own, as a local worker would; a Dask worker that dies has its task run again
elsewhere, and a group that several workers died of gets rows without an outcome.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any

from kdumpsim.compiler import GuestError
from kdumpsim.errors import KdumpsimError
from kdumpsim.files import HostFailure
from kdumpsim.machines.parent import die_with
from kdumpsim.runs.forking import cause
from kdumpsim.runs.hosttime import Poll
from kdumpsim.sweeps.extras import extra
from kdumpsim.sweeps.plan import Arm, Group
from kdumpsim.sweeps.row import WORKER_DIED, Row, identity
from kdumpsim.sweeps.workers import Ways, run_locally, told_of

CONNECT_S = 10.0
AHEAD = 2
"""Groups that are handed out for each thread of a worker."""
_BETWEEN_POLLS_S = 0.2
_SERVE = "from kdumpsim.sweeps.remote import serve; serve()"


def run_remotely(
    groups: Iterable[Group], address: str, ways: Ways, poll: Poll | None = None
) -> Generator[tuple[Arm, Row], None, None]:
    """Run groups on the workers of a scheduler; rows come as groups end.

    HostFailure where no scheduler answers, where it goes away, and for workers with another kernel than here.
    """
    distributed = extra("distributed", "dask")
    try:
        client = distributed.Client(address, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise HostFailure(
            f"no Dask scheduler answers at '{address}' ({error}): start one with `dask scheduler`, workers with "
            "`dask worker ADDRESS`, and name it as in tcp://HOST:8786"
        ) from error
    under_way: dict[Any, Group] = {}
    source = iter(groups)
    try:
        while True:
            room = AHEAD * max(sum(client.ncores().values()), 1) - len(under_way)
            for _, group in zip(range(room), source, strict=False):
                under_way[client.submit(run_task, group.scenarios, ways, pure=False, retries=0)] = group
            if not under_way:
                return
            with suppress(TimeoutError):
                distributed.wait(list(under_way), timeout=_BETWEEN_POLLS_S, return_when="FIRST_COMPLETED")
            if poll is not None:
                poll()
            for future in [future for future in under_way if future.status != "pending"]:
                group = under_way.pop(future)
                yield from ((group.arm, row) for row in _rows(future, group, address))
    except OSError as error:
        raise _gone(address) from error
    finally:
        with suppress(Exception):
            client.cancel(list(under_way), force=True)
        client.close(timeout=CONNECT_S)


def _gone(address: str) -> HostFailure:
    return HostFailure(f"the Dask scheduler at '{address}' has gone: continue with --resume when it is back")


def _rows(future: Any, group: Group, address: str) -> list[Row]:
    if future.status == "finished":
        rows: list[Row] = future.result()
        if {row.key for row in rows} != {identity(scenario)[0] for scenario in group.scenarios}:
            raise HostFailure("a Dask worker has a different kernel: install the same kdumpsim on all machines")
        return rows
    if future.status != "error":
        raise _gone(address)
    error = future.exception()
    if isinstance(error, HostFailure | GuestError):
        raise error
    why = f"Dask's workers died of it: {error}" if type(error).__name__ == "KilledWorker" else cause(error)
    return [Row.without_outcome(scenario, WORKER_DIED, why) for scenario in group.scenarios]


def run_task(scenarios: tuple[Any, ...], ways: Ways) -> list[Row]:
    """On a Dask worker: run a group in a process of its own, which has no threads and ends with the worker."""
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.run(
        [sys.executable, "-c", _SERVE, str(os.getpid())],
        input=pickle.dumps((scenarios, ways)),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    if process.returncode:
        raise KdumpsimError(f"the process of a group ended with status {process.returncode}")
    answer = pickle.loads(process.stdout)
    if isinstance(answer, Exception):
        raise answer
    rows: list[Row] = answer
    return rows


def serve() -> None:
    """The process of a group: what to run comes on standard input, rows go to standard output."""
    die_with(int(sys.argv[1]))
    scenarios, ways = pickle.load(sys.stdin.buffer)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints
    try:
        answer: object = [row for _, row in run_locally([Group(Arm((), ""), scenarios)], 1, ways)]
    except Exception as error:
        told = told_of(error)
        answer = told if isinstance(told, Exception) else KdumpsimError(told)
    with out:
        pickle.dump(answer, out)
