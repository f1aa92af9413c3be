# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving through a run, forwards and back: which copy of the machine to go on from, and which copies to keep."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from kdumpsim.cpu.steps import PLACES, place_of
from kdumpsim.debugger.channel import Channel, ChannelClosed
from kdumpsim.debugger.orders import Go, Milestone, Passing, Place, Seen, Trace, Watch
from kdumpsim.debugger.replay import Course, spawn
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario

MOST_COPIES = 40
"""Processes that wait, a few MB each: with more, every other one goes."""
NEAR = 3_000
"""Instructions before where one went back to, at which a copy stays: whoever steps back does it again."""


class MachineGone(Exception):
    """The machine's process has ended, which it never should."""


@dataclass
class Copy:
    """A machine that waits before an instruction."""

    number: int
    cpu: int
    channel: Channel
    ran: bytes = b""
    """Where there were instructions since the copy before; empty: not known."""
    near: bool = False
    """Made for going back step by step, beside those that divide the run; goes when another such is made."""


class Traveller:
    """Somebody's place in a run: a scenario's, or any other course."""

    def __init__(self, session: Session, run: Scenario | Course, timeline: bool = False) -> None:
        """`timeline`: record one from power-on, for the view of this name."""
        self._here, self._pid = spawn(session, run, timeline)
        self._copies: list[Copy] = []
        self._milestones: dict[tuple[str, int], Milestone] = {}
        self.ending = ""
        """How the run ended, once somebody has been there."""
        self.passing: Callable[[int], None] = lambda number: None
        """Told now and then of the instruction that a move has come to."""
        self.place, _ = self._wait(self._here)
        self._keep_here()

    def close(self) -> None:
        """End all processes."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        for copy in self._copies:
            copy.channel.close()
        self._here.close()

    # Looking.

    def ask(self, name: str, *arguments: Any) -> Any:
        """A view (`views.Views`).  What it raises is raised."""
        try:
            self._here.send((name, *arguments))
            answer, _ = self._here.receive()
        except ChannelClosed as error:
            raise MachineGone from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def milestones(self) -> list[Milestone]:
        """Those that somebody has come past so far, in order."""
        return sorted(self._milestones.values(), key=lambda milestone: milestone.number)

    def copies(self) -> list[int]:
        """The instructions before which a copy waits."""
        return [copy.number for copy in self._copies]

    # Moving.

    def forward(self, go: Go, asked: Callable[[], bool] = lambda: False, listen: int | None = None) -> Place:
        """Run on.  `asked`: called when the descriptor `listen` has something; True: stop where it is."""
        if self.place.why != "end":
            self._from_here(replace(go, checkpoints_from=self._frontier()), asked, listen)
        return self.place

    def goto(self, number: int, asked: Callable[[], bool] = lambda: False, listen: int | None = None) -> Place:
        """Go to the instruction of a number (or to the end, if that comes first), forwards or back."""
        number = max(number, 1)
        if number < self.place.number or self._best(number).number > self.place.number:
            self._to_copy(number)
        if number > self.place.number:
            self._from_here(Go(until=number, checkpoints_from=self._frontier()), asked, listen)
        return self.place

    def back(self, go: Go, asked: Callable[[], bool] = lambda: False, listen: int | None = None) -> Place | None:
        """Before the last instruction at which there was something to stop for; None: there was none, and this is the
        beginning.

        The stretches between copies are run again, the last one first, then as many at once as the host has CPUs.
        """
        where, end = self.place, self.place.number
        stretches: list[tuple[Copy, int]] = []
        while end > 1:
            copy = self._best(end - 1)
            if self._worth(go, end):
                stretches.append((copy, end))
            end = copy.number
        at, width = 0, 1
        while at < len(stretches):
            runners = [(copy, end, self._fork(copy)) for copy, end in stretches[at : at + width]]
            try:
                for _, end, runner in runners:
                    runner.send(replace(go, until=end, only_note=True, checkpoints_from=None))
                for copy, _, runner in runners:
                    place, told = self._wait(runner, asked, listen)
                    if told:  # whether or not the runner has heard of it in time
                        self.place = replace(where, why="interrupt", changed=None)
                        return self.place
                    if place.hit is not None and place.hit.number >= copy.number:
                        self.goto(place.hit.number)
                        self.place = replace(place.hit, number=self.place.number)
                        return self.place
            finally:
                for _, _, runner in runners:
                    runner.close()
            at, width = at + width, os.cpu_count() or 1
        self.goto(1)
        return None

    def trail(
        self, cpu: int, count: int, asked: Callable[[], bool] = lambda: False, listen: int | None = None
    ) -> list[Trace] | None:
        """What a CPU ran, of the last `count` instructions of all CPUs before this place, in order; None: `asked` to
        stop."""
        begin = max(self.place.number - count, 1)
        runner = self._fork(self._best(begin))
        try:
            for go in (Go(until=begin), Go(until=self.place.number, trail=cpu)):
                runner.send(go)
                seen, told = self._seen(runner, asked, listen)
                if told:
                    return None
            return seen.trail
        finally:
            runner.close()

    # Copies.

    def _worth(self, go: Go, end: int) -> bool:
        """May there be something to stop for in the stretch that ends before an instruction?"""
        if go.watches or go.step is not None:
            return True
        later = [copy for copy in self._copies if copy.number >= end and not copy.near]
        if not later or not later[0].ran:
            return True
        return any(later[0].ran[place_of(address)] for address in go.breakpoints)

    def _best(self, number: int) -> Copy:
        return max((copy for copy in self._copies if copy.number <= number), key=lambda copy: copy.number)

    def _fork(self, copy: Copy) -> Channel:
        """A machine to run on, where the copy waits."""
        try:
            copy.channel.send("copy")
            _, runner = copy.channel.receive()
        except ChannelClosed as error:
            raise MachineGone from error
        assert runner is not None
        return runner

    def _to_copy(self, number: int) -> None:
        copy = self._best(number)
        runner = self._fork(copy)
        self._here.close()
        self._here = runner
        self.place = Place(copy.number, copy.cpu, "until")
        if number - copy.number > 2 * NEAR:  # so no copy is near
            self._from_here(Go(until=number - NEAR))
            for other in [other for other in self._copies if other.near]:
                self._forget(other)
            self._keep_here(near=True)

    def _keep_here(self, near: bool = False) -> None:
        """Have a copy wait where the machine has stopped."""
        self._here.send("copy")
        forked, channel = self._here.receive()
        assert channel is not None
        self._add(Copy(forked.place.number, forked.place.cpu, channel, near=near))

    def _add(self, copy: Copy) -> None:
        self._copies.append(copy)
        self._copies.sort(key=lambda copy: copy.number)
        usual = [copy for copy in self._copies if not copy.near]
        if len(usual) > MOST_COPIES:
            for other, after in zip(usual[1:-1:2], usual[2::2], strict=True):
                after.ran = _either(other.ran, after.ran)
                self._forget(other)

    def _forget(self, copy: Copy) -> None:
        self._copies.remove(copy)
        copy.channel.close()

    def _frontier(self) -> int:
        """Nobody has been past this instruction."""
        return max(copy.number for copy in self._copies) + 1

    def _from_here(self, go: Go, asked: Callable[[], bool] = lambda: False, listen: int | None = None) -> None:
        self._here.send(go)
        self.place, _ = self._wait(self._here, asked, listen)

    def _wait(
        self, runner: Channel, asked: Callable[[], bool] = lambda: False, listen: int | None = None
    ) -> tuple[Place, bool]:
        """Until the runner stops, and whether it was asked to; copies that it leaves behind are taken in."""
        seen, told = self._seen(runner, asked, listen)
        return seen.place, told

    def _seen(
        self, runner: Channel, asked: Callable[[], bool] = lambda: False, listen: int | None = None
    ) -> tuple[Seen, bool]:
        told = False
        while True:
            if listen is not None and not told:
                ready, _, _ = select.select([runner.fileno(), listen], [], [])
                if listen in ready and asked():
                    runner.send("interrupt")
                    told = True
                if runner.fileno() not in ready:
                    continue
            try:
                message, channel = runner.receive()
            except ChannelClosed as error:
                raise MachineGone from error
            if isinstance(message, Seen):
                self._learn(message)
                return message, told
            if isinstance(message, Passing):
                self.passing(message.number)
                continue
            assert channel is not None
            self._add(Copy(message.place.number, message.place.cpu, channel, message.ran))

    def _learn(self, seen: Seen) -> None:
        self.ending = self.ending or seen.ending
        for milestone in seen.milestones:
            self._milestones.setdefault((milestone.name, milestone.number), milestone)

    def watches(self, cpu: int, address: int, size: int) -> tuple[Watch, ...]:
        """A linear range to watch.  ValueError where it is no RAM."""
        return tuple(Watch(address, physical, part) for physical, part in self.ask("watchable", cpu, address, size))


def _either(one: bytes, other: bytes) -> bytes:
    """Where there is a 1 in one of them; not known if one is not."""
    if not one or not other:
        return b""
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(PLACES, "little")
