# SPDX-License-Identifier: GPL-2.0-or-later
"""Dump mechanisms of a user's own, before and after kdump: who is asked where, in which order, and what comes then."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.agent.errors import AgentFailure
from kdumpsim.board.machine import StopReason
from kdumpsim.images import PAGE_OFFSET, symbol_size

PLACES = ("oops", "panic", "nmi", "sysrq")
HOOK = '''
@guest
def {name}_{place}(regs: ptr[PtRegs]) -> None:
    """Only say that it was asked."""
    printk(f"asked: {name} {place} {{u32(regs != NULL)}}\\n")
'''
SOURCE = f"""
from __future__ import annotations

from kdumpsim.compiler.lang import NULL, guest, placed, ptr, u32
from kdumpsim.kernel.architecture import PtRegs
from kdumpsim.kernel.core.dump import DumpMechanism
from kdumpsim.kernel.core.printk import printk

{"".join(HOOK.format(name="early", place=place) for place in PLACES)}
{HOOK.format(name="late", place="panic")}
EARLY: DumpMechanism = placed(
    "dump_mechanisms1", DumpMechanism(name="early", hooks=[early_oops, early_panic, early_nmi, early_sysrq])
)
LATE: DumpMechanism = placed("dump_mechanisms9", DumpMechanism(name="late", hooks=[NULL, late_panic, NULL, NULL]))
"""
WATCHDOG = "nmi_watchdog=1 watchdog_thresh=1"


@pytest.fixture
def asked(boot: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Boot a kernel with both mechanisms."""
    module = tmp_path / "probes.py"
    module.write_text(SOURCE)

    def make(append: str = "") -> Any:
        return boot(append, modules=[module])

    return make


def told(guest: Any) -> list[str]:
    """Who was asked where, in order, and whether there were registers."""
    at = guest.first.symbols["__log_buf"] - PAGE_OFFSET  # die_nmi() silences the console
    log = bytes(guest.machine.memory.view[at : at + symbol_size(guest.first.elf, "__log_buf")])
    return re.findall(r"asked: (\w+ \w+ \d)", log.decode("latin-1"))


def cross(guest: Any, point: str) -> None:
    guest.dtt(f"set {point}")
    guest.agent.timeout = 1
    with contextlib.suppress(AgentFailure):
        guest.agent.start("diskio")


def test_mechanisms_that_come_back_leave_the_kernel_what_it_is_without_one(asked: Callable[..., Any]) -> None:
    guest = asked("panic=1")
    guest.agent.write_file("/proc/sysrq-trigger", b"c")
    assert told(guest) == ["early sysrq 0"]
    cross(guest, "FS_DEVRW exception 1")
    assert guest.run(15) is StopReason.RESET, "die() goes on to panic(), and that to its restart"
    assert told(guest)[1:] == ["early oops 1", "early panic 0", "late panic 0"]


def test_the_nmi_watchdog_asks_for_a_cpu_that_is_locked_up(asked: Callable[..., Any]) -> None:
    guest = asked(WATCHDOG)
    cross(guest, "INT_HARDWARE_ENTRY loop 10")
    guest.run(4)
    assert "NMI Watchdog detected LOCKUP" in guest.console
    assert told(guest)[:1] == ["early nmi 1"]


def test_a_lower_level_is_asked_before_kdump_and_a_higher_one_after_it(asked: Callable[..., Any]) -> None:
    guest = asked()
    assert guest.crash() is StopReason.RESET
    assert re.findall(r"asked: (\w+)", guest.console) == ["early"], "kdump does not come back"
    assert guest.dumped() is not None
