# SPDX-License-Identifier: GPL-2.0-or-later
"""A check in a process of its own, with a limit on its CPU time, that may leave nothing behind."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

Counts = dict[str, int]
"""How much was done, by what it is called."""
MOST_TEXT = 30_000
"""Characters of a report, which has to fit into a pipe that is read at the end."""
WALL_FACTOR = 20
"""Seconds of wall time for a second of CPU time: for what sleeps for ever, on a host with other work."""

GRACE_S = 10
"""Wall time that helpers have to see that whom they served has gone."""


@dataclass(frozen=True)
class Fault:
    """What a check found: `signature` is the same for two instances of one fault, `text` is for people."""

    signature: str
    text: str


class Broken(AssertionError):
    """An invariant does not hold."""


def isolated(check: Callable[[], Counts], cpu_s: int) -> Counts | Fault:
    """Run a check in a child process: what it counted, or what is wrong.

    A fault is an exception, a signal, more than `cpu_s` seconds of CPU time in one process, a file left in the
    temporary directory, a process that is still there. Host time is CPU time, so that a busy host finds no faults.
    """
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        scratch, noise = Path(directory) / "tmp", Path(directory) / "output"
        scratch.mkdir()
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(check, cpu_s, writer, scratch, noise)
        os.close(writer)
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)  # as the child does: whoever comes first
        left = [pid]
        try:
            status = _wait(pid, cpu_s * WALL_FACTOR)
            deadline = time.monotonic() + GRACE_S
            while (left := _group(pid)) and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:  # Ctrl-C, too
            for number in left:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
        os.set_blocking(reader, False)
        try:
            message = os.read(reader, 1 << 16)
        except BlockingIOError:
            message = b""
        os.close(reader)
        said = noise.read_text(errors="replace")[-MOST_TEXT // 2 :] if noise.exists() else ""
        fault = _fault(status, message, cpu_s, said)
        if fault is not None:
            return fault
        if left:
            return Fault("processes left behind", f"processes left behind: {left}\n{said}")
        if files := sorted(str(path.relative_to(scratch)) for path in scratch.rglob("*")):
            return Fault("files left behind", f"files left behind: {', '.join(files)}\n{said}")
    counts: Counts = json.loads(message)["counts"]
    return counts


def signature_of(error: BaseException) -> str:
    """The same for two exceptions of one fault: type, message without numbers, and where it was raised."""
    words = re.sub(r"0x[0-9a-f]+|\d+", "#", str(error)).strip().partition("\n")[0][:200]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name}" if frames and not isinstance(error, Broken) else ""
    return f"{type(error).__name__}{where}: {words}"


def _wait(pid: int, seconds: int) -> int | None:
    """The exit code as `os.waitstatus_to_exitcode` has it; None if the child had to be killed."""
    handle = os.pidfd_open(pid)
    try:
        ready = select.select([handle], [], [], seconds)[0]
    finally:
        os.close(handle)
    if not ready:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if ready else None


def _group(pgid: int) -> list[int]:
    """Living processes of a process group."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return []  # the usual case, without a look at all of /proc
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == pgid and state != "Z":
                    found.append(int(entry.name))
    return found


def _fault(status: int | None, message: bytes, cpu_s: int, said: str) -> Fault | None:
    if status is None:
        return Fault("deadlock", f"no end after {cpu_s * WALL_FACTOR} s\n{said}")
    if status == -signal.SIGXCPU:
        return Fault("host time", f"more than {cpu_s} s of CPU time\n{said}")
    if status < 0:
        name = signal.Signals(-status).name
        return Fault(f"died of {name}", f"died of {name}\n{said}")
    try:
        report = json.loads(message)
    except ValueError:
        return Fault(f"ended with status {status}", f"ended with status {status} and no report\n{said}")
    if "signature" in report:
        return Fault(report["signature"], f"{report['text']}\n{said}".rstrip())
    return None


def _child(check: Callable[[], Counts], cpu_s: int, writer: int, scratch: Path, noise: Path) -> NoReturn:
    status = 1
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        tempfile.tempdir = os.environ["TMPDIR"] = str(scratch)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        output = os.open(noise, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        faulthandler.enable(output)
        faulthandler.register(signal.SIGXCPU, output, chain=True)
        lost: list[BaseException] = []
        # What a callback of the CPU's engine raises goes nowhere else.
        sys.unraisablehook = lambda args: lost.append(args.exc_value) if args.exc_value is not None else None
        try:
            report: dict[str, object] = {"counts": check()}
            if lost:
                raise lost[0]
            status = 0
        except BaseException as error:
            text = "".join(traceback.format_exception(error))[-MOST_TEXT:]
            report = {"signature": signature_of(error), "text": text}
        os.write(writer, json.dumps(report).encode()[: 1 << 16])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
