# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU as the referee of exceptions and interrupt delivery: the same image, the same lines.

A module `events_*` has the cases of one image (`BODY`), for `CPUS` processors. `TIMED` ones depend on clocks; for them
QEMU counts instructions (it then steps a REP once too often, so not for all). `DIFFERS` are the cases where QEMU does
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

IMAGES: Final = ("faults", "segments", "frames", "pages", "rings", "tasks", "interrupts", "processors")
MODULES: Final = {name: import_module(f"events_{name}") for name in IMAGES}
CASES: Final = [(image, case) for image, module in MODULES.items() for case in case_names(module.BODY)]
RF: Final = 1 << 16
# The manual has a fault here, TCG does not look (docs/fidelity.md, "CPU").
SILENT: Final = {
    "faults": ("6.15 UD lock mov",),
    "segments": (
        "6.15 SS limit, push",
        "6.15 GP null selector used",
        "6.15 GP limit, read",
        "6.15 GP expand down, below",
        "6.15 GP write to read only",
        "6.15 GP write to code",
        "6.15 GP read of execute only",
        "6.15 GP ltr of null",
    ),
}
# What delivery has to do right even where there is no QEMU to compare with.
PINNED: Final = {
    "frames": {"6.12.1 16-bit stack wraps": "s1234fff8"},
    "pages": {
        "6.15 DF push of the frame runs off its page": "task s0018bffc e00000000 c0008 i00000000 s0010:00302004"
        " a00301ffc cr3 00200000",
        "6.15 PF inner stack not present, int": "task s0018bffc e00000002 c001b i00000000 s0023:00188000 a003017fc"
        " cr3 00200000",
    },
    "interrupts": {"6.7.1 NMIs within an NMI handler are latched once": "nmi () nmi"},
}
FAULTS: Final = frozenset({0x00, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E})


def without_rf(line: str) -> str:
    """QEMU 7.2 never sets RF in the flags it pushes."""
    return re.sub(r" f([0-9a-f]{8})", lambda found: f" f{int(found[1], 16) & ~RF:08x}", line)


def said_here(image: str) -> dict[str, str]:
    module = MODULES[image]
    return lines(here(module.BODY, module.CPUS).said)


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
    there = lines(on_qemu(require_tool("qemu-system-i386"), module.BODY, module.CPUS, timed=module.TIMED))
    assert case in there
    assert without_rf(line) == without_rf(there[case])


@pytest.mark.parametrize("image", SILENT)
def test_what_tcg_does_not_check_goes_by_in_silence(image: str) -> None:
    assert {case: said_here(image)[case] for case in SILENT[image]} == dict.fromkeys(SILENT[image], "")


@pytest.mark.parametrize("image", PINNED)
def test_pinned(image: str) -> None:
    said = said_here(image)
    assert {case: said[case] for case in PINNED[image]} == PINNED[image]


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


def test_6_15_shutdown_of_the_other_cpu_resets_the_pc() -> None:
    """The last thing `events_processors` does; QEMU has ended its run by it too."""
    module = MODULES["processors"]
    assert here(module.BODY, module.CPUS).cause == "triple fault on CPU 1"


def test_reset_by_the_keyboard_controller() -> None:
    module = MODULES["faults"]
    assert here(module.BODY, module.CPUS).cause == "i8042"
