# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs through the command line, as a user starts them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CRASH_PROMPT = "crash> "


@dataclass(frozen=True)
class Run:
    """A finished `kdumpsim run`."""

    directory: Path
    status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return data

    @property
    def console(self) -> str:
        return (self.directory / "console.log").read_text()


def kdumpsim(
    *words: str, timeout: float = 240, environment: dict[str, str] | None = None, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command line tool in a process of its own, with more in its environment and behind another command."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "kdumpsim.cli", *words],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def ask_crash(tool: str, directory: Path, dump: Path, questions: tuple[str, ...], scratch: Path) -> dict[str, str]:
    """What crash answers to each of some commands."""
    script = scratch / "questions"
    script.write_text("\n".join([*questions, "quit", ""]))
    done = subprocess.run(
        [tool, "-i", str(script), str(directory / "vmlinux"), str(dump)],
        capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    parts = done.stdout.split("\n" + CRASH_PROMPT)
    assert len(parts) == len(questions) + 2, done.stdout
    return {question: part.partition("\n")[2] for question, part in zip(questions, parts[1:], strict=False)}


def works_for(pid: int, seconds: float) -> None:
    """Wait until the process has used that much more of a CPU, however busy the host is."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    end = used() + seconds
    while used() < end:
        time.sleep(0.02)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this session's, the same for all workers of xdist."""
    own = tmp_path_factory.getbasetemp()
    directory = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    directory.mkdir(exist_ok=True)
    return directory


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other worker is in such a block with this path: the first makes what the others find."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def crash(shared: Path) -> Callable[..., Run]:
    """`crash("FS_DEVRW", "panic", "--seed", "1")`: a run with these options; the same call is run once a session."""

    def run(point: str, kind: str, *options: str) -> Run:
        key = hashlib.sha256(repr(options).encode()).hexdigest()[:8]
        directory = shared / f"{point}-{kind}-{key}"
        ended = directory.with_suffix(".json")
        with alone(directory):
            if not ended.exists():
                words = ("run", "--crashpoint", point, "--type", kind, "--output", str(directory), *options)
                process = kdumpsim(*words)
                ended.write_text(json.dumps([process.returncode, process.stdout, process.stderr]))
        return Run(directory, *json.loads(ended.read_text()))

    return run


@pytest.fixture(scope="session")
def i386_tool(require_tool: Callable[[str], str]) -> Callable[[str], str]:
    """`i386_tool("crash")`: its path, if it is the build that reads 32-bit dumps; else as `require_tool`."""

    def find(name: str) -> str:
        if "kdumpsim-i386" not in Path(shutil.which(name) or "/dev/null").read_bytes()[:300].decode("latin-1"):
            return require_tool(f"{name} for i386")
        return require_tool(name)

    return find


@pytest.fixture(scope="session")
def corpus(shared: Path) -> Path:
    """All sample dumps, written once."""
    directory = shared / "samples"
    with alone(directory):
        if not (directory / "corpus.json").exists():
            process = kdumpsim("corpus", str(directory))
            assert process.returncode == 0, process.stderr
    return directory


def truth_of(corpus: Path, name: str) -> dict[str, Any]:
    """A sample's truth.json."""
    data: dict[str, Any] = json.loads((corpus / name / "truth.json").read_text())
    return data
