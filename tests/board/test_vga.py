# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.vga import TEXT_MEMORY, Vga


def crtc(vga: Vga, index: int, value: int) -> None:
    vga.port_write(0x3D4, 2, index | value << 8)


def shown(vga: Vga, memory: memoryview) -> list[str]:
    return [line.rstrip() for line in vga.screen(memory).lines]


def test_cursor_text_and_attributes() -> None:
    vga, memory = Vga(), memoryview(bytearray(0xC0000))
    memory[TEXT_MEMORY : TEXT_MEMORY + 10] = b"h\x07e\x1fl\x8cl\x07o\x07"
    memory[TEXT_MEMORY + 162 : TEXT_MEMORY + 164] = b"x\x07"
    screen = vga.screen(memory)
    assert [len(line) for line in screen.lines] == [80] * 25
    assert shown(vga, memory)[:3] == ["hello", " x", ""]
    assert screen.attributes[:5] == b"\x07\x1f\x8c\x07\x07"
    assert (screen.cursor, screen.blinks, screen.graphics) == ((0, 0), True, False)
    crtc(vga, 0x0E, 0)
    crtc(vga, 0x0F, 83)
    assert vga.screen(memory).cursor == (3, 1)
    crtc(vga, 0x0D, 80)
    assert shown(vga, memory)[:2] == [" x", ""]
    assert vga.screen(memory).cursor == (3, 0)


def test_a_cursor_that_is_off_or_elsewhere() -> None:
    vga, memory = Vga(), memoryview(bytearray(0xC0000))
    crtc(vga, 0x0A, 0x20)
    assert vga.screen(memory).cursor is None
    crtc(vga, 0x0A, 0x0F)  # begins below the line where it ends
    assert vga.screen(memory).cursor is None
    crtc(vga, 0x0A, 0x0D)
    assert vga.screen(memory).cursor == (0, 0)
    crtc(vga, 0x0E, 0x07)
    crtc(vga, 0x0F, 0xD0)  # the cell after the last one shown
    assert vga.screen(memory).cursor is None


def test_addresses_wrap_around() -> None:
    vga, memory = Vga(), memoryview(bytearray(0xC0000))
    memory[TEXT_MEMORY : TEXT_MEMORY + 2] = b"b\x07"
    memory[TEXT_MEMORY + 0x7FFE : TEXT_MEMORY + 0x8000] = b"a\x07"
    crtc(vga, 0x0C, 0x3F)
    crtc(vga, 0x0D, 0xFF)
    assert shown(vga, memory)[0] == "ab"
    crtc(vga, 0x0C, 0xFF)
    assert shown(vga, memory)[0] == "ab"


def test_control_characters_are_the_fonts_glyphs() -> None:
    vga, memory = Vga(), memoryview(bytearray(0xC0000))
    for code in range(256):
        memory[TEXT_MEMORY + 2 * code] = code
    characters = "".join(vga.screen(memory).lines)[:256]
    assert all(character.isprintable() for character in characters)
    assert (characters[0], characters[1], characters[0x1B], characters[0x7F], characters[0xDB]) == (
        " ", "☺", "←", "⌂", "█",
    )  # fmt: skip


def test_blinking_and_graphics() -> None:
    vga, memory = Vga(), memoryview(bytearray(0xC0000))
    vga.port_read(0x3DA, 1)
    vga.port_write(0x3C0, 1, 0x30)
    vga.port_write(0x3C0, 1, 0x04)
    assert not vga.screen(memory).blinks
    vga.port_write(0x3CE, 2, 0x0506)
    assert vga.screen(memory).graphics


def test_register_files_keep_what_is_written() -> None:
    vga = Vga()
    for index_port, count in ((0x3C4, 5), (0x3CE, 9), (0x3D4, 25)):
        for index in range(count):
            vga.port_write(index_port, 1, index)
            vga.port_write(index_port + 1, 1, index * 7)
        for index in range(count):
            vga.port_write(index_port, 1, index)
            assert vga.port_read(index_port, 1) == index
            assert vga.port_read(index_port + 1, 1) == index * 7
    vga.port_read(0x3DA, 1)
    vga.port_write(0x3C0, 1, 0x10)
    vga.port_write(0x3C0, 1, 0x55)
    vga.port_write(0x3C0, 1, 0x30)
    assert vga.port_read(0x3C1, 1) == 0x55
    assert vga.port_read(0x3DA, 1) != vga.port_read(0x3DA, 1)
    vga.port_write(0x3C8, 1, 5)
    for value in (1, 2, 3):
        vga.port_write(0x3C9, 1, value)
    vga.port_write(0x3C7, 1, 5)
    assert [vga.port_read(0x3C9, 1) for _ in range(3)] == [1, 2, 3]


@given(st.lists(st.tuples(st.integers(0x3C0, 0x3DF), st.sampled_from([1, 2]), st.integers(0, 0xFFFF)), max_size=60))
def test_any_access_and_the_way_back(accesses: list[tuple[int, int, int]]) -> None:
    vga, other = Vga(), Vga()
    for port, size, value in accesses:
        vga.port_write(port, size, value & (1 << 8 * size) - 1)
        assert 0 <= vga.port_read(port, size) < 1 << 8 * size
    other.restore(vga.state())
    assert other.state() == vga.state()
    assert len(vga.screen(memoryview(bytearray(0xC0000))).lines) == 25
    vga.reset()
    assert vga.state() == Vga().state()
