# SPDX-License-Identifier: GPL-2.0-or-later
"""The operator before a machine that is nothing but a timetable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from kdumpsim.lkdtt.operator import CONTENT_NS, LOOK_NS, Operator, Task
from kdumpsim.lkdtt.outcome import NS, Seen

PATIENCE = 15 * NS
NEVER = 10**18


@dataclass
class Timetable:
    """When (ns) what happens; `sysrq_works` and `reboots` say what the machine makes of the operator's doings."""

    hit_at: int = 1 * NS
    silent_from: int = NEVER
    no_login_from: int = NEVER
    gone_at: int = NEVER
    says: Mapping[str, int] = field(default_factory=dict)
    stuck: bool = False
    killable: bool | None = None
    """None: there is no way to kill anything."""
    sysrq_works: bool = True
    reboots: bool = True
    crossings: int = 10
    counted: bool = True
    induced: bool = True
    schedules: bool = True
    """The thread of the second CPU that shows that tasks get to run there does."""
    armed_at: int = 0
    now: int = 0
    deadline: int = 600 * NS
    pressed: list[int] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)

    @property
    def gone(self) -> bool:
        return self.now >= self.gone_at

    def wait(self, until_ns: int) -> None:
        self.now = max(self.now, min(until_ns, self.gone_at, self.deadline))

    def said(self, words: str) -> int | None:
        at = self.says.get(words, NEVER)
        return at if at <= self.now else None

    def answers(self) -> bool:
        if self.now >= self.silent_from:
            self.wait(self.now + NS)
            return False
        return True

    def crossings_left(self) -> int | None:
        return 0 if self.now >= self.hit_at else self.crossings

    def log_in(self, patience_ns: int) -> bool:
        if self.now < self.no_login_from:
            return True
        self.wait(self.now + patience_ns)
        return False

    def tasks(self) -> Mapping[int, Task] | None:
        if self.killed and self.killable:
            return {}
        return {
            3: Task("S", self.now, "watchdog/0"),
            4: Task("S", self.now if self.schedules else 5, "watchdog/1"),
            7: Task("R", 5 if self.stuck else self.now),
        }

    def kill(self, pid: int) -> bool:
        self.killed.append(pid)
        return self.killable is not None

    def press_sysrq(self) -> None:
        self.pressed.append(self.now)
        if self.sysrq_works:
            self.gone_at = self.now + 1000

    def reboot(self) -> None:
        if self.reboots:
            self.gone_at = self.now + 1000


def attend(machine: Timetable) -> list[Seen]:
    """What the operator notes."""
    return [note.seen for note in Operator(PATIENCE).attend(machine, {7: "diskio"})]


def test_a_kernel_that_hands_over_needs_no_operator() -> None:
    assert attend(Timetable(gone_at=NS // 2)) == []


def test_a_load_that_does_not_cross_the_point_often_enough_leaves_the_counter_it_reached() -> None:
    class Endless(Timetable):
        def crossings_left(self) -> int | None:
            return 1_000_000 - self.now // NS

    machine = Endless()
    notes = Operator(PATIENCE).attend(machine, {7: "diskio"})
    (note,) = notes
    assert note.seen is Seen.NOT_CROSSED
    left = 1_000_000 - machine.now // NS
    assert note.text == f"time ran out before the crash: {left} crossings of the point were left"


def test_silence_makes_him_wait_and_then_press_the_key() -> None:
    machine = Timetable(silent_from=3 * NS)
    assert attend(machine) == [Seen.HIT, Seen.SILENT, Seen.SYSRQ_PRESSED]
    assert 3 * NS + PATIENCE - LOOK_NS <= machine.pressed[0] <= 3 * NS + PATIENCE + 2 * LOOK_NS


def test_where_the_key_does_nothing_he_pulls_the_plug() -> None:
    machine = Timetable(silent_from=0, sysrq_works=False)
    assert attend(machine) == [Seen.SILENT, Seen.SYSRQ_PRESSED, Seen.PLUG_PULLED]


def test_a_watchdog_that_hands_over_in_time_spares_him_the_key() -> None:
    machine = Timetable(silent_from=NS, gone_at=6 * NS)
    assert attend(machine) == []
    assert not machine.pressed


def test_no_login_is_noticed_although_the_machine_answers() -> None:
    machine = Timetable(no_login_from=2 * NS)
    assert attend(machine) == [Seen.HIT, Seen.NO_LOGIN, Seen.SYSRQ_PRESSED]


def test_a_printed_lockup_on_a_machine_that_works_on_makes_him_act() -> None:
    machine = Timetable(says={"soft lockup detected": 11 * NS})
    assert attend(machine) == [Seen.HIT, Seen.SYSRQ_PRESSED]
    assert machine.pressed[0] >= 11 * NS


def test_a_system_that_works_for_as_long_as_he_watches_has_recovered_and_is_rebooted() -> None:
    machine = Timetable()
    assert attend(machine) == [Seen.HIT, Seen.RECOVERED, Seen.REBOOTING]
    assert machine.now >= machine.hit_at + PATIENCE


@pytest.mark.parametrize(
    ("scene", "watched"),
    [
        (Timetable(counted=False, induced=False), CONTENT_NS),
        (Timetable(counted=False, induced=False, schedules=False), PATIENCE),
        (Timetable(counted=False), PATIENCE),
    ],
    ids=["a-fault", "a-fault-and-a-cpu-that-schedules-nothing", "a-crash"],
)
def test_a_fault_that_shows_nowhere_is_watched_for_a_shorter_time_than_a_crash(scene: Timetable, watched: int) -> None:
    assert attend(scene) == [Seen.RECOVERED, Seen.REBOOTING]
    assert watched <= scene.now - LOOK_NS < watched + 2 * LOOK_NS


def test_what_has_passed_since_he_armed_it_counts() -> None:
    late = Timetable(counted=False, induced=False, now=10 * NS)
    assert attend(late) == [Seen.RECOVERED, Seen.REBOOTING]
    assert late.now < 10 * NS + CONTENT_NS + LOOK_NS
    silent = Timetable(counted=False, now=10 * NS, silent_from=0)
    assert attend(silent) == [Seen.SILENT, Seen.SYSRQ_PRESSED]
    assert silent.pressed[0] < PATIENCE + 2 * LOOK_NS


def test_a_reboot_that_hangs_is_noted() -> None:
    assert attend(Timetable(reboots=False))[-3:] == [Seen.REBOOTING, Seen.REBOOT_HANGS, Seen.PLUG_PULLED]


@pytest.mark.parametrize(
    ("killable", "notes"),
    [
        (True, [Seen.RECOVERED, Seen.REBOOTING]),
        (False, [Seen.STUCK, Seen.UNKILLABLE, Seen.SYSRQ_PRESSED]),
        (None, [Seen.STUCK, Seen.SYSRQ_PRESSED]),
    ],
)
def test_a_load_that_never_sleeps_is_killed_and_one_that_stays_is_stuck(
    killable: bool | None, notes: list[Seen]
) -> None:
    machine = Timetable(stuck=True, killable=killable)
    assert attend(machine) == [Seen.HIT, *notes]
    assert machine.killed == [7]


def test_a_point_that_nothing_crosses_is_given_up() -> None:
    machine = Timetable(hit_at=NEVER)
    assert attend(machine) == [Seen.NOT_CROSSED]
    assert machine.now <= PATIENCE + 3 * LOOK_NS


def test_he_goes_home_when_the_time_is_over() -> None:
    machine = Timetable(silent_from=0, deadline=4 * NS)
    assert attend(machine) == []


@pytest.mark.parametrize(
    "scene",
    [
        Timetable(no_login_from=0, deadline=4 * NS),
        Timetable(silent_from=0, deadline=4 * NS),
        Timetable(stuck=True, killable=False, deadline=17 * NS),
        Timetable(reboots=False, says={" survived": NS}, deadline=17 * NS),
        Timetable(silent_from=0, sysrq_works=False, deadline=18 * NS),
    ],
    ids=["logging-in", "silent", "killing", "rebooting", "pressing-the-key"],
)
def test_he_goes_home_in_time_and_concludes_nothing_from_what_he_did_not_see_the_end_of(scene: Timetable) -> None:
    notes = Operator(PATIENCE).attend(scene, {7: "diskio"})
    assert scene.now <= scene.deadline + NS  # the answer he was waiting for
    seen = {note.seen for note in notes}
    assert not seen & {Seen.NO_LOGIN, Seen.STUCK, Seen.UNKILLABLE, Seen.REBOOT_HANGS, Seen.PLUG_PULLED}
