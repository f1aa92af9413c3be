# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/lessons, typed from top to bottom: what they quote is still what comes; and the answers to their questions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.commands.help import documents
from kdumpsim.lessons.answers import Number, SourceLine
from kdumpsim.lessons.pages import Lesson, lessons
from kdumpsim.lessons.runs import COMPUTED
from pages import Reader, first_line_not_found

LESSONS = lessons(documents())


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def prompted(blocks: list[str], prompt: str) -> tuple[list[str], list[str]]:
    """What is typed in some blocks, and what is quoted."""
    lines = [line for block in blocks for line in block.splitlines()]
    typed = [line.removeprefix(prompt) for line in lines if line.startswith(prompt)]
    return typed, [line for line in lines if not line.startswith(prompt)]


def test_lesson_1_as_it_is_typed(reader: Reader, require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")
    assert reader.follow(LESSONS[1].text) >= 7


@pytest.mark.nightly
def test_lesson_2_as_it_is_typed(reader: Reader, require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")
    assert reader.follow(LESSONS[2].text) >= 6


@pytest.mark.nightly
def test_lesson_3_as_it_is_typed(reader: Reader, require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")
    assert reader.follow(LESSONS[3].text) >= 4
    right = COMPUTED[3](LESSONS[3])
    typed, quoted = prompted(re.findall(r"^```gdb\n(.*?)^```", LESSONS[3].text, re.M | re.S), "(gdb) ")
    words = " ".join(f"-ex '{command}'" for command in typed if command != "quit")
    output = reader.type(f"kdumpsim debug overflow --gdb -- -batch {words}")
    assert first_line_not_found(quoted, output) is None, output
    assert right[1].accepts(re.findall(r"\$1 = (0x[0-9a-f]+)", output)[0])
    assert re.findall(r"New value = (\d+)", output)[-1] == str(right[2])
    end = output[output.rindex("New value") :]
    assert f" in {right[3]} (" in end
    assert f"dtt_overflow (levels=3) at {right[4]}" in end
    low = f"{right[1]}".removeprefix("0x")
    typed, quoted = prompted(re.findall(r"^```text\n(# .*?)^```", LESSONS[3].text, re.M | re.S), "# ")
    script = "\n".join(typed).replace("c0140000", low)
    (reader.folder / "session.txt").write_text(script)
    output = reader.type("kdumpsim console session.txt")
    assert first_line_not_found(quoted, output) is None, output
    assert str(len(re.findall(r"^#\d+ .* dtt_overflow ", output, re.M))) == str(right[5])


@pytest.mark.nightly
def test_lesson_4_as_it_is_typed(reader: Reader) -> None:
    driver = reader.folder / "blackbox.py"
    driver.write_text(LESSONS[4].file("blackbox.py"))
    before, after = LESSONS[4].text.split("## 5. Mend it")
    assert reader.follow(before) >= 4
    driver.write_text(LESSONS[4].changed("blackbox.py"))
    assert reader.follow(after) == 1


@pytest.mark.parametrize(
    "number", [pytest.param(1, marks=pytest.mark.nightly), 2, 3, pytest.param(4, marks=pytest.mark.nightly)]
)
def test_each_question_has_an_answer_that_the_page_shows(number: int) -> None:
    """Its words are among what the page quotes, so a reader who types the page finds it."""
    lesson = LESSONS[number]
    right = COMPUTED[number](lesson)
    assert right.keys() == lesson.questions().keys()
    for answer in right.values():
        assert answer.accepts(str(answer))
        if isinstance(answer, SourceLine):
            assert f"{answer.file}:" in lesson.text
        elif not isinstance(answer, Number) and not re.fullmatch("[0-9a-f]{8}", str(answer)):
            assert str(answer).lower() in lesson.text.lower()


def test_the_mended_driver_of_lesson_4_costs_no_dump(reader: Reader) -> None:
    (reader.folder / "blackbox.py").write_text(LESSONS[4].changed("blackbox.py"))
    output = reader.type("kdumpsim run --guest-module blackbox.py --crashpoint BLACKBOX --type panic")
    assert re.search("outcome +O  the dump was captured", output), output


def test_a_lesson_is_a_page_with_questions_to_it() -> None:
    assert list(LESSONS) == list(COMPUTED) == [1, 2, 3, 4]
    for number, lesson in LESSONS.items():
        assert isinstance(lesson, Lesson)
        assert lesson.title.startswith(f"Lesson {number}: ")
        assert list(lesson.questions()) == list(range(1, len(lesson.questions()) + 1))
