# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels built with other constants than the usual ones boot, crash and dump as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.lkdtt.dumpdisk import extract, find_dump
from kdumpsim.lkdtt.events import Silent
from kdumpsim.lkdtt.scenario import Scenario
from kdumpsim.lkdtt.session import Session
from kdumpsim.vmcore.compare import judge
from kdumpsim.vmcore.reader import Vmcore


@pytest.mark.parametrize(
    ("config", "point", "kind"),
    [
        ({"THREAD_SIZE": 4096}, "FS_DEVRW", "panic"),
        ({"THREAD_SIZE": 4096}, "INT_HARDWARE_ENTRY", "exception"),
        ({"PREEMPT": 0}, "TIMERADD", "bug"),
    ],
    ids=["4-KiB-stacks", "4-KiB-stacks-and-an-oops-in-an-interrupt", "no-preemption"],
)
def test_it_dumps(config: dict[str, int], point: str, kind: str, tmp_path: Path) -> None:
    scenario = Scenario(point, kind)
    first, capture = images.kernel(config=config), images.kernel(scenario.crashkernel.base, config)
    session = Session(scenario, first, capture, Silent())
    session.boot()
    session.load_capture_kernel()
    session.arm()
    session.crash()
    session.capture()
    session.save()
    header = find_dump(session.dump_disk)
    assert header is not None, session.console_log
    extract(session.dump_disk, header, tmp_path / "vmcore")
    with Vmcore(tmp_path / "vmcore") as vmcore:
        judgement = judge(vmcore, session.oracle)
    assert (judgement.accuracy, judgement.completeness) == (1, 1)
    assert all(check.ok for check in judgement.registers)
