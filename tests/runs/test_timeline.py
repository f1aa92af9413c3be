# SPDX-License-Identifier: GPL-2.0-or-later
"""The timeline of a run, beside what the run's result and its console say."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.runs.result import Result
from kdumpsim.runs.run import run_scenario
from kdumpsim.runs.timeline import READ, SLEPT
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import ScenarioError

Event = dict[str, Any]


class Run:
    """A panic with its timeline, and without."""

    def __init__(self, directory: Path) -> None:
        scenario = Scenario("FS_DEVRW", "panic")
        file = directory / "timeline.json"
        self.result = run_scenario(scenario, directory / "with", perfetto=file)
        self.plain = run_scenario(scenario, directory / "without", cached_boot=False)
        self.console = [(directory / name / "console.log").read_bytes() for name in ("with", "without")]
        events: list[Event] = json.loads(file.read_text())["traceEvents"]
        named = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
        owners = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
        self.tracks: dict[tuple[str, str], list[Event]] = defaultdict(list)
        for event in events:
            if event["ph"] != "M":
                self.tracks[owners[event["pid"]], named[event["pid"], event["tid"]]].append(event)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("timeline"))


def span(event: Event) -> tuple[int, int]:
    """From when to when, in ns."""
    begin = round(event["ts"] * 1000)
    return begin, begin + round(event.get("dur", 0) * 1000)  # a halt may end where it began


def test_recording_changes_nothing(run: Run) -> None:
    def facts(result: Result) -> Any:
        data = result.as_dict()
        for phase in data["phases"]:
            del phase["host_s"]
        return data

    assert facts(run.result) == facts(run.plain)
    assert run.console[0] == run.console[1]


def test_phases_and_console_lines_are_where_the_result_has_them(run: Run) -> None:
    phases = {e["name"]: e for e in run.tracks["machine", "phases"] if e["ph"] == "X"}
    for phase in run.result.phases:
        if phase.virtual_ns:
            assert phases[phase.name]["ts"] == (phase.virtual_end_ns - phase.virtual_ns) / 1000
            assert phases[phase.name]["dur"] == phase.virtual_ns / 1000
    lines = [e["name"] for e in run.tracks["machine", "console"]]
    said = run.console[0].decode().replace("\r\n", "\n")
    assert sorted(lines) == sorted(line for line in said.split("\n") if line.strip())


def test_events_of_a_cpu_are_named_and_nest(run: Run) -> None:
    names: set[str] = set()
    for cpu in ("CPU 0", "CPU 1"):
        ends = [1 << 62]
        for event in sorted(run.tracks[cpu, "events"], key=lambda e: (e["ts"], -e["dur"])):
            begin, end = span(event)
            while ends[-1] <= begin:
                ends.pop()
            assert end <= ends[-1]
            ends.append(end)
            names.add(event["name"])
    assert {"IRQ 0", "IRQ 14", "local timer", "#PF", "NMI"} <= names


def test_cpus_are_halted_or_take_events_not_both(run: Run) -> None:
    for cpu in ("CPU 0", "CPU 1"):
        halts = sorted(span(e) for e in run.tracks[cpu, "halts"])
        assert halts
        starts = [span(e)[0] for e in run.tracks[cpu, "events"]]
        assert not [start for start in starts for begin, end in halts if begin < start < end]


def test_tasks_share_a_cpu_without_overlap(run: Run) -> None:
    names = set()
    for cpu in ("CPU 0", "CPU 1"):
        tasks = sorted((*span(e), e["name"]) for e in run.tracks[cpu, "tasks"])
        assert all(end <= begin for (_, end, _), (begin, _, _) in pairwise(tasks))
        names |= {name for *_, name in tasks}
    assert {"swapper", "init", "agent", "diskio", "ksoftirqd/0"} <= names


def test_what_slept_is_drawn_apart(run: Run) -> None:
    slept = [e for cpu in ("CPU 0", "CPU 1") for e in run.tracks[cpu, SLEPT]]
    assert slept
    assert [e["ph"] for e in slept].count("b") == [e["ph"] for e in slept].count("e")


def test_dma_has_its_places(run: Run) -> None:
    moved = run.tracks["machine", "DMA"]
    assert moved
    assert all(int(e["args"]["physical address"], 16) >= 0 and e["args"]["bytes"] > 0 for e in moved)


def test_softirqs_have_their_handlers_names_and_do_not_overlap(run: Run) -> None:
    names: set[str] = set()
    for cpu in ("CPU 0", "CPU 1"):
        spans = sorted((*span(e), e["name"]) for e in run.tracks[cpu, "softirqs"])
        assert all(end <= begin for (_, end, _), (begin, _, _) in pairwise(spans))
        names |= {name for *_, each in spans for name in each.split(", ")}
    assert {"run_timer_softirq", "blk_done_softirq"} <= names


def test_the_dump_is_read_from_memory_by_the_dump_disks_channel(run: Run) -> None:
    assert run.result.vmcore is not None
    dumped = [e["args"] for e in run.tracks["machine", "DMA"] if e["name"] == READ and e["args"]["device"] == "ide1"]
    assert sum(args["bytes"] for args in dumped) >= run.result.vmcore.bytes


@pytest.mark.parametrize("file", ["run/vmcore", "run/result.json", "nowhere/x.json", ".", "/dev/full"])
def test_a_timeline_replaces_nothing_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "vmcore").write_text("an earlier dump")
    with pytest.raises(ScenarioError):
        run_scenario(Scenario("FS_DEVRW", "panic"), Path("run"), perfetto=Path(file))
    assert (tmp_path / "run" / "vmcore").read_text() == "an earlier dump"
