# SPDX-License-Identifier: GPL-2.0-or-later
"""README's captures are of this build: a run and its dump repeat byte for byte, so they can be held to that.

Only the host's times may differ. A change of the guest's code moves the rest: `python tests/refresh.py` takes it over.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_first_run(crash: Callable[..., Any]) -> None:
    run = crash("FS_DEVRW", "panic")
    result = run.result
    for phase in result["phases"]:
        end = phase["virtual_end_ns"] / 1e9
        assert re.search(rf"✓ {phase['name']} +{end:.3f} s +[\d.]+ s  {re.escape(phase['detail'])}\n", README), phase
    assert result["vmcore"]["sha256"][:16] in README
    assert result["evidence"][0] in README


def test_what_gdb_shows_of_it(crash: Callable[..., Any], require_tool: Callable[[str], str]) -> None:
    require_tool("gdb")
    directory = crash("FS_DEVRW", "panic").directory
    done = subprocess.run(
        ["gdb", "-batch", "-ex", "thread apply all bt", "vmlinux", "vmcore"],
        cwd=directory, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    shown = done.stdout[done.stdout.index("Thread 2") :].strip()
    assert re.sub(r"\n+", "\n", shown) in re.sub(r"\n+", "\n", README)


@pytest.mark.parametrize("block", ["install", "tests", "debian"])
def test_the_commands_that_ci_types_are_there(block: str) -> None:
    assert f"<!-- {block} -->\n```sh\n" in README
