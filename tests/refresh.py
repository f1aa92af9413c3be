# SPDX-License-Identifier: GPL-2.0-or-later
"""Give the pages the numbers of this build: `python tests/refresh.py [PAGE …]`, after a change of guest code.

The commands of a page's transcripts are typed, and in the lines that are shown of their output the numbers become
those that came.  A line that did not come at all is named: somebody has to look at it.
"""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pages import ANYTHING, NUMBER, ROOT, Reader, stable

PAGES = (
    "README.md",
    "docs/explain.md",
    *(f"docs/lessons/{name}.md" for name in ("1-first-dump", "2-hang", "3-overflow")),
)
"""Those whose commands need no files beside what they make themselves."""
AT_A_TERMINAL = ("README.md",)
"""Their output is what a terminal shows."""
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


def renumbered(shown: str, printed: str) -> str | None:
    """A shown line with the numbers of a printed one; None if that is another line."""
    wanted, pieces = "", re.split(f"({NUMBER.pattern}|{ANYTHING})", stable_spaces(shown))
    for piece in pieces:
        number = NUMBER.fullmatch(piece)
        wanted += ".*" if piece == ANYTHING else f"({NUMBER.pattern})" if number else re.escape(piece)
    found = re.fullmatch(wanted.replace(r"\ ", r"\s*"), stable_spaces(printed))
    if found is None:
        return None
    numbers = iter(found.groups())
    return NUMBER.sub(lambda _: next(numbers), shown)


def stable_spaces(line: str) -> str:
    """A line however wide its panel is drawn."""
    return " ".join(line.replace("│", " ").split())


def transcripts(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every command of a page's blocks of console or plain text, with the lines that are shown of its output."""
    for block in re.findall(r"^```(?:console)?\n(\$ .*?)^```", text, re.M | re.S):
        for typed in re.findall(r"^\$ .*\n(?:(?!\$ ).*\n)*", block, re.M):
            command, *shown = typed.splitlines()
            yield command.removeprefix("$ "), shown


def refreshed(text: str, reader: Reader, name: str) -> str:
    """A page with the numbers of this build."""
    at = 0
    for command, shown in transcripts(text):
        at = text.index(f"$ {command}\n", at) + len(command) + 3
        if command.endswith("--gdb"):
            continue  # what is typed there follows
        if name in AT_A_TERMINAL:
            command = f"script -qec {shlex.quote(f'stty cols 100; {command}')} /dev/null"
        printed = CONTROLS.sub("", reader.type(command)).splitlines()
        for line in shown:
            start = text.index(f"{line}\n", at)
            at = start + len(line) + 1
            if not any(stable(piece) for piece in line.split(ANYTHING)):
                continue
            for number, candidate in enumerate(printed):
                if (new := renumbered(line, candidate)) is not None:
                    text = text[:start] + new + text[start + len(line) :]
                    at, printed = start + len(new) + 1, printed[number + 1 :]
                    break
            else:
                print(f"{name}: did not come of $ {command}\n  {line}")
    return text


def main() -> None:
    for name in sys.argv[1:] or PAGES:
        with tempfile.TemporaryDirectory() as folder:
            path = ROOT / name
            path.write_text(refreshed(path.read_text(), Reader(Path(folder)), name))


if __name__ == "__main__":
    main()
