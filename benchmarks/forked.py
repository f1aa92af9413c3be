#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What forked runs cost: CPU seconds of their processes alone.  ``python benchmarks/forked.py FIGURE [RUNS]``

Prints one number a run.  It uses what older checkouts have, too, so that `against.py` can compare them (PYTHONPATH
says which one is measured).  CPU time is user and system time; memory is what the kernel calls Private_Dirty.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdumpsim.runs.forking import Booted
from kdumpsim.scenario.scenario import Scenario

try:
    from kdumpsim.runs.run import Leave
except ImportError:
    Leave = None  # type: ignore[assignment, misc]

PANIC = Scenario("FS_DEVRW", "panic")
HANG = Scenario("INT_HARDWARE_ENTRY", "loop")
SOFT_HANG = Scenario("INT_TASKLET_ENTRY", "hang")
UNMEASURED = 5
"""Forks before the first that counts: by then a machine has crashed itself once (`Booted.warm`)."""


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def panics(booted: Booted, runs: int, **leave: bool) -> list[float]:
    """CPU seconds of forked panics, from arming to the judged dump; `leave`: see `runs.run.Leave`."""
    if Leave is not None:
        booted.leave = Leave(**leave)
    seconds = []
    for number in range(UNMEASURED + runs):
        before = _cpu(resource.getrusage(resource.RUSAGE_CHILDREN))
        with tempfile.TemporaryDirectory() as directory:
            report = booted.fork(PANIC, Path(directory)).report()
        if report.result is None or str(report.result.outcome) != "O":
            raise SystemExit(f"{PANIC.command()}: {report.died or report.result}")
        if number >= UNMEASURED:
            seconds.append(_cpu(resource.getrusage(resource.RUSAGE_CHILDREN)) - before)
    return seconds


def _in_a_child(work: Callable[[], float]) -> float:
    """What `work` returns in a forked process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as file:
        said = file.read()
    os.waitpid(child, 0)
    return float(said)


def _prepared(booted: Booted, scenario: Scenario) -> None:
    """As `Booted.fork` does it from the fourth fork on."""
    if hasattr(booted, "warm"):
        booted.warm(scenario)
    booted.session.machine.copying.prepare_fork()  # type: ignore[union-attr]


def finds(booted: Booted, scenario: Scenario, words: str, runs: int) -> list[float]:
    """CPU seconds of forked hangs, from arming to these words on the console."""
    _prepared(booted, scenario)

    def found() -> float:
        session: Any = booted.session
        begun = time.process_time()
        session.arm(getattr(scenario, "crash_part", None) or scenario.crash)
        seen = 0

        def said() -> bool:
            nonlocal seen
            new, seen = seen, len(session.console.text)
            return seen > new and words in session.console.text

        session.run_to(60 * 10**9, said)
        if words not in session.console.text:
            raise SystemExit(f"{scenario.command()}: no '{words}'")
        return time.process_time() - begun

    return [_in_a_child(found) for _ in range(runs)]


def private_memory(booted: Booted, runs: int) -> list[float]:
    """Megabytes that a forked panic has for itself at its end."""
    from kdumpsim.runs.run import finish

    _prepared(booted, PANIC)

    def held() -> float:
        import gc

        gc.freeze()
        with tempfile.TemporaryDirectory() as directory:
            leave = () if Leave is None else (Leave(large=False, truth=False),)
            finish(booted.session, PANIC, Path(directory), booted.failed, *leave)
        text = Path("/proc/self/smaps_rollup").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith("Private_Dirty:"))
        return int(line.split()[1]) / 1024

    return [_in_a_child(held) for _ in range(runs)]


FIGURES: dict[str, Callable[[Booted, int], list[float]]] = {
    "judged": lambda booted, runs: panics(booted, runs, large=False, sha256=False, truth=False),
    "sha256": lambda booted, runs: panics(booted, runs, large=False, truth=False),
    "files": lambda booted, runs: panics(booted, runs),
    "watchdog": lambda booted, runs: finds(booted, HANG, "NMI Watchdog detected LOCKUP", runs),
    "softlockup": lambda booted, runs: finds(booted, SOFT_HANG, "BUG: soft lockup", runs),
    "memory": private_memory,
}


def main() -> None:
    """Measure one figure; the median comes last."""
    name, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8
    values = FIGURES[name](Booted(PANIC), runs)
    for value in (*values, statistics.median(values)):
        print(f"{value:.4f}")


if __name__ == "__main__":
    main()
