# SPDX-License-Identifier: GPL-2.0-or-later
"""Many scenarios one after the other or side by side, each judged, with the large files thrown away.

A run leaves its result.json and console.log in ``DIR/POINT-TYPE-seedN`` where they are to be kept; vmcore and vmlinux
are rebuilt by the command that result.json names, byte for byte, and so are not.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path

from kdumpsim.files import scratch_directory, writable_directory
from kdumpsim.runs.forking import CAN_FORK, Report, run_all
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S, Poll
from kdumpsim.scenario.scenario import Scenario

LARGE_FILES = ("vmcore", "vmlinux")


def directory_name(scenario: Scenario) -> str:
    """Where a run's files are kept; runs of a sweep differ in these three."""
    return f"{scenario.crash_point}-{scenario.crash_type}-seed{scenario.seed}"


def sweep(
    scenarios: Iterable[Scenario],
    processes: int,
    keep: Path | None = None,
    *,
    fork: bool = CAN_FORK,
    poll: Poll | None = None,
    host_timeout: float | None = HOST_TIMEOUT_S,
) -> Generator[Report, None, None]:
    """Run all of them; reports come as runs end.  HostFailure if `keep` cannot be written to.

    A run that takes more than `host_timeout` real seconds is ended and reported as such, as is a boot.
    Whatever ends the iteration, no worker and no file outside `keep` is left.
    """
    if keep is not None:
        writable_directory(keep)
    with scratch_directory(keep) as scratch:
        jobs = []
        for scenario in scenarios:
            directory = scratch / directory_name(scenario)
            directory.mkdir()
            jobs.append((scenario, directory))
        with closing(run_all(jobs, processes, fork=fork, poll=poll, host_timeout=host_timeout)) as reports:
            for report in reports:
                for name in LARGE_FILES:
                    (report.directory / name).unlink(missing_ok=True)
                if keep is not None and report.result is not None:
                    kept = keep / report.directory.name
                    if kept.exists():
                        shutil.rmtree(kept)
                    report.directory.rename(kept)
                yield report
