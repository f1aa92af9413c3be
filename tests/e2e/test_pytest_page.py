# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/pytest.md, typed: the page's test files, its commands and what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pages import page, pattern, sources, transcripts

PAGE = page("docs/pytest.md")
COMMANDS = list(transcripts(PAGE))
INSTALLED = bool(entry_points(group="pytest11", name="kdumpsim"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and a driver of the reader's own, that of docs/guest-modules.md."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in sources(PAGE).items():
        (folder / name).write_text(text)
    (folder / "mydriver.py").write_text(sources(page("docs/guest-modules.md"))["heartbeat.py"])
    return folder


NIGHTLY = ("pytest test_tardy.py", "pytest -v test_cpus.py")
"""These vary what the others show."""


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        pytest.param(command, lines, id=command, marks=[pytest.mark.nightly] if command in NIGHTLY else [])
        for command, lines in COMMANDS
    ],
)
def test_the_page_as_it_is_typed(command: str, lines: list[str], folder: Path) -> None:
    done = subprocess.run(
        command.replace("pytest", f"{sys.executable} -m pytest -p no:cacheprovider", 1),
        shell=True,
        cwd=folder,
        env={**os.environ, **({} if INSTALLED else {"PYTEST_PLUGINS": "kdumpsim.pytest_plugin"})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    for line in lines:
        assert re.search(f"^.*{pattern(line)}", done.stdout, re.M), f"{command} does not print: {line}\n{done.stdout}"
