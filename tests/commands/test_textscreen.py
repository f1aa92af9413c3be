# SPDX-License-Identifier: GPL-2.0-or-later
"""The VGA's text screen on a terminal; a small model of one is the referee."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.vga import TEXT_MEMORY, Screen, Vga
from kdumpsim.commands.textscreen import GRAPHICS, Painter, colours, plain
from properties import examples


class Model:
    """What a terminal of so many columns and lines shows: ECMA-48's CUP, ED 2 and SGR, and xterm's cursor switch."""

    def __init__(self, columns: int = 80, lines: int = 25) -> None:
        self.size = columns, lines
        self.cells = {}  # type: dict[tuple[int, int], tuple[str, str]]
        self.at, self.sgr, self.visible, self.bytes = (0, 0), "", True, 0

    def write(self, data: bytes) -> None:
        self.bytes += len(data)
        for control, parameters, final, character in re.findall(
            r"(\x1b\[)([?0-9;]*)([a-zA-Z])|(.)", data.decode(), re.DOTALL
        ):
            if not control:
                self._put(character)
            elif final == "H":
                line, column = map(int, (parameters or "1;1").split(";"))
                self.at = (line - 1, column - 1)
            elif final == "J":
                self.cells.clear()
            elif final == "m":
                self.sgr = parameters
            else:
                assert parameters == "?25"
                self.visible = final == "h"

    def _put(self, character: str) -> None:
        line, column = self.at
        if character == "\r":
            self.at = (line, 0)
        elif character == "\n":
            self.at = (line + 1, column)
        else:
            assert line < self.size[1]
            assert column < self.size[0]
            self.cells[self.at] = character, self.sgr
            self.at = (line, column + 1)

    def line(self, number: int) -> str:
        return "".join(self.cells.get((number, column), (" ", ""))[0] for column in range(self.size[0])).rstrip()


class Bench:
    def __init__(self, columns: int = 80, lines: int = 25) -> None:
        self.vga, self.memory = Vga(), memoryview(bytearray(b" \x07" * 0x60000))
        self.model = Model(columns, lines)
        self.seconds = 0.0
        self.painter = Painter(
            self.model.write,
            lambda: self.vga.screen(self.memory),
            lambda: self.model.size,
            clock=lambda: self.seconds,
        )

    def say(self, row: int, text: str, attribute: int = 0x07) -> None:
        for number, character in enumerate(text.encode("cp437")):
            at = TEXT_MEMORY + 2 * (80 * row + number)
            self.memory[at : at + 2] = bytes((character, attribute))

    def cursor(self, column: int, row: int) -> None:
        for index, value in ((0x0E, 80 * row + column >> 8), (0x0F, 80 * row + column & 0xFF)):
            self.vga.port_write(0x3D4, 2, index | value << 8)


def test_a_picture_with_colours_and_cursor() -> None:
    bench = Bench()
    bench.say(0, "Hällo", 0x1E)
    bench.say(24, "x" * 80)
    bench.cursor(5, 0)
    bench.painter.paint()
    model = bench.model
    assert (model.line(0), model.line(1), model.line(24)) == ("Hällo", "", "x" * 80)
    assert model.cells[0, 0] == ("H", "0;93;44")  # yellow on blue
    assert model.cells[0, 5] == (" ", "0;37;40")
    assert (model.at, model.visible) == ((0, 5), True)


@pytest.mark.parametrize(
    ("attribute", "blinks", "sequence"),
    [(0x07, True, "0;37;40"), (0x4F, True, "0;97;41"), (0x91, True, "0;5;34;44"), (0x91, False, "0;34;104")],
)
def test_attributes(attribute: int, blinks: bool, sequence: str) -> None:
    assert colours(attribute, blinks=blinks) == f"\x1b[{sequence}m"


def test_only_what_changed_is_written() -> None:
    bench = Bench()
    bench.painter.paint()
    before = bench.model.bytes
    bench.painter.paint()
    assert bench.model.bytes == before
    bench.say(3, "news")
    bench.painter.paint()
    assert bench.model.line(3) == "news"
    assert bench.model.bytes - before < 200
    before = bench.model.bytes
    bench.cursor(7, 7)
    bench.painter.paint()
    assert bench.model.at == (7, 7)
    assert bench.model.bytes - before < 20


def test_pictures_have_their_time() -> None:
    bench = Bench()
    bench.painter.refresh()
    bench.say(0, "soon")
    bench.seconds = 0.01
    bench.painter.refresh()
    assert bench.model.line(0) == ""
    bench.seconds = 0.1
    bench.painter.refresh()
    assert bench.model.line(0) == "soon"


def test_a_small_terminal_follows_the_cursor() -> None:
    bench = Bench(40, 10)
    for row in range(25):
        bench.say(row, f"line {row} " + "-" * 60)
    bench.cursor(3, 4)
    bench.painter.paint()
    assert bench.model.line(9).startswith("line 9 ---")
    bench.cursor(3, 20)
    bench.painter.paint()
    assert [bench.model.line(number)[:7] for number in (0, 9)] == ["line 11", "line 20"]
    assert bench.model.at == (9, 3)
    bench.model.size = (80, 30)
    bench.painter.paint()
    assert bench.model.line(24) == "line 24 " + "-" * 60
    bench.cursor(79, 24)
    bench.model.size = (40, 10)
    bench.painter.paint()
    assert not bench.model.visible


def test_afterwards_the_terminal_is_a_terminal_again() -> None:
    bench = Bench()
    bench.say(24, "last words", 0x4F)
    bench.vga.port_write(0x3D4, 2, 0x200A)
    bench.painter.leave()
    assert bench.model.line(24) == "last words"
    assert (bench.model.at, bench.model.sgr, bench.model.visible) == ((25, 0), "0", True)


def test_an_interruption_is_painted_over_when_it_was_read() -> None:
    bench = Bench()
    bench.say(0, "guest")
    bench.painter.paint()
    bench.painter.interrupted(5)
    bench.model.write(b"help")
    bench.seconds = 4.9
    bench.painter.refresh()
    assert bench.model.line(0) == "help"
    bench.seconds = 5.1
    bench.painter.refresh()
    assert bench.model.line(0) == "guest"


def test_graphics_are_not_shown() -> None:
    bench = Bench()
    bench.say(0, "rubbish")
    bench.vga.port_write(0x3CE, 2, 0x0506)
    bench.painter.paint()
    assert bench.model.line(0) == GRAPHICS
    assert plain(bench.vga.screen(bench.memory)) == f"{GRAPHICS}\n"


def test_plain_lines() -> None:
    bench = Bench()
    assert plain(bench.vga.screen(bench.memory)) == ""
    bench.say(0, "one")
    bench.say(2, "three")
    assert plain(bench.vga.screen(bench.memory)) == "one\n\nthree\n"


cells = st.lists(st.tuples(st.integers(0, 1999), st.integers(0, 255), st.integers(0, 255)), max_size=30)


@examples(25)
@given(st.lists(st.tuples(cells, st.integers(0, 2100)), min_size=1, max_size=4))
def test_whatever_is_written_the_terminal_shows_it(pictures: list[tuple[list[tuple[int, int, int]], int]]) -> None:
    bench = Bench()
    for changes, cursor in pictures:
        for cell, character, attribute in changes:
            bench.memory[TEXT_MEMORY + 2 * cell : TEXT_MEMORY + 2 * cell + 2] = bytes((character, attribute))
        bench.cursor(cursor % 80, cursor // 80)
        bench.painter.paint()
        screen: Screen = bench.vga.screen(bench.memory)
        for cell in range(2000):
            place = divmod(cell, 80)
            character, sgr = bench.model.cells[place]
            assert character == screen.lines[place[0]][place[1]]
            assert f"\x1b[{sgr}m" == colours(screen.attributes[cell], blinks=True)
        assert bench.model.visible == (screen.cursor is not None)
