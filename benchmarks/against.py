# SPDX-License-Identifier: GPL-2.0-or-later
"""Two checkouts beside each other: each figure in alternating pairs, as CPU seconds of whole processes.

``python benchmarks/bench.py --against DIR`` runs every job below with the sources of this checkout and of DIR in turn,
and prints the ratio pair by pair: below 1, this checkout is the cheaper one.  Only what both have is used: the command
line, `kdumpsim.board.machine`, and the fork of a booted machine, wherever it lives.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
LOOP = """
import sys
sys.path.insert(0, {benchmarks!r})
from loops import LOOPS, under_machine
code = LOOPS[{name!r}].code()
for _ in range(3):
    under_machine(code)
"""
RUN = ["-m", "kdumpsim.cli", "run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--json"]
HANG = ["-m", "kdumpsim.cli", "run", "--crashpoint", "INT_HARDWARE_ENTRY", "--type", "hang", "--json"]


FORKED = {
    "forked panic, armed to judged": "judged",
    "with its dump's SHA-256": "sha256",
    "hang found by the 5 s NMI watchdog": "watchdog",
    "soft lockup found after 10 s": "softlockup",
}
"""Figures of `forked.py`, which prints them itself: the boot is not in them."""


def jobs() -> dict[str, list[str]]:
    """Arguments for the interpreter, by figure."""
    found = {
        f"guest loop of {name}": ["-c", LOOP.format(benchmarks=str(HERE / "benchmarks"), name=name)]
        for name in ("arithmetic", "stores", "calls", "RDTSC", "local APIC read", "IN")
    }
    return {
        **found,
        "import kdumpsim": ["-c", "import kdumpsim"],
        "--help": ["-m", "kdumpsim.cli", "--help"],
        "run --help": ["-m", "kdumpsim.cli", "run", "--help"],
        "warm run": RUN,
        "hang and its watchdog": HANG,
        **{name: [str(HERE / "benchmarks" / "forked.py"), figure, "3"] for name, figure in FORKED.items()},
    }


def cpu_seconds(checkout: Path, arguments: list[str]) -> float:
    """User and system time of an interpreter that finds kdumpsim in a checkout, its children's included; what
    `forked.py` measures, in its stead.
    """
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, *arguments, *(["--output", f"{scratch}/dump"] if arguments in (RUN, HANG) else [])]
        process = subprocess.Popen(command, env=environment, cwd=scratch, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(arguments)[:200]} failed with {process.returncode} in {checkout}")
    if arguments[0].endswith("forked.py"):
        return float(said.split()[-1])
    return usage.ru_utime + usage.ru_stime


def compare(other: Path, runs: int) -> dict[str, list[tuple[float, float]]]:
    """Pairs of CPU seconds, (here, there), for every job; one pair before them warms the caches."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for name, arguments in jobs().items():
        for checkout in (HERE, other):
            cpu_seconds(checkout, arguments)
        pairs[name] = []
        for number in range(runs):
            order = (HERE, other) if number % 2 == 0 else (other, HERE)
            taken = {checkout: cpu_seconds(checkout, arguments) for checkout in order}
            pairs[name].append((taken[HERE], taken[other]))
    return pairs


def rows(pairs: dict[str, list[tuple[float, float]]]) -> list[tuple[str, str, str, str]]:
    """For the table: figure, both medians, and the median of the ratios with the smallest and the largest."""
    lines = []
    for name, taken in pairs.items():
        ratios = sorted(here / there for here, there in taken)
        here, there = (statistics.median(column) for column in zip(*taken, strict=True))
        spread = f"{statistics.median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        lines.append((name, f"{here:.3f} s", f"{there:.3f} s", spread))
    return lines
