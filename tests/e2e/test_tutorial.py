# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/tutorial.md, typed from top to bottom: what it quotes is still what comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pages import ANYTHING, ROOT, page, transcripts

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
        pattern = re.compile(".*".join(map(re.escape, pieces)))
        if not any(pattern.fullmatch(candidate) for candidate in lines):
            return line
    return None


def test_every_command_prints_the_lines_that_are_quoted(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")
    (tmp_path / "src").symlink_to(ROOT / "src")
    tool = tmp_path / "bin" / "kdumpsim"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kdumpsim.cli "$@"\n')
    tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tool.parent}:{os.environ['PATH']}", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    typed = 0
    for command, quoted in transcripts(page("docs/tutorial.md")):
        process = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        missing = first_line_not_found(quoted, process.stdout)
        assert missing is None, f"$ {command}\n{process.stdout}\nis without the line:\n{missing}"
        typed += 1
    assert typed >= 10
