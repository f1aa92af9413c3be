# SPDX-License-Identifier: GPL-2.0-or-later
"""The fixture `kdump`: crashes and sweeps of one test, and what to say of them if it fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import pytest

from kdumpsim.api import BootFailed, BootSettings, CrashSettings, Result, run
from kdumpsim.choices import unknown
from kdumpsim.compiler.guestpart import has_guest_code
from kdumpsim.errors import KdumpsimError
from kdumpsim.explain.ending import console_tail, explained
from kdumpsim.files import HostFailure, scratch_directory, writable_directory
from kdumpsim.pytest_plugin.machines import Machines
from kdumpsim.pytest_plugin.rates import Rates, SweptRun
from kdumpsim.runfiles import CONSOLE_LOG, OUTPUT_FILES
from kdumpsim.runs.forking import Report, run_all
from kdumpsim.runs.result import remove_stale
from kdumpsim.runs.run import Leave
from kdumpsim.scenario.points import DEFAULT_COUNT
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError

MAX_TOLD = 10
"""Failing crashes that a test's report tells of, and whose files are kept."""
_LEAVE = Leave(large=False, sha256=False, truth=False)


class Settings(BootSettings, CrashSettings, total=False):
    """What the mark, `Kdump.crash` and `Kdump.sweep` take: the fields of a `Scenario`, and `modules`."""


class Kdump:
    """Crash kernels in a test.

    Settings are those of the mark ``kdump``, then those of an indirect parameter, then those of the call; the last one
    wins.  Files of `modules` are sought beside the test file, then in the current directory.  If there is guest code in
    the test file itself, it is a module, too.
    """

    def __init__(
        self,
        machines: Machines,
        test_file: Path,
        marks: Sequence[pytest.Mark],
        parameter: Mapping[str, Any],
        *,
        seeds: range | None,
        keep: Path | None,
        jobs: int,
    ) -> None:
        self._machines, self._test_file = machines, test_file
        self._seeds, self._keep, self._jobs = seeds, keep, jobs
        self._settings: dict[str, Any] = {}
        for mark in marks:
            if mark.args:
                raise ScenarioError("the mark kdump takes settings by name: write kdump(cpus=4)")
            self._settings |= _checked("the mark kdump", mark.kwargs)
        self._settings |= _checked("the parameter kdump", parameter)
        self._failures: list[tuple[Scenario, str]] = []
        self._last: Result | None = None
        self._sweeps: list[Rates] = []
        if keep is not None:
            _clear(keep)

    def crash(
        self, point: str, kind: str, *, output: str | os.PathLike[str] | None = None, **settings: Unpack[Settings]
    ) -> Result:
        """Crash a copy of a booted machine at a crash point in one of the ways to crash; judge its dump.

        `output` and errors as for `Machine.crash`.
        """
        __tracebackhide__ = True
        try:
            scenario = self._scenario(point, kind, settings)
            result = self._machines.crash(scenario, output)
        except KdumpsimError as error:
            raise error.with_traceback(None) from None
        self._last = result
        if not result.outcome.ok and len(self._failures) < MAX_TOLD:
            self._failures.append((scenario, result.explain()))
        return result

    def sweep(
        self,
        points: str | Iterable[str],
        kinds: str | Iterable[str],
        *,
        counts: Iterable[int] | None = None,
        seeds: int | Iterable[int] | None = None,
        **settings: Unpack[Settings],
    ) -> Rates:
        """Crash at each of the points, in each of the ways, at each of the crossings, with each of the seeds.

        `counts`: crossings of the point before the crash, one run each.  `seeds`: how many, or which;
        ``--kdump-seeds`` overrides it.  Each seed is a boot of its own.  ``--kdump-jobs`` runs go on at a time.
        """
        __tracebackhide__ = True
        try:
            scenarios = list(self._scenarios(points, kinds, counts, seeds, settings))
            rates = Rates(_run(scenarios, self._jobs))
        except KdumpsimError as error:
            raise error.with_traceback(None) from None
        self._sweeps.append(rates)
        return rates

    def account(self, said: str, error: BaseException | None) -> str:
        """What to add to the report of a failed test that has `said` something: of crashes that it does not name.

        Keeps their files, if they are to be kept.
        """
        parts = ["\n".join(console_tail(error.console))] if isinstance(error, BootFailed) else []
        told = self._told()
        parts += [text for scenario, text in told if scenario.command() not in said]
        parts += [
            str(rates) for rates in self._sweeps if rates.failures and rates.failures[0].scenario.command() not in said
        ]
        swept = [swept.scenario for rates in self._sweeps for swept in rates.failures if swept.outcome is not None]
        crashed = [scenario for scenario, _ in told]
        if self._keep is not None:
            parts.append("\n".join(_kept((crashed + swept)[:MAX_TOLD], self._keep)))
        self._failures, self._sweeps, self._last = [], [], None
        return "\n\n".join(filter(None, parts))

    def _told(self) -> list[tuple[Scenario, str]]:
        """The failing crashes, each with its account; the last one where none failed."""
        if self._failures or self._last is None:
            return self._failures
        return [(self._last.scenario, self._last.explain())]

    def _scenarios(
        self,
        points: str | Iterable[str],
        kinds: str | Iterable[str],
        counts: Iterable[int] | None,
        seeds: int | Iterable[int] | None,
        settings: Mapping[str, Any],
    ) -> Iterator[Scenario]:
        """Those of a sweep."""
        if isinstance(counts, int):
            raise ScenarioError(f"counts are the crossings to crash at: write counts=range(1, {counts + 1})")
        merged = {**self._settings, **settings}
        counts = [merged.get("count", DEFAULT_COUNT)] if counts is None else list(counts)
        if self._seeds is not None:
            seeds = self._seeds
        elif seeds is None or isinstance(seeds, int):
            first = merged.get("seed", 0)
            seeds = range(first, first + (1 if seeds is None else seeds))
        some = False
        for seed in seeds:
            for point in _each(points):
                for kind in _each(kinds):
                    for count in counts:
                        some = True
                        yield self._scenario(point, kind, {**settings, "count": count, "seed": seed})
        if not some:
            raise ScenarioError("a sweep of no runs: give points, kinds, counts and seeds")

    @cached_property
    def _has_guest_code(self) -> bool:
        """Is the test file a guest module, too?"""
        return has_guest_code(self._test_file.read_text("utf-8"))

    def _scenario(self, point: str, kind: str, settings: Mapping[str, Any]) -> Scenario:
        """A scenario with all settings."""
        merged = self._settings | _checked("kdump", settings)
        modules = merged.pop("modules", ())
        if isinstance(modules, str | os.PathLike):
            raise ScenarioError("modules is a list of files: write modules=[…]")
        return Scenario(point, kind, guest_modules=tuple(self._modules(modules)), **merged)

    def _modules(self, modules: Iterable[str | os.PathLike[str]]) -> list[str]:
        """Guest modules as paths from the current directory, the test file among them if it has guest code."""
        paths = []
        for module in map(Path, modules):
            beside = self._test_file.parent / module
            paths.append(beside if beside.is_file() else module)
        if self._has_guest_code and not any(path.is_file() and path.samefile(self._test_file) for path in paths):
            paths.append(self._test_file)
        return [_from_here(path) for path in paths]


def _checked(what: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """ScenarioError for a setting that there is not."""
    known = [*BootSettings.__annotations__, *CrashSettings.__annotations__]
    for name in given:
        if name not in known:
            raise ScenarioError(unknown(f"setting of {what}", name, known))
    return dict(given)


def _each(names: str | Iterable[str]) -> Iterable[str]:
    return [names] if isinstance(names, str) else names


def _from_here(path: Path) -> str:
    """The path as it is shortest, for commands that are to be typed in the current directory."""
    here, absolute = Path.cwd(), path.absolute()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _run(scenarios: Sequence[Scenario], jobs: int) -> list[SweptRun]:
    """All of them, in their order."""
    ended: dict[int, SweptRun] = {}
    with scratch_directory() as scratch:
        given = [(scenario, scratch / str(number)) for number, scenario in enumerate(scenarios)]
        for _, directory in given:
            directory.mkdir()
        with closing(run_all(given, jobs, leave=_LEAVE)) as reports:
            for report in reports:
                if isinstance(report.error, HostFailure):
                    raise report.error
                ended[int(report.directory.name)] = _swept(report)
                shutil.rmtree(report.directory)
    return [ended[number] for number in range(len(scenarios))]


def _swept(report: Report) -> SweptRun:
    result = report.result
    if result is None:
        return SweptRun(report.scenario, None, report.end, f"{report.end}: {report.died}")
    if result.outcome.ok:
        return SweptRun(result.scenario, result.outcome, report.end)
    console = (report.directory / CONSOLE_LOG).read_text()
    return SweptRun(result.scenario, result.outcome, report.end, explained(result, console))


def _clear(keep: Path) -> None:
    """Take away what an earlier session kept of this test.  HostFailure if it cannot be written to."""
    writable_directory(keep)
    for directory in keep.iterdir():
        if directory.is_dir():
            remove_stale(directory, OUTPUT_FILES)
            if not any(directory.iterdir()):
                directory.rmdir()
    if not any(keep.iterdir()):
        keep.rmdir()


def _kept(scenarios: Sequence[Scenario], keep: Path) -> Iterator[str]:
    """Run the scenarios again into directories of their own, which is the same run byte for byte; where they are."""
    for number, scenario in enumerate(scenarios, 1):
        directory = keep / f"{number:02}-{scenario.crash_point}-{scenario.crash_type}"
        try:
            run(scenario, directory)
        except KdumpsimError as error:
            yield f"{directory} could not be kept: {error}"
        else:
            yield f"kept: {directory}"
