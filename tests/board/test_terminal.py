# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import contextlib
import itertools
import os
import pty
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.terminal import EscapeKeys, Terminal


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(the user's end, the program's end) of a pseudo-terminal."""
    user, program = pty.openpty()
    yield user, program
    os.close(user)
    os.close(program)


def test_escape_keys() -> None:
    keys = EscapeKeys()
    assert keys.feed(b"abc") == (b"abc", False, False)
    assert keys.feed(b"a\x01\x01b\x01") == (b"a\x01b", False, False)
    assert keys.feed(b"h\x01zq") == (b"q", False, True)
    assert keys.feed(b"1\x01x2") == (b"1", True, False)


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_escape_keys_do_not_care_how_input_is_cut(data: bytes, cuts: list[int]) -> None:
    whole = EscapeKeys().feed(data)
    keys, out, leave, wanted = EscapeKeys(), b"", False, False
    edges = sorted({0, *cuts, len(data)})
    for begin, end in itertools.pairwise(edges):
        if not leave:
            more, leave, again = keys.feed(data[begin:end])
            out += more
            wanted |= again
    assert (out, leave, wanted) == whole


def test_raw_inside_and_as_it_was_outside(terminal: tuple[int, int]) -> None:
    user, program = terminal
    before = termios.tcgetattr(program)
    with Terminal(program, program) as session:
        assert session.interactive
        assert not termios.tcgetattr(program)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        os.write(user, b"x\x03\r")
        assert session.read(5) == b"x\x03\r"
        assert session.read(0) == b""
        session.write(b"line\n")
        assert os.read(user, 100) == b"line\r\n"
        os.write(user, b"y\x01x")
        assert session.read(5) == b"y"
        assert session.left
    assert termios.tcgetattr(program) == before
    with contextlib.suppress(ZeroDivisionError), Terminal(program, program):
        raise ZeroDivisionError
    assert termios.tcgetattr(program) == before


def test_a_pipe_is_read_as_it_is() -> None:
    read_end, write_end = os.pipe()
    with Terminal(read_end, write_end) as session:
        assert not session.interactive
        os.write(write_end, b"\x01x")
        assert session.read(5) == b"\x01x"
        assert not session.left
        os.close(write_end)
        assert session.read(5) == b""
        assert session.ended
        session.write(b"nobody listens")
        assert session.left
    os.close(read_end)
