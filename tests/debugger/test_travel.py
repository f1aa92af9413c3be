# SPDX-License-Identifier: GPL-2.0-or-later
"""Through a run and back: it stays the run that it is, and every place in it is reached the same from anywhere."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpsim.debugger.orders import Go, Place, Watch
from kdumpsim.debugger.service import begin, new_session
from kdumpsim.debugger.travel import MachineGone, Traveller
from kdumpsim.runs.run import run_scenario
from kdumpsim.scenario.scenario import Scenario

BLOCK_NS = 10_000
"""Before an instruction the clock shows the end of its block."""
OVERFLOW = Scenario("INT_HARDWARE_ENTRY", "overflow")
PANIC = Scenario("FS_DEVRW", "panic")


class Tour:
    """A traveller, and the first kernel's symbols."""

    def __init__(self, scenario: Scenario) -> None:
        session = new_session(scenario)
        self.symbols = session.first.symbols
        self.traveller = Traveller(session, scenario)

    def at(self, *names: str) -> Go:
        return Go(breakpoints=frozenset(self.symbols[name] for name in names))


@pytest.fixture(scope="module")
def tour() -> Iterator[Tour]:
    """An overflow that ends in a triple fault, seen through to its end."""
    made = Tour(OVERFLOW)
    begin(made.traveller, "end")
    yield made
    made.traveller.close()


def milestone(tour: Tour, name: str) -> int:
    return next(m.number for m in tour.traveller.milestones() if m.name == name)


def test_ten_thousand_stops_change_nothing(tmp_path: Path) -> None:
    result = run_scenario(PANIC, tmp_path)
    assert result.vmcore is not None
    made = Tour(PANIC)
    traveller = made.traveller
    try:
        begin(traveller, "boot")
        dice, stops = random.Random(5), 0
        while traveller.place.why != "end":
            traveller.forward(Go(until=traveller.place.number + dice.randrange(1, 5000)))
            if not stops % 50:
                traveller.ask("registers", stops % 2)
                traveller.ask("interrupts")
            stops += 1
        assert stops > 10_000
        assert traveller.ending == f"{result.outcome}; vmcore sha256 {result.vmcore.sha256}"
    finally:
        traveller.close()


def test_a_place_is_the_same_from_power_on_from_a_copy_and_from_behind(tour: Tour) -> None:
    traveller, dice = tour.traveller, random.Random(7)
    end = milestone(tour, "end")
    for number in [*(dice.randrange(1, end) for _ in range(4)), milestone(tour, "crash")]:
        assert traveller.goto(number).number == number
        seen = traveller.ask("digest")
        traveller.goto(min(number + 70_000, end))
        traveller.goto(number)
        assert traveller.ask("digest") == seen
    fresh = Tour(OVERFLOW)
    try:
        fresh.traveller.forward(Go(until=number))
        assert fresh.traveller.ask("digest") == seen
    finally:
        fresh.traveller.close()


def test_what_is_found_going_back_is_what_is_found_going_forwards(tour: Tour) -> None:
    traveller, go = tour.traveller, tour.at("do_page_fault", "dtt_overflow")
    traveller.goto(milestone(tour, "crash"))
    forwards: list[Place] = []
    while len(forwards) < 12:
        forwards.append(traveller.forward(go))
    backwards = [forwards[-1]]
    while len(backwards) < 12:
        place = traveller.back(go)
        assert place is not None
        backwards.append(place)
    assert [(place.number, place.cpu, place.why) for place in reversed(backwards)] == [
        (place.number, place.cpu, "break") for place in forwards
    ]


def test_a_step_back_takes_back_a_step_of_that_cpu(tour: Tour) -> None:
    traveller = tour.traveller
    traveller.goto(milestone(tour, "crash") - 5000)
    for cpu in (0, 1):
        places = [traveller.forward(Go(step=cpu)) for _ in range(20)]
        assert {place.cpu for place in places} == {cpu}
        back = [traveller.back(Go(step=cpu)) for _ in range(19)]
        assert [place.number for place in back if place] == [place.number for place in places[-2::-1]]


def test_the_beginning_is_the_end_of_going_back(tour: Tour) -> None:
    tour.traveller.goto(500)
    assert tour.traveller.back(tour.at("panic")) is None
    assert tour.traveller.place.number == 1


def test_who_overwrote_the_thread_info_is_found_from_the_end(tour: Tour) -> None:
    """debugger-facts: memset, called by dtt_overflow, byte by byte; it is found backwards as forwards."""
    traveller = tour.traveller
    traveller.goto(milestone(tour, "crash"))
    crashed = traveller.place
    stack = traveller.ask("where")[crashed.cpu].esp & ~8191
    watches = traveller.watches(crashed.cpu, stack + 16, 4)  # thread_info.cpu of the layout is among the first words
    forwards = [traveller.forward(Go(watches=watches)) for _ in range(3)]
    assert [place.why for place in forwards] == ["watch"] * 3
    assert all(place.changed and place.changed.by.startswith(f"CPU {crashed.cpu} at ") for place in forwards)
    back = [traveller.back(Go(watches=watches)) for _ in range(2)]
    # Going back ends before the instruction that wrote, going forwards after it.
    assert [place.number + 1 for place in back if place] == [forwards[2].number, forwards[1].number]
    eip = traveller.ask("where")[crashed.cpu].eip
    assert tour.symbols["memset"] <= eip < tour.symbols["memset"] + 100


def writers(traveller: Traveller, watches: tuple[Watch, ...], wanted: str) -> list[str]:
    """Who writes to memory from here on, up to the first whose description begins like this."""
    seen: list[str] = []
    while not seen or not seen[-1].startswith(wanted):
        change = traveller.forward(Go(watches=watches)).changed
        assert change is not None
        seen.append(change.by)
    return seen


def test_the_delivery_of_an_event_is_named_as_the_writer(tour: Tour) -> None:
    """An interrupt is delivered to the stack of the idle CPU, below where it halts."""
    traveller = tour.traveller
    traveller.goto(milestone(tour, "arm-done") - 100_000)
    place = traveller.forward(tour.at("safe_halt"))
    stack = traveller.ask("where")[place.cpu].esp
    seen = writers(traveller, traveller.watches(place.cpu, stack - 16, 16), "delivery of vector 0x")
    assert re.fullmatch(rf"delivery of vector 0x[0-9a-f]+ to CPU {place.cpu}", seen[-1])


def test_a_device_is_named_as_the_writer(tour: Tour) -> None:
    told: list[tuple[int, int]] = []
    session = new_session(OVERFLOW)
    written = session.machine.memory.written

    def tell(begin: int, end: int) -> None:
        told.append((begin, end))
        written(begin, end)

    session.machine.memory.written = tell
    session.boot()
    begin, end = told[-1]
    tour.traveller.goto(1)
    seen = writers(tour.traveller, (Watch(begin, begin, min(end - begin, 64)),), "DMA")
    assert re.fullmatch(r"DMA to 0x[0-9a-f]+-0x[0-9a-f]+", seen[-1])


def test_a_machine_that_is_killed_is_gone_and_leaves_nothing() -> None:
    made = Tour(OVERFLOW)
    traveller = made.traveller
    traveller.forward(Go(until=2_000_000))
    group = os.getpgid(traveller._pid)
    os.kill(traveller._pid, signal.SIGKILL)
    with pytest.raises(MachineGone):
        traveller.forward(Go())
    traveller.close()
    assert gone(group)


def gone(group: int) -> bool:
    """Do all processes of a group end?"""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_closing_ends_every_process() -> None:
    made = Tour(OVERFLOW)
    made.traveller.forward(Go(until=4_000_000))
    made.traveller.goto(1_000_000)
    assert len(made.traveller.copies()) > 2
    group = os.getpgid(made.traveller._pid)
    made.traveller.close()
    assert gone(group)


def test_a_run_that_goes_on_can_be_stopped(tour: Tour) -> None:
    traveller = tour.traveller
    traveller.goto(1)
    ready, tell = os.pipe()
    os.write(tell, b"x")
    place = traveller.forward(Go(), lambda: True, ready)
    assert place.why == "interrupt"
    assert 1 < place.number < milestone(tour, "end")
    traveller.goto(milestone(tour, "end"))
    back = traveller.back(tour.at("start_kernel"), lambda: True, ready)
    assert back is not None
    assert back.why == "interrupt"
    os.close(ready)
    os.close(tell)


def test_time_does_not_go_back(tour: Tour) -> None:
    """The reset comes in mid-round, and the end is not before what led to it."""
    traveller = tour.traveller
    traveller.forward(Go())
    assert traveller.place.why == "end"
    end = traveller.ask("now")
    traveller.goto(traveller.place.number - 1)
    assert traveller.ask("now") <= end + BLOCK_NS
