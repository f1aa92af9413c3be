# SPDX-License-Identifier: GPL-2.0-or-later
"""Many scenarios one after the other or side by side, each judged, with the large files thrown away.

A run leaves its result.json and console.log in ``DIR/POINT-TYPE-seedN`` where they are to be kept; vmcore and vmlinux
are rebuilt by the command that result.json names, byte for byte, and so are not.  Where the machine's truth is kept
(`runs.truth`), vmlinux is, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable
from contextlib import closing
from hashlib import sha256 as digest
from pathlib import Path

from kdumpsim.files import scratch_directory, writable_directory
from kdumpsim.runs.forking import CAN_FORK, Report, run_all
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S, Poll
from kdumpsim.runs.run import Leave
from kdumpsim.scenario.scenario import Scenario


def directory_name(scenario: Scenario) -> str:
    """Where a run's files are kept; crashes at points differ in these three, other strikes in their commands."""
    if scenario.crash_point:
        return f"{scenario.crash_point}-{scenario.crash_type}-seed{scenario.seed}"
    title = "-".join(scenario.title.replace(":", " ").replace("/", " ").replace(",", " ").split())[:40]
    return f"{title}-seed{scenario.seed}-draw{scenario.draw}-{digest(scenario.command().encode()).hexdigest()[:8]}"


def sweep(
    scenarios: Iterable[Scenario],
    processes: int,
    keep: Path | None = None,
    *,
    fork: bool = CAN_FORK,
    poll: Poll | None = None,
    truth: bool | None = None,
    sha256: bool | None = None,
    host_timeout: float | None = HOST_TIMEOUT_S,
) -> Generator[Report, None, None]:
    """Run all of them; reports come as runs end.  HostFailure if `keep` cannot be written to.

    `truth` as for `runs.run.run_scenario`, where files are kept; none is written where not.  `sha256`: results tell
    that of the dump; None: those that are kept.

    A run that takes more than `host_timeout` real seconds is ended and reported as such, as is a boot.
    Whatever ends the iteration, no worker and no file outside `keep` is left.
    """
    kept = keep is not None
    leave = Leave(large=False, sha256=kept if sha256 is None else sha256, truth=truth if kept else False)
    if keep is not None:
        writable_directory(keep)
    with scratch_directory(keep) as scratch:
        jobs = []
        for scenario in scenarios:
            directory = scratch / directory_name(scenario)
            directory.mkdir()
            jobs.append((scenario, directory))
        runs = run_all(jobs, processes, fork=fork, poll=poll, leave=leave, host_timeout=host_timeout)
        with closing(runs) as reports:
            for report in reports:
                if keep is not None:
                    place = keep / report.directory.name
                    if report.result is not None:
                        if place.exists():
                            shutil.rmtree(place)
                        report.directory.rename(place)
                    report = report.meant_for(place)
                yield report
