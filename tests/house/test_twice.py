# SPDX-License-Identifier: GPL-2.0-or-later
"""What host and guest each have to say themselves, since the host imports no guest module: it is the same."""

from __future__ import annotations

import importlib
import re

import pytest

from kdumpsim import images, target
from kdumpsim.agent import client
from kdumpsim.agent.client import Op
from kdumpsim.kexec import cmdline, purgatory, segments
from kdumpsim.lkdtt import ttutils
from kdumpsim.mechanisms import base
from kdumpsim.scenario import conditions, points
from kdumpsim.scenario.scenario import DISK_LOAD, NETWORK_LOAD

OPEN_FLAGS = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_DIRECTORY")
SAME = [
    (points.DEFAULT_COUNT, "kernel.lkdtt.dtt", "DEFAULT_COUNT"),
    (points.MAX_ID + 1, "kernel.lkdtt.dtt", "NR_CPOINTS"),
    (conditions.MAX_CPUS, "kernel.core.config", "NR_CPUS"),
    (conditions.E820MAX, "kernel.arch.i386.e820", "E820MAX"),
    (cmdline.COMMAND_LINE_SIZE, "kernel.core.config", "COMMAND_LINE_SIZE"),
    (segments.KEXEC_SEGMENT_MAX, "kernel.core.kexec_types", "KEXEC_SEGMENT_MAX"),
    (segments.KEXEC_SEGMENT_MAX, "userland.agent_kexec", "KEXEC_SEGMENT_MAX"),
    (purgatory.MAX_REGIONS, "purgatory.purgatory", "MAX_REGIONS"),
    (base.CRASH_PLACES, "kernel.core.dump", "CRASH_PLACES"),
    (target.CRASH_NOTES_BYTES, "kernel.core.kexec", "KEXEC_NOTE_BYTES"),
    (target.PAGE_OFFSET, "kernel.arch.i386.page", "PAGE_OFFSET"),
    (target.TARGET.machine << 16, "kernel.core.kexec_types", "KEXEC_ARCH_386"),
    *((getattr(client, name), "kernel.fs.file_types", name) for name in OPEN_FLAGS),
]


@pytest.mark.parametrize(("host", "module", "name"), SAME, ids=[f"{module}.{name}" for _, module, name in SAME])
def test_a_constant_is_the_guests(host: int, module: str, name: str) -> None:
    assert host == getattr(importlib.import_module(f"kdumpsim.{module}"), name)


@pytest.mark.parametrize("op", Op, ids=lambda op: op.name)
def test_a_request_to_the_agent_is_what_the_guest_takes_it_for(op: Op) -> None:
    assert op == getattr(importlib.import_module("kdumpsim.userland.agent"), f"OP_{op.name}")


def test_loads_are_programs() -> None:
    known = points.programs()
    assert {*images.LOADS, *DISK_LOAD, NETWORK_LOAD} <= set(known)
    assert {point.load for point in points.crash_points().values()} <= {"", *images.LOADS}


def test_ttutils_says_what_the_limit_is() -> None:
    assert re.search(rf"\(1 to {points.MAX_ID}\)", ttutils.usage())
