# SPDX-License-Identifier: GPL-2.0-or-later
"""The operator: a person who stands at the machine while a crash point is tested (LKDTT paper, section 4).

He looks now and then whether the machine still answers, whether one can still log in and whether the load goes on.  If
something is wrong he waits, presses Alt-SysRq-C, waits again, and in the end pulls the plug.  If the system survives he
reboots it.  He knows neither the crash type nor anything a person at the machine could not see, and lives in virtual
time, so that the same run always meets the same operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from kdumpsim.lkdtt.outcome import NS, Note, Seen

LOOK_NS = 2 * NS
"""Between two looks at the machine."""
REACTION_NS = 3 * NS
"""What a key or a kill is given to show an effect."""
CONTENT_NS = 4 * NS
"""How long all must have been well on a machine to which nothing may have happened."""
WATCHDOG = "watchdog/"
"""How the threads are called, one of each CPU, that have nothing to do but to get their CPU once a second."""


@dataclass(frozen=True)
class Task:
    """A line of the machine's list of tasks."""

    state: str
    switches: int
    """How often it gave up its CPU by itself: what does not grow belongs to a task that is stuck."""
    name: str = ""


class Scene(Protocol):
    """What the operator has before him."""

    @property
    def now(self) -> int:
        """Virtual time, ns."""

    @property
    def armed_at(self) -> int:
        """When he armed what is to happen, and began to wait, virtual ns."""

    @property
    def deadline(self) -> int:
        """When he has to go home: from then on he does and concludes nothing."""

    @property
    def gone(self) -> bool:
        """The first kernel no longer runs: it has handed over, or the machine reset or shut down."""

    def wait(self, until_ns: int) -> None:
        """Let the machine run until then, or until it is gone, or up to the deadline."""

    def said(self, words: str) -> int | None:
        """When the console first said this since the crash point was armed; None if it did not."""

    def answers(self) -> bool:
        """Whether the machine answers at once when spoken to."""

    @property
    def counted(self) -> bool:
        """Whether a crash point was armed, whose counter he can look at.  Nothing announces any other trouble."""

    @property
    def induced(self) -> bool:
        """Whether what was armed is a failure, which may show late.  A fault may have no effect."""

    def crossings_left(self) -> int | None:
        """What ``ttutils ls`` says of the crash point's counter; None without an answer."""

    def log_in(self, patience_ns: int) -> bool:
        """Log in; whether the prompt came, in this time and before the deadline."""

    def tasks(self) -> Mapping[int, Task] | None:
        """The list of tasks by pid; None if there is none to be had."""

    def kill(self, pid: int) -> bool:
        """Kill a task; whether it could be tried at all."""

    def press_sysrq(self) -> None:
        """Alt-SysRq-C on the keyboard."""

    def reboot(self) -> None:
        """shutdown -r."""


class Verdict(Enum):
    """How the work with the first kernel ended."""

    GONE = "the first kernel is gone"
    WRONG = "something is wrong with it"
    FINE = "it works"
    UNTESTED = "the crash point was never crossed"


class Operator:
    """A person who waits `patience_ns` of virtual time for a machine that is not well."""

    def __init__(self, patience_ns: int) -> None:
        self._patience = patience_ns

    def attend(self, scene: Scene, loads: Mapping[int, str]) -> list[Note]:
        """Stay until the first kernel is gone, was rebooted, or was given up; what was seen and done.

        `loads` are the programs he started, by pid.
        """
        visit = _Visit(scene, self._patience, loads)
        verdict = visit.watch()
        if verdict is Verdict.FINE:
            visit.reboot()
        elif verdict is Verdict.WRONG:
            visit.press_sysrq()
        return visit.notes


class _Visit:
    """One machine that he attends to."""

    def __init__(self, scene: Scene, patience_ns: int, loads: Mapping[int, str]) -> None:
        self.notes: list[Note] = []
        self._scene = scene
        self._patience = patience_ns
        self._loads = loads

    @property
    def _over(self) -> bool:
        """Whether the first kernel is gone, or it is time to go home."""
        return self._scene.gone or self._scene.now >= self._scene.deadline

    def _note(self, seen: Seen, text: str) -> None:
        self.notes.append(Note(self._scene.now, seen, text))

    def watch(self) -> Verdict:
        """Look now and then, until there is something to do."""
        scene = self._scene
        answered = counted = scene.armed_at
        pause = max(scene.armed_at + LOOK_NS - scene.now, 0)
        left: int | None = None
        before: Mapping[int, Task] | None = None  # None until the crash point was hit, or until he looks for trouble
        while not self._over:
            scene.wait(min(scene.now + pause, scene.deadline))
            pause = LOOK_NS
            if scene.gone:
                break
            if not scene.answers():
                if not self._over and scene.now - answered >= self._patience:
                    self._note(Seen.SILENT, f"the machine has not answered since {answered / NS:.3f} s")
                    return Verdict.WRONG
                continue
            answered = scene.now
            if before is not None:
                verdict = self._examine(counted, before)
                if verdict is not None:
                    return verdict
                continue
            if not scene.counted:
                counted, before = scene.now, scene.tasks() or {}
                continue
            count = scene.crossings_left()
            if count == 0:
                self._note(Seen.HIT, "the crash point's counter is 0: the failure was induced")
                counted, before = scene.now, scene.tasks() or {}
            elif count != left:
                left, counted = count, scene.now
            elif scene.now - counted >= self._patience:
                self._note(Seen.NOT_CROSSED, f"the crash point is not being crossed: its counter is {left}")
                return Verdict.UNTESTED
        if left is not None and before is None and not scene.gone:
            self._note(Seen.NOT_CROSSED, f"time ran out before the crash: {left} crossings of the point were left")
        return Verdict.GONE

    def _examine(self, hit: int, before: Mapping[int, Task]) -> Verdict | None:
        """The machine answers; the failure was induced before `hit`, or he looks for trouble since then: is all well?

        None: it is too early to say.
        """
        scene = self._scene
        if not scene.log_in(self._patience):
            if self._over:
                return Verdict.GONE
            self._note(Seen.NO_LOGIN, f"a login brought no prompt within {self._patience // NS} s")
            return Verdict.WRONG
        if scene.said("soft lockup detected") is not None:
            return Verdict.WRONG
        if scene.said(" survived") is None and not self._long_enough(scene.now - hit, before):
            return None
        if self._load_is_well(before):
            self._note(Seen.RECOVERED, "the machine answers, logins work, and no program is stuck")
            return Verdict.FINE
        return Verdict.GONE if self._over else Verdict.WRONG

    def _long_enough(self, watched_ns: int, before: Mapping[int, Task]) -> bool:
        """Has he seen enough of a machine that answers?

        A fault may be nothing, and he has more of them to try: he is content before his patience is at an end if the
        thread of every CPU that shows that tasks get to run there goes on.  What a watchdog would find later, a CPU
        that is stuck while another one answers, is seen by that.
        """
        if watched_ns >= self._patience:
            return True
        if self._scene.induced or watched_ns < CONTENT_NS:
            return False
        threads = [pid for pid, task in before.items() if task.name.startswith(WATCHDOG)]
        now = self._scene.tasks() or {}
        return bool(threads) and all(pid in now and now[pid].switches != before[pid].switches for pid in threads)

    def _load_is_well(self, before: Mapping[int, Task]) -> bool:
        """Whether each program of the load has ended or goes on.

        One that never gave up its CPU by itself, whatever state it is said to be in, is either at work in ring 3 or
        stuck in the kernel: it gets killed, and that tells.
        """
        scene = self._scene
        now = scene.tasks()
        if now is None:
            return not scene.gone
        for pid, name in self._loads.items():
            if pid not in now or pid not in before or now[pid].switches != before[pid].switches:
                continue
            who = f"{name} (pid {pid}, state {now[pid].state})"
            tried = scene.kill(pid)
            scene.wait(scene.now + REACTION_NS)
            after = None if scene.gone else scene.tasks()
            if after is not None and pid not in after:
                continue
            if not self._over:
                self._note(Seen.STUCK, f"{who} makes no progress")
                if tried:
                    self._note(Seen.UNKILLABLE, f"{who} was killed and is still there")
            return False
        return True

    def press_sysrq(self) -> None:
        """The key, and if it does not help, the plug."""
        scene = self._scene
        self._note(Seen.SYSRQ_PRESSED, "the operator pressed Alt-SysRq-C")
        scene.press_sysrq()
        scene.wait(scene.now + REACTION_NS)
        if not self._over:
            self._note(Seen.PLUG_PULLED, "SysRq had no effect: the operator pulled the plug")

    def reboot(self) -> None:
        """The system recovered: it should also go down in good order."""
        scene = self._scene
        self._note(Seen.REBOOTING, "the operator rebooted the machine")
        scene.reboot()
        scene.wait(scene.now + self._patience)
        if not self._over:
            self._note(Seen.REBOOT_HANGS, f"the machine had not rebooted after {self._patience // NS} s")
            self._note(Seen.PLUG_PULLED, "the operator pulled the plug")
