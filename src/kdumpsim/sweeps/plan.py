# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sweep runs: every crash point in every way, at every count, from every seed, in every arm.

An *arm* is one combination of what is held fixed and what is varied beside these four: kernel options and the other
fields of a scenario.  A plan is plain data, as a TOML file has it (docs/sweeps.md), and is kept so in the store.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from kdumpsim.choices import unknown
from kdumpsim.files import host_failure
from kdumpsim.scenario.options import OPTIONS
from kdumpsim.scenario.points import DEFAULT_COUNT
from kdumpsim.scenario.profiles import effective
from kdumpsim.scenario.scenario import BootKey, Scenario
from kdumpsim.scenario.settings import Named, settings_of, to_plain
from kdumpsim.scenario.values import ScenarioError, words_of
from kdumpsim.sweeps.statistics import sample_size

MAX_NUMBERS = 1_000_000
"""Of counts or seeds."""
MAX_LOOKS = 20
AXES = ("points", "types", "counts", "seeds", "draws")
OPTION_AXES = "options"
STRIKES = ("at", "fault", "faults")
"""Fields of what strikes other than at a crash point."""
FIELDS: Mapping[str, Named] = {
    named.name: named
    for named in settings_of(Scenario)
    if named.name not in ("crash_point", "crash_type", "count", "seed", "draw", "kernel_options")
}
"""Fields of a scenario that a plan may fix or vary by name."""


def numbers(what: str, given: object) -> tuple[int, ...]:
    """Whole numbers from ``1-20``, ``1,3,5-9``, a number or a list; ScenarioError for anything else."""
    found: dict[int, None] = {}
    for part in _listed(given):
        first, dash, last = str(part).partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise ScenarioError(f"{what} '{part}': write numbers and ranges, such as 1-20 or 1,3,5-9") from None
        if high < low:
            raise ScenarioError(f"{what} '{part}' counts down: write {high}-{low}")
        if high - low + len(found) >= MAX_NUMBERS:
            raise ScenarioError(f"{what} '{part}': give at most {MAX_NUMBERS} numbers")
        found.update(dict.fromkeys(range(low, high + 1)))
    if not found:
        raise ScenarioError(f"{what} is empty: write numbers and ranges, such as 1-20")
    return tuple(found)


def ranges(given: Sequence[int]) -> str:
    """The shortest text of `numbers`: ``0-3,7`` for 0, 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in sorted(given):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _listed(given: object) -> list[object]:
    if isinstance(given, str):
        return list(words_of(given))
    return list(given) if isinstance(given, list | tuple | range) else [given]


def _words(what: str, given: object) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(str(word) for word in _listed(given)))
    if not found:
        raise ScenarioError(f"{what} is empty: name one or more")
    return found


@dataclass(frozen=True)
class Arm:
    """Fields that scenarios have in common, beside crash point, crash type, count and seed."""

    fields: tuple[tuple[str, Any], ...]
    label: str
    """What tells it from the other arms of its plan: ``stack=4k``."""

    @property
    def settings(self) -> dict[str, Any]:
        """Plain data: every field, and every kernel option by its name."""
        fields = dict(self.fields)
        asked = dict(fields.pop("kernel_options", ()))
        plain = {name: to_plain(fields.get(name, named.default)) for name, named in FIELDS.items()}
        return plain | effective(plain["profile"], asked)

    @property
    def words(self) -> str:
        """Its options for ``kdumpsim run``, but for what strikes: that is drawn, run by run."""
        words = []
        for named in settings_of(Scenario):
            if named.name in STRIKES:
                continue
            value = dict(self.fields).get(named.name, named.default)
            if value is not MISSING and value != named.default:
                words += [f"{option} {shlex.quote(text)}" if text else option for option, text in named.words(value)]
        return " ".join(words)

    def scenario(self, crash_point: str, crash_type: str, count: int, seed: int, draw: int = 0) -> Scenario:
        """One of its runs.  ScenarioError where there is no such scenario."""
        return Scenario(crash_point, crash_type, count=count, seed=seed, draw=draw, **dict(self.fields))


def command(words: str, crash_point: str, crash_type: str, count: int, seed: int, draw: int = 0) -> str:
    """The command that runs one run of an arm with these words again."""
    parts = ["kdumpsim run"]
    parts += ["--crashpoint", shlex.quote(crash_point)] if crash_point else []
    parts += ["--type", shlex.quote(crash_type)] if crash_type else []
    parts += ["--seed", str(seed)] if seed else []
    parts += [words] if words else []
    parts += [f"--draw {draw}"] if draw else []
    return " ".join(parts + (["--count", str(count)] if count != DEFAULT_COUNT else []))


@dataclass(frozen=True)
class Group:
    """Runs that share a boot."""

    arm: Arm
    scenarios: tuple[Scenario, ...]

    def pieces(self, size: int) -> Iterator[Group]:
        """The same runs in groups of at most `size`."""
        for begin in range(0, len(self.scenarios), size):
            yield replace(self, scenarios=self.scenarios[begin : begin + size])


@dataclass(frozen=True)
class Plan:
    """The axes of a sweep.  Made by `read` or `from_dict`, which check it."""

    points: tuple[str, ...]
    types: tuple[str, ...]
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Kernel options with the values that each takes."""
    fields: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """Other fields of a scenario with the values that each takes."""
    draws: tuple[int, ...] = (0,)
    """Draws of what is left to chance, each another one on the same boot."""
    looks: int = 0
    """How often two arms are compared on the way, the end included; 0: not at all."""
    precision: float | None = None
    """Half the width that each arm's interval may have at 95 %, a fraction of 1."""

    @classmethod
    def read(cls, path: Path) -> Plan:
        """The plan of a TOML file.  ScenarioError for one that makes no sense, HostFailure if it cannot be read."""
        try:
            return cls.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ScenarioError(f"the plan '{path}' does not exist") from None
        except OSError as error:
            raise host_failure(error, f"read the plan {path}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ScenarioError(f"{path} is not a TOML file: {error}") from error
        except ScenarioError as error:
            raise ScenarioError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """The plan of plain data.  ScenarioError for one that makes no sense or contradicts itself."""
        for name in data:
            if name not in (*_LINES, *FIELDS):
                raise ScenarioError(unknown("line of a plan", name, [*_LINES, *FIELDS]))
        struck = "at" in data or "fault" in data
        data = ({"points": [""]} if struck else {}) | ({"types": [""]} if "fault" in data else {}) | dict(data)
        for name in ("points", "types"):
            if name not in data:
                raise ScenarioError(f"the plan has no {name}: name one or more, such as {_EXAMPLES[name]}")
        varied = data.get(OPTION_AXES, {})
        if not isinstance(varied, Mapping):
            raise ScenarioError(
                "options is a table: write [options], and a line for each, such as stack = ['4k', '8k']"
            )
        for name in varied:
            if name not in OPTIONS:
                raise ScenarioError(unknown("kernel option", name, OPTIONS))
        plan = cls(
            points=_words("points", data["points"]),
            types=_words("types", data["types"]),
            counts=numbers("counts", data.get("counts", DEFAULT_COUNT)),
            seeds=numbers("seeds", data.get("seeds", 0)),
            options=tuple(
                (name, tuple(dict.fromkeys(OPTIONS[name].check(word) for word in _words(name, values))))
                for name, values in varied.items()
            ),
            fields=tuple((name, _values(FIELDS[name], data[name])) for name in FIELDS if name in data),
            draws=numbers("draws", data.get("draws", 0)),
            looks=_number("looks", data.get("looks", 0), int),
            precision=_number("precision", data["precision"], float) if "precision" in data else None,
        )
        return plan._checked()._sized(given="seeds" in data)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, which `from_dict` understands."""
        data: dict[str, Any] = {"points": list(self.points), "types": list(self.types)}
        data |= {"counts": ranges(self.counts), "seeds": ranges(self.seeds)}
        data |= {OPTION_AXES: {name: list(values) for name, values in self.options}} if self.options else {}
        data |= {"draws": ranges(self.draws)} if self.draws != (0,) else {}
        data |= {"looks": self.looks} if self.looks else {}
        data |= {"precision": self.precision} if self.precision is not None else {}
        return data | {name: [_shown(FIELDS[name], value) for value in values] for name, values in self.fields}

    def _checked(self) -> Plan:
        """Itself, with points and types by the names the kernel has for them; each arm can be in each way."""
        arm, point, kind = self.arms[0], self.points[0], self.types[0]
        points = dict.fromkeys(self._probe(arm, name, kind).crash_point for name in self.points)
        types = dict.fromkeys(self._probe(arm, point, name).crash_type for name in self.types)
        checked = replace(self, points=tuple(points), types=tuple(types))
        for combination in product(checked.arms, checked.points, checked.types):
            checked._probe(*combination)
        for count in (min(self.counts), max(self.counts)):
            arm.scenario(point, kind, count, self.seeds[0])
        return checked

    def _sized(self, *, given: bool) -> Plan:
        """With as many seeds as the precision wants, unless they were given; looks have something to look at."""
        if self.looks and not (2 <= self.looks <= MAX_LOOKS and len(self.arms) == 2):
            raise ScenarioError(
                f"looks compare two arms, 2 to {MAX_LOOKS} times: this plan has {len(self.arms)} arms and "
                f"{self.looks} looks; vary one option with two values, such as stack=4k,8k"
            )
        if self.looks > len(self.seeds) and (given or self.precision is None):
            raise ScenarioError(f"{self.looks} looks need at least as many seeds, but this plan has {len(self.seeds)}")
        if self.precision is None:
            return self
        wanted = sample_size(self.precision)
        if not given:
            if wanted > MAX_NUMBERS * self.per_seed:
                raise ScenarioError(
                    f"precision {self.precision:g} wants {wanted} runs of each arm, and so more than {MAX_NUMBERS} "
                    "seeds: choose a coarser one, such as 0.05"
                )
            return replace(self, seeds=tuple(range(max(-(-wanted // self.per_seed), self.looks))))
        if (runs := self.per_seed * len(self.seeds)) < wanted:
            raise ScenarioError(
                f"precision {self.precision:g} wants {wanted} runs of each arm, and the plan has {runs}: give "
                f"{-(-wanted // self.per_seed)} seeds, or leave them out"
            )
        return self

    def _probe(self, arm: Arm, point: str, kind: str) -> Scenario:
        try:
            return arm.scenario(point, kind, self.counts[0], max(self.seeds))
        except ScenarioError as error:
            if len(self.arms) == 1:
                raise
            raise ScenarioError(f"with {arm.label}: {error}") from error

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """Every combination of what is varied."""
        made = []
        options = [[(name, value) for value in values] for name, values in self.options]
        others = [[(name, value) for value in values] for name, values in self.fields]
        varied = {name for name, values in (*self.options, *self.fields) if len(values) > 1}
        for chosen in product(*options):
            for fields in product(*others):
                label = [f"{name}={value}" for name, value in chosen if name in varied]
                label += [f"{name}={_shown(FIELDS[name], value)}" for name, value in fields if name in varied]
                kernel = (("kernel_options", tuple(sorted(chosen))),) if chosen else ()
                made.append(Arm((*fields, *kernel), ", ".join(label) or "all runs"))
        return tuple(made)

    @property
    def per_seed(self) -> int:
        """Runs of each arm from each seed."""
        return len(self.points) * len(self.types) * len(self.counts) * len(self.draws)

    @property
    def total(self) -> int:
        """All runs."""
        return len(self.arms) * self.per_seed * len(self.seeds)

    def groups(self) -> Iterator[Group]:
        """All runs, boot by boot.  Seed by seed, so that arms get on together and their pairs are complete."""
        for seed, arm in product(self.seeds, self.arms):
            by_boot: dict[BootKey, list[Scenario]] = {}
            for point, kind, count, draw in product(self.points, self.types, self.counts, self.draws):
                scenario = arm.scenario(point, kind, count, seed, draw)
                by_boot.setdefault(scenario.boot_key(), []).append(scenario)
            for scenarios in by_boot.values():
                yield Group(arm, tuple(scenarios))


_LINES = (*AXES, OPTION_AXES, "looks", "precision")
_EXAMPLES = {"points": "FS_DEVRW,TIMERADD", "types": "panic,exception"}


def _number(what: str, given: Any, kind: type[int] | type[float]) -> Any:
    try:
        return kind(given)
    except (TypeError, ValueError):
        raise ScenarioError(f"{what} '{given}' is not a number") from None


def _values(named: Named, given: object) -> tuple[Any, ...]:
    """The values of a field's axis: one, or each of a list.  A field that is a list itself is written as text."""
    if named.setting.each:
        return (tuple(str(word) for word in _listed(given)),)
    values = given if isinstance(given, list | tuple) else [given]
    if not values:
        raise ScenarioError(f"{named.name} is empty: give a value, or leave it out")
    parsed = (named.setting.parse(value) if isinstance(value, str) else value for value in values)
    return tuple(dict.fromkeys(parsed))


def _shown(named: Named, value: Any) -> Any:
    """A value as `_values` reads it."""
    if named.setting.each:
        return ",".join(value)
    if value is None or isinstance(value, bool):
        return value
    return named.setting.show(value)
