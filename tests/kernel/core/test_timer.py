# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers in jiffies: each runs once, at its jiffy, however far off that was."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from guest_harness import WORD, Guest, guest
from properties import examples

TIMER_JIFFIES = 12
"""Offset in struct tvec_t_base_s."""
TIMER = 24
"""Size of struct timer_list."""
ROOM = 64
"""Entries of the log."""

starts = st.integers(0, WORD) | st.sampled_from([0, 0xFF, 0x3FFF, 0xFFFFF, WORD - 300])
distances = st.integers(-3, 20_000) | st.sampled_from([0, 1, 255, 256, 257, 16383, 16384, 16640])


class Timers:
    """The first CPU's timers, and a timer function that logs its argument and the jiffy it runs for."""

    def __init__(self, start: int) -> None:
        self.g: Guest = guest()
        self.g.reset()
        self.start = start
        self.base = self.g.symbols["tvec_bases"]
        self.g.set_word("jiffies", start)
        self.g.call("init_timers_cpu", 0)
        self.log = self.g.alloc(8 * ROOM)
        self.end = self.g.alloc(4)
        self.g.set_word(self.end, self.log)
        end, now = struct.pack("<I", self.end), struct.pack("<I", self.base + TIMER_JIFFIES)
        self.function = self.g.alloc(
            b"\x8b\x54\x24\x04"  # mov 4(%esp), %edx
            b"\x8b\x0d" + end + b"\x89\x11"  # mov end, %ecx; mov %edx, (%ecx)
            b"\xa1" + now + b"\x89\x41\x04"  # mov timer_jiffies, %eax; mov %eax, 4(%ecx)
            b"\x83\x05" + end + b"\x08\xc3"  # addl $8, end; ret
        )

    def add(self, number: int, distance: int) -> int:
        """A timer that is due so many jiffies after the start."""
        timer = self.g.alloc(TIMER)
        self.g.call("setup_timer", timer, self.function, number)
        assert self.g.call("mod_timer", timer, self.start + distance) & 0xFF == 0
        return timer

    def run(self, until: int) -> list[tuple[int, int]]:
        """(number, jiffies after the start) of all that have run so far."""
        self.g.set_word("jiffies", self.start + until)
        self.g.call("__run_timers", self.base)
        log = self.g.read(self.log, self.g.word(self.end) - self.log)
        return [(number, (next_jiffy - 1 - self.start) & WORD) for number, next_jiffy in struct.iter_unpack("<2I", log)]


@given(starts, st.lists(distances, max_size=12), st.integers(0, 20_000))
@examples(40)
def test_each_timer_runs_once_at_its_jiffy(start: int, away: list[int], pause: int) -> None:
    timers = Timers(start)
    for number, distance in enumerate(away):
        timers.add(number, distance)
    due = sorted((max(distance, 0), number) for number, distance in enumerate(away))
    ran = timers.run(pause)
    assert sorted((at, number) for number, at in ran) == [(at, number) for at, number in due if at <= pause]
    ran = timers.run(20_000)
    assert [at for _, at in ran] == [at for at, _ in due]
    assert sorted((at, number) for number, at in ran) == due


@given(starts, st.lists(distances.filter(lambda distance: distance > 0), min_size=2, max_size=6))
@examples(20)
def test_a_timer_that_was_stopped_does_not_run(start: int, away: list[int]) -> None:
    timers = Timers(start)
    added = [timers.add(number, distance) for number, distance in enumerate(away)]
    timers.run(min(away) - 1)
    assert timers.g.call("del_timer", added[0]) & 0xFF == 1
    assert timers.g.call("del_timer", added[0]) & 0xFF == 0
    assert sorted(number for number, _ in timers.run(max(away))) == list(range(1, len(away)))
