# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose registers a dump holds, and whether they are what the machine saw."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.commands.run import crashing_thread
from kdumpsim.target import PT_REGS
from kdumpsim.vmcore.compare import Judgement, judge
from kdumpsim.vmcore.oracle import Oracle
from kdumpsim.vmcore.reader import Vmcore

from .builders import CRASHING, FULL, JUMP, SYMBOLS, FakeMachine, crashed, dump, stopped, watching

Judge = Callable[..., Judgement]


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """Judge a dump of the machine's memory with its CPUs' notes, or with others."""

    def run(machine: FakeMachine, oracle: Oracle, notes: bytes | None = None) -> Judgement:
        path = tmp_path / "vmcore"
        path.write_bytes(dump(machine.memory.view, FULL, machine.merged if notes is None else notes))
        with Vmcore(path) as core:
            return judge(core, oracle)

    return run


def test_wrong_registers_are_named(judged: Judge) -> None:
    machine = FakeMachine()

    def saves() -> None:
        machine.save(1, stopped(1) | {"eax": 99})
        machine.save(0, {"eip": SYMBOLS["cpu_idle"], "esp": 0xC0380E40, "ebp": 0xC0990000})

    first, second = judged(machine, crashed(machine, saves=saves)).registers
    assert first.problems == [
        "eip 0xc0100c00 lies in cpu_idle, not in crash_kexec",
        "ebp 0xc0990000 is not in the frame of crash_kexec, called at esp 0xc0380e80",
    ]
    assert second.problems == ["eax is 0x63 in the dump and was 0x1"]
    assert not second.ok


@pytest.mark.parametrize(("change", "problems"), [(0, []), (1, ["ebx is 0x101 in the dump and was 0x100"])])
def test_registers_of_an_exception_come_from_its_frame(judged: Judge, change: int, problems: list[str]) -> None:
    machine = FakeMachine()
    oracle = watching(machine)
    machine.reach(0, SYMBOLS["dtt_induce"], esp=0xC0380F00)
    values = {name: 0x100 + i for i, name in enumerate(PT_REGS.names)} | {"cs": 0x60, "ds": 0x7B, "es": 0x7B}
    machine.memory.view[0x380E00:0x380E3C] = struct.pack("<15I", *(values[name] for name in PT_REGS.names))
    machine.call(0, "crash_kexec", 0xC0380D80, 0xC0380E00, back=0xC0100500)
    machine.nmi(1, eip=SYMBOLS["cpu_idle"])
    machine.save(0, {**values, "esp": 0xC0380E00 + 52, "ebx": values["ebx"] + change})
    machine.reach(0, JUMP)
    checks = judged(machine, oracle).registers
    assert checks[0].problems == problems
    assert (checks[1].role, checks[1].problems) == (
        "took the NMI and saved nothing",
        ["the dump has no registers of this CPU"],
    )


def test_a_cpu_that_was_never_stopped(judged: Judge) -> None:
    machine = FakeMachine(cpus=3)

    def saves() -> None:
        machine.save(2, stopped(2))
        machine.save(0, CRASHING)

    oracle = crashed(machine, saves=saves)
    del oracle.nmi[1]
    checks = judged(machine, oracle).registers
    assert [(check.role, check.ok, check.thread) for check in checks] == [
        ("crashing", True, 1),
        ("not stopped", False, None),
        ("stopped by NMI", True, 2),
    ]


def test_a_cpu_without_a_note_does_not_shift_the_others(judged: Judge) -> None:
    """INT_HARDWARE_ENTRY / overflow: the CPU that dies takes itself for one there is not, and writes no note."""
    machine = FakeMachine()

    def saves() -> None:
        machine.save(1, stopped(1))
        machine.save(0, CRASHING, number=0xFFFFFFFF)

    judgement = judged(machine, crashed(machine, saves=saves))
    first, second = judgement.registers
    assert (first.role, first.thread, first.problems) == (
        "crashing",
        None,
        ["the dump has no registers of this CPU; it took itself for CPU 4294967295"],
    )
    assert (second.role, second.thread, second.problems, second.where) == ("stopped by NMI", 1, [], "cpu_idle")
    assert crashing_thread(judgement) is None


def test_a_note_in_another_cpus_area_is_its_writers_and_wrong(judged: Judge) -> None:
    """SCSI_DISPATCH_CMD / overflow: the crashing CPU takes itself for CPU 1, which has its NMI and runs on."""
    machine = FakeMachine(cpus=3)

    def saves() -> None:
        machine.save(2, stopped(2))
        machine.save(0, CRASHING, number=1)

    oracle = crashed(machine, saves=saves)
    machine.run_on(1, 500)
    judgement = judged(machine, oracle)
    assert [(check.role, check.thread, check.problems) for check in judgement.registers] == [
        ("crashing", 1, ["it took itself for CPU 1, in whose note its registers are"]),
        ("took the NMI and ran on", None, ["the dump has no registers of this CPU: those in its note are CPU 0's"]),
        ("stopped by NMI", 2, []),
    ]
    assert judgement.registers[0].where == "crash_kexec"
    assert crashing_thread(judgement) == 1
    assert [check.as_dict()["thread"] for check in judgement.registers] == [1, None, 2]


def test_the_last_writer_of_a_note_has_it(judged: Judge) -> None:
    machine = FakeMachine()

    def saves() -> None:
        machine.save(1, stopped(1), number=0)
        machine.save(0, CRASHING)

    first, second = judged(machine, crashed(machine, saves=saves)).registers
    assert (first.thread, first.ok) == (1, True)
    assert second.problems == ["the dump has no registers of this CPU; it took itself for CPU 0"]


def test_a_note_that_lies_in_no_area_is_nobodys(judged: Judge) -> None:
    """A capture kernel that makes notes up, or reads them from somewhere else."""
    machine = FakeMachine()
    oracle = crashed(machine)
    other = FakeMachine()
    crashed(other, saves=lambda: other.save(0, CRASHING | {"eax": 1}))
    first, second = judged(machine, oracle, other.merged + machine.notes[1]).registers
    assert first.problems == ["the dump has no registers of this CPU"]
    assert (second.thread, second.ok) == (2, True)


def test_notes_that_are_alike_are_told_apart_by_their_order(judged: Judge) -> None:
    machine = FakeMachine(cpus=3)
    same = stopped(7)

    def saves() -> None:
        machine.save(0, CRASHING)
        machine.save(1, same)
        machine.save(2, same)

    checks = judged(machine, crashed(machine, saves=saves)).registers
    assert [check.thread for check in checks] == [1, 2, 3]


def test_a_call_of_crash_kexec_that_came_back_is_not_the_crash(judged: Judge) -> None:
    """SysRq C without a capture kernel, then one is loaded and the kernel panics."""
    machine = FakeMachine()
    oracle = watching(machine)
    machine.call(0, "crash_kexec", 0xC0370E80, 0xC0370F00, back=0xC0100600)
    assert oracle.crash is not None
    machine.reach(0, 0xC0100600, esp=0xC0370E84)
    assert oracle.crash is None
    machine.clock.now = 5000
    machine.reach(0, SYMBOLS["dtt_induce"], esp=0xC0380F00)
    machine.reach(0, SYMBOLS["panic"])
    machine.call(0, "crash_kexec", 0xC0380E80, 0)
    machine.nmi(1, **stopped(1))
    machine.save(1, stopped(1))
    machine.save(0, CRASHING)
    machine.reach(0, JUMP)
    assert oracle.crash is not None
    assert (oracle.crash.where, oracle.crash.time_ns) == ("dtt_induce", 5000)
    assert [check.problems for check in judged(machine, oracle).registers] == [[], []]


def test_only_the_call_that_comes_back_is_forgotten() -> None:
    """One CPU has the lock; another finds it taken, and so does the first one's own watchdog on top of it."""
    machine = FakeMachine()
    oracle = watching(machine)
    machine.call(1, "crash_kexec", 0xC0360E80, 0, back=0xC0100600)  # it began first, and finds the lock taken
    machine.call(0, "crash_kexec", 0xC0380E80, 0)
    machine.call(0, "crash_kexec", 0xC0380A80, 0xC0380B00, back=0xC0100700)
    machine.reach(1, 0xC0100600, esp=0xC0360E84)
    machine.reach(0, 0xC0100700, esp=0xC0380A84)
    assert oracle.crash is not None
    machine.reach(0, JUMP)
    assert oracle.entry_call is not None
    assert oracle.entry_call.call.stack == 0xC0380E80


def test_a_call_on_top_of_the_crash_is_not_the_crash() -> None:
    """A fault on the way to purgatory calls it again, finds the lock taken, and is never heard of."""
    machine = FakeMachine()
    oracle = watching(machine)
    machine.call(0, "crash_kexec", 0xC0380E80, 0)
    machine.call(0, "crash_kexec", 0xC0380A80, 0xC0380B00, back=0xC0100700)
    machine.reach(0, JUMP)
    assert oracle.entry_call is not None
    assert oracle.entry_call.call.stack == 0xC0380E80


def test_the_place_a_call_comes_back_to_is_passed_by_others_too() -> None:
    """Somebody who runs the code behind the call, but with another stack, has not come back from it."""
    machine = FakeMachine()
    oracle = watching(machine)
    machine.call(0, "crash_kexec", 0xC0380E80, 0, back=0xC0100600)
    machine.reach(0, 0xC0100600, esp=0xC0380000)
    machine.reach(1, 0xC0100600, esp=0xC0380E84)
    machine.reach(0, JUMP)
    assert oracle.crash is not None
    assert oracle.entry_call is not None
