# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU as the referee of exceptions and interrupt delivery: the same image, the same lines.

A module `events_*` has the cases of one image (`BODY`), for `CPUS` processors. `DIFFERS` are the cases where QEMU does
otherwise, with what is said here (docs/fidelity.md, "CPU", has the reasons); they are held to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Final

import pytest
from event_prelude import case_names
from event_runner import here, lines, on_qemu

IMAGES: Final = ("faults", "segments", "frames", "pages", "rings", "tasks")
MODULES: Final = {name: import_module(f"events_{name}") for name in IMAGES}
CASES: Final = [(image, case) for image, module in MODULES.items() for case in case_names(module.BODY)]
RF: Final = 1 << 16
FAULTS: Final = frozenset({0x00, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E})


def without_rf(line: str) -> str:
    """QEMU 7.2 never sets RF in the flags it pushes."""
    return re.sub(r" f([0-9a-f]{8})", lambda found: f" f{int(found[1], 16) & ~RF:08x}", line)


def said_here(image: str) -> dict[str, str]:
    module = MODULES[image]
    return lines(here(module.BODY, module.CPUS))


@pytest.mark.parametrize("image", IMAGES)
def test_every_case_is_reached(image: str) -> None:
    names = case_names(MODULES[image].BODY)
    assert len(names) == len(set(names))
    assert [*said_here(image)] == [*names, "end"]


@pytest.mark.parametrize(("image", "case"), CASES, ids=[f"{image}: {case}" for image, case in CASES])
def test_as_on_qemu(image: str, case: str, require_tool: Callable[[str], str]) -> None:
    module = MODULES[image]
    line = said_here(image).get(case)
    assert line is not None
    if case in module.DIFFERS:
        assert without_rf(line) == module.DIFFERS[case]
        return
    there = lines(on_qemu(require_tool("qemu-system-i386"), module.BODY, module.CPUS))
    assert case in there
    assert without_rf(line) == without_rf(there[case])


@pytest.mark.parametrize("image", IMAGES)
def test_17_3_1_1_faults_push_rf_set_and_nothing_else_does(image: str) -> None:
    """QEMU is no referee here."""
    for case, line in said_here(image).items():
        for vector, error, flags in re.findall(r"\bv(\w\w) e(\S{4}) c\S+ i\S+ f(\w{8})", line):
            number = int(vector, 16)
            software = error == "----" and number in (0x0A, 0x0B, 0x0C, 0x0D, 0x0E)
            assert bool(int(flags, 16) & RF) == (number in FAULTS and not software), case


@pytest.mark.parametrize("image", IMAGES)
def test_the_scheduler_has_no_say(image: str) -> None:
    module = MODULES[image]
    assert here(module.BODY, module.CPUS, seed=1) == here(module.BODY, module.CPUS)
