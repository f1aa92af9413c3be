# SPDX-License-Identifier: GPL-2.0-or-later
"""The person's side of the console: whatever is typed, and whatever comes of it, the session goes on."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kdumpsim.agent.errors import AgentError, AgentGone, AgentProtocolError, AgentTimeout
from kdumpsim.commands.console import Talk
from kdumpsim.console.shell import COMMANDS, parse
from kdumpsim.mechanisms.base import MechanismError
from kdumpsim.runs.session import MachineDead, Session
from properties import examples

FAILURES: tuple[Callable[[], Exception], ...] = (
    lambda: AgentError("open /x", 2),
    lambda: AgentGone("gone"),
    lambda: AgentProtocolError("no status"),
    lambda: AgentTimeout("no answer"),
    lambda: MechanismError("no room"),
    lambda: MachineDead("it is no more"),
    lambda: IndexError("list index out of range"),
    lambda: KeyError("[/] no markup"),
    lambda: OverflowError("too large"),
    lambda: struct.error("'I' format requires 0 <= number"),
    lambda: OSError(28, "No space left on device"),
    lambda: RecursionError("maximum recursion depth exceeded"),
)


class StubMachine:
    """A machine all of whose faculties give `answer()`, which may raise."""

    over = jumped = interrupted = False
    stop_reason = None
    notes = ()
    now = deadline = 0

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer

    @property
    def guest(self) -> StubMachine:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def faculty(*arguments: object, **options: object) -> Any:
            value = self._answer()
            return {"read": b"", "read_file": b"1", "hello": "2.6.16"}.get(name, value)

        return faculty


def talk(answer: Callable[[], Any]) -> tuple[Talk, io.StringIO]:
    said = io.StringIO()
    return Talk(cast("Session", StubMachine(answer)), Console(file=said, width=80), "script", 10**9), said


words = st.one_of(
    st.sampled_from(
        [*COMMANDS, "-p", "-t", "-c", "-l", "-e", "-u", ">", ">>", "'", '"', "\\", "FS_DEVRW", "panic", "/"]
    ),
    st.sampled_from(
        ["/proc/ps", "10ms", "9" * 400 + "s", "0." + "9" * 400 + "s", "-1", "٣ms", "\udcff", "\0", "9" * 5000]
    ),
    st.text(max_size=6),
)
lines = st.one_of(
    st.tuples(st.sampled_from(list(COMMANDS)), st.lists(words, max_size=3)).map(
        lambda line: " ".join([line[0], *line[1]])
    ),
    st.lists(words, max_size=6).map(" ".join),
    st.text(st.characters(exclude_categories=[]), max_size=30),
)


@given(lines)
@examples(400)
def test_a_line_is_understood_or_refused_with_a_message(line: str) -> None:
    with contextlib.suppress(ValueError):
        assert callable(parse(line))


@given(lines, st.sampled_from(FAILURES) | st.none())
def test_no_line_costs_a_session(line: str, failure: Callable[[], Exception] | None) -> None:
    def answer() -> int:
        if failure is not None:
            raise failure()
        return 0

    session, _ = talk(answer)
    with contextlib.redirect_stdout(io.StringIO()):
        stays = session.take(line)
    assert stays or "quit" in line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("echo >", "echo TEXT > FILE takes one FILE, at the end"),
        (f"step {'9' * 400}s", "is not a time: write, for example, 500us"),
        ("step 999999999999s", "is too long: at most 1000000min"),
        (f"ttutils set -p FS_DEVRW -t panic -c {'9' * 5000}", "is not a number from 1 to 2147483647"),
        ("ls \udcff", "the line is not valid UTF-8"),
    ],
)
def test_what_is_wrong_with_a_line(line: str, message: str) -> None:
    session, said = talk(lambda: 0)
    assert session.take(line)
    assert message in said.getvalue()


def test_a_fault_of_our_own_is_told_by_its_name() -> None:
    def fault() -> None:
        raise IndexError("list index out of range")

    session, said = talk(fault)
    assert session.take("ps")
    assert said.getvalue() == "IndexError: list index out of range\n"


def test_a_signal_ends_what_it_must() -> None:
    class Signal(BaseException):
        pass

    def signalled() -> None:
        raise Signal

    with pytest.raises(Signal):
        talk(signalled)[0].take("ps")


def test_quit_leaves() -> None:
    assert not talk(lambda: 0)[0].take("quit")
