# SPDX-License-Identifier: GPL-2.0-or-later
"""The sample dumps in the tools that read them, opened by `kdumpsim open`, beside truth.json."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.sweeps.corpus import entries
from kdumpsim.target import PAGE_OFFSET, PAGE_SIZE

from .conftest import ask_crash, kdumpsim, truth_of

QUESTIONS = (
    "sys", "log", "bt -a", "bt -o", "ps", "task -R pid,comm,tgid,thread_info", "struct task_struct.pid,comm {task}",
    "kmem -i", "kmem -s", "irq -a", "vtop {task}", "rd -p {physical} 1", "search -k -c {text}",
    "list -h {init} task_struct.tasks", "runq",
)  # fmt: skip
STATES = {"running": "RU", "interruptible": "IN", "uninterruptible": "UN"}
IN_MAKEDUMPFILES_FORMAT = tuple(name for name, entry in entries().items() if entry.form.startswith(("kdump", "flat")))
ELF = tuple(name for name, entry in entries().items() if entry.form == "elf" and name != "no-notes")
TEXT = "crashkernel=16M@16M"
BACKTRACE = 5
"""Frames of gdb's that are looked at."""


@pytest.fixture(scope="module")
def said(
    corpus: Path, i386_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, str]]:
    """`said("oops")`: what crash answers about a sample."""
    answers: dict[str, dict[str, str]] = {}

    def ask(name: str) -> dict[str, str]:
        if name not in answers:
            told = truth_of(corpus, name)
            task = int(next(row["task"] for row in told["tasks"] if row["comm"] == "diskio"), 16)
            values = {
                "task": f"{task:x}", "physical": f"{task - PAGE_OFFSET:x}", "init": told["tasks"][0]["task"][2:],
                "text": TEXT,
            }  # fmt: skip
            asked = [question for question in QUESTIONS if (name, question) != ("oops", "bt -o")]  # crash dies of it
            questions = tuple(question.format(**values) for question in asked)
            folder = corpus / name
            found = ask_crash(i386_tool("crash"), folder, folder / "vmcore", questions, tmp_path_factory.mktemp("ask"))
            answers[name] = dict(zip(asked, found.values(), strict=True))
        return answers[name]

    return ask


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if line.strip()]


def task_rows(told: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """pid, CPU, address, state and name of each task as crash's ps has them."""
    return {
        (
            str(task["pid"]), str(task["cpu"]), task["task"][2:], STATES[task["state"]],
            task["comm"] if task["comm"] in ("init", "agent", "diskio") else f"[{task['comm']}]",
        )
        for task in told["tasks"]
    }  # fmt: skip


@pytest.mark.parametrize("name", ["panic", "oops", "cpus-8"])
def test_crash_says_what_truth_json_says(name: str, said: Callable[[str], dict[str, str]], corpus: Path) -> None:
    told, answers = truth_of(corpus, name), said(name)
    cpus, tasks = told["cpus"], told["tasks"]
    about = dict(line.strip().split(": ", 1) for line in answers["sys"].splitlines() if ": " in line)
    other_idle_tasks = len(cpus) - 1
    assert about["CPUS"] == str(len(cpus))
    assert int(about["TASKS"]) == len(tasks) + other_idle_tasks
    assert about["MEMORY"] == f"{told['scenario']['memory'] >> 20} MB"
    assert about["PANIC"].strip('"') in told["log"]

    assert [line.rstrip() for line in answers["log"].splitlines()] == [line.rstrip() for line in told["log"]]

    listed = [row[1:] if row[0] == ">" else row for row in rows(answers["ps"])[1:]]
    found = {(row[0], row[2], row[3], row[4], row[-1]) for row in listed}
    assert task_rows(told) <= found
    assert len(found) == len(tasks) + other_idle_tasks
    addresses = [row[0] for row in rows(answers["list -h {init} task_struct.tasks"])]
    assert addresses == [task["task"][2:] for task in tasks]

    crashed = cpus[told["crash"]["cpu"]]
    names = [frame["function"] for frame in crashed["backtrace"]]
    for block in re.split(r"^PID: ", answers["bt -a"], flags=re.MULTILINE)[1:]:
        cpu = cpus[int(re.findall(r"CPU: (\d+)", block)[0])]
        frames = {frame["function"] for frame in cpu["backtrace"]}
        shown = re.findall(r"^ ?#\d+ +\[\w+\] (\w+)", block, re.MULTILINE)
        common = [function for function in shown if function in frames]
        assert common == [frame["function"] for frame in cpu["backtrace"] if frame["function"] in common]
        assert len(common) >= 3, block
        if cpu["role"] != "crashing":
            assert f"EIP: {int(cpu['registers']['eip'], 16):08x}" in block
    if "bt -o" in answers:
        assert re.findall(r"^ ?#\d+ +\[\w+\] (\w+)", answers["bt -o"], re.MULTILINE) == names


def test_crash_finds_a_task_and_its_memory(said: Callable[[str], dict[str, str]], corpus: Path) -> None:
    told, answers = truth_of(corpus, "panic"), said("panic")
    crashed = next(task for task in told["tasks"] if task["on_cpu"] and task["cpu"] == told["crash"]["cpu"])
    address = int(crashed["task"], 16)
    for question in ("task -R pid,comm,tgid,thread_info", "struct task_struct.pid,comm {task}"):
        assert re.search(rf"\bpid = {crashed['pid']},", answers[question])
        assert f'comm = "{crashed["comm"]}' in answers[question]
    esp = int(told["cpus"][told["crash"]["cpu"]]["registers"]["esp"], 16)
    assert f"thread_info = 0x{esp & -8192:x}" in answers["task -R pid,comm,tgid,thread_info"]
    assert rows(answers["vtop {task}"])[1] == [f"{address:x}", f"{address - PAGE_OFFSET:x}"]
    assert rows(answers["rd -p {physical} 1"])[0][0] == f"{address - PAGE_OFFSET:x}:"
    kernel_pages = [run for run in told["pages"]["runs"] if run["kind"] == "kernel" and not run["zero"]]
    found = [int(row[0].rstrip(":"), 16) - PAGE_OFFSET for row in rows(answers["search -k -c {text}"])]
    assert found
    assert all(any(run["start"] <= at // PAGE_SIZE < run["end"] for run in kernel_pages) for at in found)


def test_crash_counts_pages_and_objects_right(said: Callable[[str], dict[str, str]], corpus: Path) -> None:
    told, answers = truth_of(corpus, "panic"), said("panic")
    assert int(re.findall(r"FREE +(\d+)", answers["kmem -i"])[0]) == told["pages"]["counts"]["free"]
    caches = {row[-1]: row for row in rows(answers["kmem -s"])[1:]}
    idle_tasks = len(told["cpus"]) - 1
    assert int(caches["task_struct"][2]) == len(told["tasks"]) - 1 + idle_tasks
    lines = {row[0]: row[1] for row in rows(answers["irq -a"])[1:]}
    assert (lines["0"], lines["14"]) == ("timer", "libata")


@pytest.mark.parametrize("name", IN_MAKEDUMPFILES_FORMAT)
def test_crash_opens_dumps_in_makedumpfiles_formats(
    name: str, corpus: Path, said: Callable[[str], dict[str, str]], i386_tool: Callable[[str], str], tmp_path: Path
) -> None:
    """Where half a file is missing, half of the tasks may be; `open` brings crash to its prompt all the same."""
    i386_tool("crash")
    script = tmp_path / "questions"
    script.write_text("ps\nquit\n")
    process = kdumpsim("open", str(corpus / name), "crash", "--", "-s", "-i", str(script))
    whole = said("panic")["ps"].rstrip().splitlines()
    if name == "truncated-compressed":
        assert len(set(whole) & set(process.stdout.splitlines())) >= len(whole) // 2
        assert "read error" in process.stdout
    else:
        assert "\n".join(whole) in process.stdout, process.stdout + process.stderr


@pytest.mark.parametrize("name", ELF)
def test_gdb_opens_elf_dumps(name: str, corpus: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")
    told = truth_of(corpus, name)
    process = kdumpsim(
        "open", str(corpus / name), "gdb", "--", "-nx", "-batch", "-ex", f"bt {BACKTRACE}", "-ex", "kd-ps"
    )
    assert process.returncode == 0, process.stderr
    tasks = re.findall(r"^[> ] *(\d+) [RSDZX] +\d+ 0x[0-9a-f]+ (\S+)$", process.stdout, re.MULTILINE)
    assert tasks == [(str(task["pid"]), task["comm"]) for task in told["tasks"]]
    frames = re.findall(r"^#\d+ .*?(\w+) \(.*\) at (\S+):\d+$", process.stdout, re.MULTILINE)[-BACKTRACE:]
    true = [(frame["function"], frame["file"]) for frame in told["cpus"][told["crash"]["cpu"]]["backtrace"]]
    assert len(frames) >= 3
    assert [frame for frame in true if frame in frames] == frames, "the CPU that crashed"


def test_what_has_no_headers_is_said_to_be_so(corpus: Path) -> None:
    for tool in ("gdb", "crash"):
        process = kdumpsim("open", str(corpus / "raw"), tool)
        assert process.returncode == 2
        assert "raw/vmcore is neither an ELF file nor in a format of makedumpfile's, so no debugger" in process.stderr
