# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals to a process whose machine runs: no handler is lost in the engine, and none is kept waiting by a guest."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import FrameType

import pytest

from kdumpsim.board.machine import Machine, StopReason
from kdumpsim.cpu import Cpu

from test_exactness import Stops, busy, everything  # isort: skip
from test_machine import machine, quiet  # isort: skip

LOOPS = {
    "nothing": "main: jmp main",
    "port read": "main: in $0x40, %al\njmp main",
    "port write": "main: out %al, $0x80\njmp main",
    "string port read": "main: mov $0x70000, %edi\nmov $0x40, %edx\nmov $0x10000000, %ecx\nrep insb\njmp main",
    "register read": "main: mov 0xFEE00390, %eax\njmp main",
    "register write": "main: mov %eax, 0xFEE000B0\njmp main",
    "nowhere": "main: mov 0xD0000000, %eax\njmp main",
    "cpuid": "main: xor %eax, %eax\ncpuid\njmp main",
    "rdtsc": "main: rdtsc\njmp main",
    "rdmsr": "main: mov $0x10, %ecx\nrdmsr\njmp main",
    "smsw": "main: smsw %eax\njmp main",
    "storm of exceptions": "main: mov $6, %ecx\nmov $on_invalid, %edx\ncall set_gate\non_invalid: ud2",
}
FOR_EVER = 10**13  # ns, far more than a run that was ended gets; a loop that only waits is skipped 10 ms at a time


class Alarm(Exception):
    """What the test's handler raises."""


def raise_alarm(number: int, frame: FrameType | None) -> None:
    raise Alarm


@pytest.fixture
def alarm_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, raise_alarm)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm_handler")
@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_handler_raises_comes_out_of_run(loop: str) -> None:
    """At any moment, so also in a callback of the engine, where it would be lost."""
    computer = machine(LOOPS[loop], cpus=1)
    for step in range(20):
        to_set = [0.001 + step * 0.0001]
        computer.poll = lambda: signal.setitimer(signal.ITIMER_REAL, to_set.pop()) if to_set else None  # noqa: B023
        with pytest.raises(Alarm):
            computer.run(until=FOR_EVER)
    assert signal.getsignal(signal.SIGALRM) is raise_alarm


@pytest.mark.usefixtures("alarm_handler")
def test_a_run_that_signals_ended_goes_on_as_if_they_had_not() -> None:
    plain, disturbed = busy(4), busy(4)
    end = 30_000_000
    plain.run(until=end)
    places = random.Random(3)

    def wanted(number: int) -> bool:
        if not places.randrange(50):
            signal.raise_signal(signal.SIGALRM)
        return False

    Stops(disturbed, wanted)
    count = 0
    while disturbed.clock.base < end:
        try:
            disturbed.run(until=end)
        except Alarm:
            count += 1
    assert count > 100
    assert everything(disturbed) == everything(plain)


def counting(computer: Machine, loop: str, act: Callable[[], object]) -> None:
    """Have `act` called from within whatever the loop does to be slow."""
    cpu: Cpu = computer.cpus[0]
    if loop == "port write":
        computer.devices.ports.writers[0x80] = lambda port, size, value: act()
    elif loop == "rdmsr":
        inner = computer.time
        computer.time = lambda: (act(), inner())[1]  # type: ignore[func-returns-value, method-assign]
    elif loop == "cpuid":
        enabled = computer.apic_enabled
        computer.apic_enabled = lambda index: (act(), enabled(index))[1]  # type: ignore[func-returns-value, method-assign]
    elif loop == "smsw":
        execute = cpu._instructions.execute
        cpu._instructions.execute = lambda: (act(), execute())[1]  # type: ignore[func-returns-value, method-assign]
    else:
        exception = cpu._exception
        cpu._exception = lambda vector: (act(), exception(vector))[1]  # type: ignore[method-assign, func-returns-value]


@pytest.mark.parametrize("loop", ["port write", "rdmsr", "cpuid", "smsw", "storm of exceptions"])
def test_a_signal_is_heard_at_once_whatever_the_guest_does(loop: str) -> None:
    computer = quiet(machine(LOOPS[loop], cpus=1))
    calls = 0

    def act() -> None:
        nonlocal calls
        calls += 1
        if calls == 100:
            signal.raise_signal(signal.SIGINT)

    counting(computer, loop, act)
    with pytest.raises(KeyboardInterrupt):
        computer.run(until=FOR_EVER)
    assert 100 <= calls < 103


@pytest.mark.parametrize("loop", LOOPS)
def test_the_host_is_asked_often(loop: str) -> None:
    """Between two calls of `poll` and `stop` a guest has no more than 40 ms of its time."""
    computer = machine(LOOPS[loop], cpus=1)
    seen: list[int] = []
    computer.poll = lambda: seen.append(computer.clock.now)
    computer.run(until=45_000_000)
    assert all(after - before <= 40_100_000 for before, after in pairwise(seen))
    assert len(seen) >= 2


@pytest.mark.parametrize("loop", ["rdmsr", "smsw", "storm of exceptions"])
def test_the_host_is_asked_within_a_slow_round(loop: str) -> None:
    """What leaves the engine at each instruction can cost 500 times as much as plain code."""
    computer, undisturbed = (quiet(machine(LOOPS[loop], cpus=1)) for _ in range(2))
    calls = 0
    between: list[int] = []

    def act() -> None:
        nonlocal calls
        calls += 1

    def poll() -> None:
        nonlocal calls
        between.append(calls)
        calls = 0

    counting(computer, loop, act)
    computer.poll = poll
    for one in (computer, undisturbed):
        one.run(until=12_000_000)
    assert max(between) <= 5001
    assert len(between) > 3
    assert everything(computer) == everything(undisturbed)


def test_a_handler_that_returns_changes_nothing_but_what_stop_says() -> None:
    computer = quiet(machine(LOOPS["port write"], cpus=1))
    asked = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    calls = 0

    def write(port: int, size: int, value: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            signal.raise_signal(signal.SIGTERM)

    computer.devices.ports.writers[0x80] = write
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert computer.run(until=FOR_EVER, stop=lambda: asked) is StopReason.STOPPED
        assert calls == 7
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_a_thread_no_handler_is_touched() -> None:
    computer = quiet(machine(LOOPS["port read"], cpus=1))
    reasons: list[StopReason] = []
    thread = threading.Thread(target=lambda: reasons.append(computer.run(until=1_000_000)))
    thread.start()
    thread.join()
    assert reasons == [StopReason.UNTIL]
