# SPDX-License-Identifier: GPL-2.0-or-later
"""The soak itself: what it draws, what it notices, how it makes a case smaller."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import Reservation
from soak import inputs, isolation, scenarios
from soak.devices import Devices, Script
from soak.driver import Found, Kind, dice_for, drawn, soak, without_pieces
from soak.isolation import Broken, Counts, Fault, isolated
from soak.kinds import KINDS
from soak.scenarios import Scenarios, TimeMoves, simpler


@pytest.mark.parametrize("name", KINDS)
def test_the_same_seed_draws_the_same_cases_and_their_text_says_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "build_kernels", lambda pc, kernel: None)  # no need for the kernels themselves,
    monkeypatch.setattr(inputs, "oopsed", lambda: (bytes(1000), bytes(5000)))  # nor for a run
    kind = KINDS[name]()
    for number in range(5):
        case = kind.draw(dice_for(7, name, number), number)
        assert kind.draw(dice_for(7, name, number), number) == case
        assert kind.parse(kind.text(case)) == case
    assert kind.draw(dice_for(8, name, 4), 4) != case


def test_the_shares_are_the_whole_time() -> None:
    assert sum(kind.share for kind in KINDS.values()) == pytest.approx(1)


class Numbers(Kind[tuple[int, ...]]):
    """Lists of numbers, among which 7 and 9 must not meet."""

    name, share, cpu_s = "numbers", 0.0, 10

    def draw(self, dice: random.Random, number: int) -> tuple[int, ...]:
        return tuple(range(number, number + 8))

    def check(self, case: tuple[int, ...], repeat: bool) -> Counts:
        if 7 in case and 9 in case:
            raise Broken(f"7 and 9 at {case.index(7)}")
        return {"numbers": len(case)}

    def smaller(self, case: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        yield from without_pieces(case)

    def text(self, case: tuple[int, ...]) -> str:
        return " ".join(map(str, case))

    def parse(self, text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split()))


def test_a_fault_is_reported_once_with_the_shortest_case_that_shows_it() -> None:
    told: list[Found] = []
    summary = soak(Numbers(), 0, lambda summary: summary.cases == 12, told.append)
    (found,) = summary.found
    assert told == [found]
    assert found.number == 2
    assert found.shortest == "PYTHONPATH=tests python -m soak numbers '7 9'"
    assert found.drawn == "PYTHONPATH=tests python -m soak numbers @0/2"
    assert drawn(Numbers(), "@0/2") == (2, 3, 4, 5, 6, 7, 8, 9)
    assert "7 and 9" in str(found)
    assert summary.counts == {"failed": 6, "numbers": 8 * 6}


def test_a_sequence_is_taken_apart_down_to_single_items() -> None:
    assert list(without_pieces("abcd")) == [*map(tuple, ("cd", "ab")), *map(tuple, ("bcd", "acd", "abd", "abc"))]
    assert list(without_pieces("a")) == [()]
    assert list(without_pieces("")) == []


def leave_a_file() -> Counts:
    Path(tempfile.gettempdir(), "left").touch()
    return {}


def leave_a_process() -> Counts:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    return {}


def die() -> Counts:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def lose_an_exception() -> Counts:
    class Careless:
        def __del__(self) -> None:
            raise RuntimeError("lost")

    Careless()
    return {}


def spin() -> Counts:
    while True:
        pass


def fail() -> Counts:
    raise Broken("address 0x1234 of 5")


@pytest.mark.parametrize(
    ("check", "signature"),
    [
        (leave_a_file, "files left behind"),
        (leave_a_process, "processes left behind"),
        (die, "died of SIGSEGV"),
        (spin, "host time"),
        (lose_an_exception, "RuntimeError in __del__: lost"),
        (fail, "Broken: address # of #"),
    ],
)
def test_what_is_wrong_with_a_check_is_told(check: object, signature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "GRACE_S", 0.1)
    fault = isolated(check, 1)  # type: ignore[arg-type]
    assert isinstance(fault, Fault)
    assert fault.signature == signature


def test_a_check_without_fault_gives_its_counts() -> None:
    assert isolated(lambda: {"things": 3}, 10) == {"things": 3}


def test_a_clock_that_stands_still_is_noticed() -> None:
    class Clock:
        base = 5

    class Machine:
        clock = Clock()

    poll = TimeMoves(Machine())
    for _ in range(scenarios.STILL + 1):
        poll()
    with pytest.raises(Broken, match="stands still"):
        poll()


def test_a_scenario_is_made_simpler_towards_what_need_not_be_said() -> None:
    scenario = Scenario(
        "TASKLET", "panic", seed=99, cpus=5, crashkernel=Reservation(8 << 20, 24 << 20), load=("diskio", "netload")
    )
    tries = list(simpler(scenario))
    for usual in ({"seed": 0}, {"cpus": 2}, {"crashkernel": Reservation(16 << 20, 16 << 20)}, {"load": ("diskio",)}):
        assert any(all(getattr(one, name) == value for name, value in usual.items()) for one in tries), usual
    assert all(len(one.command()) <= len(scenario.command()) for one in tries)
    assert scenario not in tries


def test_a_run_is_checked_against_itself_from_power_on() -> None:
    assert Scenarios().check((Scenario("FS_DEVRW", "panic"),), True) == {"scenarios": 1, "ended O": 1, "repeats": 1}


def test_accesses_are_done_in_the_order_of_the_text() -> None:
    case = Devices().parse("2 sti 3; o 43 1 34; o 40 1 ff; o 40 1 1; t 50000; i 40 1; r 1 fee00020 4; s; k a; f 0 41")
    assert case == Script(
        2, "sti", 3,
        ("o 43 1 34", "o 40 1 ff", "o 40 1 1", "t 50000", "i 40 1", "r 1 fee00020 4", "s", "k a", "f 0 41"),
    )  # fmt: skip
    assert Devices().check(case, True)["accesses"] == 5
