# SPDX-License-Identifier: GPL-2.0-or-later
"""The lessons' pages: questions, and the files that a reader writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

QUESTIONS = "## Questions"
_QUESTION = re.compile(r"^(\d+)\. (.*(?:\n   .*)*)", re.MULTILINE)
_ANSWER = re.compile(r"\s*(\d{1,3})\s*[:.)]\s*(.*?)\s*")


@dataclass(frozen=True)
class Lesson:
    """A page of docs/lessons."""

    number: int
    text: str

    @property
    def title(self) -> str:
        """Its heading."""
        return self.text.partition("\n")[0].lstrip("# ")

    def questions(self) -> dict[int, str]:
        """The questions at its end, by number, each in one line."""
        part = self.text.partition(f"\n{QUESTIONS}\n")[2]
        return {int(number): " ".join(text.split()) for number, text in _QUESTION.findall(part)}

    def sheet(self) -> str:
        """A file to be filled in: the questions, and a line for each answer."""
        lines = [f"# {self.title}", "# Write each answer after its number.", ""]
        for number, text in self.questions().items():
            lines += [f"# {text}", f"{number}:", ""]
        return "\n".join(lines)

    def files(self) -> dict[str, str]:
        """The files that the page gives in full, by name."""
        return dict(re.findall(r"<!-- (\S+) -->\n```python\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL))

    def file(self, name: str) -> str:
        """One of them."""
        return self.files()[name]

    def changed(self, name: str) -> str:
        """That file after the changes that the page shows of it."""
        text = self.file(name)
        for diff in re.findall(r"^```diff\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL):
            lines = diff.splitlines()
            old, new = ("".join(f"{line[1:]}\n" for line in lines if line[:1] != sign) for sign in "+-")
            assert text.count(old) == 1, diff
            text = text.replace(old, new)
        return text


def lessons(documents: Path) -> dict[int, Lesson]:
    """All lessons by number, in a folder of documents."""
    found = {}
    for path in sorted((documents / "lessons").glob("[0-9]-*.md")):
        number = int(path.name[0])
        found[number] = Lesson(number, path.read_text(encoding="utf-8"))
    return found


def read_answers(text: str) -> dict[int, str]:
    """The answers of a sheet by number, without those that are empty.  ValueError for a line that is none."""
    answers = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _ANSWER.fullmatch(line)
        if found is None:
            raise ValueError(f"line {number} is no answer: write the question's number, a colon and the answer")
        if found[2]:
            answers[int(found[1])] = found[2]
    return answers
