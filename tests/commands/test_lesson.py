# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim lesson`: lists, shows, hands out sheets and marks them."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from kdumpsim.cli import main
from kdumpsim.commands.help import Page, documents
from kdumpsim.lessons import runs
from kdumpsim.lessons.answers import Number, SourceLine, word, yes
from kdumpsim.lessons.pages import lessons, read_answers

RIGHT = {
    1: Number(0xC0140000, hexadecimal=True),
    2: Number(0),
    3: word("memset"),
    4: SourceLine("kdumpsim/kernel/lkdtt/crashes.py", 37),
    5: Number(8),
    6: word("update_process_times"),
}


@pytest.fixture(autouse=True)
def _no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "COMPUTED", {3: lambda lesson: RIGHT})


def lesson(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["lesson", *words], input=given)


def test_lessons_are_listed_and_shown() -> None:
    listed = lesson().output.splitlines()
    assert [line.split(":")[0] for line in listed[:4]] == ["Lesson 1", "Lesson 2", "Lesson 3", "Lesson 4"]
    assert lesson("3").output.startswith("# Lesson 3: an overflow, found by going backwards\n")


def test_a_filled_sheet_is_marked(tmp_path: Path) -> None:
    sheet = lesson("sheet", "3").output
    assert "# What is the lowest address of the stack that overflowed (hexadecimal)?\n1:\n" in sheet
    answers = ["c0140000", "0", "memset()", "lkdtt/crashes.py:37", "8 calls", "Update_Process_Times"]
    for number, answer in enumerate(answers, 1):
        sheet = sheet.replace(f"\n{number}:\n", f"\n{number}: {answer}\n")
    (tmp_path / "answers.txt").write_text(sheet)
    result = lesson("check", "3", str(tmp_path / "answers.txt"))
    assert result.exit_code == 0, result.output
    assert "6 of 6 right" in result.output


def test_what_is_wrong_is_told_but_not_what_is_right() -> None:
    result = lesson("check", "3", "-", given="1: 0xc0140000\n3: memcpy\n5) 8\n")
    assert result.exit_code == 7
    assert re.findall(r"^(\d)\. (right|wrong|not answered)", result.output, re.M) == [
        ("1", "right"), ("2", "not answered"), ("3", "wrong"), ("4", "not answered"), ("5", "right"),
        ("6", "not answered"),
    ]  # fmt: skip
    assert "memset" not in result.output
    assert "2 of 6 right" in result.output
    assert "3: memset\n4: kdumpsim/kernel/lkdtt/crashes.py:37\n" in lesson("check", "3", "--answers").output


@pytest.mark.parametrize(
    ("words", "given", "complaint"),
    [
        (("5",), None, "unknown lesson '5'; choose from: 1, 2, 3, 4"),
        (("check",), None, "give the number of one lesson"),
        (("3", "4"), None, "'4' is too much"),
        (("3", "--answers"), None, "--answers is for"),
        (("check", "3", "-"), "memset\n", "-: line 1 is no answer"),
        (("check", "3", "-"), "9: memset\n", "-: lesson 3 has no question 9"),
        (("check", "3", "/nowhere"), None, "/nowhere: No such file"),
    ],
)
def test_what_cannot_be_is_explained(words: tuple[str, ...], given: str | None, complaint: str) -> None:
    result = lesson(*words, given=given)
    assert result.exit_code == 2
    assert complaint in result.output


@pytest.mark.parametrize(
    ("answer", "accepted", "refused"),
    [
        (Number(5, within=0.5), ("5", "5 s", "5.0", "5,", "0x5"), ("6", "five", "", "5x5 6")),
        (Number(0xC0140000, hexadecimal=True), ("0xc0140000", "C0140000"), ("0", "3222536192", "yes")),
        (word("softlockup", "soft lockup"), ("softlockup", "Soft lockup.", "`softlockup`"), ("nmi", "")),
        (yes(False), ("no", "No."), ("yes",)),
        (SourceLine("a/b.py", 7), ("b.py:7", "a/b.py:7", "/a/b.py:7"), ("b.py:8", "7", ".py:7", "bb.py:7")),
    ],
)
def test_answers_are_taken_in_the_forms_that_people_write(
    answer: Number, accepted: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    assert [text for text in accepted if not answer.accepts(text)] == []
    assert [text for text in refused if answer.accepts(text)] == []


def test_comments_and_empty_answers_are_left_out() -> None:
    assert read_answers("# a question?\n1:\n\n2: two words \n") == {2: "two words"}


def test_a_lessons_files_are_written_and_none_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lesson("files", "4").output == "blackbox.py: written\n"
    assert (tmp_path / "blackbox.py").read_text() == lessons(documents())[4].file("blackbox.py")
    again = lesson("files", "4")
    assert again.exit_code == 2
    assert "blackbox.py is there already" in again.output
    assert lesson("files", "1").output == "Lesson 1 gives no files.\n"


def test_code_can_be_copied_from_a_page_at_a_terminal() -> None:
    """Neither wrapped nor indented, however narrow the terminal is."""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=40, color_system=None)
    long = "def guest(" + ", ".join(f"argument{n}: u32" for n in range(8)) + ") -> None:"
    terminal.print(Page(f"Text.\n\n```python\n{long}\n    return\n```\n"), crop=False)
    assert isinstance(terminal.file, io.StringIO)
    assert f"{long}\n    return\n" in terminal.file.getvalue()
