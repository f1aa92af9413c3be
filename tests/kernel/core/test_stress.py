# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler and what stands on it, under load, on the machine: a guest module is compiled into the kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.compiler import compile_modules, package_modules
from kdumpsim.compiler.linker import Layout, link
from kdumpsim.target import PAGE_OFFSET

SECONDS = 1_000_000_000


@pytest.fixture(scope="module")
def stress_kernel() -> bytes:
    modules = {"stress_guest": Path(__file__).with_name("stress_guest.py")}
    objects = compile_modules(package_modules("kdumpsim.kernel"), extra_sources=modules)
    base = images.FIRST_KERNEL_BASE
    return link(objects, Layout(PAGE_OFFSET + base, base, images.KERNEL_ENTRY, kallsyms=True)).elf


@pytest.mark.parametrize(("cpus", "seed"), [(1, 0), (2, 1), (4, 2)])
def test_everybody_gets_there(stress_kernel: bytes, cpus: int, seed: int) -> None:
    console = bytearray()
    machine = Machine(MachineConfig(cpus=cpus, seed=seed))
    machine.uarts[0].on_output = console.extend
    machine.load_multiboot(stress_kernel, "console=ttyS0")
    machine.run(until=20 * SECONDS, stop=lambda: b"failures" in console)
    text = console.decode()
    assert "stress: 0 failures" in text, text
    assert "scheduling while atomic" not in text
    hogs = [int(count) for count in re.findall(r"stress: hog (\d+)", text)]
    assert len(hogs) == 5
    assert min(hogs) > 0
    if cpus == 1:
        assert max(hogs) < 2 * min(hogs), "equals share a CPU equally"
