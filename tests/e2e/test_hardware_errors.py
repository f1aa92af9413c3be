# SPDX-License-Identifier: GPL-2.0-or-later
"""What the hardware reports of itself: machine checks, and SERR# for memory and the PCI bus (LKDTT paper, 2.1.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kdumpsim.runs.forking import run_all
from kdumpsim.scenario.scenario import Scenario


def told(directory: Path, fault: str, **options: str) -> tuple[dict[str, Any], str]:
    """result.json and the console."""
    scenario = Scenario(fault=(fault,), kernel_options=tuple(options.items()), patience=4)
    (report,) = run_all([(scenario, directory)], 1)
    assert report.result is not None, report.died
    return report.result.as_dict(), (directory / "console.log").read_text()


def test_a_machine_check_is_read_from_the_bank_and_dumped(tmp_path: Path) -> None:
    """SDM vol. 3A, 15.3.2.2: VAL, UC, EN, PCC and the code of a data read in the level 2 cache."""
    result, console = told(tmp_path, "mce", mce="1")
    assert (result["outcome"], result["accuracy"], result["completeness"]) == ("O", 1, 1), result["evidence"]
    assert "Machine Check Exception: 0000000000000006\nBank 0: b200000000000136\n" in console
    assert "Kernel panic - not syncing: CPU context corrupt" in console
    assert all(check["ok"] for check in result["registers"])


def test_without_a_handler_a_machine_check_shuts_the_cpu_down(tmp_path: Path) -> None:
    result, console = told(tmp_path, "mce")
    assert result["outcome"].startswith("X")
    assert "Machine Check" not in console


@pytest.mark.parametrize("source", ["memory", "pci"])
def test_an_error_that_is_an_nmi_is_dumped_if_that_is_wanted(tmp_path: Path, source: str) -> None:
    """The error stays in port 0x61: the capture kernel, which is without the option, may meet it and goes on."""
    result, console = told(tmp_path, f"serr:{source}", unrecovered_nmi="panic")
    assert (result["outcome"], result["accuracy"], result["completeness"]) == ("O", 1, 1), result["evidence"]
    assert console.count("Kernel panic - not syncing: NMI: Not continuing") == 1


def test_an_error_that_is_an_nmi_is_a_warning_otherwise(tmp_path: Path) -> None:
    result, console = told(tmp_path, "serr:memory")
    assert "Uhhuh. NMI received. Dazed and confused, but trying to continue on CPU 0" in console
    assert result["vmcore"] is None
    assert "Kernel panic" not in console
