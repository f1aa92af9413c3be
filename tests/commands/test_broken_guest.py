# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest sources that are wrong end every command that needs them with the places, and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kdumpsim

SOURCES = Path(kdumpsim.__file__).parent
WRONG = "\n\n@guest\ndef wrong() -> None:\n    half: u32 = 0.5\n"
UNDEFINED = (
    "\n\nfrom kdumpsim.compiler.lang import extern\n\n\n@extern\ndef nowhere() -> None: ...\n\n\n"
    "@guest\ndef lost() -> None:\n    nowhere()\n"
)
RUN = ("run", "--crashpoint", "FS_DEVRW", "--type", "panic")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, to be broken."""
    root = tmp_path_factory.mktemp("broken")
    shutil.copytree(SOURCES, root / "kdumpsim", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def refused(tree: Path, appended: str, *words: str) -> str:
    """What a command says when a guest source has more at its end; nothing on standard output, status 2."""
    source = tree / "kdumpsim/userland/diskio.py"
    source.write_text((SOURCES / "userland/diskio.py").read_text() + appended)
    done = subprocess.run(
        [sys.executable, "-m", "kdumpsim.cli", *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("words", [RUN, ("console",), ("table2", "--point", "FS_DEVRW", "--type", "panic")])
def test_a_mistake_is_shown_with_its_place(tree: Path, words: tuple[str, ...]) -> None:
    said = refused(tree, WRONG, *words)
    line = (SOURCES / "userland/diskio.py").read_text().count("\n") + 5
    assert said.splitlines() == [
        f"{tree}/kdumpsim/userland/diskio.py:{line}:17: error: float constants do not exist in guest code",
        "        half: u32 = 0.5",
        "                    ^~~",
        "1 error",
    ]


def test_a_symbol_nobody_defines_is_named(tree: Path) -> None:
    said = refused(tree, UNDEFINED, *RUN)
    assert "nowhere" in said
    assert "diskio" in said
