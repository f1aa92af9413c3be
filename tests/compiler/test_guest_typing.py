# SPDX-License-Identifier: GPL-2.0-or-later
"""What a type checker makes of guest sources."""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

TEXT = """\
from __future__ import annotations
from kdumpsim.compiler.lang import Struct, addr, array, guest, length, list_for_each_entry, ptr, section, u32, void

class Page(Struct):
    flags: u32

class Task(Struct):
    pid: u32
    page: Page
    next: ptr[Task]

idle: Task = Task(pid=1)
tasks: array[Task] = length(4)
word: u32 = 0

@guest
def take(task: ptr[Task], anything: ptr[void], number: ptr[u32]) -> ptr[Task]:
    if task == idle:
        return idle
    task.next = tasks[1]
    return task

@guest
def good() -> None:
    take(idle, idle, addr(word))
    take(tasks[2], idle.page, addr(idle.pid))
    take(tasks, tasks, addr(word))
    for task in section("tasks", Task):
        take(task, task, addr(word))
    for page in list_for_each_entry(idle, Page, "flags"):
        take(addr(idle), page, addr(word))

@guest
def bad() -> None:
    take(idle.page, idle, addr(word))
    take(1, idle, addr(word))
    take(idle, idle, idle)
    for page in section("pages", Page):
        take(page, page, addr(word))
"""


def test_a_structure_is_a_pointer_to_its_own_class(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(TEXT)
    options = ["--strict", "--no-incremental", "--config-file=", str(tmp_path / "m.py")]
    shown, trouble, status = api.run(options)
    assert (trouble, status) == ("", 1)
    wrong = sorted(int(line) for line in re.findall(r"m\.py:(\d+): error: Argument \d to \"take\"", shown))
    first = TEXT[: TEXT.index("def bad")].count("\n") + 1
    assert wrong == [first + 1, first + 2, first + 3, first + 5], shown
    assert shown.count("error:") == len(wrong), shown
