# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors that are handed over where they are found (LKDTT paper, sections 2.1 and 5.2.2)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from kdumpsim.lkdtt.operator import Operator
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.runs.run import finish, power_on
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.target import PAGE_OFFSET

MS = 1_000_000
WITHOUT = (("fault_checks", "0"),)


def armed(scenario: Scenario) -> Session:
    session = power_on(scenario.pc, scenario.kernel)
    session.boot()
    session.prepare_dump()
    session.arm(scenario.crash_part)
    return session


@pytest.mark.parametrize(("options", "once"), [((), True), pytest.param(WITHOUT, False, marks=pytest.mark.nightly)])
def test_a_fault_handler_does_not_follow_a_current_that_is_gone(
    options: tuple[tuple[str, str], ...], once: bool, tmp_path: Path
) -> None:
    """Listing 5: without the check each fault leads to the next, until there is no stack any more (stack_guard)."""
    scenario = Scenario("FS_DEVRW", "panic", count=1_000_000, timeout=20, profile="hardened", kernel_options=options)
    with closing(armed(scenario)) as session:
        machine, faults = session.machine, list[int]()
        while not machine.cpus[1].halted:
            machine.run(until=machine.clock.now + MS)
        info = machine.cpus[1].registers().esp & -session.first.stack_size
        machine.memory.dma_write(info - PAGE_OFFSET, b"\xff" * 4)
        machine.watch(session.first.symbols["do_page_fault"], lambda cpu: faults.append(cpu.index))
        judgement = finish(session, scenario, tmp_path, None).judgement
    assert judgement is not None
    assert all(check.ok for check in judgement.registers)
    assert (faults.count(1) == 1) is once
    assert once or faults.count(1) > 20


@pytest.mark.parametrize(("options", "jumped"), [((), True), (WITHOUT, False)])
def test_a_panic_does_not_wait_for_the_log(options: tuple[tuple[str, str], ...], jumped: bool) -> None:
    """A CPU has stopped for good while it printed: the lock of the log is taken."""
    scenario = Scenario("FS_DEVRW", "panic", profile="hardened", kernel_options=options, patience=4)
    with closing(armed(scenario)) as session:

        def take_the_lock() -> None:
            session.machine.memory.dma_write(session.first.symbols["logbuf_lock"] - PAGE_OFFSET, bytes(4))

        session.oracle.on_crash = take_the_lock
        session.crash(Operator(4 * NS))
        assert session.jumped is jumped
        if jumped:
            reason = session.first.symbols["panic_buf"] - PAGE_OFFSET
            assert bytes(session.machine.memory.view[reason:][:30]) == b"LKDTT: crash point FS_DEVRW\0\0\0"
