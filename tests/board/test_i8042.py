# SPDX-License-Identifier: GPL-2.0-or-later
"""The keyboard controller and its keyboard."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import Probe
from kdumpsim.board.i8042 import I8042
from kdumpsim.board.keyboard import key_of

ACK = 0xFA


class Bench:
    def __init__(self) -> None:
        self.irq1, self.irq12, self.a20 = Probe(), Probe(), Probe()
        self.resets = 0
        self.chip = I8042(self.irq1, self.irq12, self._reset, self.a20)

    def _reset(self) -> None:
        self.resets += 1

    def command(self, *values: int) -> None:
        """A controller command and its parameter."""
        self.chip.port_write(0x64, 1, values[0])
        for value in values[1:]:
            self.chip.port_write(0x60, 1, value)

    def keyboard(self, *values: int) -> list[int]:
        for value in values:
            self.chip.port_write(0x60, 1, value)
        return self.drain()

    @property
    def status(self) -> int:
        return self.chip.port_read(0x64, 1)

    def drain(self) -> list[int]:
        data = []
        while self.status & 1:
            data.append(self.chip.port_read(0x60, 1))
        return data

    def ask(self, command: int) -> int:
        self.command(command)
        (answer,) = self.drain()
        return answer


def test_status_after_reset() -> None:
    assert Bench().status == 0x14


def test_controller_tests() -> None:
    bench = Bench()
    assert [bench.ask(command) for command in (0xAA, 0xAB, 0xA9)] == [0x55, 0x00, 0x00]


def test_command_byte() -> None:
    bench = Bench()
    assert bench.ask(0x20) == 0x65
    bench.command(0x60, 0x47)
    assert bench.ask(0x20) == 0x47
    bench.command(0xAD)
    assert bench.ask(0x20) == 0x57
    bench.command(0xAE)
    bench.command(0xA7)
    assert bench.ask(0x20) == 0x67
    bench.command(0x75, 0x99)
    assert bench.ask(0x35) == 0x99


def test_every_byte_is_an_edge() -> None:
    bench = Bench()
    bench.chip.press("a")
    bench.chip.release("a")
    assert bench.irq1.changes == [True]
    assert bench.chip.port_read(0x60, 1) == 0x1E
    assert bench.irq1.changes == [True, False, True]
    assert bench.chip.port_read(0x60, 1) == 0x9E
    assert bench.irq1.changes == [True, False, True, False]
    assert bench.chip.port_read(0x60, 1) == 0x9E  # the buffer keeps its last byte


def test_no_interrupt_if_the_command_byte_says_so() -> None:
    bench = Bench()
    bench.command(0x60, 0x64)
    bench.chip.press("a")
    assert bench.status & 1
    assert bench.irq1.changes == []


def test_untranslated_set_2() -> None:
    bench = Bench()
    bench.command(0x60, 0x05)
    bench.chip.chord("a")
    bench.chip.chord("up")
    assert bench.drain() == [0x1C, 0xF0, 0x1C, 0xE0, 0x75, 0xE0, 0xF0, 0x75]


def test_extended_keys_translated() -> None:
    bench = Bench()
    bench.chip.chord("rightctrl", "delete")
    assert bench.drain() == [0xE0, 0x1D, 0xE0, 0x53, 0xE0, 0xD3, 0xE0, 0x9D]


def test_alt_sysrq_c() -> None:
    bench = Bench()
    bench.chip.chord("leftalt", "sysrq", "c")
    assert bench.drain() == [0x38, 0x54, 0x2E, 0xAE, 0xD4, 0xB8]


def test_print_screen_without_alt() -> None:
    bench = Bench()
    bench.chip.chord("sysrq")
    assert bench.drain() == [0xE0, 0x2A, 0xE0, 0x37, 0xE0, 0xB7, 0xE0, 0xAA]


def test_typing() -> None:
    bench = Bench()
    bench.chip.type_text("aA!\n")
    assert bench.drain() == [0x1E, 0x9E, 0x2A, 0x1E, 0x9E, 0xAA, 0x2A, 0x02, 0x82, 0xAA, 0x1C, 0x9C]


def test_what_cannot_be_typed_is_refused_as_a_whole() -> None:
    bench = Bench()
    with pytest.raises(ValueError, match="no key types 'ü'"):
        bench.chip.type_text("abü")
    assert bench.drain() == []
    with pytest.raises(ValueError, match="no key is called 'any'"):
        bench.chip.press("any")


@pytest.mark.parametrize("character", sorted(set(string.printable) - set("\r\x0b\x0c")))
def test_every_printable_character_has_a_key(character: str) -> None:
    key_of(character)


def test_keyboard_commands() -> None:
    bench = Bench()
    assert bench.keyboard(0xFF) == [ACK, 0xAA]
    assert bench.keyboard(0xF2) == [ACK, 0xAB, 0x41]  # 0x83, translated
    assert bench.keyboard(0xEE) == [0xEE]
    assert bench.keyboard(0xED, 0x02) == [ACK, ACK]
    assert bench.chip.keyboard.leds == 2
    assert bench.keyboard(0xF3, 0x7F) == [ACK, ACK]
    assert bench.chip.keyboard.typematic == 0x7F
    assert bench.keyboard(0xF0, 0x00) == [ACK, ACK, 0x41]  # set 2, translated
    assert bench.keyboard(0xF0, 0x03) == [ACK, 0xFE]
    assert bench.keyboard(0x00) == [0xFE]
    assert bench.keyboard(0xFE) == [0xFE]
    assert bench.keyboard(0xED, 0xF4) == [ACK, ACK]  # a command takes the parameter's place
    assert bench.chip.keyboard.leds == 2


def test_a_disabled_keyboard_types_nothing() -> None:
    bench = Bench()
    assert bench.keyboard(0xF5) == [ACK]
    bench.chip.type_text("lost")
    assert bench.drain() == []
    assert bench.keyboard(0xF4) == [ACK]
    bench.chip.chord("x")
    assert bench.drain() == [0x2D, 0xAD]


def test_a_disabled_interface_holds_the_keyboard_back() -> None:
    bench = Bench()
    bench.command(0xAD)
    bench.chip.chord("x")
    assert bench.drain() == []
    bench.command(0xAE)
    assert bench.drain() == [0x2D, 0xAD]


def test_reset_by_pulse_and_by_output_port() -> None:
    bench = Bench()
    bench.command(0xFE)
    assert bench.resets == 1
    bench.command(0xFF)
    assert bench.resets == 1
    bench.command(0xD1, 0xCE)
    assert bench.resets == 2


def test_a20() -> None:
    bench = Bench()
    assert bench.ask(0xD0) & 2
    bench.command(0xD1, 0xDD)
    bench.command(0xD1, 0xDD)
    assert not bench.ask(0xD0) & 2
    bench.command(0xD1, 0xDF)
    assert bench.a20.changes == [False, True]


def test_bytes_put_into_the_buffers_by_software() -> None:
    bench = Bench()
    bench.command(0xD2, 0x77)
    assert bench.drain() == [0x77]
    bench.command(0xA8)
    bench.command(0x60, 0x47)
    bench.command(0xD3, 0x78)
    assert bench.status & 0x21 == 0x21
    assert bench.irq12.level
    assert bench.drain() == [0x78]
    assert not bench.irq12.level


def test_the_mouse_that_never_moves() -> None:
    bench = Bench()
    for command, answer in ((0xFF, [ACK, 0xAA, 0x00]), (0xF2, [ACK, 0x00]), (0xF4, [ACK])):
        bench.command(0xD4, command)
        assert bench.status & 0x20
        assert bench.drain() == answer
    bench.command(0xD4, 0xF3)
    bench.command(0xD4, 0xFF)  # a parameter, not a reset
    assert bench.drain() == [ACK, ACK]


steps = st.one_of(
    st.tuples(st.just("out"), st.sampled_from([0x60, 0x64]), st.integers(0, 255)),
    st.tuples(st.just("in"), st.sampled_from([0x60, 0x64]), st.none()),
    st.tuples(st.just("press"), st.sampled_from(["a", "up", "leftalt", "sysrq", "f7"]), st.none()),
    st.tuples(st.just("release"), st.sampled_from(["a", "up", "leftalt", "sysrq", "f7"]), st.none()),
)


@given(st.lists(steps, max_size=60))
def test_state_round_trips_and_lines_follow_the_buffer(script: list[tuple[str, Any, Any]]) -> None:
    bench = Bench()
    for kind, first, second in script:
        if kind == "out":
            bench.chip.port_write(first, 1, second)
        elif kind == "in":
            bench.chip.port_read(first, 1)
        elif kind == "press":
            bench.chip.press(first)
        else:
            bench.chip.release(first)
        status = bench.status
        assert not (bench.irq1.level and bench.irq12.level)
        assert not bench.irq1.level or status & 0x21 == 0x01
        assert not bench.irq12.level or status & 0x21 == 0x21
    copy = Bench()
    copy.chip.restore(bench.chip.state())
    assert copy.chip.state() == bench.chip.state()
    assert copy.drain() == bench.drain()


@given(st.text("abcXYZ019 !\n"))
def test_typed_text_is_as_many_presses_as_releases(text: str) -> None:
    bench = Bench()
    bench.chip.type_text(text)
    codes = bench.drain()
    pressed = sorted(code for code in codes if not code & 0x80)
    assert pressed == sorted(code & 0x7F for code in codes if code & 0x80)
