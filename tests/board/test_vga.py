# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.vga import TEXT_MEMORY, Vga


def crtc(vga: Vga, index: int, value: int) -> None:
    vga.port_write(0x3D4, 2, index | value << 8)


def test_cursor_and_text() -> None:
    vga, memory = Vga(), memoryview(bytearray(0xC0000))
    memory[TEXT_MEMORY : TEXT_MEMORY + 10] = b"h\7e\7l\7l\7o\7"
    memory[TEXT_MEMORY + 162 : TEXT_MEMORY + 164] = b"x\7"
    assert vga.text(memory)[:3] == ["hello", " x", ""]
    assert len(vga.text(memory)) == 25
    crtc(vga, 0x0E, 0)
    crtc(vga, 0x0F, 83)
    assert vga.cursor == (3, 1)
    crtc(vga, 0x0D, 80)
    assert vga.text(memory)[:2] == [" x", ""]
    assert vga.cursor == (3, 0)


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
    assert len(vga.text(memoryview(bytearray(0xC0000)))) == 25
    vga.reset()
    assert vga.state() == Vga().state()
