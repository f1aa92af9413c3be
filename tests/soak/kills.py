# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals at random moments: a clean end, whole files, and nobody left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kdumpsim.runfiles import OUTPUT_FILES
from soak.driver import Kind
from soak.isolation import Broken, Counts

COMMANDS = {
    "run": ("run", "--crashpoint", "FS_DEVRW", "--type", "panic", "--output", "out"),
    "hang": ("run", "--crashpoint", "FS_DEVRW", "--type", "loop", "--cpus", "4", "--output", "out"),
    "swap": ("run", "--crashpoint", "MEM_SWAPOUT", "--type", "panic", "--output", "out", "--json"),
    "table2": ("table2", "--point", "FS_DEVRW", "--point", "TIMERADD", "--jobs", "2", "--output", "out"),
}
AFTERWARDS = {
    "table2": ("table2", "--point", "FS_DEVRW", "--type", "panic", "--jobs", "1", "--output", "out"),
    "run": COMMANDS["run"],
}
"""What clears what a killed one has left."""
READY_S, END_S = 120, 120
SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Kill:
    """A command, a signal, and when it comes, in milliseconds of CPU time of the command."""

    command: str
    signal: str
    after_ms: int


class Kills(Kind[Kill]):
    """Killed commands."""

    name = "kills"
    share = 0.03
    cpu_s = 60

    def draw(self, dice: random.Random, number: int) -> Kill:
        name = dice.choice(list(COMMANDS))
        return Kill(name, dice.choice(["SIGKILL", "SIGTERM", "SIGINT"]), dice.randrange(0, 1500))

    def check(self, case: Kill, repeat: bool) -> Counts:
        number = signal.Signals[case.signal]
        before = set(SHM.iterdir())
        with tempfile.TemporaryDirectory() as directory:
            process = _start(COMMANDS[case.command], directory)
            _wait_until(process, case.after_ms)
            process.send_signal(number)
            try:
                _, complaint = process.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Broken(f"{case.signal} was not heard") from None
            status = process.returncode
            if status not in (0, 1, -number if number == signal.SIGKILL else 128 + number):
                raise Broken(f"ended with status {status}\n{complaint}")
            if "Traceback" in complaint:
                raise Broken(f"a traceback\n{complaint}")
            if number == signal.SIGKILL:
                after = AFTERWARDS["table2" if case.command == "table2" else "run"]
                again = _start(after, directory)
                _, complaint = again.communicate(timeout=END_S)
                if again.returncode not in (0, 1):
                    raise Broken(f"the next run ended with status {again.returncode}\n{complaint}")
            _check_files(Path(directory) / "out")
        if new := sorted(str(path) for path in set(SHM.iterdir()) - before):
            raise Broken(f"left in {SHM}: {', '.join(new)}")
        return {"kills": 1, f"kills by {case.signal}": 1}

    def smaller(self, case: Kill) -> Iterator[Kill]:
        if case.command not in ("run", "table2"):
            yield replace(case, command="run")
        yield from (replace(case, after_ms=less) for less in (0, case.after_ms // 2) if less < case.after_ms)

    def text(self, case: Kill) -> str:
        return f"{case.command} {case.signal} {case.after_ms}"

    def parse(self, text: str) -> Kill:
        command, name, after = text.split()
        return Kill(command, name, int(after))


def _start(words: tuple[str, ...], directory: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kdumpsim.cli", *words],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def _wait_until(process: subprocess.Popen[str], ms: int) -> None:
    """Until the command hears signals, and has then worked for so long or has ended."""
    deadline = time.monotonic() + READY_S
    ready: int | None = None
    while process.poll() is None and time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return
        worked = (int(stat[11]) + int(stat[12])) * 1000 // os.sysconf("SC_CLK_TCK")
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        if ready is None and caught >> signal.SIGTERM - 1 & 1:
            ready = worked
        if ready is not None and worked - ready >= ms:
            return
        if ready is not None and stat[0] == "S" and time.monotonic() > deadline - READY_S + 1 + ms / 1000:
            return  # it waits for its workers
        time.sleep(0.002)


def _check_files(directory: Path) -> None:
    """Only whole files, and none of another kind."""
    for path in directory.rglob("*") if directory.exists() else ():
        if path.is_file() and path.name not in OUTPUT_FILES:
            raise Broken(f"left behind: {path.name}")
