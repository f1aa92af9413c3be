# SPDX-License-Identifier: GPL-2.0-or-later
"""Fault campaigns: each fault drawn so many times on so many boots, and options compared fault by fault.

Faults are drawn with the profile's own options.  With another value of one that is compared, the very faults that were
drawn strike again: the same kernel, the same target, bit and time.  So what differs is what the option is worth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from kdumpsim.choices import unknown
from kdumpsim.lkdtt.effect import EffectClass
from kdumpsim.scenario.options import OPTIONS
from kdumpsim.scenario.profiles import DEFAULT_PROFILE, PROFILES, effective
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.strikes import INSTANT, Fault
from kdumpsim.scenario.values import ScenarioError, words_of
from kdumpsim.sweeps.plan import STRIKES, Arm, Group, Plan
from kdumpsim.sweeps.row import Row, identity
from kdumpsim.sweeps.running import Progress, Runner, missing
from kdumpsim.sweeps.statistics import Interval, cluster_bootstrap, wilson
from kdumpsim.sweeps.store import Store, StoredArm, StoreError
from kdumpsim.sweeps.tally import shown, varied, waits

NO_EFFECT = (EffectClass.NOT_ACTIVATED, EffectClass.CONVERGED, EffectClass.LATENT)
HARMLESS = (*NO_EFFECT, EffectClass.LOAD_ONLY, EffectClass.SURVIVED)
HARMFUL = (EffectClass.CAPTURED, EffectClass.WRONG, EffectClass.FAILED)
CLASSES = (*HARMLESS, *HARMFUL)
"""In order of severity, beginning with faults without effect."""
BUCKET_NS = 1_000
"""How finely latencies are told apart."""


@dataclass(frozen=True)
class Campaign:
    """What is to be run."""

    drawing: tuple[Plan, ...]
    """A plan for each fault, with the profile's own values of what is compared."""
    again: tuple[tuple[Plan, ...], ...]
    """For each of these, a plan for every other value, one at a time."""

    @classmethod
    def of(
        cls,
        strikes: Sequence[str],
        *,
        boots: int,
        runs: int,
        seed: int = 0,
        profile: str = DEFAULT_PROFILE,
        compared: Mapping[str, Sequence[str]] | None = None,
        options: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Campaign:
        """`runs` faults of each kind, spread over boots with the seeds `seed` and on.

        Beside fault models, ``instant:TYPE`` is a crash of that type wherever a CPU is busy in the kernel.
        `compared`: kernel options with the values to set beside each other; `options`: those that all runs have.

        ScenarioError for what cannot be: such as comparing options that are compiled in, since kernels with other
        addresses cannot have the same faults.
        """
        if not strikes:
            raise ScenarioError("no fault is given: give one or more, such as text:executed")
        if not 1 <= boots <= runs:
            raise ScenarioError(f"{boots} boots for {runs} runs of each fault: choose 1 to {runs}")
        compared = compared or {}
        for name, values in compared.items():
            if name not in OPTIONS:
                raise ScenarioError(unknown("kernel option", name, OPTIONS))
            if OPTIONS[name].constant:
                raise ScenarioError(
                    f"{name} is compiled in and changes the kernel's addresses, so the same faults cannot be injected; "
                    "compare the rates of two campaigns"
                )
            if len(values) < 2:
                raise ScenarioError(f"compare {name} has only one value: write two or more, such as {name}=1,0")
        axes = {
            "profile": profile,
            "seeds": f"{seed}-{seed + boots - 1}",
            "draws": f"0-{-(-runs // boots) - 1}",
            **fields,
        }
        own = effective(profile, options or {})
        asked = {name: [value] for name, value in (options or {}).items()}
        others = [
            {**asked, name: [value]} for name, values in compared.items() for value in values if value != own.get(name)
        ]
        drawing, again = [], []
        for strike in strikes:
            lines = _strikes(strike)
            drawing.append(Plan.from_dict({**axes, **lines, "options": asked}))
            again.append(tuple(Plan.from_dict({**axes, **lines, "options": other}) for other in others))
        return cls(tuple(drawing), tuple(again))

    @property
    def total(self) -> int:
        """All runs."""
        return sum(plan.total for plan in (*self.drawing, *(plan for plans in self.again for plan in plans)))


def _strikes(word: str) -> dict[str, Any]:
    """The lines of a plan for a fault, or for ``instant:TYPE``."""
    name, _, kind = word.partition(":")
    return {"at": INSTANT, "types": [kind or "panic"]} if name == INSTANT else {"fault": [str(Fault.parse(word))]}


def compared_of(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Options with their values, of texts such as ``panic_on_oops=1,0``."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals:
            raise ScenarioError(f"compare '{word}' has no values: write NAME=V,V, such as panic_on_oops=1,0")
        if name in found:
            raise ScenarioError(f"compare {name} is given twice: write all its values in one, such as {name}=A,B")
        found[name] = words_of(values)
    return found


def run_campaign(
    campaign: Campaign, store: Store, runner: Callable[[Plan], Runner], progress: Progress
) -> Generator[Row, None, None]:
    """Run what the store has not, and keep each run when it ends; whatever ends the iteration, they are there."""
    for plan, others in zip(campaign.drawing, campaign.again, strict=True):
        store.keep_plan(plan)
        yield from _run(missing(plan, store, progress), {}, store, runner(plan), progress)
        for other in others:
            store.keep_plan(other)
            asked: dict[bytes, int] = {}
            groups = list(_repeated(plan, other, store, asked, progress))
            yield from _run(iter(groups), asked, store, runner(other), progress)


def _run(
    groups: Iterator[Group], asked: Mapping[bytes, int], store: Store, runner: Runner, progress: Progress
) -> Generator[Row, None, None]:
    with closing(runner(groups)) as rows:
        for arm, row in rows:
            row = replace(row, draw=asked.get(row.key, row.draw))
            store.add(arm, [row])
            progress.tell(row)
            yield row


def _repeated(drawn: Plan, plan: Plan, store: Store, asked: dict[bytes, int], progress: Progress) -> Iterator[Group]:
    """The runs of a plan with the faults that struck in another, less what is there; `asked`: their draws."""
    (arm,), (first,) = plan.arms, drawn.arms
    struck = _struck(store, first)
    for group in plan.groups():
        scenarios: list[Scenario] = []
        for scenario in group.scenarios:
            faults = struck.get((scenario.seed, scenario.draw))
            if not faults:  # the run that was to draw them has no outcome
                progress.before += 1
                continue
            strikes = {"at": faults[0]} if scenario.at else {"fault": faults, "faults": 1}
            repeated = replace(scenario, draw=0, **strikes)
            asked[identity(repeated)[0]] = scenario.draw
            scenarios.append(repeated)
        keys = {identity(scenario)[0]: scenario for scenario in scenarios}
        there = store.has(list(keys))
        progress.before += len(there)
        if left := tuple(scenario for key, scenario in keys.items() if key not in there):
            yield Group(arm, left)


def _struck(store: Store, arm: Arm) -> dict[tuple[int, int], tuple[str, ...]]:
    """The faults of an arm's runs, by seed and draw."""
    (number,) = (stored.id for stored in store.arms if stored.settings == arm.settings)
    found = store.query("SELECT seed, draw, struck FROM runs WHERE arm = ? AND ok IS NOT NULL", (number,))
    return {(seed, draw): tuple(text.split()) for seed, draw, text in found}


@dataclass
class FaultTally:
    """What came of an arm's faults."""

    classes: Counter[str] = field(default_factory=Counter)
    """Runs by class (`CLASSES`), and by what ended a run without an outcome."""
    boots: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By boot: dumps that are right, harmful faults."""

    @property
    def runs(self) -> int:
        """All of them."""
        return self.classes.total()

    def count(self, *classes: EffectClass) -> int:
        """Runs of these classes."""
        return sum(self.classes[each.value] for each in classes)

    @property
    def harmful(self) -> int:
        """Faults that called for a dump."""
        return self.count(*HARMFUL)

    @property
    def captured(self) -> int:
        """Dumps that are right."""
        return self.count(EffectClass.CAPTURED)

    @property
    def interval(self) -> Interval:
        """Wilson's, of right dumps among harmful faults, as if these were independent."""
        return wilson(self.captured, self.harmful)

    @property
    def by_boot(self) -> Interval:
        """The same by drawing boots."""
        return cluster_bootstrap(self.boots.values())


def fault_tallies(store: Store) -> dict[str, FaultTally]:
    """What came of the faults of each arm, by what tells it from the others; arms without faults are left out."""
    named, found = fault_labels(store), dict[str, FaultTally]()
    counted = store.counted('SELECT arm, crash_type, coalesce(effect, "end"), boot FROM runs')
    harmful = {each.value for each in HARMFUL}
    for (arm, kind, effect, boot), runs in sorted(counted.items()):
        if arm not in named:
            continue
        tally = found.setdefault(f"{named[arm]} {kind}".strip(), FaultTally())
        tally.classes[effect] += runs
        if effect in harmful:
            good, tried = tally.boots.get(boot, (0, 0))
            tally.boots[boot] = good + (runs if effect == EffectClass.CAPTURED.value else 0), tried + runs
    return found


def fault_labels(store: Store) -> dict[int, str]:
    """What struck in each arm, and what else it has of its own; arms without strikes are left out."""
    arms = [arm for arm in store.arms if arm.settings.get("fault") or arm.settings.get("at")]
    names = [name for name in varied(arms) if name not in STRIKES]

    def label(arm: StoredArm) -> str:
        settings = arm.settings
        what, number = ",".join(settings.get("fault") or (settings["at"],)), settings.get("faults", 1)
        own = PROFILES[settings["profile"]].options
        shows = [name for name in names if name not in own or settings[name] != own[name]]
        shows.sort(key=lambda name: name != "profile")
        told = [shown(settings[name]) if name == "profile" else f"{name}={shown(settings[name])}" for name in shows]
        return ", ".join([what if number == 1 else f"{number} x {what}", *told])

    return {arm.id: label(arm) for arm in arms}


def latencies(store: Store) -> dict[str, list[tuple[float, int]]]:
    """Of each arm, (ms from the fault to the crash, runs) ascending."""
    return waits(store, fault_labels(store), "latency_ns", BUCKET_NS)


def campaign_table(found: Mapping[str, FaultTally]) -> Iterator[str]:
    """Lines: what came of each arm's faults, and the rate of right dumps among those that called for one."""
    if not found:
        raise StoreError("these runs had no faults: use `kdumpsim campaign`")
    wide = max(len("faults"), *map(len, found))
    yield f"{'faults':<{wide}}  runs  none  lived    O  wrong    X  right dumps"
    for label, tally in found.items():
        none = tally.count(*NO_EFFECT)
        lived = tally.count(EffectClass.LOAD_ONLY, EffectClass.SURVIVED)
        wrong, lost = tally.count(EffectClass.WRONG), tally.count(EffectClass.FAILED)
        rate = f"{100 * tally.captured / tally.harmful:.0f} % {tally.interval}" if tally.harmful else "-"
        yield (
            f"{label:<{wide}}  {tally.runs:>4}  {none:>4}  {lived:>5}  {tally.captured:>3}  {wrong:>5}  {lost:>3}  "
            f"{rate}"
        )
