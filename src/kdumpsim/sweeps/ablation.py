# SPDX-License-Identifier: GPL-2.0-or-later
"""What each option of a profile is worth: the same crashes with it and without it, pair by pair.

An option is *off* when it is as in a kernel that is told nothing.  What cannot be without it goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kdumpsim.choices import unknown
from kdumpsim.scenario.options import NEEDS_SAFE_ID, OPTIONS
from kdumpsim.scenario.profiles import PROFILES
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.sweeps.comparing import Comparison, compare, ends_by_cell
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.statistics import holm
from kdumpsim.sweeps.store import Store


@dataclass(frozen=True)
class Switch:
    """An option with its value in the profile, and what turning it off changes."""

    option: str
    value: str
    off: tuple[tuple[str, str], ...]
    """Option and value: this one's, and those of the options that need it."""

    @property
    def text(self) -> str:
        """As a person writes it."""
        return ", ".join(f"{name}={value}" for name, value in self.off)


def switches(profile: str, names: Sequence[str] = ()) -> list[Switch]:
    """The options that a profile has on, or those named.  ScenarioError for one that it does not know or has off."""
    if profile not in PROFILES:
        raise ScenarioError(unknown("profile", profile, PROFILES))
    values = PROFILES[profile].options
    on = [name for name in OPTIONS if values[name] != OPTIONS[name].default]
    for name in names:
        if name not in OPTIONS:
            raise ScenarioError(unknown("kernel option", name, on))
        if name not in on:
            raise ScenarioError(
                f"{name}={values[name]} is what a kernel does that is told nothing: there is nothing to switch off; "
                f"choose from: {', '.join(on)}"
            )
    made = []
    for name in names or on:
        gone = [name, *(NEEDS_SAFE_ID if name == "safe_smp_processor_id" else ())]
        off = tuple((each, OPTIONS[each].default) for each in gone if values[each] != OPTIONS[each].default)
        made.append(Switch(name, values[name], off))
    return made


def plans(profile: str, chosen: Sequence[Switch], **axes: Any) -> Iterator[Plan]:
    """The sweep of the whole profile, and one with each switch off.  ScenarioError for what cannot be."""
    yield Plan.from_dict({**axes, "profile": profile})
    for switch in chosen:
        yield Plan.from_dict({**axes, "profile": profile, "options": {name: [value] for name, value in switch.off}})


@dataclass(frozen=True)
class Turn:
    """Pairs of one cell that ended otherwise without the option."""

    crash_point: str
    crash_type: str
    end: str
    """With the option."""
    end_off: str
    pairs: int


@dataclass(frozen=True)
class Ablation:
    """What an option is worth."""

    switch: Switch
    comparison: Comparison
    """A is the whole profile, B the one without it."""
    turns: tuple[Turn, ...]
    """Where the outcome changed, marks included, the most frequent first."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "option": self.switch.option, "off": dict(self.switch.off), "comparison": self.comparison.as_dict(),
            "turns": [asdict(turn) for turn in self.turns],
        }  # fmt: skip


def ablations(store: Store, profile: str, chosen: Iterable[Switch]) -> list[Ablation]:
    """What the runs of `plans` say, with p-values adjusted for being so many (Holm)."""
    values, made = PROFILES[profile].options, []
    for switch in chosen:
        on, off = {name: values[name] for name, _ in switch.off}, dict(switch.off)
        turns = (Turn(*cell) for cell in ends_by_cell(store, on, off) if cell[2] != cell[3])
        ordered = sorted(turns, key=lambda turn: (-turn.pairs, turn.crash_point, turn.crash_type))
        made.append(Ablation(switch, compare(store, on, off), tuple(ordered)))
    adjusted = holm([ablation.comparison.p for ablation in made])
    return [
        replace(ablation, comparison=replace(ablation.comparison, adjusted=p))
        for ablation, p in zip(made, adjusted, strict=True)
    ]
