# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot CPU starts the capture kernel, whichever has crashed (LKDTT paper, section 7.4; docs/hardened.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kdumpsim.runs.forking import run_all
from kdumpsim.scenario.scenario import Scenario

ON = (("relocate_cpu", "1"), ("safe_smp_processor_id", "1"))
SAVED = ("O", 1, 1)


def told(directory: Path, *options: tuple[str, str], **settings: Any) -> dict[str, Any]:
    """result.json of a panic on CPU 1, or where `settings` have it."""
    directory.mkdir()
    scenario = Scenario("FS_DEVRW", "panic", kernel_options=options, **{"crash_cpu": 1, **settings})
    (report,) = run_all([(scenario, directory)], 1)
    assert report.result is not None, report.died
    return report.result.as_dict()


def verdict(result: dict[str, Any]) -> tuple[Any, ...]:
    return result["outcome"], result["accuracy"], result["completeness"]


def captured_on(result: dict[str, Any]) -> str:
    return next(phase["detail"] for phase in result["phases"] if phase["name"] == "capture")


def test_the_boot_cpu_captures_what_another_crashed_with(tmp_path: Path) -> None:
    """All registers are true; without the option the capture kernel runs where the crash was."""
    moved = told(tmp_path / "1", *ON)
    assert verdict(moved) == SAVED
    assert captured_on(moved) == "capture kernel on CPU 0"
    checks = [(check["role"], check["ok"]) for check in moved["registers"]]
    assert checks == [("stopped by NMI", True), ("crashing", True)]
    hardened = told(tmp_path / "2", ("relocate_cpu", "1"), profile="hardened", cpus=3)
    assert verdict(hardened) == SAVED
    assert captured_on(hardened) == "capture kernel on CPU 0"
    assert all(check["ok"] for check in hardened["registers"]), hardened["registers"]
    assert captured_on(told(tmp_path / "3")) == "capture kernel on CPU 1"


def test_a_boot_cpu_that_crashed_itself_has_nobody_to_ask(tmp_path: Path) -> None:
    result = told(tmp_path / "0", *ON, crash_cpu=0)
    assert verdict(result) == SAVED
    assert captured_on(result) == "capture kernel on CPU 0"


@pytest.mark.nightly
def test_a_boot_cpu_that_hangs_in_an_nmi_handler_never_takes_over(tmp_path: Path) -> None:
    """ "A lockup in the NMI handler guarantees a system hang if relocation is attempted"; without it the crashing CPU
    waits a second and goes on alone."""
    hung = told(tmp_path / "1", *ON, other_cpus="nmi")
    assert hung["outcome"].startswith("X")
    assert any("purgatory was not reached" in line for line in hung["evidence"]), hung["evidence"]
    alone = told(tmp_path / "0", other_cpus="nmi")
    assert captured_on(alone) == "capture kernel on CPU 1"  # whose memory the other may still spoil


def test_only_from_the_boot_cpu_a_capture_kernel_has_all_cpus(tmp_path: Path) -> None:
    """maxcpus=4: a boot processor takes INIT for a reset (SDM vol. 3, 8.4.2), and does not come to the trampoline."""
    activated = {}
    for relocate in (ON, ()):
        directory = tmp_path / str(len(relocate))
        result = told(directory, *relocate, ("maxcpus", "4"), cpus=4)
        assert verdict(result) == SAVED
        lines = (directory / "console.log").read_text().splitlines()
        activated[bool(relocate)] = [line for line in lines if "processors activated" in line]
    assert activated[True] == ["Total of 4 processors activated."] * 2
    assert activated[False] == [f"Total of {count} processors activated." for count in (4, 3)]
