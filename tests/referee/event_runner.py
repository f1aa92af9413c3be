# SPDX-License-Identifier: GPL-2.0-or-later
"""One image on both machines, as a dictionary of lines by case."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from event_prelude import image_text
from image_console import BASE

from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.compiler.assembler import assemble

LIMIT_NS = 20_000_000_000
TIMEOUT_S = 600  # for a QEMU that hangs, however busy the host


class Run(NamedTuple):
    """What the image said, and what reset the machine at its end."""

    said: str
    cause: str | None


@cache
def image(body: str) -> bytes:
    """The assembled image."""
    return assemble(image_text(body), BASE)


@cache
def here(body: str, cpus: int = 1, seed: int = 0) -> Run:
    """The image on kdumpsim."""
    machine = Machine(MachineConfig(cpus=cpus, memory=32 << 20, seed=seed))
    out = bytearray()
    machine.uarts[0].on_output = out.extend
    machine.load_multiboot(image(body), "")
    stopped = machine.run(until=LIMIT_NS)
    if stopped is not StopReason.RESET:
        out += f"\n{stopped} {machine.cpus[0].registers()}".encode()
    return Run(out.decode("latin-1"), machine.reset_cause)


@cache
def on_qemu(qemu: str, body: str, cpus: int = 1, *, timed: bool = False) -> str:
    """What it says on QEMU. `timed`: its clock counts instructions, so that a busy host changes nothing."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "image.bin"
        path.write_bytes(image(body))
        command = [qemu, "-kernel", str(path), "-m", "32", "-smp", f"{cpus},sockets={cpus}", "-no-reboot"]
        command += ["-net", "none", "-display", "none", "-monitor", "none", "-serial", "stdio"]
        if timed:
            command += ["-icount", "shift=5,sleep=off"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as late:
            return (late.stdout or b"").decode("latin-1") + "\ntimed out"
    return done.stdout.decode("latin-1")


def lines(said: str) -> dict[str, str]:
    """Case to line."""
    result = {}
    for line in said.splitlines():
        name, colon, events = line.partition(": ")
        if colon:
            result[name] = events
        elif line.strip():
            result[line.rstrip(":")] = ""
    return result
