# SPDX-License-Identifier: GPL-2.0-or-later
"""Sweeps for programs: a plan run into a store, and what the store says."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from kdumpsim.files import scratch_directory
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S
from kdumpsim.sweeps.comparing import Comparison, compare, side
from kdumpsim.sweeps.export import runs
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.running import Progress, run_plan, runner
from kdumpsim.sweeps.store import Store, StoreError
from kdumpsim.sweeps.tally import Failures, Tally, by_arm, cells, failures, labels
from kdumpsim.sweeps.workers import Ways


def sweep(
    points: str | Sequence[str],
    types: str | Sequence[str],
    *,
    counts: int | str | Sequence[int] = 10,
    seeds: int | str | Sequence[int] = 0,
    options: Mapping[str, Sequence[str]] | None = None,
    store: str | os.PathLike[str] | None = None,
    resume: bool = False,
    jobs: int | None = None,
    dask: str | None = None,
    host_timeout: float | None = HOST_TIMEOUT_S,
    progress: Callable[[Progress], object] | None = None,
    **fields: Any,
) -> Sweep:
    """Run every crash point in every way, at every count, from every seed, in every arm; count how they end.

    Numbers are lists, ranges or text such as ``"1-20"``.  `options` vary kernel options: ``{"stack": ["4k", "8k"]}``.
    `fields` are other fields of a `Scenario`; a list varies one.  Without `store`, a file, nothing is kept on disk.
    `resume`: go on with a store that is there.  `jobs`: local workers (default: the CPUs of this host); `dask`: the
    address of a scheduler whose workers to use instead.  `host_timeout`: real seconds for each boot and each run.
    `progress` is called after each run.

    A run whose worker died or did not answer in time is counted without an outcome.  Raises ScenarioError for a plan
    that makes no sense, StoreError for a file that is in the way, HostFailure for files that cannot be written.
    """
    named = {"points": points, "types": types, "counts": counts, "seeds": seeds, "options": options or {}}
    plan = Plan.from_dict({**named, **fields})
    with ExitStack() as stack:
        path = Path(store) if store is not None else stack.enter_context(scratch_directory()) / "sweep.sqlite"
        if path.exists() and not resume:
            raise StoreError(f"the store '{path}' exists: pass resume=True to continue it, or choose another store")
        opened = stack.enter_context(Store(path, create=True))
        so_far = Progress(plan.total)

        for _ in run_plan(plan, opened, runner(plan, jobs, dask, Ways(host_timeout)), so_far):
            if progress is not None:
                progress(so_far)
        return Sweep(opened, stack.pop_all())


class Sweep:
    """The runs of a sweep.  Use it as a context manager, or let it go; a sweep without a store goes with it."""

    def __init__(self, store: Store, resources: ExitStack | None = None) -> None:
        self._store = store
        self._close = weakref.finalize(self, (resources or ExitStack()).close)

    @classmethod
    def open(cls, store: str | os.PathLike[str]) -> Self:
        """What an earlier sweep left.  StoreError for a file that is no store of this version."""
        with ExitStack() as stack:
            opened = stack.enter_context(Store(Path(store)))
            return cls(opened, stack.pop_all())

    def __len__(self) -> int:
        return len(self._store)

    @property
    def arms(self) -> dict[str, Tally]:
        """How the runs of each arm ended, by what tells it from the others: ``stack=4k``, or ``all runs``."""
        named = labels(self._store.arms)
        return {named[arm]: tally for arm, tally in by_arm(cells(self._store)).items()}

    @property
    def cells(self) -> dict[tuple[str, str, str], Tally]:
        """The same by arm, crash point and crash type."""
        named = labels(self._store.arms)
        return {(named[arm], point, kind): tally for (arm, point, kind), tally in cells(self._store).items()}

    def runs(self) -> Iterator[dict[str, Any]]:
        """Each run as plain data, with the command that runs it again."""
        yield from runs(self._store)  # as a generator of its own, it keeps the store open

    def failures(self) -> list[Failures]:
        """Runs that are not O, in groups of those that ended alike with the same call chain; the largest first."""
        return failures(self._store)

    def compare(self, a: str, b: str) -> Comparison:
        """Two sides such as ``stack=4k`` and ``stack=8k``, pair by pair.  StoreError where there are no pairs."""
        return compare(self._store, side(a), side(b))

    def html(self) -> str:
        """The page of ``kdumpsim report --html``."""
        from kdumpsim.sweeps.report import page

        return page(self._store)

    def close(self) -> None:
        """Close the store."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
