# SPDX-License-Identifier: GPL-2.0-or-later
"""CONTRIBUTING.md, followed: its edits are made in a copy of the sources, and do what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pages import ROOT, page, sources

PAGE = page("CONTRIBUTING.md")
COPIED = ("src", "docs", "tests")
Command = Callable[..., subprocess.CompletedProcess[str]]


def apply(diff: str, tree: Path) -> None:
    """Make one edit: the lines without a plus are in the file once, and become those without a minus."""
    header, *lines = diff.splitlines()
    path = tree / header.removeprefix("+++ ")
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    text = path.read_text()
    assert text.count(before) == 1, f"{header}: {text.count(before)} times\n{before}"
    path.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run Python in a copy with every edit of the page made."""
    tree = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for path, text in sources(PAGE).items():
        if "/" in path:  # else it is a user's own
            (tree / path).write_text(text)
    for diff in re.findall(r"```diff\n(.*?)```", PAGE, re.S):
        apply(diff, tree)

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree / "src")},
            capture_output=True,
            text=True,
            check=False,
        )

    return python


def command(words: str) -> list[str]:
    """The page's one command that has these words."""
    (found,) = [line for line in re.findall(r"^\$ kdumpsim (.*)$", PAGE, re.M) if words in line]
    return str(found).split()


def test_an_option_and_a_device_pass_the_tests_that_look_at_them(edited: Command) -> None:
    done = edited(
        "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "tests/scenario/test_options.py",
        "tests/scenario/test_profiles.py", "tests/board/test_debugcon.py",
        "tests/board/test_devices.py::test_the_list_is_the_pcs_map",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_crash_point_is_crossed(edited: Command) -> None:
    done = edited("-m", "kdumpsim", *command("--crashpoint BIO_SUBMIT"), "--output", "bio", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["accuracy"]) == ("O", 1)
    assert "BIO_SUBMIT disk requests: submit_bio" in " ".join(edited("-m", "kdumpsim", "run", "--help").stdout.split())


def test_the_option_reaches_the_kernel(edited: Command) -> None:
    done = edited("-m", "kdumpsim", *command("--kernel-option loglevel"), "--output", "dump", "--console")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Kernel panic - not syncing" in done.stdout
    assert "BIOS-provided physical RAM map" not in done.stdout.partition("Kernel panic")[0]
    assert "loglevel" in edited("-m", "kdumpsim", "options").stdout


def test_a_mechanism_is_one_guest_module_one_host_module_and_their_rows(edited: Command) -> None:
    done = edited("-m", "kdumpsim", *command("--mechanism printregs"), "--output", "registers", "--console")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^printregs: eip=c[0-9a-f]{7} .* end=00000000", done.stdout, re.M)
    assert "the dump was captured" in done.stdout
    assert "printregs (the registers of" in " ".join(edited("-m", "kdumpsim", "run", "--help").stdout.split())


def test_what_is_quoted_from_the_kernel_stands_there() -> None:
    source = (ROOT / "src/kdumpsim/kernel/core/printk.py").read_text()
    quoted = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "def setup_loglevel" in block]
    assert [part.strip() in source for block in quoted for part in block.split("\n\n\n")] == [True, True]
