#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the measures of the profile `hardened` cost the guest (docs/hardened.md).  ``python benchmarks/measures.py``

The same load on kernels that differ in the measures alone: code bytes that all CPUs run for it, which is time on this
machine (docs/design.md, "Time"), against those of the profile `default`.  Nothing of the host's time is in it.

* disk: diskio, from its 50th to its 250th fsync();
* programs: 24 programs that are started, print a line and end, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from rich.console import Console
from rich.table import Table

from kdumpsim.runs.run import power_on
from kdumpsim.runs.session import Session
from kdumpsim.scenario.parts import KernelPart, PcPart
from kdumpsim.scenario.profiles import MEASURES, PROFILES

FIRST_SYNC, LAST_SYNC = 50, 250
PROGRAMS = 24
MS = 1_000_000


def _retired(session: Session) -> int:
    return sum(cpu.retired for cpu in session.machine.cpus)


def disk(session: Session) -> int:
    """Code bytes of so many fsync()s."""
    at: list[int] = []
    session.machine.watch(session.first.symbols["sys_fsync"], lambda cpu: at.append(_retired(session)))
    session.agent.start("diskio")
    while len(at) < LAST_SYNC:
        session.machine.run(until=session.machine.clock.now + 10 * MS)
    return at[LAST_SYNC - 1] - at[FIRST_SYNC - 1]


def programs(session: Session) -> int:
    """Code bytes of so many programs."""
    session.agent.start("hello")
    begin = _retired(session)
    for _ in range(PROGRAMS):
        session.agent.start("hello")
    return _retired(session) - begin


LOADS: dict[str, Callable[[Session], int]] = {"disk": disk, "programs": programs}


def code_bytes(load: str, options: dict[str, str], seed: int) -> int:
    """What a load takes on a kernel with these options."""
    kernel = KernelPart(kernel_options=tuple(options.items()))
    with closing(power_on(PcPart(seed=seed), kernel)) as session:
        session.boot()
        return LOADS[load](session)


def ratio(load: str, measures: dict[str, str], seeds: int) -> list[float]:
    """Code bytes with these measures against those without, seed by seed."""
    return [code_bytes(load, measures, seed) / code_bytes(load, {}, seed) for seed in range(seeds)]


def hardened() -> dict[str, str]:
    """All measures."""
    return {name: PROFILES["hardened"].options[name] for name in MEASURES}


def main(seeds: int = 3) -> None:
    """Print the cost of each measure alone, and of all."""
    every = hardened()
    need = {"safe_smp_processor_id": "1"}
    arms = {name: {**need, name: value} for name, value in every.items()} | {"all of them": every}
    table = Table("measure", *LOADS, title=f"guest code with the measure, × profile default; {seeds} seeds")
    for name, options in arms.items():
        cells = []
        for load in LOADS:
            ratios = ratio(load, options, seeds)
            cells.append(f"{sum(ratios) / len(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})")
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
