# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels built with other constants than the usual ones boot, crash and dump as well."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.disks.dumpdisk import extract, find_dump
from kdumpsim.lkdtt.operator import Operator
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.mechanisms.kdump import Kdump
from kdumpsim.runs.events import Silent
from kdumpsim.runs.run import run_scenario
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario
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
    first, mechanism = images.kernel(config=config), Kdump(scenario.pc, scenario.kernel)
    mechanism.build(first, config)
    session = Session(scenario.pc, scenario.kernel, first, mechanism, Silent())
    session.boot()
    session.prepare_dump()
    session.arm(scenario.crash_part)
    session.crash(Operator(15 * NS))
    session.dump()
    header = find_dump(session.dump_disk)
    assert header is not None, session.console.text
    extract(session.dump_disk, header, tmp_path / "vmcore")
    with Vmcore(tmp_path / "vmcore") as vmcore:
        judgement = judge(vmcore, session.oracle)
    assert (judgement.accuracy, judgement.completeness) == (1, 1)
    assert all(check.ok for check in judgement.registers)


@pytest.mark.parametrize(
    ("point", "path"),
    [
        ("INT_HARDWARE_ENTRY", ["dtt_crossed", "__do_IRQ", "", "do_IRQ", "common_interrupt"]),
        ("INT_TASKLET_ENTRY", ["dtt_crossed", "tasklet_action", "", "call_softirq", "irq_exit"]),
    ],
)
def test_traces_cross_from_an_interrupts_stack_to_the_interrupted_one(
    point: str, path: list[str], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """With 4 KiB stacks, as 2.6.16 has it: the kernel's call trace, with a rule at the switch, and gdb's backtrace."""
    scenario = Scenario(point, "exception", kernel_options=(("stack", "4k"),))
    result = run_scenario(scenario, tmp_path, Silent())
    assert result.judgement is not None
    _, _, trace = (tmp_path / "console.log").read_text().partition("Call Trace:\n")
    names = re.findall(r"^ (?:\[<[0-9a-f]{8}>\] (\w+)\+|=+$)", trace.partition("Code:")[0], flags=re.MULTILINE)
    # The interrupted code may have been an interrupt's own: a handler on the same stack, a softirq on its own.
    found = [name for name in names if name in path]
    assert found[0] == path[0]
    assert path[1:] in [found[at : at + len(path) - 1] for at in range(1, len(found))]
    gdb = subprocess.run(
        [require_tool("gdb"), "-nx", "-batch", "-ex", "thread apply all bt", tmp_path / "vmlinux", tmp_path / "vmcore"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (crashed,) = (text for text in gdb.stdout.split("\nThread ")[1:] if "dtt_induce (" in text)
    on_one_stack = r"(?:(?!<signal handler called>).)*"
    switch = rf"in {path[1]} \({on_one_stack}<signal handler called>\n#\d+ +0x\w+ in {path[3]} \("
    assert re.search(switch, crashed[crashed.index("in dtt_crossed (") :], re.DOTALL), crashed
    assert "corrupt stack" not in crashed
