# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/guest-modules.md, typed: the page's driver, its commands and what they print."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pages import page, pattern, sources, transcripts

PAGE = page("docs/guest-modules.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    (folder / "heartbeat.py").write_text(sources(PAGE)["heartbeat.py"])
    return folder


def test_the_page_as_it_is_typed(folder: Path) -> None:
    runs = []
    for command, lines in transcripts(PAGE):
        words = command.replace("kdumpsim ", f"{sys.executable} -m kdumpsim.cli ", 1)
        done = subprocess.run(words, shell=True, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        for line in lines:
            assert re.search(pattern(line), done.stdout), f"{command} does not print: {line}\n{done.stdout}"
        if "kdumpsim run" in command:
            runs.append(json.loads((folder / "dump/result.json").read_text()))
    assert [(run["outcome"], run["accuracy"]) for run in runs] == [("O", 1.0), ("O", 1.0)]
    assert [run["evidence"][0].partition(" on CPU")[0] for run in runs] == [
        "HEARTBEAT",
        "die(), not HEARTBEAT, which was armed,",
    ]
    assert runs[0]["options"]["guest_modules"] == ["heartbeat.py"]
