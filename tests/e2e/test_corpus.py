# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim corpus`: the same bytes each time, and a truth.json that dumps and gdb agree with."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.commands.open import _crashing_thread
from kdumpsim.sweeps.corpus import entries, write_corpus
from kdumpsim.vmcore.formats.compressors import CompressorMissing
from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.reader import Vmcore

from .conftest import kdumpsim, truth_of

NAMES = ("compressed-zstd", "oops", "overflow")
"""Written twice."""


def files(directory: Path) -> dict[str, str]:
    """SHA-256 of every file by its path."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_the_index_lists_each_file_with_its_sum(corpus: Path) -> None:
    found = files(corpus)
    rows = json.loads((corpus / "corpus.json").read_text())
    assert sorted(row["name"] for row in rows) == sorted(entries())
    for row in rows:
        assert row["sha256"] == found[row["file"]]
        assert row["truth_sha256"] == found[f"{row['name']}/truth.json"]
        assert row["bytes"] == (corpus / row["file"]).stat().st_size
        assert f"{row['name']}/vmlinux" in found
    assert not list(corpus.glob(".*"))


@pytest.mark.nightly
def test_the_same_names_are_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    again = kdumpsim("corpus", str(tmp_path), *reversed(NAMES), environment={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"})
    assert again.returncode == 0, again.stderr
    found = files(tmp_path)
    del found["corpus.json"]  # in the order asked for
    assert found.items() <= files(corpus).items()
    assert len(found) == 9


@pytest.mark.parametrize("name", ["panic", "oops"])
def test_the_dump_holds_the_pages_and_registers_of_truth_json(name: str, corpus: Path) -> None:
    told = truth_of(corpus, name)
    with Vmcore(corpus / name / told["file"]) as dump:
        for run in told["pages"]["runs"]:
            first, end = run["start"] * 4096, run["end"] * 4096
            data = dump.read_physical(first, end - first - (1024 if end == 0xA0000 else 0))  # the EBDA is no RAM
            assert hashlib.sha256(data).hexdigest() == run["sha256"], run
            assert run["zero"] == (not any(data))
        notes = dump.cpus
    assert [cpu["role"] for cpu in told["cpus"]].count("crashing") == 1
    for cpu, note in zip(told["cpus"], notes, strict=True):
        values = {register: int(value, 16) for register, value in cpu["registers"].items()}
        if cpu["role"] == "crashing" and name == "panic":
            assert 0 < values["esp"] - note.registers["esp"] < 1024, "it saves its registers a little later"
        else:
            mask = {"cs": 0xFFFF, "ds": 0xFFFF, "es": 0xFFFF, "eflags": ~(1 << 16)}
            for register in ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "eflags", "cs", "ds", "es"):
                assert not (values[register] ^ note.registers[register]) & mask.get(register, -1), register
    counts = told["pages"]["counts"]
    assert sum(counts[kind] for kind in counts if kind != "zero") * 4096 == (32 - 16) * (1 << 20) - 0x60000


def test_gdbs_backtraces_have_the_source_lines_of_truth_json(corpus: Path, require_tool: Callable[[str], str]) -> None:
    told = truth_of(corpus, "oops")
    folder = corpus / "oops"
    words = [require_tool("gdb"), "-nx", "-batch", "-ex", "set width 0", "-ex", "thread apply all bt"]
    process = subprocess.run(
        [*words, str(folder / "vmlinux"), str(folder / "vmcore")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    blocks = re.split(r"\nThread (\d+) \(LWP \d+\):\n", process.stdout)
    shown = dict(zip(map(int, blocks[1::2]), blocks[2::2], strict=True))
    for cpu in told["cpus"]:
        frames = re.findall(r"^#\d+ .*?(\w+) \(.*\) at (\S+):(\d+)$", shown[cpu["cpu"] + 1], re.MULTILINE)
        ours = [(frame["function"], frame["file"], str(frame["line"])) for frame in cpu["backtrace"]]
        assert len(frames) >= 5
        assert [frame for frame in ours if frame in frames] == frames, "but for what gdb calls a signal handler"
        assert ours[0] == frames[0]


def test_tasks_and_log_are_those_that_gdb_finds(corpus: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")
    told = truth_of(corpus, "panic")
    process = kdumpsim("open", str(corpus / "panic"), "gdb", "--", "-nx", "-batch", "-ex", "kd-ps", "-ex", "kd-dmesg")
    rows = re.findall(r"^([> ]) *(\d+) [RSDZX] +(\d+) (0x[0-9a-f]+) (\S+)$", process.stdout, re.MULTILINE)
    assert rows == [
        (">" if task["on_cpu"] else " ", str(task["pid"]), str(task["cpu"]), task["task"], task["comm"])
        for task in told["tasks"]
    ]
    log = "\n".join(told["log"])
    assert log in process.stdout
    assert "Kernel panic - not syncing" in log


def test_an_overflow_without_a_dump_is_the_machines_own_memory(corpus: Path) -> None:
    told = truth_of(corpus, "overflow")
    if told["captured"]:
        assert told["file"] == "vmcore"
        return
    assert (told["outcome"][0], told["file"], told["crash"]["where"]) == ("X", "truth.core", "dtt_induce")
    with Vmcore(corpus / "overflow" / "truth.core") as core:
        assert [f"{cpu.registers['eip']:#x}" for cpu in core.cpus] == [cpu["registers"]["eip"] for cpu in told["cpus"]]


def test_the_variants_that_tool_makers_ask_for_are_there() -> None:
    listed = kdumpsim("corpus", "--list").stdout
    names = [line.split()[0] for line in listed.splitlines()]
    assert names == list(entries())
    assert {
        "panic", "oops", "hang", "overflow", "holes", "cpus-1", "cpus-8", "filtered", "truncated", "missing-note",
    } <= set(names)  # fmt: skip
    assert all(len(line) <= 80 for line in listed.splitlines())
    wrong = kdumpsim("corpus", "somewhere", "panik")
    assert wrong.returncode == 2
    assert "unknown dump 'panik'; did you mean panic?" in wrong.stderr
    assert not Path("somewhere").exists()


def test_what_cannot_be_written_is_said_first_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(CompressorMissing):
        next(write_corpus(tmp_path / "none", [entries()[name] for name in ("panic", "compressed-zstd")]))
    assert not (tmp_path / "none").exists()
    (tmp_path / "corpus.json").touch()
    full = kdumpsim("corpus", str(tmp_path), "panic", prefix=("prlimit", "--fsize=4000000"))
    assert full.returncode == 5, full.stderr
    assert "File too large" in full.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["panic", "missing-note"])
def test_open_begins_at_the_cpu_that_crashed(name: str, corpus: Path) -> None:
    crashed = truth_of(corpus, name)["crash"]["cpu"]
    core = corpus / name / truth_of(corpus, name)["file"]
    thread = _crashing_thread(core, Layout((corpus / name / "vmlinux").read_bytes()), {})
    with Vmcore(core) as dump:
        told = int(truth_of(corpus, name)["cpus"][crashed]["registers"]["esp"], 16)
        if thread is None:
            assert all(abs(cpu.registers["esp"] - told) > 8192 for cpu in dump.cpus)
        else:
            assert abs(dump.cpus[thread - 1].registers["esp"] - told) < 8192
    assert name == "missing-note" or thread == crashed + 1
