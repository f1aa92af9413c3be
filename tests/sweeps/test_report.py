# SPDX-License-Identifier: GPL-2.0-or-later
"""What a store says in a page and in files for other tools."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from kdumpsim.commands.report import report
from kdumpsim.commands.sweep import sweep
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps.export import export, junit, runs
from kdumpsim.sweeps.plan import Plan
from kdumpsim.sweeps.report import page
from kdumpsim.sweeps.row import WORKER_DIED, Row
from kdumpsim.sweeps.store import Store, StoreError

from .rows import STACKS, captured, failed, fill


def some_fail(scenario: Scenario) -> Row:
    if scenario.seed == 9 and scenario.count == 1:
        return Row.without_outcome(scenario, WORKER_DIED, "the worker was killed by <SIGKILL>\x1b")
    return (
        failed(scenario)
        if scenario.crash_type == "overflow" and scenario.options["stack"] == "4k"
        else captured(scenario)
    )


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("stores") / "stacks.sqlite", create=True) as store:
        fill(store, Plan.from_dict(STACKS), some_fail)
        yield store


class _Page(HTMLParser):
    """Texts, elements, and what a browser would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.count: dict[str, int] = {}
        self.loads: list[str] = []
        self.names: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.loads.append(str(value))
            if name == "id":
                self.names.append(str(value))

    def handle_data(self, data: str) -> None:
        self.texts.append(" ".join(data.split()))


def test_the_page_has_its_charts_and_figures_and_loads_nothing(stacks: Store) -> None:
    text = page(stacks)
    read = _Page(text)
    assert read.loads == []
    assert "http" not in text
    assert "script" not in read.count
    assert read.count["svg"] == 5  # ends, two heat maps, latency, differences
    assert len(read.names) == len(set(read.names))
    for wanted in (
        "400 runs in 2 arms: 294 ended O, 98 ended X, 8 have no outcome.",
        "Crash points and types: stack=4k",
        "[0.0, 7.3] of 49",  # 4k, overflow at each point
        "X (2c)",
        "kdumpsim run --crashpoint FS_DEVRW --type overflow --kernel-option stack=4k --count 1",
        "the worker was killed by <SIGKILL>\x1b",
    ):
        assert any(wanted in one for one in read.texts), wanted
    assert any(one.startswith("stack=8k brings more dumps home") for one in read.texts)


def test_the_same_store_gives_the_same_page(stacks: Store) -> None:
    assert page(stacks) == page(stacks)


def test_a_store_without_runs_has_no_page(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite", create=True) as store, pytest.raises(StoreError, match="has no runs yet"):
        page(store)


def test_exports_agree_with_each_other(stacks: Store, tmp_path: Path) -> None:
    from pyarrow import parquet

    for form in ("csv", "jsonl", "parquet"):
        export(stacks, form, tmp_path / f"s.{form}")
    with open(tmp_path / "s.csv", newline="") as file:
        from_csv = list(csv.DictReader(file))
    from_json = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    from_parquet = parquet.read_table(tmp_path / "s.parquet").to_pylist()
    assert from_json == from_parquet == list(runs(stacks))
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in from_json] == from_csv
    assert len(from_csv) == 400
    first = from_json[0]
    assert (first["stack"], first["crash_point"], first["count"], first["seed"]) == ("4k", "FS_DEVRW", 1, 0)
    assert first["command"] == "kdumpsim run --crashpoint FS_DEVRW --type overflow --kernel-option stack=4k --count 1"


def test_junit_has_a_case_a_scenario(stacks: Store, tmp_path: Path) -> None:
    junit(stacks, tmp_path / "s.xml")
    root = ElementTree.parse(tmp_path / "s.xml").getroot()
    small, large = root.findall("testsuite")
    assert [dict(small.attrib), len(small)] == [
        {"name": "stack=4k", "tests": "200", "failures": "98", "errors": "4"}, 200,
    ]  # fmt: skip
    assert (large.get("failures"), large.get("errors")) == ("0", "4")
    case = next(
        case for case in small if case.get("name") == "count 2, seed 3" and "overflow" in case.get("classname", "")
    )
    assert case.get("classname") == "stack=4k.FS_DEVRW.overflow"
    failure = case.find("failure")
    assert failure is not None
    assert "X (2c)" in failure.get("message", "")
    assert "kdumpsim run --crashpoint FS_DEVRW --type overflow --seed 3" in (failure.text or "")
    assert len(small.findall("testcase/error")) == 4


def test_report_writes_what_is_asked_for_beside_the_store(stacks: Store, tmp_path: Path) -> None:
    words = [
        str(stacks.path),
        "--html",
        str(tmp_path / "o.html"),
        "--junit",
        str(tmp_path / "o.xml"),
        "--export",
        "jsonl",
    ]
    answer = CliRunner().invoke(report, words)
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "o.html").read_text().startswith("<!DOCTYPE html>")
    assert stacks.path.with_suffix(".jsonl").exists()
    table = CliRunner().invoke(report, [str(stacks.path)])
    assert "stack=4k  FS_DEVRW     overflow" in table.output


def test_without_the_extra_the_page_says_what_to_install(stacks: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    answer = CliRunner().invoke(report, [str(stacks.path), "--html", "never.html"])
    assert answer.exit_code == 2
    assert "pip install 'kdumpsim[sweep]'" in " ".join(answer.stderr.split())
    assert not Path("never.html").exists()


def test_no_store_is_one_clear_message(tmp_path: Path) -> None:
    answer = CliRunner().invoke(report, [str(tmp_path / "none.sqlite")])
    assert answer.exit_code == 2
    assert "does not exist" in answer.stderr


def test_the_store_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    Store(path, create=True).close()
    before = path.read_bytes()
    for words in (["--junit", str(path)], ["--html", str(path)], ["--export", "csv"]):
        answer = CliRunner().invoke(report, [str(path), *words])
        assert (answer.exit_code, "is the store itself" in answer.output) == (2, True), answer.output
        assert path.read_bytes() == before


def test_a_precision_of_zero_is_no_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(sweep, ["--points", "FS_DEVRW", "--types", "panic", "--precision", "0"])
    assert answer.exit_code == 2
    assert "precision 0 is out of range" in answer.output
