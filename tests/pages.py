# SPDX-License-Identifier: GPL-2.0-or-later
"""What the pages of the documentation show, for tests that type it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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


NUMBER = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|[0-9]+(?:[.:][0-9]+)*")
"""Addresses, times, sizes, line numbers: these change with every build."""


def stable(line: str) -> str:
    """A line without what may change, or how wide a panel is drawn."""
    return " ".join(NUMBER.sub("#", line).replace("│", " ").split())


def first_line_not_found(quoted: list[str], output: str) -> str | None:
    """The quoted lines stand in the output, in this order; what a gap stands for may be anything."""
    lines = iter([stable(line) for line in output.splitlines()])
    for line in quoted:
        pieces = [stable(piece) for piece in line.split(ANYTHING)]
        if not any(pieces):
            continue
        wanted = re.compile(".*".join(map(re.escape, pieces)))
        if not any(wanted.fullmatch(candidate) for candidate in lines):
            return line
    return None


class Reader:
    """Somebody with a shell in an empty folder, with the sources beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "src").symlink_to(ROOT / "src")
        tool = folder / "bin" / "kdumpsim"
        tool.parent.mkdir()
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kdumpsim.cli "$@"\n')
        tool.chmod(0o755)
        path = f"{tool.parent}:{os.environ['PATH']}"
        self._environment = os.environ | {"PATH": path, "COLUMNS": "100", "LC_ALL": "C.UTF-8"}

    def type(self, command: str) -> str:
        """What a command prints."""
        return subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False,
        ).stdout  # fmt: skip

    def follow(self, text: str) -> int:
        """Type all commands of a page, and compare what it quotes of them; how many there were."""
        typed = 0
        for command, quoted in transcripts(text):
            if command.endswith("--gdb"):
                continue  # what is typed there follows, in gdb
            output = self.type(command)
            missing = first_line_not_found(quoted, output)
            assert missing is None, f"$ {command}\n{output}\nis without the line:\n{missing}"
            typed += 1
        return typed
