# SPDX-License-Identifier: GPL-2.0-or-later
"""The answers to each lesson's questions, by number: from runs of the present build, and of nothing else."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdumpsim.debugger.orders import Go
from kdumpsim.debugger.service import new_session
from kdumpsim.debugger.travel import Traveller
from kdumpsim.debugger.views import Views
from kdumpsim.lessons.answers import Answer, Number, SourceLine, word, yes
from kdumpsim.lessons.pages import Lesson
from kdumpsim.runs.account import Conclusion, conclude
from kdumpsim.runs.calls import IRQ, Crash
from kdumpsim.runs.facts import facts
from kdumpsim.runs.run import drive, power_on, start
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.sweeps.statistics import wilson
from kdumpsim.target import DWARF_REGISTERS, FLAGS, PROGRAM_COUNTER, STACK_POINTER, TARGET, words
from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.unwind import Frame, Unwinder

Answers = Mapping[int, Answer]
LOCKUP = "NMI Watchdog detected LOCKUP"
SOFT_LOCKUP = "soft lockup detected"
INTERRUPTS_ON = 1 << 9
"""Of the flags register: the CPU takes interrupts."""
SWEPT = 10
"""Panics of the sweep of lesson 4, in each of the driver's versions."""


class CannotTell(Exception):
    """This build behaves otherwise than the lesson says, so its question has no answer; the message says how."""


@dataclass
class _Run:
    session: Session
    conclusion: Conclusion

    @property
    def letter(self) -> str:
        return "O" if self.conclusion.outcome.ok else "X"

    def said(self, text: str) -> tuple[int, str]:
        """The first line of the console with a text in it, and when it came, ns.  CannotTell."""
        for ns, line in self.session.console.lines:
            if text in line:
                return ns, line
        raise CannotTell(f"the console does not say '{text}'")

    def backtrace(self, cpu: int) -> list[dict[str, Any]]:
        """A CPU's calls where the dump was taken."""
        found: list[dict[str, Any]] = facts(self.session, captured=True)["cpus"][cpu]["backtrace"]
        return found


def _run(scenario: Scenario) -> _Run:
    session = power_on(scenario.pc, scenario.kernel)
    session.give(scenario.timeout)
    failed = start(session) or drive(session, scenario)
    with tempfile.TemporaryDirectory() as directory:
        return _Run(session, conclude(session, Path(directory), failed, large=False))


def _first_dump(lesson: Lesson) -> Answers:
    run = _run(Scenario("FS_DEVRW", "panic"))
    crash, vmcore = run.session.oracle.led_to_dump, run.conclusion.vmcore
    if crash is None or vmcore is None or vmcore[1] is None:
        raise CannotTell("the panic left no dump")
    calls = run.backtrace(crash.cpu)
    names = [call["function"] for call in calls]
    point = calls[names.index("cpoint") + 1]
    others = [cpu.index for cpu in run.session.oracle.machine.cpus if cpu.index != crash.cpu]
    segments = re.search(r"(\d+) segments", run.session.clock.phases[1].detail)
    if segments is None:
        raise CannotTell("no segments were loaded")
    corrupt = _run(Scenario("FS_DEVRW", "panic", inject="corrupt-capture-kernel"))
    return {
        1: Number(crash.cpu),
        2: word(names[names.index("panic") + 1]),
        3: SourceLine(point["file"], point["line"]),
        4: word(run.backtrace(others[0])[0]["function"]),
        5: Number(int(segments[1])),
        6: word(vmcore[1][:8], vmcore[1], vmcore[1][:16]),
        7: word(corrupt.letter),
    }


def _hang(lesson: Lesson) -> Answers:
    run = _run(Scenario("INT_HARDWARE_ENTRY", "hang"))
    crash = Crash.of(run.session.oracle)
    if crash is None or not crash.context.startswith(IRQ):
        raise CannotTell("the hang was not in an interrupt")
    reported, _ = run.said(LOCKUP)
    at, register = f"{PROGRAM_COUNTER.upper()} is at ", f"{FLAGS.upper()}: "
    function = re.search(rf"{at}(\w+)", run.said(at)[1])
    flags = re.search(rf"{register}([0-9a-f]+)", run.said(register)[1])
    assert function is not None
    assert flags is not None
    unseen = _run(Scenario("INT_HARDWARE_ENTRY", "hang", kernel_options=(("nmi_watchdog", "0"),)))
    soft = _run(Scenario("INT_TASKLET_ENTRY", "hang"))
    return {
        1: Number(round((reported - crash.at_ns) / 1e9, 1), within=0.5),
        2: word(function[1]),
        3: Number(int(crash.context.removeprefix(IRQ))),
        4: yes(bool(int(flags[1], 16) & INTERRUPTS_ON)),
        5: word(unseen.letter),
        6: _watchdog(soft),
    }


def _watchdog(run: _Run) -> Answer:
    """Which watchdog was the first to report."""
    for _, line in run.session.console.lines:
        if SOFT_LOCKUP in line:
            return word("softlockup", "soft lockup", "the soft lockup detector", "softlockup watchdog")
        if LOCKUP in line:
            return word("nmi", "nmi watchdog", "the nmi watchdog")
    raise CannotTell("no watchdog has reported")


def _overflow(lesson: Lesson) -> Answers:
    scenario = Scenario("INT_HARDWARE_ENTRY", "overflow")
    session = new_session(scenario)
    unwinder, layout = Unwinder(session.first.elf), Layout(session.first.elf)
    offset, shape = layout.structures["thread_info"].members["cpu"]
    with closing(Traveller(session, scenario)) as travel:
        travel.forward(Go())
        begun = next((each.number for each in travel.milestones() if each.name == "crash"), None)
        if begun is None:
            raise CannotTell("the crash point was not crossed")
        cpu = travel.goto(begun).cpu
        stack = getattr(travel.ask("where")[cpu], STACK_POINTER) & -session.first.stack_size
        healthy = int.from_bytes(travel.ask("memory", cpu, stack + offset, shape.size), "little")
        watches = travel.watches(cpu, stack + offset, shape.size)
        place = travel.forward(Go(watches=watches))
        if place.changed is None:
            raise CannotTell("the overflow did not reach thread_info")
        calls = _calls(travel, unwinder, place.cpu)
        travel.forward(Go(breakpoints=frozenset({session.first.symbols["page_fault"]})))
        registers = travel.ask("where")[cpu]
        pushed = words(travel.ask("memory", cpu, getattr(registers, STACK_POINTER), 2 * TARGET.word))
        return {
            1: Number(stack, hexadecimal=True),
            2: Number(healthy),
            3: word(calls[0].function or ""),
            4: SourceLine(calls[1].file or "", calls[1].line or 0),
            5: Number(sum(call.function == calls[1].function for call in calls)),
            6: word(unwinder.function(pushed[1]) or ""),
        }


def _calls(travel: Traveller, unwinder: Unwinder, cpu: int) -> list[Frame]:
    def read(address: int, size: int) -> bytes | None:
        data: bytes = travel.ask("memory", cpu, address, size)
        return data if len(data) == size else None

    registers = travel.ask("where")[cpu]
    return unwinder.backtrace({name: getattr(registers, name) for name in DWARF_REGISTERS}, read)


def _driver(lesson: Lesson) -> Answers:
    (name,) = re.findall(r"<!-- (\S+\.py) -->", lesson.text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        scenario = _with(path, lesson.file(name))
        run = _run(scenario)
        views, unwinder = Views(run.session), Unwinder(run.session.first.elf)
        crash = run.session.oracle.crash
        if crash is None:
            raise CannotTell("the driver's crash point was not crossed")

        def read(address: int, size: int) -> bytes | None:
            data = views.memory(crash.cpu, address, size)
            return data if len(data) == size else None

        registers = views.where()[crash.cpu]
        calls = unwinder.backtrace({each: getattr(registers, each) for each in DWARF_REGISTERS}, read)
        own = list(dict.fromkeys(call.function for call in calls if (call.file or "").endswith(name)))
        if len(own) < 2:
            raise CannotTell("the CPU does not wait in the driver")
        fixed = _run(_with(path, lesson.changed(name)))
    saved = SWEPT if fixed.letter == "O" else 0
    return {
        1: word(run.letter),
        2: word(own[0] or ""),
        3: word(own[-1] or ""),
        4: _watchdog(run),
        5: word(fixed.letter),
        6: Number(round(100 * wilson(saved, SWEPT).low, 1), within=0.5),
    }


def _with(path: Path, driver: str) -> Scenario:
    path.write_text(driver)
    return Scenario("BLACKBOX", "panic", guest_modules=(str(path),))


COMPUTED: Mapping[int, Callable[[Lesson], Answers]] = {1: _first_dump, 2: _hang, 3: _overflow, 4: _driver}
