# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of runs, beside what kexec-tools planned, what the oracle saw and what the dump's file says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from kdumpsim.cli import main
from kdumpsim.explain.facts import Armed, Crash, Facts, Overwritten, StackLeft
from kdumpsim.explain.pictures.gallery import drawings
from kdumpsim.explain.pictures.page import page
from kdumpsim.explain.pictures.recorder import Record, Recorder
from kdumpsim.explain.pictures.svg import NAMESPACE, Drawing, Svg, by_itself, width_of
from kdumpsim.explain.pictures.told import told
from kdumpsim.explain.replay import explain_and_draw, known_without_running
from kdumpsim.kexec import load
from kdumpsim.kexec.iomem import MemoryLayout
from kdumpsim.kexec.load import LoadPlan
from kdumpsim.mechanisms import kdump
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import Leave, finish, power_on, run_scenario, start
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.vmcore.reader import Vmcore

SVG = f"{{{NAMESPACE}}}"
PANIC = Scenario("FS_DEVRW", "panic")
NAMES = {"backup": "backup region", "elfcorehdr": "ELF core headers"}
"""What kexec-tools' segments are called in pictures, where it is something else."""


@dataclass
class Drawn:
    """A run that was recorded, and its pictures."""

    record: Record
    result: Result
    drawings: dict[str, Drawing]
    directory: Path

    def tree(self, name: str) -> ET.Element:
        return ET.fromstring(self.drawings[name].svg)

    def rects(self, name: str, on: str) -> list[dict[str, str]]:
        """The boxes of a kind: their data-… attributes."""
        return [
            {key.removeprefix("data-"): value for key, value in rect.attrib.items()}
            for rect in self.tree(name).iter(f"{SVG}rect")
            if rect.get("data-on") == on
        ]

    def ranges(self, name: str, on: str) -> list[tuple[int, int]]:
        return [(int(rect["start"]), int(rect["end"])) for rect in self.rects(name, on)]


def draw(scenario: Scenario, directory: Path) -> Drawn:
    session = power_on(scenario.pc, scenario.kernel)
    session.give(scenario.timeout)
    recorder = Recorder(session)
    result = finish(session, scenario, directory, start(session), Leave(truth=False))
    record = recorder.record()
    return Drawn(record, result, {drawing.name: drawing for drawing in drawings(record)}, directory)


@pytest.fixture(scope="module")
def planned() -> dict[str, Any]:
    """What kexec-tools read and planned in the module's panic."""
    return {}


@pytest.fixture(scope="module")
def panic(tmp_path_factory: pytest.TempPathFactory, planned: dict[str, Any]) -> Drawn:
    def kexec_load_panic(*arguments: Any, **more: Any) -> LoadPlan:
        planned["plan"] = load.kexec_load_panic(*arguments, **more)
        return planned["plan"]

    def read_layout(agent: Any) -> MemoryLayout:
        planned["layout"] = original(agent)
        return planned["layout"]

    original = load.read_layout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kdump, "kexec_load_panic", kexec_load_panic)
        patch.setattr(load, "read_layout", read_layout)
        return draw(PANIC, tmp_path_factory.mktemp("panic"))


@pytest.fixture(scope="module")
def overflow(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw(Scenario("INT_HARDWARE_ENTRY", "overflow"), tmp_path_factory.mktemp("overflow"))


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Purgatory finds the capture kernel overwritten, and hangs."""
    scenario = Scenario("FS_DEVRW", "panic", inject="corrupt-capture-kernel")
    return draw(scenario, tmp_path_factory.mktemp("refused"))


@dataclass
class Explained:
    """A run that was explained, with its pictures."""

    facts: Facts
    drawings: dict[str, Drawing]

    @property
    def page(self) -> str:
        return page("A run", self.facts.command, told(self.facts), list(self.drawings.values()))


@pytest.fixture(scope="module")
def explained(overflow: Drawn) -> Explained:
    facts, drawn = explain_and_draw(overflow.directory)
    return Explained(facts, {drawing.name: drawing for drawing in drawn})


@pytest.fixture(params=["panic", "overflow", "refused"])
def each(request: pytest.FixtureRequest) -> Drawn:
    drawn: Drawn = request.getfixturevalue(request.param)
    return drawn


def test_recording_changes_nothing(panic: Drawn, tmp_path: Path) -> None:
    plain = run_scenario(PANIC, tmp_path)
    assert plain.vmcore is not None
    assert plain.vmcore == panic.result.vmcore
    assert (tmp_path / "console.log").read_bytes() == (panic.directory / "console.log").read_bytes()


# Physical memory.


def test_segments_are_where_they_were_planned(panic: Drawn, planned: dict[str, Any]) -> None:
    boxes = {(int(r["start"]), int(r["end"])): r["name"] for r in panic.rects("memory-1-loaded", "region")}
    for segment in planned["plan"].segments:
        name = boxes[segment.range.start, segment.range.end]
        assert name == NAMES.get(segment.name, segment.name if segment.name in boxes.values() else "capture kernel")


def test_every_address_is_drawn_once_and_ram_is_all_of_it(panic: Drawn, planned: dict[str, Any]) -> None:
    layout: MemoryLayout = planned["layout"]
    bar = panic.rects("memory-1-loaded", "bar")
    spans = sorted((int(rect["start"]), int(rect["end"])) for rect in bar)
    assert spans[0][0] == 0
    assert spans[-1][1] == layout.ram[-1].end
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    ram = sum(int(rect["end"]) - int(rect["start"]) for rect in bar if rect["class"] != "hole")
    assert ram == sum(part.size for part in layout.ram)


def test_the_bar_is_to_scale(panic: Drawn) -> None:
    heights = {(int(r["start"]), int(r["end"])): float(r["height"]) for r in panic.rects("memory-1-loaded", "bar")}
    large = {span: height for span, height in heights.items() if span[1] - span[0] > 1 << 22}
    scales = [height / (end - start) for (start, end), height in large.items()]
    assert len(large) >= 3
    assert max(scales) < 1.01 * min(scales)


def test_the_kernel_is_where_iomem_says(panic: Drawn, planned: dict[str, Any]) -> None:
    drawn = set(panic.ranges("memory-1-loaded", "rows"))
    layout: MemoryLayout = planned["layout"]
    assert layout.crash is not None
    assert {(part.start, part.end) for part in (*layout.kernel, layout.crash)} <= drawn


def test_prepared_headers_point_to_what_they_are_about(panic: Drawn, planned: dict[str, Any]) -> None:
    plan: LoadPlan = planned["plan"]
    rows = panic.rects("memory-3-headers", "headers")
    notes = [int(row["start"]) for row in rows if row["name"] == "PT_NOTE"]
    assert notes[: len(plan.crash_notes)] == [area.start for area in plan.crash_notes]
    assert plan.backup is not None
    assert (0, plan.backup.start) in {(int(row["paddr"]), int(row["start"])) for row in rows}


def test_notes_are_shown_once_they_are_saved(panic: Drawn, overflow: Drawn) -> None:
    boxes = panic.rects("memory-2-crashed", "notes")
    assert [box["class"] for box in boxes] == ["save", "save"]
    words = [text.text or "" for text in panic.tree("memory-2-crashed").iter(f"{SVG}text")]
    for check in panic.result.judgement.registers if panic.result.judgement else []:
        assert any(f"{check.eip:08x} {check.where}" in text for text in words)
        assert f"CPU {check.cpu}: {check.role}" in words
    assert {box["class"] for box in overflow.rects("memory-2-crashed", "notes")} == {"hole"}


def test_the_copy_of_low_memory_is_compared_at_the_time(panic: Drawn) -> None:
    assert "the copy equals the original" in panic.drawings["memory-4-backup"].caption


def test_the_file_is_drawn_as_it_is(panic: Drawn) -> None:
    with Vmcore(panic.directory / "vmcore") as core:
        expected = {(load.offset, load.offset + load.size) for load in core.loads}
        expected |= {(offset, offset + size) for offset, size in core.note_spans} | {(0, core.headers_size)}
        assert set(panic.ranges("memory-6-dump", "file")) == expected


def test_changed_pages_are_those_between_the_moments(panic: Drawn) -> None:
    record = panic.record
    crash, jump = record.oracle.crash, record.oracle.jump
    assert crash is not None
    assert jump is not None
    assert crash.ram is not None
    assert jump.ram is not None
    changed = len(list(crash.ram.changed_pages(jump.ram)))
    assert sum(int(rect["pages"]) for rect in panic.rects("memory-2-crashed", "strip")) == changed > 0


def test_a_run_that_did_not_come_so_far_has_fewer_figures(panic: Drawn, overflow: Drawn, refused: Drawn) -> None:
    assert {"memory-4-backup", "memory-5-capture-kernel-up", "memory-6-dump"} <= panic.drawings.keys()
    for run in (overflow, refused):
        assert not {"memory-4-backup", "memory-5-capture-kernel-up", "memory-6-dump"} & run.drawings.keys()


# Interrupt controllers.


def registers(drawn: Drawn) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Each register's boxes, by moment; names come once a controller."""
    boxes = [rect.attrib for rect in drawn.tree("controllers").iter(f"{SVG}rect") if "data-register" in rect.attrib]
    columns = 3 if "hand-over" in drawn.record.moments else 2
    for at in range(0, len(boxes), columns):
        yield boxes[at]["data-register"], boxes[at : at + columns]


def test_what_differs_is_marked_and_nothing_else(panic: Drawn) -> None:
    for _, boxes in registers(panic):
        values = [box["data-value"] for box in boxes]
        assert [box["data-differs"] for box in boxes[1:]] == [str(int(a != b)) for a, b in pairwise(values)]


def test_the_hand_over_leaves_what_a_booting_kernel_expects(panic: Drawn) -> None:
    rows = list(registers(panic))
    states = [boxes for name, boxes in rows if name == "state"]
    assert "enabled" in states[0][0]["data-value"]
    assert states[0][1]["data-value"] == "software-disabled"
    lint0 = [boxes for name, boxes in rows if name == "LVT LINT0"][panic.record.oracle.crasher or 0]
    assert lint0[1]["data-value"] == "ExtINT"  # virtual wire
    timer = next(boxes for name, boxes in rows if name == "pin 2")
    assert [box["data-value"] == "masked" for box in timer] == [False, True, False]


# The crash point.


def edges(drawn: Drawn) -> dict[str, int]:
    groups = drawn.tree("crash-point").iter(f"{SVG}g")
    return {
        group.attrib["data-edge"]: int(group.attrib["data-taken"]) for group in groups if "data-edge" in group.attrib
    }


def test_a_dumped_crash_takes_the_way_to_the_dump(panic: Drawn) -> None:
    taken = {edge for edge, count in edges(panic).items() if count}
    assert taken == {"unregistered to registered", "registered to enabled", "enabled to enabled",
                     "enabled to failure induced", "failure induced to dump"}  # fmt: skip
    assert "9 crossings, count 10 to 1" in panic.drawings["crash-point"].svg


def test_an_overflow_is_survived_before_it_kills(overflow: Drawn) -> None:
    assert edges(overflow)["failure induced to disabled"] == 1
    assert edges(overflow)["failure induced to dump"] == 0


# The stack.


def boxes_of(drawing: Drawing, key: str) -> list[dict[str, str]]:
    """The data-… attributes of the boxes that have this one."""
    rects = [rect.attrib for rect in ET.fromstring(drawing.svg).iter(f"{SVG}rect")]
    return [{name[5:]: value for name, value in rect.items() if name.startswith("data-")} for rect in rects
            if f"data-{key}" in rect]  # fmt: skip


def test_the_stack_grows_without_gaps_from_what_was_in_use_to_below_it(explained: Explained) -> None:
    frames = [box for box in boxes_of(explained.drawings["stack"], "pointer") if box["on"] == "frames"]
    assert all(above["pointer"] == below["begin"] for above, below in pairwise(frames))
    (left,) = explained.facts.all(StackLeft)
    assert int(frames[-1]["pointer"]) < left.stack < int(frames[0]["begin"])
    assert [box["name"] for box in frames].count("dtt_overflow") >= 8


def test_what_was_overwritten_is_drawn_where_it_was(explained: Explained) -> None:
    drawn = {(int(box["start"]), int(box["end"])) for box in boxes_of(explained.drawings["stack"], "on")
             if box["on"] == "overwritten"}  # fmt: skip
    assert drawn == {(one.address, one.address + one.size) for one in explained.facts.all(Overwritten)}
    words = [text.text or "" for text in ET.fromstring(explained.drawings["stack"].svg).iter(f"{SVG}text")]
    first = explained.facts.all(Overwritten)[0]
    listed = [text for text in words if re.match(r"1\. ", text)]
    assert len(listed) == 1
    assert f"{first.address:08x}" in listed[0]
    assert any("thread_info.task" in text for text in words)


def test_sentences_link_to_their_facts_and_to_the_timeline(explained: Explained) -> None:
    found = Page(explained.page)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    crash = explained.facts.all(Crash)[0]
    assert f'data-time="{crash.at.ns}"' in explained.page
    assert f'<a href="#fact-{explained.facts.mark(crash)}">' in explained.page


def test_a_run_that_cannot_be_repeated_has_a_page_without_pictures(overflow: Drawn) -> None:
    facts = known_without_running(overflow.directory)
    found = Page(text := page("A run", facts.command, told(facts), []))
    assert "It is called X" in text
    assert "timeline" not in {*found.ids, *(link.removeprefix("#") for link in found.links)}


@pytest.mark.nightly
def test_a_dump_is_the_same_when_it_is_explained(panic: Drawn) -> None:
    facts, drawn = explain_and_draw(panic.directory)  # NotTheSame if it is another one
    assert facts.replayed
    assert {drawing.name for drawing in drawn} == panic.drawings.keys()


# The timeline.


def test_marks_are_at_the_milestones(each: Drawn) -> None:
    data = json.loads(each.drawings["timeline"].script)
    marks = {name: at for at, name, _ in data["marks"]}
    oracle = each.record.oracle
    assert oracle.crash is not None
    assert marks["crash"] == oracle.crash.time_ns
    assert marks.get("hand-over") == (oracle.jump.time_ns if oracle.jump is not None else None)
    groups = [group.attrib for group in each.tree("timeline-run").iter(f"{SVG}g") if "data-mark" in group.attrib]
    assert {group["data-mark"]: int(group["data-time"]) for group in groups} == marks


def test_the_page_has_all_that_was_recorded(panic: Drawn) -> None:
    data = json.loads(panic.drawings["timeline"].script)
    lanes = {lane["label"]: lane for lane in data["lanes"]}
    assert {
        "CPU 0: tasks",
        "CPU 1: tasks",
        "softirqs",
        "halted",
        "DMA of ide0",
        "DMA of ide1",
        "console",
    } <= lanes.keys()
    names = {data["texts"][bar[2]] for lane in data["lanes"] for bar in lane["bars"]}
    assert {"IRQ 14", "NMI", "local timer", "#PF", "blk_done_softirq", "swapper", "diskio"} <= names
    lines = [data["texts"][bar[2]] for bar in lanes["console"]["bars"]]
    assert any("Kernel panic" in line for line in lines)
    assert sum(len(lane["bars"]) for lane in data["lanes"]) > 0.9 * len(panic.record.spans)


def test_the_first_view_holds_the_crash(each: Drawn) -> None:
    data = json.loads(each.drawings["timeline"].script)
    begin, end = data["window"]
    crash = next(at for at, name, _ in data["marks"] if name == "crash")
    assert begin < crash < end <= max(data["end"], crash + 1)
    assert end == data["end"] or data["end"] - crash > 60_000_000


def test_no_mark_is_cut_at_the_edge(each: Drawn) -> None:
    for name in ("timeline", "timeline-run"):
        assert all(right <= 960 for _, _, right, _, _ in boxes_of_texts(each.tree(name)))


# Files and pages.


def boxes_of_texts(tree: ET.Element) -> Iterator[tuple[float, float, float, float, str]]:
    """Left, top, right and bottom of each text, a little less than it takes."""
    for text in tree.iter(f"{SVG}text"):
        words, kinds = text.text or "", set((text.get("class") or "").split())
        size = 10.5 if kinds & {"s", "m", "on", "onirq"} else 12
        wide = 0.85 * width_of(words, size, code="m" in kinds)
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        left = {"end": x - wide, "middle": x - wide / 2}.get(text.get("text-anchor") or "", x)
        yield left, y - 0.6 * size, left + wide, y, words


def test_texts_do_not_overlap(each: Drawn) -> None:
    for name in each.drawings:
        for one, other in combinations(boxes_of_texts(each.tree(name)), 2):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, f"{name}: {one[4]!r} and {other[4]!r}"


def test_a_picture_stands_by_itself(each: Drawn) -> None:
    for drawing in each.drawings.values():
        text = by_itself(drawing.svg)
        tree = ET.fromstring(text)
        assert tree.find(f"{SVG}title") is not None
        assert tree.find(f"{SVG}style") is not None
        assert "var(" not in text
        assert "http" not in text.replace(NAMESPACE, "")


class Page(HTMLParser):
    """What a page has: ids, links, and whatever would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" and "href" in given else []
        self.fetched += [given[name] for name in ("src", "srcset", "xlink:href") if name in given]
        self.fetched += [given["href"]] if tag in ("link", "use", "image") and "href" in given else []


def test_a_page_needs_nothing_else(each: Drawn) -> None:
    text = page("A run", "kdumpsim run", ("<p>told</p>", ""), list(each.drawings.values()))
    found = Page(text)
    assert not found.fetched
    assert not re.search(r"https?:", text.replace(NAMESPACE, ""))
    assert "@import" not in text
    assert "url(" not in text
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))


def test_the_documentation_names_every_picture(panic: Drawn, explained: Explained) -> None:
    text = (Path(__file__).parents[2] / "docs/pictures.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)\.svg`", text, re.M)) == panic.drawings.keys() | explained.drawings.keys()


@pytest.mark.nightly
def test_the_command_writes_the_page_and_a_file_for_each_picture(explained: Explained, overflow: Drawn) -> None:
    html, folder = overflow.directory / "run.html", overflow.directory / "svg"
    words = ["explain", str(overflow.directory), "--html", str(html), "--svg", str(folder)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0
    first, second = done.stdout.splitlines()
    assert first == f"Wrote {html}: the page, with {len(explained.drawings)} pictures."
    assert f" to {folder}: " in second
    assert {file.stem for file in folder.iterdir()} == explained.drawings.keys()
    assert all(ET.parse(file).getroot().tag == f"{SVG}svg" for file in folder.iterdir())
    assert "<h1>INT_HARDWARE_ENTRY / overflow: X</h1>" in html.read_text()


PROBE = """
<script>
const seen = [], where = () => document.getElementById("timeline-where").textContent;
const press = (name) => [...document.querySelectorAll("#timeline-controls button")]
  .find((button) => button.textContent === name).click();
const note = (what) => seen.push([what, where(), document.querySelectorAll("#timeline g.view rect").length]);
note("first");
for (const name of ["+", "whole run", "hand-over"]) { press(name); note(name); }
location.hash = document.querySelector("a[data-time]").getAttribute("href");
setTimeout(() => { note("link"); document.body.dataset.seen = JSON.stringify(seen); }, 100);
</script>
"""
"""Presses buttons, follows a link, and leaves what was shown each time."""


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_timeline_zooms_in_a_browser(explained: Explained, panic: Drawn, tmp_path: Path) -> None:
    text = page("A run", "", told(explained.facts), list(panic.drawings.values()))
    (tmp_path / "page.html").write_text(text.replace("</html>", f"{PROBE}</html>"))
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run([*words, f"file://{tmp_path}/page.html"], capture_output=True, text=True, check=True)
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found is not None
    seen = {what: (where, boxes) for what, where, boxes in json.loads(unescape(found[1]))}

    def window(what: str) -> tuple[float, float]:
        begin, end = re.findall(r"[\d.]+(?= s)", seen[what][0])
        return float(begin), float(end)

    data = json.loads(panic.drawings["timeline"].script)
    first, nearer, whole = window("first"), window("+"), window("whole run")
    assert first == pytest.approx([at / 1e9 for at in data["window"]])
    assert nearer[1] - nearer[0] == pytest.approx((first[1] - first[0]) / 2)
    assert whole == pytest.approx((0, data["end"] / 1e9))
    jump = next(at for at, name, _ in data["marks"] if name == "hand-over") / 1e9
    assert window("hand-over") == pytest.approx((jump - 0.002, jump + 0.002))
    assert sum(window("link")) / 2 == pytest.approx(explained.facts.all(Armed)[0].at.ns / 1e9, abs=1e-6)
    assert all(boxes > 0 for _, boxes in seen.values())
    assert seen["whole run"][1] > seen["first"][1]


def test_whatever_a_text_holds_it_stays_text() -> None:
    svg = Svg(100, 50, "a <title> & more", "d\x00e")
    svg.text(1, 2, '</text><script>"&\x1b[0m')
    svg.rect(0, 0, 1, 1, "free", 'tip <&">', name='"><x')
    tree = ET.fromstring(str(svg))
    assert [text.text for text in tree.iter(f"{SVG}text")] == ['</text><script>"&\N{REPLACEMENT CHARACTER}[0m']
    assert "data-name" in list(tree.iter(f"{SVG}rect"))[1].attrib
    drawing = Drawing("timeline", "a </h2> b", "</figcaption>", str(svg), json.dumps({"x": "</script><b>"}))
    text = page("</title>", "</pre><b>", ("", ""), [drawing])
    assert "<b>" not in text
    assert text.count("</script>") == 2
