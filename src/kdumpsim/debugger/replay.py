# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's side of debugging: a run that stops before any instruction, and leaves copies of itself behind.

Going back is running again: each copy (a forked process, which waits) is the whole machine as it was before one
instruction, and what it runs from there is the same run. Stops happen in a call before an instruction
(`cpu.steps`), so the guest's run is the one there is without a debugger.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from kdumpsim.cpu.cpu import Cpu
from kdumpsim.cpu.steps import Change, Steps
from kdumpsim.debugger.channel import Channel, ChannelClosed
from kdumpsim.debugger.orders import Changed, Forked, Go, Milestone, Passing, Place, Seen, Trace, Watch
from kdumpsim.debugger.views import Views
from kdumpsim.runs.account import conclude
from kdumpsim.runs.drawing import drawn
from kdumpsim.runs.events import Phase, Silent
from kdumpsim.runs.run import drive, start
from kdumpsim.runs.session import Session
from kdumpsim.runs.timeline import Timeline
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.target import PROGRAM_COUNTER
from kdumpsim.vmcore.oracle import DEATHS

LISTEN: int = 100_000
"""Instructions between two looks at what the other side wants: some milliseconds."""
BETWEEN_COPIES_S = 0.04
"""Of this process's time, between two copies: what going to an instruction costs on average is half of that."""
STARTED = "start_kernel"
"""Where a capture kernel has got through its assembly."""


class _Milestones(Silent):
    """Takes down when the phases of the run ended."""

    def __init__(self, note: Callable[[str, str], None]) -> None:
        self._note = note

    def end(self, phase: Phase) -> None:
        if phase.name != "judge":
            self._note(f"{phase.name}-done", phase.detail)


Course = Callable[[], str]
"""Drives a session from power-on to where its replay ends, and returns how that was."""


class Replay:
    """A run under a debugger's control, from power-on: a scenario's, or any other course.  `live` never returns."""

    def __init__(self, session: Session, run: Scenario | Course, channel: Channel, timeline: bool = False) -> None:
        self._session, self._channel = session, channel
        self._course = partial(_run_of, session, run) if isinstance(run, Scenario) else run
        machine: Any = session.machine
        self._machine = machine
        self._cpus: list[Cpu] = machine.cpus
        self._steps = Steps(self._cpus, self._before)
        self._go = Go(until=1)
        self._from = 0
        """The instruction that was stopped at last, which is not to be stopped at again."""
        self._address = 0
        """Of the instruction that comes next."""
        self._hit: Place | None = None
        self._changes: list[tuple[Change, str]] = []
        """Of watched memory, seen since the last instruction began, and who made them."""
        self._listen_at = LISTEN
        self._copied = 0.0
        self._milestones: list[Milestone] = []
        self._landmarks: dict[int, tuple[str, str]] = {}
        """Addresses of functions whose first call is a milestone: its name and text."""
        self._trail: list[Trace] = []
        self._ending = ""
        self._views = Views(session, Timeline(session) if timeline else None)
        session.clock.observer = _Milestones(self._note)
        self._observe()

    def live(self) -> NoReturn:
        """Be the machine, until nobody listens any more."""
        try:
            self._heed(Go(until=1), Place(0, 0))
            self._run()
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    def _run(self) -> None:
        self._ending = self._course()
        cpu, number = self._steps.last_cpu() or 0, self._steps.number + 1
        if self._cpus[cpu].cut and getattr(self._cpus[cpu].registers(), PROGRAM_COUNTER) == self._steps.last_address():
            number -= 1  # it was stopped before its last instruction, which has a number already
        self._milestones.append(Milestone("end", number, self._session.now, self._ending.partition("; vmcore")[0]))
        while True:
            self._stop(Place(number, cpu, "end", hit=self._hit))

    def _note(self, name: str, text: str) -> None:
        self._milestones.append(Milestone(name, self._steps.number + 1, self._session.now, text))

    def _observe(self) -> None:
        """Hear of the crash and the hand-over, and of what writes to memory beside instructions."""
        oracle = self._session.oracle
        jumped, died = oracle.on_jump, oracle.on_crash

        def dies() -> None:
            self._milestones.append(Milestone("crash", self._steps.number, self._session.now, "the kernel dies"))
            self._look_out_for_landmarks()
            if died is not None:
                died()

        def jumps() -> None:
            self._milestones.append(Milestone("jump", self._steps.number, self._session.now, "it hands over"))
            if jumped is not None:
                jumped()

        oracle.on_crash, oracle.on_jump = dies, jumps
        memory = self._machine.memory
        written = memory.written

        def dma(begin: int, end: int) -> None:
            self._changed(f"DMA to {begin:#x}-{end:#x}", begin, end)
            written(begin, end)

        memory.written = dma
        for cpu in self._cpus:
            cpu.on_event = partial(self._event, cpu, cpu.on_event)

    def _look_out_for_landmarks(self) -> None:
        """The way from the crash to the capture kernel."""
        session = self._session
        for name in (*DEATHS, session.mechanism.entry):
            if (address := session.first.symbols.get(name)) is not None:
                self._landmarks[address] = (name, f"{name}()")
        for kernel, moved in session.mechanism.kernels():
            self._landmarks[kernel.symbols[STARTED] + moved] = ("capture", "the capture kernel starts")
        self._look_out()

    def _look_out(self) -> None:
        self._steps.places({*self._go.breakpoints, *self._landmarks})

    def _event(self, cpu: Cpu, then: Callable[[int, bool], None] | None, vector: int, done: bool) -> None:
        if then is not None:
            then(vector, done)
        self._changed(f"delivery of vector {vector:#x} to CPU {cpu.index}" if done else self._writer())

    def _writer(self) -> str:
        number = self._steps.last_cpu()
        return f"CPU {number} at {self._steps.last_address():#x}"

    def _changed(self, by: str, begin: int = 0, end: int = 1 << 40) -> None:
        """Something other than an instruction has written, or is about to: what has changed so far, and by whom?"""
        if not self._go.watches:
            return
        for change in self._steps.changes():
            mine = begin < change.address + len(change.new) and change.address < end
            self._changes.append((change, by if mine else self._writer()))
        if self._changes:
            self._steps.alarm(self._steps.number + 1)

    # Before an instruction.

    def _before(self, index: int, address: int) -> None:
        steps, go = self._steps, self._go
        number, self._address = steps.number, address
        if address in self._landmarks:
            name, text = self._landmarks.pop(address)
            self._milestones.append(Milestone(name, number, self._session.now, text))
        if go.until is not None and number >= go.until:
            if go.only_note and (place := self._written(number, index)):
                self._hit = place
            self._stop(Place(number, index, "until", hit=self._hit, again=steps.begins_again(index, address)))
            return
        if number > self._from and not steps.begins_again(index, address):
            if go.trail == index:
                self._trail.append(Trace(number, address, self._cpus[index].stack_pointer()))
            place = self._reached(number, index, address)
            if place is not None:
                if go.only_note:
                    self._hit = place
                else:
                    self._stop(place)
                    return
        if number >= self._listen_at:
            self._listen(number, index)
        self._set_alarm()

    def _reached(self, number: int, index: int, address: int) -> Place | None:
        """Is there something to stop for?"""
        go = self._go
        if place := self._written(number, index):
            return place
        if address in go.breakpoints:
            return Place(number, index, "break")
        if go.step == index and (go.outside is None or not go.outside[0] <= address < go.outside[1]):
            return Place(number, index, "step")
        return None

    def _written(self, number: int, index: int) -> Place | None:
        """Has something watched been written to?"""
        if not self._go.watches:
            return None
        changes = [*self._changes, *((change, self._writer()) for change in self._steps.changes())]
        self._changes.clear()
        for change, by in changes:
            end = change.address + len(change.new)
            for watch in self._go.watches:
                if watch.physical < end and change.address < watch.physical + watch.size:
                    writer = self._steps.last_cpu()
                    # Notes are for going back: to before the instruction that wrote, not to after it.
                    at = self._steps.last() if self._go.only_note else number
                    return Place(at, index if writer is None else writer, "watch", Changed(watch, by))
        return None

    def _listen(self, number: int, index: int) -> None:
        """See what the other side wants, and leave a copy behind where it is time for one."""
        self._listen_at = number + LISTEN
        if self._channel.waiting():
            message = self._receive()
            assert message == "interrupt", message
            self._stop(Place(number, index, "interrupt", hit=self._hit))
            return
        self._send(Passing(number))
        first = self._go.checkpoints_from
        if first is not None and number >= first and time.process_time() - self._copied > BETWEEN_COPIES_S:
            self._leave_copy(number, index, keep=True)
            self._copied = time.process_time()

    def _set_alarm(self) -> None:
        until = self._go.until
        alarm = self._listen_at if until is None else min(until, self._listen_at)
        self._steps.alarm(self._steps.number + 1 if self._changes else alarm)

    # Stopped.

    def _stop(self, place: Place) -> None:
        """Say where it has stopped, and answer until it is told to go on."""
        self._from = place.number if place.why != "watch" else self._steps.number
        self._steps.alarm(None)
        self._send(Seen(place, self._session.now, self._milestones, self._ending, self._trail))
        self._trail.clear()
        self._serve(place)

    def _send(self, message: Any, gift: Channel | None = None) -> None:
        """Tell the other side; the end of this process if nobody is there any more."""
        try:
            self._channel.send(message, gift)
        except ChannelClosed:
            os._exit(0)

    def _receive(self) -> Any:
        """What the other side wants; the end of this process if nobody is there any more."""
        try:
            return self._channel.receive()[0]
        except ChannelClosed:
            os._exit(0)

    def _serve(self, place: Place) -> None:
        while True:
            request = self._receive()
            if isinstance(request, Go):
                self._heed(request, place)
                return
            if request == "copy":
                if self._leave_copy(place.number, place.cpu):
                    return
            elif request == "interrupt":
                pass  # it came too late
            else:
                name, *arguments = request
                try:
                    answer = getattr(self._views, name)(*arguments)
                except (ValueError, LookupError) as error:
                    answer = error
                self._send(answer)

    def _heed(self, go: Go, place: Place) -> None:
        """What is to be watched for from here on."""
        self._go, self._hit = go, None
        self._changes.clear()
        steps = self._steps
        self._look_out()
        steps.each(go.step if go.trail is None else go.trail)
        steps.watch([(watch.physical, self._host(watch), watch.size) for watch in go.watches])
        self._listen_at = steps.number + LISTEN
        if go.only_note and place.number:  # it may be what is looked for itself
            self._hit = self._reached(place.number, place.cpu, self._address)
        self._set_alarm()

    def _host(self, watch: Watch) -> int:
        for block in self._machine.memory.blocks:
            if block.base <= watch.physical and watch.physical + watch.size <= block.base + block.size:
                return int(block.host_address) + watch.physical - int(block.base)
        raise ValueError("only RAM can be watched")

    def _leave_copy(self, number: int, index: int, *, keep: bool = False) -> bool:
        """Fork: the copy waits for orders at an end of its own, and this process goes on.  Is this the copy?

        `keep`: one of those that divide the run, so tell what was run since the one before.
        """
        mine, theirs = Channel.pair()
        ran = self._steps.take_ran() if keep else b""
        if os.fork():
            theirs.close()
            self._send(Forked(Place(number, index), ran), mine)
            mine.close()
            return False
        mine.close()
        self._channel.close()
        self._channel = theirs
        self._copied = time.process_time()
        self._from = number
        self._steps.alarm(None)
        self._serve(Place(number, index))
        return True


def _run_of(session: Session, scenario: Scenario) -> str:
    """The course of a scenario's run: its outcome, and its dump's SHA-256."""
    failed = start(session)
    if failed is None:
        failed = drive(session, drawn(scenario, None, session))
    with tempfile.TemporaryDirectory() as directory:
        conclusion = conclude(session, Path(directory), failed, large=False)
    if conclusion.vmcore is None:
        return str(conclusion.outcome)
    return f"{conclusion.outcome}; vmcore sha256 {conclusion.vmcore[1]}"


def spawn(session: Session, run: Scenario | Course, timeline: bool = False) -> tuple[Channel, int]:
    """A process that is the machine: the channel to it, and its pid.  It stops before the first instruction.

    `timeline`: have the view of this name.
    """
    mine, theirs = Channel.pair()
    pid = os.fork()
    if pid:
        theirs.close()
        return mine, pid
    own = theirs.fileno()
    os.closerange(3, own)  # the other side's: listening sockets, pipes
    os.closerange(own + 1, os.sysconf("SC_OPEN_MAX"))
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # copies are not waited for
    Replay(session, run, theirs, timeline).live()
