# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines typed at the console's prompt: commands, half commands and noise. No line may cost the session."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from kdumpsim.agent.errors import AgentFailure
from kdumpsim.board.machine import StopReason
from kdumpsim.commands import console
from kdumpsim.console.errors import Quit, Refused
from kdumpsim.console.script import PROMPT
from kdumpsim.console.shell import COMMANDS, PATHS
from kdumpsim.images import LOADS
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.mechanisms.base import MechanismError
from kdumpsim.runs.account import conclude
from kdumpsim.runs.run import power_on
from kdumpsim.runs.session import Session
from kdumpsim.scenario.parts import KernelPart, PcPart
from kdumpsim.scenario.points import crash_points, crash_types
from soak.driver import Kind, without_pieces
from soak.isolation import Broken, Counts

WORDS = (
    *COMMANDS, *LOADS, *PATHS, *crash_points(), *crash_types(), "set", "add", "rmv", "reset", "list", "ls", "ver", "-p",
    "-t", "-c", "-n", "-f", "-l", "-e", "-u", "10ms", "1s", "0s", "1.5s", "1min", ">", ">>", "<", "|", "'", '"', "\\",
    "#", "", "a", "b", "c", "m", "t", "dtt", "rec_num=3", "/", "/proc", "/nowhere", "relative", "0", "-1", "5",
    "1000000", "1e9", "9" * 30, "é", "\x00", "\udcff", "x" * 300, "..", "/proc/../proc", "/bin/diskio", "hello",
)  # fmt: skip
LIKELY = (
    "ttutils list", "ttutils set -p FS_DEVRW -t panic -c 3", "ttutils set -p TIMERADD -t loop", "diskio", "step 50ms",
    "ttutils set -p FS_DEVRW -t bug -c 2", "kexec -p", "kexec -u", "kexec -p -u", "kexec -l", "kexec -e", "sysrq c",
    "sysrq m", "sysrq t", "sysrq b", "dmesg", "ps", "continue 200ms", "continue 2s", "cat /proc/interrupts", "ls /",
    "echo c > /proc/sysrq-trigger", "ttutils reset", "start hello", "echo >", "echo > >", "memdrain", "netload", "help",
)  # fmt: skip


class Talking(Kind[tuple[str, ...]]):
    """Sessions at the prompt."""

    name = "console"
    share = 0.05
    cpu_s = 120
    _session: Session | None = None

    def prepare(self) -> None:
        session = power_on(PcPart(), KernelPart())
        session.boot()
        session.prepare_dump()
        self._session = session

    def draw(self, dice: random.Random, number: int) -> tuple[str, ...]:
        return tuple(_line(dice) for _ in range(12))

    def check(self, case: tuple[str, ...], repeat: bool) -> Counts:
        assert self._session is not None
        session = self._session
        talk = console.Talk(session, Console(highlight=False), "soak", 20 * NS)
        done = 0
        for line in case:
            if session.over:
                break
            print(PROMPT, repr(line))
            done += 1
            try:
                talk._do(line)  # what take() would show as a fault of our own is one
            except Quit:
                break
            except (Refused, AgentFailure, MechanismError, ValueError) as error:
                print(error)
        if session.crashed or session.jumped:
            with tempfile.TemporaryDirectory() as directory:
                conclusion = conclude(session, Path(directory))
                if (
                    conclusion.outcome.captured
                    and session.stop_reason is StopReason.RESET
                    and conclusion.judgement is None
                ):
                    raise Broken("a dump was captured and is not judged")
        return {"lines": done}

    def smaller(self, case: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield from without_pieces(case)

    def text(self, case: tuple[str, ...]) -> str:
        return "\n".join(line.encode("unicode_escape").decode() for line in case)

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(line.encode().decode("unicode_escape") for line in text.split("\n"))


def _line(dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.5:
        return dice.choice(LIKELY)
    if kind < 0.6:
        line = list(dice.choice(LIKELY))
        line[dice.randrange(len(line))] = dice.choice(" >'\"\\|#;-0é")
        return "".join(line)
    return " ".join([dice.choice(list(COMMANDS)), *(dice.choice(WORDS) for _ in range(dice.choice([0, 1, 1, 2, 3])))])
