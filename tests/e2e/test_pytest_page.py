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

DOCS = Path(__file__).parents[2] / "docs"
FILES = re.compile(r"<!-- (\w+\.py) -->\n```python\n(.*?)```", re.S)
INSTALLED = bool(entry_points(group="pytest11", name="kdumpsim"))


def commands() -> list[tuple[str, list[str]]]:
    """The page's commands, each with the lines of output that the page shows."""
    typed: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", (DOCS / "pytest.md").read_text(), re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                typed.append((line[2:], []))
            else:
                typed[-1][1].append(line)
    return typed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and a driver of the reader's own, that of docs/guest-modules.md."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in FILES.findall((DOCS / "pytest.md").read_text()):
        (folder / name).write_text(text)
    (driver,) = re.findall(
        r"<!-- heartbeat\.py -->\n```python\n(.*?)```", (DOCS / "guest-modules.md").read_text(), re.S
    )
    (folder / "mydriver.py").write_text(driver)
    return folder


@pytest.mark.parametrize(("command", "lines"), commands(), ids=[command for command, _ in commands()])
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
        pattern = ".*?".join(re.escape(part) for part in line.split("…"))
        assert re.search(f"^.*{pattern}", done.stdout, re.M), f"{command} does not print: {line}\n{done.stdout}"
