# SPDX-License-Identifier: GPL-2.0-or-later
"""What the operator has before him: our machine's console, keyboard and reset, and the agent in place of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.errors import AgentFailure
from kdumpsim.lkdtt.operator import Task
from kdumpsim.machines.pc import Pc
from kdumpsim.mechanisms.base import Console
from kdumpsim.scenario.parts import CrashPart

ANSWER_S = 1.0
"""A machine that is well answers much faster, whatever its load."""
LOGIN, LOGGED_IN = "login", "login: root logged in"
SHUTDOWN = "shutdown"
CPOINTS = "/proc/dtt/cpoints"
PS = "/proc/ps"
TASK_COLUMNS = ("PID", "CPU", "STAT", "SWITCHES", "COMMAND")


class Attended(Protocol):
    """A machine that an operator attends to (`runs.session.Session`)."""

    @property
    def machine(self) -> Pc: ...
    @property
    def agent(self) -> AgentClient: ...
    @property
    def console(self) -> Console: ...
    @property
    def armed(self) -> CrashPart | None: ...
    @property
    def now(self) -> int: ...
    @property
    def armed_ns(self) -> int: ...
    @property
    def deadline(self) -> int: ...
    @property
    def gone(self) -> bool: ...

    def run_to(self, until_ns: int, condition: Callable[[], bool] = ..., /) -> None: ...
    def lines_since_arming(self) -> list[tuple[int, str]]: ...


class MachineScene:
    """The scene of a session (`operator.Scene`)."""

    def __init__(self, session: Attended) -> None:
        self._session = session

    @property
    def now(self) -> int:
        """Virtual time, ns."""
        return self._session.now

    @property
    def armed_at(self) -> int:
        """When arming was over."""
        return self._session.armed_ns

    @property
    def deadline(self) -> int:
        """The end of the run's time."""
        return self._session.deadline

    @property
    def gone(self) -> bool:
        """The first kernel no longer runs."""
        return self._session.gone

    def wait(self, until_ns: int) -> None:
        """Let the machine run."""
        self._session.run_to(until_ns)

    def said(self, words: str) -> int | None:
        """When the console first said this since the crash point was armed."""
        return next((at for at, line in self._session.lines_since_arming() if words in line), None)

    def answers(self) -> bool:
        """Whether the agent says who it is."""
        try:
            self._session.agent.identify(ANSWER_S)
        except AgentFailure:
            return False
        return True

    @property
    def counted(self) -> bool:
        """Is there a crash point's counter to look at?"""
        return bool(self._session.armed and self._session.armed.crash_point)

    @property
    def induced(self) -> bool:
        """Is what was armed a crash, rather than a fault?"""
        return not (self._session.armed and self._session.armed.fault)

    def crossings_left(self) -> int | None:
        """The counter of the armed point."""
        armed = self._session.armed
        for words in self._table(CPOINTS):
            if armed and len(words) >= 4 and words[2] == armed.crash_point:
                return int(words[3])
        return None

    def log_in(self, patience_ns: int) -> bool:
        """Start a login and wait for its prompt."""
        before, size = self._logins(), 0
        give_up = self.now + patience_ns

        def prompt() -> bool:
            nonlocal size
            if len(self._session.console.text) == size:
                return False
            size = len(self._session.console.text)
            return self._logins() > before

        with suppress(AgentFailure):  # the prompt tells
            self._session.agent.start(LOGIN)
        self._session.run_to(give_up, prompt)
        return self._logins() > before

    def tasks(self) -> Mapping[int, Task] | None:
        """/proc/ps, if this kernel's tells how often each task gave up its CPU."""
        rows = self._table(PS)
        if not rows or tuple(rows[0]) != TASK_COLUMNS:
            return None
        return {int(row[0]): Task(row[2], int(row[3]), row[4]) for row in rows[1:] if len(row) >= len(TASK_COLUMNS)}

    def kill(self, pid: int) -> bool:
        """Kill a process; False where the guest cannot, or does not answer (a thread of the kernel has no signals)."""
        try:
            self._session.agent.kill(pid)
        except AgentFailure:
            return False
        return True

    def press_sysrq(self) -> None:
        """On the keyboard."""
        self._session.machine.i8042.chord("leftalt", "sysrq", "c")

    def reboot(self) -> None:
        """shutdown -r; whether it comes to anything is seen by the machine's resetting."""
        with suppress(AgentFailure):
            self._session.agent.start(SHUTDOWN)

    def _logins(self) -> int:
        return sum(LOGGED_IN in line for _, line in self._session.lines_since_arming())

    def _table(self, path: str) -> list[list[str]]:
        """A file of the guest's as words by lines; empty without an answer."""
        agent = self._session.agent
        usual, agent.timeout = agent.timeout, ANSWER_S
        try:
            return [line.split() for line in agent.read_file(path).decode("utf-8", "replace").splitlines()]
        except AgentFailure:
            return []
        finally:
            agent.timeout = usual
