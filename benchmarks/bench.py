#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Speed and size of kdumpsim, as ratios within one run.  ``python benchmarks/bench.py [--runs N] [--against DIR]``

* guest speed: a loop under the Machine (block hook, slices, timers, devices) against the same loop on a bare
  Unicorn engine without any hook, in turn, CPU time, ratio pair by pair.  The Machine fills the engine's TLB itself,
  which makes stores cheaper than the bare engine's (docs/design.md, "Engine facts"), hence the figures above 1;
* the same loops, and reads of the time stamp counter, the local APIC and a port, against QEMU's TCG where it is
  installed: CPU time, ratio pair by pair;
* a warm ``kdumpsim run`` as a whole process: CPU time with the machine booted from the cache and from power-on, wall
  time, the part from the crash to the saved dump, peak memory; CPU time of ``--help``;
* runs forked from a booted machine (`forked.py`): CPU time from arming to the judged dump of a panic, without and with
  its SHA-256, and from arming to the words on the console for hangs that the 5 s NMI watchdog and the 10 s soft-lockup
  watchdog find; memory that a worker has for itself;
* code bytes that a guest runs for the same load with the profile `hardened` and with `default` (`measures.py`);
* ``kdumpsim table2`` as a whole process, two runs side by side (once);
* ``kdumpsim sweep`` of 600 panics from 30 boots, as a whole process with two workers (once): judged dumps a minute;
* building the guest images with an empty cache, and finding them in the cache.

With ``--against DIR``, another checkout, both are run in alternating pairs instead (`against.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import against
import convert
import forked
import measures
from loops import LOOPS, bare_unicorn, have_qemu, under_machine, under_qemu
from rich.console import Console
from rich.table import Table

from kdumpsim.runs.forking import Booted

TARGETS = {
    **{f"guest speed, {name}": ("at least", 0.75, "× bare") for name, loop in LOOPS.items() if loop.bare},
    **{f"{name}, CPU": ("at most", loop.aim, "× QEMU") for name, loop in LOOPS.items() if loop.aim},
    "kdumpsim --help, CPU": ("at most", 0.15, "s"),
    "kdumpsim run --help, CPU": ("at most", 0.15, "s"),
    "warm run, CPU": ("at most", 0.55, "s"),
    "warm run from power-on, CPU": ("at most", 0.9, "s"),
    "warm run, wall": ("at most", 2.0, "s"),
    "crash to saved dump": ("at most", 0.7, "s"),
    "peak memory": ("at most", 300.0, "MB"),
    "forked panic, armed to judged, CPU": ("at most", 0.12, "s"),
    "with its dump's SHA-256, CPU": ("at most", 0.14, "s"),
    "a worker's private memory": ("at most", 12.0, "MB"),
    "hang found by the 5 s NMI watchdog, CPU": ("at most", 0.25, "s"),
    "soft lockup found after 10 s, CPU": ("at most", 0.4, "s"),
    "convert to elf": ("at least", 300.0, "MB/s"),
    "convert to kdump-snappy": ("at least", 300.0, "MB/s"),
    "convert to kdump-zlib": ("at least", 0.8, "× zlib"),
    "convert to kdump-zstd": ("at least", 0.7, "× zstd"),
    "hardened, guest code of disk I/O": ("at most", 1.03, "× default"),
    "hardened, guest code of programs": ("at most", 1.03, "× default"),
    "table2, all cells, 2 jobs": ("at most", 25.0, "s"),
    "sweep of 600 panics, 2 workers": ("at least", 900.0, "dumps a minute"),
    "first build of all images": ("at most", 10.0, "s"),
    "images from the cache": ("at most", 0.3, "s"),
}


PEAK = """import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
print(os.wait4(process.pid, 0)[2].ru_maxrss)"""
"""A small parent: Linux counts what a process's parent held when it was started as its own."""


def peak_memory(arguments: list[str], environment: dict[str, str]) -> float:
    """Megabytes that a process had at most."""
    command = [sys.executable, "-c", PEAK, *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1000


def run_once(arguments: list[str], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(arguments)} failed with {process.returncode}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def measure_forked(runs: int, figures: dict[str, list[float]]) -> None:
    """Runs that share one boot."""
    booted = Booted(forked.PANIC)
    for name, figure in {
        "forked panic, armed to judged, CPU": "judged",
        "with its dump's SHA-256, CPU": "sha256",
        "a worker's private memory": "memory",
        "hang found by the 5 s NMI watchdog, CPU": "watchdog",
        "soft lockup found after 10 s, CPU": "softlockup",
    }.items():
        figures[name] = forked.FIGURES[figure](booted, runs)


def measure_loops(runs: int, figures: dict[str, list[float]]) -> None:
    """Loops, beside a bare engine and beside QEMU."""
    for name, loop in LOOPS.items():
        code = loop.code()
        under_machine(code)
        for _ in range(runs):
            ours = under_machine(code)
            if loop.bare:
                figures[f"guest speed, {name}"].append(bare_unicorn(code) / ours)
            if loop.aim and have_qemu():
                figures[f"{name}, CPU"].append(ours / under_qemu(loop))


def measure_convert(runs: int, figures: dict[str, list[float]]) -> None:
    """Conversion of dumps: MB/s of CPU time, or beside the compressor alone where that is slower."""
    dump = convert.memory()
    for _ in range(runs):
        figures["convert to elf"].append(convert.converted(dump, "elf"))
        figures["convert to kdump-snappy"].append(convert.converted(dump, "kdump-snappy"))
        for name in ("zlib", "zstd"):
            share = convert.converted(dump, f"kdump-{name}") / convert.compressed(dump, name)
            figures[f"convert to kdump-{name}"].append(share)


def measure_measures(runs: int, figures: dict[str, list[float]]) -> None:
    """What the profile hardened costs the guest; every run has a seed of its own."""
    for load, figure in {"disk": "disk I/O", "programs": "programs"}.items():
        figures[f"hardened, guest code of {figure}"] = measures.ratio(load, measures.hardened(), runs)


def measure(runs: int) -> dict[str, list[float]]:
    """All figures, `runs` times each."""
    figures: dict[str, list[float]] = {name: [] for name in TARGETS}
    measure_loops(runs, figures)
    measure_convert(runs, figures)
    measure_measures(runs, figures)
    build = [sys.executable, "-c", "from kdumpsim import images as i; i.kernel(); i.kernel(16 << 20); i.purgatory()"]
    with tempfile.TemporaryDirectory() as scratch:
        cache = {"XDG_CACHE_HOME": scratch}
        figures["first build of all images"].append(run_once(build, cache)[0])
        for _ in range(runs):
            figures["images from the cache"].append(run_once(build, cache)[0])
        dump = Path(scratch) / "dump"
        command = [sys.executable, "-m", "kdumpsim.cli", "run", "--crashpoint", "FS_DEVRW", "--type", "panic"]
        command += ["--json", "--output", str(dump)]
        run_once(command, cache)
        for _ in range(runs):
            for name in ("kdumpsim --help", "kdumpsim run --help"):
                figures[f"{name}, CPU"].append(run_once([sys.executable, "-m", *name.split()], cache)[1])
            figures["warm run from power-on, CPU"].append(run_once([*command, "--no-cached-boot"], cache)[1])
            wall, cpu = run_once(command, cache)
            figures["warm run, CPU"].append(cpu)
            figures["warm run, wall"].append(wall)
            figures["peak memory"].append(peak_memory(command, cache))
            phases = {
                phase["name"]: phase["host_s"] for phase in json.loads((dump / "result.json").read_text())["phases"]
            }
            figures["crash to saved dump"].append(phases["capture"] + phases["save"])
        measure_forked(runs, figures)
        table = [sys.executable, "-m", "kdumpsim.cli", "table2", "--jobs", "2", "--csv"]
        figures["table2, all cells, 2 jobs"].append(run_once(table, cache)[0])
        panics = [
            "--points",
            "FS_DEVRW",
            "--types",
            "panic",
            "--counts",
            "1-20",
            "--seeds",
            "0-29",
            "--jobs",
            "2",
            "--json",
            "--store",
        ]
        sweep = [sys.executable, "-m", "kdumpsim.cli", "sweep", *panics, str(Path(scratch) / "sweep.sqlite")]
        figures["sweep of 600 panics, 2 workers"].append(60 * 600 / run_once(sweep, cache)[0])
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each figure (default 5)")
    parser.add_argument("--against", type=Path, metavar="DIR", help="compare with the checkout in DIR, pair by pair")
    options = parser.parse_args()
    runs = options.runs
    if options.against is not None:
        compared = Table("figure", "here", "there", "here / there, by pair", title=f"CPU time, {runs} pairs")
        for row in against.rows(against.compare(options.against.resolve(), runs)):
            compared.add_row(*row)
        Console().print(compared)
        return
    table = Table("figure", "median", "min", "max", "aim", title=f"{runs} runs, {os.cpu_count()} cores")
    for name, values in measure(runs).items():
        if not values:
            continue  # it needs QEMU
        word, aim, unit = TARGETS[name]
        cells = (f"{value:.2f} {unit}" for value in (statistics.median(values), min(values), max(values)))
        table.add_row(name, *cells, f"{word} {aim:g} {unit}")
    Console().print(table)


if __name__ == "__main__":
    main()
