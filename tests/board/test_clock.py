# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time and its events."""

from __future__ import annotations

import pytest

from kdumpsim.board.clock import NS_PER_BYTE, Clock, ClockTimer, Standstill


class FakeCpu:
    retired = 0


def test_events_fire_in_time_order_then_in_the_order_armed() -> None:
    clock = Clock()
    fired: list[str] = []
    for name, deadline in (("c", 30), ("a", 10), ("b1", 20), ("b2", 20)):
        clock.timer(name, lambda name=name: fired.append(name)).arm(deadline)  # type: ignore[misc]
    clock.advance(20)
    clock.fire()
    assert fired == ["a", "b1", "b2"]
    assert clock.next_deadline() == 30


def test_arming_again_moves_and_cancelling_forgets() -> None:
    clock = Clock()
    fired: list[int] = []
    moved = clock.timer("moved", lambda: fired.append(clock.now))
    gone = clock.timer("gone", lambda: fired.append(-1))
    moved.arm(10)
    moved.arm(50)
    gone.arm(20)
    gone.cancel()
    clock.advance(40)
    clock.fire()
    assert fired == []
    assert moved.deadline == 50
    clock.advance(50)
    clock.fire()
    assert fired == [50]
    assert moved.deadline is None
    assert clock.next_deadline() is None


def test_moved_away_and_back_fires_once() -> None:
    clock = Clock()
    fired: list[int] = []
    timer = clock.timer("t", lambda: fired.append(1))
    timer.arm(10)
    timer.arm(20)
    timer.arm(10)
    clock.advance(30)
    clock.fire()
    assert fired == [1]


def test_an_event_armed_for_the_past_fires_at_once() -> None:
    clock = Clock()
    fired: list[int] = []
    second = clock.timer("second", lambda: fired.append(2))
    first = clock.timer("first", lambda: (fired.append(1), second.arm(0)))
    first.arm(5)
    clock.advance(10)
    clock.fire()
    assert fired == [1, 2]


def test_events_that_arm_each_other_for_ever_are_a_standstill() -> None:
    clock = Clock()
    timer = clock.timer("t", lambda: timer.arm(0))
    timer.arm(0)
    with pytest.raises(Standstill):
        clock.fire()


def test_time_follows_a_cpu() -> None:
    clock, cpu = Clock(), FakeCpu()
    cpu.retired = 1000
    clock.advance(500)
    clock.follow(cpu, 700)
    assert clock.now == 700
    cpu.retired += 3
    assert clock.now == 700 + 3 * NS_PER_BYTE
    assert clock.unfollow() == 700 + 3 * NS_PER_BYTE
    assert clock.now == 500


def test_time_never_goes_back() -> None:
    clock = Clock()
    clock.advance(100)
    clock.advance(50)
    assert clock.now == 100


def test_a_restored_clock_fires_what_the_first_would_have_in_the_same_order() -> None:
    def build(fired: list[str]) -> tuple[Clock, dict[str, ClockTimer]]:
        clock = Clock()
        return clock, {name: clock.timer(name, lambda name=name: fired.append(name)) for name in "abcd"}  # type: ignore[misc]

    first, timers = build([])
    first.advance(100)
    for name, deadline in (("c", 90), ("a", 90), ("b", 300), ("d", 150), ("b", 90)):  # some are due, none has fired
        timers[name].arm(deadline)
    fired: list[str] = []
    second, others = build(fired)
    others["a"].arm(1)
    second.restore(first.state())
    assert second.now == 100
    second.fire()
    assert fired == ["c", "a", "b"]
    assert second.state() == {"now": 100, "armed": [("d", 150)]}


def test_no_two_timers_have_one_name() -> None:
    clock = Clock()
    clock.timer("pit", lambda: None)
    with pytest.raises(ValueError, match="pit"):
        clock.timer("pit", lambda: None)


def test_the_machine_hears_of_new_deadlines() -> None:
    clock = Clock()
    heard: list[int] = []
    clock.armed = heard.append
    clock.timer("t", lambda: None).arm(77)
    assert heard == [77]
