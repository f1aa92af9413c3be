# SPDX-License-Identifier: GPL-2.0-or-later
"""The pytest plugin: fixture `kdump`, mark ``kdump``, options ``--kdump-…`` (docs/pytest.md).

pytest imports this wherever kdumpsim is installed, so it imports nothing of kdumpsim until a test asks for the fixture.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kdumpsim.pytest_plugin.fixture import Kdump
    from kdumpsim.pytest_plugin.machines import Machines

_KDUMP = pytest.StashKey["Kdump"]()
_SEEDS = re.compile(r"(\d+)(?:-(\d+))?")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("kdump", "kdumpsim: crash a kernel, judge its dump")
    group.addoption(
        "--kdump-seeds",
        type=_seeds,
        metavar="N|A-B",
        help="seeds of every kdump.sweep, whatever the test says: N of them, or A to B",
    )
    group.addoption(
        "--kdump-keep",
        type=Path,
        metavar="DIR",
        help="keep the files of crashes that a test failed of: console, result, and vmcore or the machine's own memory",
    )
    group.addoption(
        "--kdump-jobs",
        type=_jobs,
        metavar="N",
        help="runs of a sweep at a time (default: the CPUs there are, shared among xdist's workers)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line(
        "markers",
        "kdump(**settings): the machine and the crash of the fixture kdump, by the names of a Scenario's fields, and "
        "modules=[…], guest code of one's own",
    )


@pytest.fixture(scope="session")
def _kdump_machines() -> Iterator[Machines]:
    """Machines that are booted, by what they were booted with."""
    from kdumpsim.pytest_plugin.machines import Machines

    with Machines() as machines:
        yield machines


@pytest.fixture
def kdump(request: pytest.FixtureRequest, _kdump_machines: Machines) -> Kdump:
    """Crash a kernel and judge its dump: ``kdump.crash("FS_DEVRW", "panic", cpus=4)``, ``kdump.sweep(…)``.

    Machines are booted once a session and set of options, and forked for each crash.
    """
    from kdumpsim.errors import KdumpsimError
    from kdumpsim.pytest_plugin.fixture import Kdump

    try:
        made = Kdump(
            _kdump_machines,
            request.path,
            list(request.node.iter_markers("kdump"))[::-1],  # the outermost first
            getattr(request, "param", {}),
            seeds=request.config.getoption("--kdump-seeds"),
            keep=_keep(request),
            jobs=request.config.getoption("--kdump-jobs") or _usual_jobs(),
        )
    except KdumpsimError as error:
        pytest.fail(str(error), pytrace=False)
    request.node.stash[_KDUMP] = made
    return made


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failed test's report what its crashes came to."""
    report = yield
    made = item.stash.get(_KDUMP, None)
    if made is not None and report.failed:
        error = call.excinfo.value if call.excinfo is not None else None
        if text := made.account(report.longreprtext, error):
            report.sections.append(("kdump", text))
    return report


def _seeds(text: str) -> range:
    """``5``: 0 to 4; ``10-19``: these."""
    match = _SEEDS.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' says no seeds: give how many, as in 5, or which, as in 10-19")
    first, last = (0, int(match[1]) - 1) if match[2] is None else (int(match[1]), int(match[2]))
    if first > last:
        raise argparse.ArgumentTypeError(f"'{text}' has no seed in it: give how many, as in 5, or which, as in 10-19")
    return range(first, last + 1)


def _jobs(text: str) -> int:
    """At least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of parallel runs: give 1 or more")
    return int(text)


def _usual_jobs() -> int:
    """This process's share of the CPUs."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, len(os.sched_getaffinity(0)) // workers)


def _keep(request: pytest.FixtureRequest) -> Path | None:
    """The directory for a test's files: no two tests have one, in whichever worker they run."""
    keep: Path | None = request.config.getoption("--kdump-keep")
    if keep is None:
        return None
    return request.config.invocation_params.dir / keep / re.sub(r"[^\w.]+", "-", request.node.nodeid).strip("-")
