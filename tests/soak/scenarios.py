# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs: any machine, any kernel, any crash, any conditions.

Scenarios come in families that share a boot, which is forked for each. One of a family is run from power-on too, and
must come to the same files byte for byte; of every 20th family one is run twice with the boot that the cache keeps.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kdumpsim.images import USER_PROGRAMS
from kdumpsim.runfiles import OUTPUT_FILES, TRACE
from kdumpsim.runs import forking
from kdumpsim.runs.forking import Booted
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import build_kernels, run_scenario
from kdumpsim.scenario.conditions import (
    BREAKS,
    DMA,
    DUMP_DISKS,
    I8259,
    INJECTIONS,
    LEGACY,
    MAX_CPUS,
    OTHER_CPUS,
    SATA,
)
from kdumpsim.scenario.options import OPTIONS
from kdumpsim.scenario.points import crash_points, crash_types
from kdumpsim.scenario.profiles import PROFILES
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import Reservation, ScenarioError
from soak.driver import Kind, without_pieces
from soak.isolation import Broken, Counts

MIB, PAGE, NS = 1 << 20, 4096, 10**9
FAMILY = 8
STILL = 20_000
"""Rounds in which the clock may stand still. One is usual: a CPU that takes an interrupt, or a jump to an event."""
OVERTIME_S = 4
"""Virtual seconds after the timeout: an answer of the guest's agent may still be waited for."""
FILES = set(OUTPUT_FILES) - {TRACE}
BASES = tuple(mib * MIB for mib in (2, 5, 8, 16, 24, 40))
"""Where most reserved regions begin: each place takes a kernel linked for it."""
GUEST_MODULE = Path(__file__).with_name("ticks.py")
"""A module of a user's, with the crash point SOAK_TICK."""
LOADS = (*(path.removeprefix("/bin/") for path in USER_PROGRAMS if path.startswith("/bin/")), "dmaread")
Family = tuple[Scenario, ...]


class Scenarios(Kind[Family]):
    """Families of scenarios that boot alike."""

    name = "scenarios"
    share = 0.55
    cpu_s = 240

    def draw(self, dice: random.Random, number: int) -> Family:
        first = _valid(dice, lambda: _boot(dice) | _crash(dice))
        family = [first]
        for _ in range(20 * FAMILY):
            other = replace_some(first, _crash(dice))
            if other is not None and other.boot_key() == first.boot_key():
                family.append(other)
            if len(family) == FAMILY:
                break
        return tuple(family)

    def check(self, case: Family, repeat: bool) -> Counts:
        counts: Counter[str] = Counter()
        booted = Booted(case[0], forks=len(case))
        for number, scenario in enumerate(case):
            with tempfile.TemporaryDirectory() as forked, tempfile.TemporaryDirectory() as cold:
                watch = TimeMoves(booted.session.machine)
                with patch.object(forking, "within", lambda seconds, poll=None, watch=watch: watch):
                    report = booted.fork(scenario, Path(forked)).report()
                if report.result is None:
                    raise Broken(f"{last_line(report.died)}\n{report.died}\n{scenario.command()}")
                check_result(report.result, Path(forked))
                if repeat and number == 0:
                    with tempfile.TemporaryDirectory() as cached:
                        run_scenario(scenario, Path(cached), cached_boot=True)
                        check_same(Path(forked), Path(cached), scenario)
                        run_scenario(scenario, Path(cached), cached_boot=True)
                        check_same(Path(forked), Path(cached), scenario)
                counts["scenarios"] += 1
                counts[f"ended {'O' if report.result.outcome.ok else 'X'}"] += 1
                if number == len(case) - 1:
                    trace = 100 if len(case) % 2 else 0  # which must change nothing
                    run_scenario(scenario, Path(cold), trace=trace, cached_boot=False)
                    check_same(Path(forked), Path(cold), scenario)
                    counts["repeats"] += 1
        return counts

    def smaller(self, case: Family) -> Iterator[Family]:
        if len(case) > 1:
            yield from ((scenario,) for scenario in case)
            return
        yield from ((scenario,) for scenario in simpler(case[0]))

    def text(self, case: Family) -> str:
        return "\n".join(scenario.command() for scenario in case)

    def parse(self, text: str) -> Family:
        return tuple(scenario_of(line) for line in text.splitlines())

    def command(self, case: Family) -> str:
        return case[0].command() if len(case) == 1 else f"{len(case)} runs:\n{self.text(case)}"


def scenario_of(command: str) -> Scenario:
    """The scenario that a command line runs."""
    import shlex

    from kdumpsim.commands import run

    seen: list[Scenario] = []

    def remember(scenario: Scenario, *_: Any, **__: Any) -> Any:
        seen.append(scenario)
        raise ScenarioError("seen")

    with patch.object(run, "_run", remember), patch.object(run.click, "UsageError", ScenarioError):
        words = shlex.split(command)[2:]
        try:
            run.run.main(words, standalone_mode=False)
        except ScenarioError:
            if not seen:
                raise
    return seen[0]


@dataclass
class TimeMoves:
    """A poll that raises Broken when the machine's clock stands still."""

    machine: Any
    seen: int = -1
    rounds: int = 0

    def __call__(self) -> None:
        now = self.machine.clock.base
        self.rounds = 0 if now != self.seen else self.rounds + 1
        self.seen = now
        if self.rounds > STILL:
            raise Broken("virtual time stands still")


def last_line(text: str | None) -> str:
    """What a worker died of, in a line."""
    return (text or "").strip().rpartition("\n")[2]


def check_result(result: Result, directory: Path) -> None:
    """What holds for every run, whatever becomes of it."""
    scenario, judgement = result.scenario, result.judgement
    if extra := {path.name for path in directory.iterdir()} - FILES:
        raise Broken(f"files nobody knows: {', '.join(sorted(extra))}")
    data = json.loads((directory / "result.json").read_text())
    if data != json.loads(result.dumps()):
        raise Broken("result.json is not the result")
    if (directory / "vmcore").exists() != (result.vmcore is not None):
        raise Broken("vmcore is there and not in the result, or the other way round")
    end = 0
    for phase in result.phases:
        if phase.virtual_end_ns < end or phase.virtual_ns < 0:
            raise Broken("phases go back in time")
        end = phase.virtual_end_ns
    if end > (scenario.timeout + OVERTIME_S) * NS:
        raise Broken("the run went on after its timeout")
    if not result.outcome.reason:
        raise Broken("an outcome without a reason")
    if result.outcome.ok and result.outcome.captured:
        check_success(result)
    elif judgement is None and result.outcome.captured:
        raise Broken("a dump was captured and cannot be judged")


def check_success(result: Result) -> None:
    """O: the dump is complete, accurate, and has every CPU's registers; or the result says why not."""
    judgement = result.judgement
    if judgement is None:
        raise Broken("O, and the dump cannot be judged")
    if judgement.completeness != 1 and not all(d.owner for d in judgement.differences if d.kind == "missing"):
        raise Broken("O, the dump is not complete, and what is missing has no owner")
    if judgement.accuracy != 1 and not _named_causes(result):
        raise Broken("O, the dump is not accurate, and no cause is named")
    for check in judgement.registers:
        if not check.ok and not check.problems:
            raise Broken("registers are wrong without a problem being named")


def _named_causes(result: Result) -> bool:
    """Does the result say why each page that differs does?"""
    assert result.judgement is not None
    causes = [difference.cause for difference in result.judgement.differences]
    return bool(causes) and all(causes)


def check_same(one: Path, other: Path, scenario: Scenario) -> None:
    """Two runs of a scenario left the same."""
    for name in ("console.log", "vmcore"):
        if (one / name).exists() != (other / name).exists():
            raise Broken(f"{name} is there after a forked or after a cold run only\n{scenario.command()}")
        if (one / name).exists() and (one / name).read_bytes() != (other / name).read_bytes():
            raise Broken(f"{name} of a forked run is not that of the cold run\n{scenario.command()}")
    results = [json.loads((directory / "result.json").read_text()) for directory in (one, other)]
    for data in results:
        for phase in data["phases"]:
            del phase["host_s"]
    if results[0] != results[1]:
        names = ", ".join(name for name in results[0] if results[0][name] != results[1].get(name))
        raise Broken(f"result.json of a forked run is not that of the cold run: {names}\n{scenario.command()}")


# Drawing. Most timeouts and patiences are short and most machines small, so that a run takes a second of CPU time.


def _valid(dice: random.Random, draw: Callable[[], dict[str, Any]]) -> Scenario:
    """The first drawn scenario that can be."""
    while True:
        try:
            scenario = Scenario(**draw())
            build_kernels(scenario.pc, scenario.kernel)
        except ScenarioError:
            continue
        return scenario


def replace_some(scenario: Scenario, changes: dict[str, Any]) -> Scenario | None:
    """The scenario with other values, or None if it cannot be."""
    try:
        return replace(scenario, **changes)
    except ScenarioError:
        return None


def _boot(dice: random.Random) -> dict[str, Any]:
    """What decides the machine up to the arming of the crash point."""
    often = dice.random
    memory = dice.choice([64 * MIB, 64 * MIB, dice.randrange(16, 97) * MIB, dice.randrange(4096, 32768) * PAGE])
    if often() < 0.05:
        memory = dice.randrange(97, 513) * MIB
    crashkernel = Reservation(16 * MIB, 16 * MIB)
    if often() < 0.5 or memory < 32 * MIB:
        base = dice.choice(BASES) if often() < 0.9 else dice.randrange(300, memory // PAGE) * PAGE
        room = max(memory - base, 4 * MIB)
        size = dice.choice([5 * MIB, 8 * MIB, room, dice.randrange(1024, room // PAGE + 1) * PAGE])
        crashkernel = Reservation(size, base if often() < 0.9 else None)
        if often() < 0.1:
            crashkernel = Reservation(ranges=((0, 64 * MIB, size), (64 * MIB, None, 16 * MIB)))
    holes = []
    if often() < 0.3:
        for _ in range(dice.choice([1, 1, 2, 3, 5, 30])):
            holes.append((dice.randrange(300, memory // PAGE) * PAGE, dice.choice([1, 3, 16, 256, 700]) * PAGE))
    options = {"watchdog_thresh": "1"} if often() < 0.7 else {}
    for option in OPTIONS.values():
        if often() < 0.12:
            number = dice.choice([1, 2, 3, 7, 11, 15, 30, 100, 1000, 1_000_000])
            options[option.name] = dice.choice(list(option.values)) if option.values else str(number)
    return {
        "seed": dice.choice([0, 1, dice.randrange(100), dice.getrandbits(32), dice.getrandbits(64), 2**64 - 1]),
        "cpus": dice.choice([1, 2, 2, 2, 2, 3, 4, dice.randint(1, MAX_CPUS)]),
        "memory": memory,
        "crashkernel": crashkernel,
        "memory_holes": tuple(holes),
        "dump_disk": dice.choice([*DUMP_DISKS, "hdc", "hdc"]),
        "nic": often() < 0.2,
        "sata": dice.choice(list(SATA)) if often() < 0.15 else LEGACY,
        "i8259": dice.choice(list(I8259)) if often() < 0.1 else "lint0",
        "inject": dice.choice(list(INJECTIONS)) if often() < 0.05 else None,
        "profile": dice.choice(list(PROFILES)),
        "kernel_options": tuple(options.items()),
        "guest_modules": (str(GUEST_MODULE),) if often() < 0.04 else (),
    }


def _crash(dice: random.Random) -> dict[str, Any]:
    """What is done with the booted machine."""
    often = dice.random
    count = dice.choice([1, 2, 3, 5, 10, 10, 20, dice.randrange(1, 100), dice.randrange(1, 1000)])
    loads = dice.sample(LOADS, dice.choice([1, 1, 2, 3]))
    return {
        "crash_point": dice.choice([*crash_points(), "SOAK_TICK"]),  # refused without its module, and drawn again
        "crash_type": dice.choice(list(crash_types())),
        "count": 1_000_000 if often() < 0.02 else count,
        "timeout": dice.choice([10, 10, 15, 15, 20, dice.randrange(1, 20), 120]),
        "patience": dice.choice([1, 1, 2, 2, 3, 5, 15]),
        "load": dice.choice([*6 * [("usual",)], (), tuple(loads)]),
        "crash_cpu": dice.randrange(MAX_CPUS) if often() < 0.25 else None,
        "other_cpus": dice.choice(list(OTHER_CPUS)) if often() < 0.1 else None,
        "dma": tuple(name for name in DMA if often() < 0.15),
        "pending_irq": often() < 0.2,
        "breaks": tuple(name for name in BREAKS if often() < 0.02),
    }


# Making smaller.


def simpler(scenario: Scenario) -> Iterator[Scenario]:
    """The scenario with one thing fewer to say."""
    usual = Scenario(scenario.crash_point, scenario.crash_type)
    tries: list[dict[str, Any]] = []
    for field in fields(Scenario):
        value, default = getattr(scenario, field.name), getattr(usual, field.name)
        if field.name not in ("crash_point", "crash_type") and value != default:
            tries.append({field.name: default})
            if isinstance(value, tuple) and len(value) > 1:
                tries += [{field.name: fewer} for fewer in without_pieces(value)]
    for name in ("count", "cpus", "timeout", "seed", "patience"):
        value = getattr(scenario, name)
        tries += [{name: smaller} for smaller in (value // 16, value // 2, value - 1) if 0 <= smaller < value]
    if scenario.crash_type != "panic":
        tries.append({"crash_type": "panic"})
    for changes in tries:
        smaller = replace_some(scenario, changes)
        if smaller is not None and len(smaller.command()) <= len(scenario.command()):
            try:
                build_kernels(smaller.pc, smaller.kernel)
            except ScenarioError:
                continue
            yield smaller
