# SPDX-License-Identifier: GPL-2.0-or-later
"""Stacks that are all but full, or not there: what a crash needs of them (LKDTT paper, section 5.2.1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kdumpsim.cpu import Cpu
from kdumpsim.lkdtt.operator import Operator
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.runs.run import finish, power_on, start
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.target import PAGE_OFFSET, PAGE_SIZE

THREAD_INFO_BYTES = 24
MS = 1_000_000
NOWHERE = 0xE000_0000
"""An address that no page table shows."""


def armed(scenario: Scenario) -> Session:
    session = power_on(scenario.pc, scenario.kernel)
    session.boot()
    session.prepare_dump()
    session.arm(scenario.crash_part)
    return session


def run_until(session: Session, happened: Callable[[], object]) -> None:
    while not happened():
        session.machine.run(until=session.machine.clock.now + MS)


def stack_of(session: Session, cpu: Cpu) -> int:
    """The low end of the stack that a CPU runs on."""
    return cpu.registers().esp & -session.first.stack_size


def test_the_watchdog_takes_nothing_of_a_stack_that_is_full() -> None:
    """nmi_stacks: die_nmi() prints some 600 bytes deep; without, it prints its own thread_info to pieces."""
    scenario = Scenario("INT_HARDWARE_ENTRY", "hang", profile="hardened", kernel_options=(("watchdog_thresh", "1"),))
    with closing(armed(scenario)) as session:
        run_until(session, lambda: session.oracle.crash)
        session.machine.run(until=session.machine.clock.now + MS)
        assert session.oracle.crash is not None
        cpu = session.machine.cpus[session.oracle.crash.cpu]
        cpu.set_registers(esp=stack_of(session, cpu) + THREAD_INFO_BYTES + 300)
        session.crash(Operator(15 * NS))
        assert session.jumped, session.console.text[-1000:]


def crash_on_what_is_left(left: int) -> tuple[Session, bytes, bytes]:
    """A panic whose crash_kexec() is called with so much of the stack left; thread_info before and after."""
    session = armed(Scenario("FS_DEVRW", "panic", profile="hardened"))
    machine, entered = session.machine, list[Cpu]()

    def enter(cpu: Cpu) -> None:
        if not entered:
            entered.append(cpu)
            machine.request_stop()

    machine.watch(session.first.symbols["crash_kexec"], enter)
    run_until(session, lambda: entered)
    (cpu,) = entered
    call = cpu.read_linear(cpu.registers().esp, 8)
    assert call is not None
    low = stack_of(session, cpu)
    machine.memory.dma_write(low + THREAD_INFO_BYTES + left - PAGE_OFFSET, call)
    cpu.set_registers(esp=low + THREAD_INFO_BYTES + left)
    info = machine.memory.view[low - PAGE_OFFSET :][:THREAD_INFO_BYTES]
    before = bytes(info)
    session.crash(Operator(15 * NS))
    return session, before, bytes(info)


def test_the_dump_route_takes_nothing_of_a_stack_that_is_full() -> None:
    """crash_stacks: from crash_kexec() on, which has its own frame there."""
    session, before, after = crash_on_what_is_left(200)
    with closing(session):
        assert session.jumped
        assert after == before


@pytest.mark.parametrize("left", [20, 100])
def test_a_double_fault_on_the_way_to_the_crash_stack_finds_the_lock_free(left: int) -> None:
    """stack_guard: crash_kexec() itself finds no room; it takes kexec_lock when it is on its own stack, not before.

    The registers are those of the double fault.
    """
    session, _, _ = crash_on_what_is_left(left)
    with closing(session):
        assert session.jumped
        session.dump()
        checks = session.mechanism.judge(session).registers
    assert [check.problems for check in checks] == [[], []]


def test_a_double_fault_hands_over_with_the_registers_that_led_to_it(tmp_path: Path) -> None:
    """crash_stacks: an interrupt cannot be pushed, nor can the page fault that follows from that."""
    scenario = Scenario("FS_DEVRW", "panic", count=1_000_000, timeout=20, profile="hardened")
    with closing(armed(scenario)) as session:
        cpu = session.machine.cpus[1]
        run_until(session, lambda: cpu.halted)
        eip = cpu.registers().eip
        cpu.set_registers(esp=NOWHERE)
        judgement = finish(session, scenario, tmp_path, None).judgement
    assert judgement is not None
    assert [(check.role, check.problems) for check in judgement.registers] == [("stopped by NMI", []), ("crashing", [])]
    assert judgement.registers[1].eip == eip
    assert (judgement.accuracy, judgement.completeness) == (1, 1)


def test_a_stack_that_runs_over_is_caught_in_the_act(tmp_path: Path) -> None:
    """stack_guard: without, the recursion comes back, and what follows is found where it leads."""
    scenario = Scenario("FS_DEVRW", "overflow", profile="hardened")
    with closing(power_on(scenario.pc, scenario.kernel)) as session:
        result = finish(session, scenario, tmp_path, None) if start(session) is None else None
        assert result is not None
        judgement, crash = result.judgement, session.oracle.crash
    assert judgement is not None
    assert crash is not None
    assert judgement.registers[crash.cpu].where in {"dtt_overflow", "memset"}
    assert all(check.ok for check in judgement.registers)
    assert (judgement.accuracy, judgement.completeness) == (1, 1)


def test_the_guards_of_dead_tasks_are_memory_again() -> None:
    """stack_guard: a page that is not mapped for each program, and for none that is gone but the last, a zombie."""
    scenario = Scenario("FS_DEVRW", "panic", profile="hardened")
    with closing(power_on(scenario.pc, scenario.kernel)) as session:
        session.boot()
        translate = session.machine.cpus[0].translate

        def guards() -> int:
            session.machine.run(until=session.machine.clock.now + 100 * MS)
            pages = range(PAGE_OFFSET, PAGE_OFFSET + scenario.memory, PAGE_SIZE)
            return sum(translate(page) is None for page in pages)

        before = guards()
        programs = [session.agent.start("diskio", f"/{number}") for number in range(4)]
        assert guards() == before + 4
        for pid in programs:
            session.agent.kill(pid)
        guards()
        session.agent.start("hello")
        assert guards() == before + 1


def inspected(profile: str, *options: tuple[str, str], left: int = 0) -> Session:
    """A CPU that loops with interrupts on: so much of its stack is left, or the stack has lost its end; 50 ms later."""
    session = armed(Scenario("INT_TASKLET_ENTRY", "hang", profile=profile, kernel_options=options))
    run_until(session, lambda: session.oracle.crash)
    session.machine.run(until=session.machine.clock.now + MS)
    assert session.oracle.crash is not None
    cpu = session.machine.cpus[session.oracle.crash.cpu]
    low = stack_of(session, cpu)
    if left:
        cpu.set_registers(esp=low + THREAD_INFO_BYTES + left)
    else:
        session.machine.memory.dma_write(low + THREAD_INFO_BYTES - PAGE_OFFSET, b"\xff" * 4)
    session.machine.run(until=session.machine.clock.now + 50 * MS)
    return session


@pytest.mark.parametrize("left", [0, 900])
def test_an_interrupt_finds_that_a_stack_is_all_but_full_or_has_lost_its_end(left: int) -> None:
    """stack_check=panic; without, this hang is found by the soft-lockup watchdog ten seconds later."""
    with closing(inspected("hardened", left=left)) as session:
        assert session.jumped


def test_a_stack_that_has_lost_its_end_may_be_a_warning() -> None:
    """stack_check=warn, which is CONFIG_DEBUG_STACKOVERFLOW; the end is missed once."""
    with closing(inspected("default", ("stack_check", "warn"))) as session:
        assert not session.jumped
        assert session.console.text.count("Thread overran stack, or stack corrupted") == 1
        assert re.search(r"do_IRQ: stack overflow: \d{4}\n", session.console.text)
