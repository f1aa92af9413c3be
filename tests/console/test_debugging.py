# SPDX-License-Identifier: GPL-2.0-or-later
"""The console as a debugger: what it shows, where it stops, what the past was; and the run stays what it is."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from kdumpsim.commands.console import completions
from kdumpsim.console.command import Shell
from kdumpsim.console.debugging import Debugging
from kdumpsim.console.errors import Refused
from kdumpsim.console.shell import COMMANDS, carry_out, repeat
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.runs.run import power_on
from kdumpsim.runs.session import Session
from kdumpsim.scenario.parts import KernelPart, PcPart

TIMEOUT = 20 * NS
CRASH = ("ttutils set -p FS_DEVRW -t panic -c 10", "diskio")


class Console:
    """A session at the prompt of a booted and armed machine."""

    def __init__(self) -> None:
        self.session: Session = power_on(PcPart(), KernelPart())
        self.said: list[str] = []
        self.debugging = Debugging(self.session, partial(repeat, timeout_ns=TIMEOUT))
        self.debugging.past.armed = True
        self.session.boot()
        self.session.prepare_dump()
        self._shell = Shell(self.session, self.said.append, TIMEOUT, self.debugging)

    def __call__(self, *lines: str) -> str:
        """What the last of some commands says."""
        for line in lines:
            self.said.clear()
            carry_out(self._shell, line)
        return "".join(self.said)

    def digest(self) -> str:
        """All registers and all RAM, where one looks."""
        return str(self.debugging.past.ask("digest"))


@pytest.fixture(scope="module")
def undisturbed() -> str:
    """The state of a machine whose panic was followed from the prompt to its reset."""
    console = Console()
    console(*CRASH, "continue")
    assert console.session.over
    return console.digest()


@pytest.fixture(scope="module")
def stopped() -> Iterator[Console]:
    """A machine that a breakpoint has stopped at panic()."""
    console = Console()
    console("break panic", *CRASH)
    assert "breakpoint 1, panic, at 1.0" in console("continue")
    yield console
    console.debugging.past.close()


def test_looking_shows_where_the_machine_is(stopped: Console) -> None:
    assert re.search(r"CPU 1 at [0-9a-f]{8} panic +kdumpsim/kernel/core/panic.py:\d+\n", stopped("where"))
    assert "def panic(fmt: cstr" in stopped("where")
    calls = [line.split()[2] for line in stopped("bt").splitlines()]
    assert calls[:5] == ["panic", "dtt_induce", "dtt_crossed", "cpoint", "ll_rw_block"]
    assert calls[-1] == "system_call"
    assert [line.split()[2] for line in stopped("bt 0").splitlines()][-3:] == [
        "start_kernel", "i386_start_kernel", "enable_paging",
    ]  # fmt: skip
    registers = stopped("regs 1")
    assert "CPU 1: runs, at" in registers
    for command in ("regs 9", "bt 99", "maps 10"):
        with pytest.raises(ValueError, match=r"there is no CPU \d+; the last one is 1"):
            stopped(command)
    assert re.search(r"eip|esp [0-9a-f]{8}", registers)
    words = stopped("mem $thread_info 20").split()
    assert words[3] == "00000001", "thread_info's third word is the CPU"
    assert stopped("mem log_buf 16").startswith(f"{stopped.session.first.symbols['log_buf']:08x}:  ")
    assert "no memory" in stopped("mem 0xf0000000 4")
    assert re.search(r"00100000-[0-9a-f]{8}  the first kernel\n", stopped("maps"))
    assert re.search(r"c0000000-c3ffffff  00000000  rw kernel +16384 pages\n", stopped("maps"))


def test_a_place_is_a_symbol_an_address_or_a_source_line(stopped: Console) -> None:
    panic = stopped.session.first.symbols["panic"]
    line = re.search(r"panic.py:(\d+)", stopped("where"))
    assert line is not None
    find = stopped.debugging.kernels.find
    for text in ("panic", f"{panic:#x}", f"{panic:08x}", "panic+0", f"{panic - 8:#x}+8", f"core/panic.py:{line[1]}"):
        assert find(text)[0] == panic, text
    assert find("capture:panic") == find("panic")[1:]
    for text, message in [
        ("panik", "no symbol 'panik'; did you mean panic"),
        ("panic.py:1", "has no code; the next line with code is"),
        ("nosuch.py:1", "no code of the kernel comes from a file nosuch.py"),
    ]:
        with pytest.raises(ValueError, match=message):
            find(text)


def test_instructions_back_and_forwards(stopped: Console) -> None:
    present = stopped.digest()
    assert stopped("back 1").startswith("1 instruction ago")
    before = stopped.digest()
    assert "dtt.py" in stopped("where")
    assert stopped("back 200").startswith("201 instructions ago")
    stopped("step 200")
    assert stopped.digest() == before
    assert stopped("step 1").startswith("this is the present")
    assert stopped.digest() == present
    trace = stopped("trace 6").splitlines()
    assert sum(line.startswith("    ") for line in trace) == 6
    assert "call" in trace[-1], "the last instruction before a function is its call"


def test_the_past_is_only_looked_at(stopped: Console) -> None:
    assert re.match(r"[\d,]+ instructions ago, at 1\.03", stopped("back 10ms"))
    with pytest.raises(Refused, match=r"this is the past, [\d,]+ instructions ago, which cannot be changed"):
        stopped("ps")
    assert "this is the present" in stopped("continue")


def test_who_wrote_that(stopped: Console) -> None:
    said = stopped("back write jiffies")
    old, new = re.findall(r"(?:was|became) (0x[0-9a-f]+)", said)
    assert int(new, 16) == int(old, 16) + 1
    assert re.search(r"written by CPU 0 at 0x[0-9a-f]{8}\nbefore that: ", said)
    assert "do_timer" in stopped("bt").splitlines()[0]
    with pytest.raises(Refused, match="nothing has changed the 4 bytes"):
        stopped("back write linux_banner")
    stopped("present")


def test_breakpoints_and_steps_leave_the_run_as_it_is(stopped: Console, undisturbed: str) -> None:
    assert "panic.py" in stopped("step 3")
    stopped("break capture:start_kernel")
    assert "breakpoint 2, capture:start_kernel" in stopped("continue")
    assert "i386_start_kernel" in stopped("bt").splitlines()[1]
    stopped("step 7", "delete")
    assert "no breakpoints" in stopped("break")
    stopped("continue")
    assert stopped.session.over
    assert stopped.digest() == undisturbed


def test_after_the_machine_has_stopped_its_past_is_still_there() -> None:
    console = Console()
    console("sysrq b")
    assert console.session.over
    try:
        assert "machine_restart" in console("break machine_restart", "back")
        assert console("continue").startswith("this is the present")
    finally:
        console.debugging.past.close()


def test_an_interrupted_command_is_interrupted_at_the_same_place_again() -> None:
    console = Console()
    session, times = console.session, [40]

    def press(cpu: object) -> None:
        times[0] -= 1
        if not times[0]:
            os.kill(os.getpid(), signal.SIGINT)  # in the middle of a CPU's turn

    console("diskio")
    session.machine.watch(session.first.symbols["ll_rw_block"], press)
    before = signal.signal(signal.SIGINT, lambda number, frame: session.interrupt())
    try:
        assert "interrupted at" in console("continue")
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        console("ps", "step 3")
        assert console("back 1").startswith("1 instruction ago")  # or the state would not be the same
    finally:
        console.debugging.past.close()


def test_what_a_command_went_past_is_told_and_observers_see_an_instruction_once() -> None:
    console, seen = Console(), list[int]()
    assert "breakpoint 1, sys_open" in console("break sys_open", "cat /proc/version").splitlines()[-1]
    console.session.machine.watch(console.session.first.symbols["ack_timer_8259A"], lambda cpu: seen.append(cpu.index))
    console("delete", "break timer_interrupt", "continue", "delete")
    for _ in range(8):
        if " ack_timer_8259A  " in console("step 1"):
            break
    assert seen == [0], "the step ends before it"
    console("step 5")
    assert seen == [0]


def test_help_and_completion_teach(stopped: Console) -> None:
    said = stopped("help")
    assert all(re.search(rf"(?m)^  {name}\b", said) for name in COMMANDS)
    assert "back write ADDR" in stopped("help back")
    with pytest.raises(ValueError, match="unknown command 'bakc'; did you mean back"):
        stopped("help bakc")
    names: Callable[[], list[str]] = stopped.debugging.kernels.names
    assert {"panic", "$esp"} <= set(completions("mem p", names))
    assert "panic" in completions("break ", names)
    assert "$esp" not in completions("break ", names)
    assert "jiffies" in completions("back write j", names)
    assert completions("regs ", names) == []
