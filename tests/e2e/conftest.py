# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs through the command line, as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


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


def works_for(pid: int, seconds: float) -> None:
    """Wait until the process has used that much more of a CPU, however busy the host is."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    end = used() + seconds
    while used() < end:
        time.sleep(0.02)


@pytest.fixture(scope="session")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """`crash("FS_DEVRW", "panic", "--seed", "1")`: a run with these options; the same call is run once a session."""
    runs: dict[tuple[str, ...], Run] = {}

    def run(point: str, kind: str, *options: str) -> Run:
        key = (point, kind, *options)
        if key not in runs:
            directory = tmp_path_factory.mktemp(f"{point}-{kind}") / "dump"
            words = ("run", "--crashpoint", point, "--type", kind, "--output", str(directory), *options)
            process = kdumpsim(*words)
            runs[key] = Run(directory, process.returncode, process.stdout, process.stderr)
        return runs[key]

    return run
