# SPDX-License-Identifier: GPL-2.0-or-later
"""From a crash to a saved dump, on any CPU and whatever the others are doing."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.disks.dumpdisk import extract, find_dump
from kdumpsim.lkdtt.operator import Operator
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.runs.account import outcome_of
from kdumpsim.runs.run import power_on
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.vmcore.compare import Judgement, judge
from kdumpsim.vmcore.debuginfo import DebugInfo
from kdumpsim.vmcore.disassembly import disassemble
from kdumpsim.vmcore.reader import Vmcore

EFLAGS_IF = 0x200


def armed(cpus: int) -> Session:
    """A machine with its capture kernel loaded and a workload running; its crash point will not be reached."""
    scenario = Scenario(crash_point="FS_DEVRW", crash_type="panic", count=1_000_000, cpus=cpus, timeout=20)
    session = power_on(scenario.pc, scenario.kernel)
    session.boot()
    session.prepare_dump()
    session.arm(scenario.crash_part)
    return session


def run_until_idle(session: Session, cpu: int) -> None:
    machine = session.machine
    machine.run(until=machine.clock.now + 20_000_000)
    while not machine.cpus[cpu].halted:
        machine.run(until=machine.clock.now + 100_000)


def dumped(session: Session, directory: Path) -> Judgement:
    """Run to the end and judge the dump."""
    session.crash(Operator(15 * NS))
    assert session.jumped, session.console.text[-2000:]
    session.dump()
    assert outcome_of(session).captured, session.console.text[-2000:]
    header = find_dump(session.dump_disk)
    assert header is not None
    extract(session.dump_disk, header, directory / "vmcore")
    with Vmcore(directory / "vmcore") as vmcore:
        return judge(vmcore, session.oracle)


def assert_perfect(judgement: Judgement) -> None:
    assert (judgement.accuracy, judgement.completeness) == (1, 1)
    assert all(check.ok for check in judgement.registers)


@pytest.mark.parametrize(("victim", "cpus"), [(1, 2), (3, 4), (0, 3)])
def test_any_cpu_may_crash(victim: int, cpus: int, tmp_path: Path) -> None:
    session = armed(cpus)
    run_until_idle(session, victim)
    session.machine.cpus[victim].set_registers(eip=0x10)
    judgement = dumped(session, tmp_path)
    assert_perfect(judgement)
    assert len(judgement.registers) == cpus
    assert session.oracle.jump is not None
    assert session.oracle.jump.cpu == victim


def test_a_cpu_with_interrupts_off_is_stopped_by_nmi(tmp_path: Path) -> None:
    session = armed(2)
    run_until_idle(session, 1)
    sleeper = session.machine.cpus[1]
    sleeper.set_registers(eflags=sleeper.registers().eflags & ~EFLAGS_IF)
    run_until_idle(session, 0)
    session.machine.cpus[0].set_registers(eip=0x10)
    assert_perfect(dumped(session, tmp_path))


def test_a_cpu_that_never_answers_is_left_behind(tmp_path: Path) -> None:
    session = armed(2)
    run_until_idle(session, 1)
    session.machine.cpus[1].init()
    run_until_idle(session, 0)
    session.machine.cpus[0].set_registers(eip=0x10)
    judgement = dumped(session, tmp_path)
    assert judgement.completeness == 1
    crash, jump = session.oracle.crash, session.oracle.jump
    assert crash is not None
    assert jump is not None
    assert jump.time_ns - crash.time_ns >= 1_000_000_000, "the crashing CPU waits a second for the others"
    notes = session.first.symbols["crash_notes"] - 0xC0000000
    assert struct.unpack_from("<3I", session.machine.memory.view, notes + 1024) == (0, 0, 0)


def test_a_capture_kernel_on_another_cpu_gets_its_timer_by_virtual_wire(tmp_path: Path) -> None:
    session = armed(2)
    ioapic = session.machine.ioapic
    set_pin = ioapic.set_pin
    run_until_idle(session, 1)
    ioapic.set_pin = lambda pin, level: None if pin == 2 else set_pin(pin, level)  # type: ignore[method-assign]
    session.machine.cpus[1].set_registers(eip=0x10)
    assert_perfect(dumped(session, tmp_path))
    assert "...trying to set up timer as Virtual Wire IRQ... works." in session.console.text


@pytest.mark.parametrize("name", ["crash_nmi_callback", "leave_to_boot_cpu"])
def test_a_cpu_that_counts_as_stopped_writes_nothing_more(name: str) -> None:
    """Its HLT may come after the jump, and QEMU with a debugger may end it: the return address of a call
    would be in no picture, but in the dump."""
    image = images.kernel()
    info = DebugInfo(image.elf)
    function = info.function(image.symbols[name])
    assert function is not None
    code = [i.text for i in disassemble(info.code(function.start, function.size), function.start)]
    counted = max(number for number, text in enumerate(code) if text.startswith("lock dec"))
    assert code[counted + 1 : counted + 3] == ["hlt", "pause"]
    assert not [text for text in code[counted + 1 :] if text.startswith(("call", "push", "mov"))]
