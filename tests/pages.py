# SPDX-License-Identifier: GPL-2.0-or-later
"""What the pages of the documentation show, for tests that type it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ANYTHING = "…"
"""Stands in a page's output for what may be anything."""


def page(name: str) -> str:
    """The text of a page, by its path in the repository."""
    return (ROOT / name).read_text()


def sources(text: str) -> dict[str, str]:
    """Python files that a page gives, by the name in the mark before each."""
    return dict(re.findall(r"<!-- (\S+\.py) -->\n```python\n(.*?)^```", text, re.M | re.S))


def transcripts(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every command of a page's console blocks, with the lines that are shown of its output."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        for typed in re.findall(r"^\$ .*\n(?:(?!\$ ).*\n)*", block, re.M):
            command, *shown = typed.splitlines()
            yield command.removeprefix("$ "), shown


def pattern(line: str) -> str:
    """A shown line as a regular expression."""
    return ".*?".join(re.escape(part) for part in line.split(ANYTHING))
