# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples in Python of README.md and docs/python.md, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pages import page, sources


def blocks(document: str) -> str:
    """The document's Python as one program."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page(document), re.M | re.S))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a driver of the reader's own, that of docs/guest-modules.md."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "mydriver.py").write_text(sources(page("docs/guest-modules.md"))["heartbeat.py"])
    return folder


@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_the_examples_run(document: str, folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", blocks(document)],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines().count("O") >= 4
    assert sorted(path.name for path in folder.iterdir()) == before
