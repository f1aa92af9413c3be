# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario survives its JSON and its command line, whatever its fields; the docs' table says what the fields say."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kdumpsim.commands.run import run
from kdumpsim.commands.settings import fields_of, options_table
from kdumpsim.scenario.conditions import DMA, I8259, INJECTIONS, MIB, OTHER_CPUS
from kdumpsim.scenario.mechanisms import MECHANISMS
from kdumpsim.scenario.options import MAX_NUMBER, OPTIONS
from kdumpsim.scenario.points import crash_points, crash_types
from kdumpsim.scenario.profiles import PROFILES
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.settings import settings_of
from kdumpsim.scenario.values import Reservation, ScenarioError, parse_crashkernel

PAGE = 4096
BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->\n"


def options() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """Some kernel options, each with a value it takes."""
    values = {
        name: st.sampled_from(list(option.values)) if option.values else st.integers(1, MAX_NUMBER).map(str)
        for name, option in OPTIONS.items()
    }
    return st.fixed_dictionaries({}, optional=values).map(lambda chosen: tuple(chosen.items()))


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "crash_point": st.sampled_from([*crash_points(), "FS_SUBMIT_BH"]),
    "crash_type": st.sampled_from([*crash_types(), "oops", "hang"]),
    "count": st.integers(1, 1_000_000),
    "at": st.sampled_from(["instant", "instant:1@3.125"]),
    "fault": st.lists(
        st.sampled_from(
            ["text", "text-bit:uniform", "stack", "register:1.esp.3@2.5", "store:0xc0000000=0xff@0.000000001"]
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    "vary": st.lists(st.sampled_from(["count", "phase", "load", "latency"]), unique=True).map(tuple),
    "phase": st.integers(0, 10_000_000),
    "latency": st.integers(1, 10_000),
    "breaks": st.lists(st.sampled_from(["timer", "lapic-timer", "timer@handover", "disk", "nic"]), unique=True).map(
        tuple
    ),
    "mce": st.booleans(),
    "faults": st.integers(1, 1000),
    "draw": st.integers(0, 2**64 - 1),
    "crash_cpu": st.none() | st.integers(0, 7),
    "other_cpus": st.none() | st.sampled_from(list(OTHER_CPUS)),
    "dma": st.lists(st.sampled_from(list(DMA)), unique=True).map(tuple),
    "pending_irq": st.booleans(),
    "load": st.sampled_from([("usual",), (), ("diskio",), ("memdrain", "netload"), ("diskio", "diskio")]),
    "patience": st.integers(1, 86_400),
    "timeout": st.integers(1, 86_400),
    "machine": st.sampled_from(["kdumpsim", "qemu"]),
    "seed": st.integers(0, 2**64 - 1),
    "cpus": st.integers(1, 8),
    "memory": st.integers(64 * MIB // PAGE, 512 * MIB // PAGE).map(lambda pages: pages * PAGE),
    "memory_holes": st.lists(st.integers(33 * 256, 60 * 256), unique=True, max_size=4).map(
        lambda pages: tuple((page * PAGE, PAGE) for page in pages)
    ),
    "dump_disk": st.sampled_from(["hdc", "hdb", "sdb"]),
    "nic": st.booleans(),
    "nic_slot": st.integers(3, 6),
    "i8259": st.sampled_from(list(I8259)),
    "sata": st.sampled_from(["legacy", "native"]),
    "crashkernel": st.builds(
        lambda size, base: Reservation(size * PAGE, base * PAGE), st.integers(1024, 4096), st.integers(2048, 4352)
    )
    | st.sampled_from(["16M", "32M-128M:8M,128M-:16M", "0-:16M@16M"]).map(parse_crashkernel),
    "profile": st.sampled_from(list(PROFILES)),
    "kernel_options": options(),
    "mechanism": st.sampled_from(list(MECHANISMS)),
    "inject": st.none() | st.sampled_from(list(INJECTIONS)),
}


def test_every_field_that_can_be_chosen_is_drawn() -> None:
    """But for guest modules, whose kernels take seconds to build (tests/e2e/test_guest_modules.py has one)."""
    assert {*FIELDS, "guest_modules"} == {named.name for named in settings_of(Scenario)}
    assert {field.name for field in fields(Scenario) if field.init} - {*FIELDS, "guest_modules"} == {"traffic"}


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Any scenario; fields that were not drawn have their defaults."""
    strikes = {name: FIELDS[name] for name in draw(st.sampled_from(STRIKES))}
    given = draw(st.fixed_dictionaries(strikes, optional=CAN))
    try:
        return Scenario(**given)
    except ScenarioError:
        assume(False)
        raise


STRIKES = (("crash_point", "crash_type"), ("at", "crash_type"), ("fault",))
CAN = {name: strategy for name, strategy in FIELDS.items() if not any(name in strike for strike in STRIKES)}


@given(scenarios())
@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
def test_a_scenario_survives_its_json(scenario: Scenario) -> None:
    data = json.loads(json.dumps(scenario.to_dict()))
    again = Scenario.from_dict(data)
    assert again == scenario
    assert again.boot_key() == scenario.boot_key()
    assert again.to_dict() == scenario.to_dict() == data


@given(scenarios())
@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
def test_a_scenario_survives_its_command(scenario: Scenario) -> None:
    program, command, *words = shlex.split(scenario.command())
    assert (program, command) == ("kdumpsim", "run")
    with run.make_context("run", words) as context:
        assert Scenario(**fields_of(Scenario, context.params)) == scenario


def test_the_docs_table_of_options_is_what_the_settings_say() -> None:
    text = (Path(__file__).parents[2] / "docs" / "scenario.md").read_text()
    _, _, rest = text.partition(BEGIN)
    table, end, _ = rest.partition(END)
    assert end, "docs/scenario.md has no block of settings"
    assert table == options_table(), "put the output of options_table() into docs/scenario.md"


def test_data_of_another_version_are_refused_by_name() -> None:
    with pytest.raises(ScenarioError, match="colour"):
        Scenario.from_dict(Scenario("FS_DEVRW", "panic").to_dict() | {"colour": "blue"})


def test_traffic_is_not_asked_for_without_its_condition() -> None:
    assert Scenario("FS_DEVRW", "panic", dma=("net",)).traffic
    with pytest.raises(ScenarioError, match="dma="):
        Scenario("FS_DEVRW", "panic", traffic=True)
