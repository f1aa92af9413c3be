# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim explain`: docs/explain.md is what comes, and what cannot be explained is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pages import first_line_not_found, page, transcripts


def typed(command: str, folder: Path) -> tuple[str, str]:
    """A command's output and complaints."""
    tool = folder / "bin" / "kdumpsim"
    if not tool.exists():
        tool.parent.mkdir()
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kdumpsim.cli "$@"\n')
        tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tool.parent}:{os.environ['PATH']}", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    process = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert "Traceback" not in process.stderr, process.stderr
    return process.stdout, process.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's commands are typed."""
    made = tmp_path_factory.mktemp("page")
    (command, _), *_ = transcripts(page("docs/explain.md"))
    typed(command, made)
    return made


def test_the_page_of_the_documentation_is_what_comes(folder: Path) -> None:
    commands = list(transcripts(page("docs/explain.md")))
    assert [command.split()[1] for command, _ in commands] == ["run", "explain"]
    for command, quoted in commands[1:]:
        output, complaints = typed(f"{command} --json facts.json", folder)
        missing = first_line_not_found(quoted, output)
        assert missing is None, f"$ {command}\n{output}{complaints}\nis without the line:\n{missing}"
        assert max(map(len, output.splitlines())) <= 80
    facts = json.loads((folder / "facts.json").read_text())
    assert (facts["title"], facts["replayed"]) == ("INT_HARDWARE_ENTRY / overflow", True)


def test_a_directory_of_another_version_is_explained_by_its_own_files(folder: Path) -> None:
    old = folder / "old"
    old.mkdir()
    data = json.loads((folder / "dump" / "result.json").read_text())
    (old / "result.json").write_text(json.dumps({**data, "kdumpsim": "0.0.7"}))
    output, complaints = typed("kdumpsim explain old", folder)
    assert complaints.startswith("old cannot be run again: it was run by kdumpsim 0.0.7, and this is ")
    assert "- It is called X: no whole dump was saved." in output
    assert "The run was not repeated, so its instructions were not counted." in output


def test_a_directory_that_holds_no_run_is_refused(folder: Path) -> None:
    assert (
        "there is no nowhere/result.json; `kdumpsim run --output nowhere` writes it"
        in (typed("kdumpsim explain nowhere", folder)[1])
    )


@pytest.mark.nightly
def test_a_run_can_be_explained_at_once(folder: Path) -> None:
    command = "kdumpsim run --crashpoint INT_HARDWARE_ENTRY --type overflow --explain --output again"
    output, _ = typed(command, folder)
    assert output.index("│ outcome ") < output.index("How the stack overflowed")
    _, complaints = typed(f"{command} --json", folder)
    assert "--explain and --json exclude each other" in complaints
