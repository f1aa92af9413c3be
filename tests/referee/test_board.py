# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU as the referee of the board: kernels that are not ours see the same devices on both."""

from __future__ import annotations

import struct
import subprocess
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from board_prelude import image_text
from image_console import BASE

from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig, StopReason
from kdumpsim.board.multiboot import Module
from kdumpsim.compiler.assembler import assemble

SECTORS = 2048
CONTENTS = b"".join(struct.pack("<I", sector * 2654435761 & 0xFFFFFFFF) * 128 for sector in range(SECTORS))
TYPED = b"hello\n"
ENDINGS = {"disk": "i8042", "interrupts": "port 0xCF9", "processors": "triple fault on CPU 0"}


def image_of(name: str) -> bytes:
    return assemble(image_text(import_module(f"board_{name}").BODY), BASE)


def run_here(image: bytes, *, cpus: int = 4, seed: int = 0) -> tuple[bytes, str | None]:
    disk = Disk.memory(SECTORS)
    disk.write(0, CONTENTS)
    machine = Machine(MachineConfig(cpus=cpus, memory=32 << 20, disks=(disk,), seed=seed))
    out = bytearray()

    def said(data: bytes) -> None:
        typed = b"type: " in out
        out.extend(data)
        if b"type: " in out and not typed:
            machine.uarts[0].feed(TYPED)

    machine.uarts[0].on_output = said
    machine.load_multiboot(image, "kernel.bin one two", [Module(b"hello, module", "module.txt three")])
    assert machine.run(until=20_000_000_000) is StopReason.RESET, bytes(out)
    return bytes(out), machine.reset_cause


def run_on_qemu(qemu: str, image: bytes, place: Path) -> bytes:
    (place / "kernel.bin").write_bytes(image)
    (place / "module.txt").write_bytes(b"hello, module")
    (place / "disk.img").write_bytes(CONTENTS)
    command = [qemu, "-kernel", "kernel.bin", "-append", "one two", "-initrd", "module.txt three"]
    command += ["-drive", "file=disk.img,format=raw", "-smp", "4,sockets=4", "-m", "32", "-no-reboot", "-net", "none"]
    command += ["-display", "none", "-monitor", "none", "-serial", "stdio"]
    with subprocess.Popen(command, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(600, process.kill)  # if it hangs
        watchdog.start()
        out = b""
        while b"type: " not in out and (more := process.stdout.read1(4096)):  # type: ignore[attr-defined]
            out += more
        if b"type: " in out:
            process.stdin.write(TYPED)
            process.stdin.flush()
            out += process.stdout.read()
        process.wait()
        watchdog.cancel()
    return out


@pytest.mark.parametrize("name", ENDINGS)
def test_the_same_image_says_the_same(name: str, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    qemu = require_tool("qemu-system-i386")
    image = image_of(name)
    here, cause = run_here(image)
    assert here.endswith(b"\nbye\n")
    assert cause == ENDINGS[name]
    there = run_on_qemu(qemu, image, tmp_path)
    assert here.decode() == there.decode()


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_scheduler_has_no_say_in_it(name: str, seed: int) -> None:
    image = image_of(name)
    assert run_here(image, seed=seed)[0] == run_here(image)[0]
