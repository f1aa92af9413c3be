# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical memory: what CPUs map, what bus masters reach, snapshots."""

from __future__ import annotations

import os

import pytest

from kdumpsim.board import residency
from kdumpsim.board.memory import Memory, nonzero_pages

MIB = 1 << 20


def test_cpus_see_ram_without_the_holes_and_a_rom() -> None:
    memory = Memory(8 * MIB, [(4 * MIB, MIB)])
    layout = [(block.base, block.base + block.size, block.writable) for block in memory.blocks]
    assert layout == [
        (0, 0xA0000, True),
        (0xB8000, 0xC0000, True),
        (0xF0000, MIB, False),
        (MIB, 4 * MIB, True),
        (5 * MIB, 8 * MIB, True),
        (0xFFFF0000, 1 << 32, False),
    ]
    assert memory.is_ram(0x9FFFF)
    assert not any(memory.is_ram(address) for address in (0xA0000, 0xB8000, 0xF0000, 4 * MIB, 8 * MIB, 0xFFFFFFFF))


def test_dma_reaches_ram_only() -> None:
    memory = Memory(4 * MIB, [(2 * MIB, MIB)])
    written: list[tuple[int, int]] = []
    memory.written = lambda begin, end: written.append((begin, end))
    memory.dma_write(2 * MIB - 2, b"abcd")
    assert memory.dma_read(2 * MIB - 2, 4) == b"ab\xff\xff"
    assert bytes(memory.view[2 * MIB : 2 * MIB + 2]) == b"\0\0"
    assert written == [(2 * MIB - 2, 2 * MIB)]
    memory.dma_write(4 * MIB - 1, b"xy")
    assert memory.dma_read(4 * MIB - 1, 2) == b"x\xff"
    memory.dma_write(0xFFFFF000, b"lost")
    memory.dma_write(0xF0000, b"lost")
    assert memory.dma_read(0xF0000, 4) == b"\0\0\0\0"
    assert memory.dma_read(0xA0000, 2) == b"\xff\xff"


def test_what_devices_read_is_told_to_whoever_wants_to_know() -> None:
    memory = Memory(4 * MIB, [(2 * MIB, MIB)])
    assert memory.dma_read(MIB, 4) == bytes(4)
    told: list[tuple[int, int]] = []
    memory.read = lambda begin, end: told.append((begin, end))
    memory.dma_read(MIB, 512)
    memory.dma_read(2 * MIB - 2, 4)
    memory.dma_read(0xFFFFF000, 4)
    memory.dma_write(MIB, b"no read")
    assert told == [(MIB, MIB + 512), (2 * MIB - 2, 2 * MIB)], "of RAM, and of that alone"


def test_who_masters_a_write_is_known_while_it_is_told() -> None:
    memory = Memory(2 * MIB)
    told: list[tuple[str, int, int]] = []
    memory.written = lambda begin, end: told.append((memory.master, begin, end))
    memory.port("ide").dma_write(0x8000, b"abc")
    memory.dma_write(0x9000, b"d")
    assert told == [("ide", 0x8000, 0x8003), ("", 0x9000, 0x9001)]
    assert memory.port("sata").dma_read(0x8000, 3) == b"abc"


def test_snapshot_keeps_what_is_not_zero() -> None:
    memory = Memory(4 * MIB)
    memory.view[0x1234] = 1
    memory.view[0x300FFF] = 2
    pages = memory.pages()
    assert sorted(pages) == [0x1000, 0x300000]
    memory.view[0x200000] = 9
    memory.restore({"pages": pages})
    assert memory.pages() == pages


@pytest.mark.parametrize(
    ("size", "holes"),
    [(MIB, ()), (4 * MIB + 1, ()), (1 << 32, ()), (4 * MIB, ((0x50000, 0x1000),)), (4 * MIB, ((2 * MIB, 5),)),
     (4 * MIB, ((3 * MIB, 2 * MIB),)), (8 * MIB, ((2 * MIB, MIB), (2 * MIB, MIB)))],
)  # fmt: skip
def test_bad_configurations_are_refused(size: int, holes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match=r"memory|hole"):
        Memory(size, holes)


def test_a_forked_process_has_its_own() -> None:
    memory = Memory(4 * MIB)
    child = os.fork()
    if child == 0:
        memory.view[0] = 1
        os._exit(0)
    os.waitpid(child, 0)
    assert memory.view[0] == 0


def touch(memory: Memory, places: list[tuple[int, bytes]]) -> None:
    for at, data in places:
        memory.view[at : at + len(data)] = data


PLACES = [(0x5000, b"a"), (0x9F000, b"b"), (0x100FFF, b"cd"), (0x3FF000, bytes(4095) + b"e"), (0x200000, bytes(9))]


@pytest.mark.parametrize("told", [True, False])
def test_a_fork_finds_what_it_has_changed_whether_the_host_tells_or_not(
    told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not told:
        monkeypatch.setattr(residency, "PAGEMAP", "/nowhere")
    caplog.set_level("INFO")
    memory = Memory(4 << 20)
    touch(memory, PLACES)
    assert memory.pages() == nonzero_pages(memory.view)
    assert ("all memory is looked at" in caplog.text) is not told
    memory.remember()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        touch(memory, [(0x5000, b"x"), (0x9F000, b"\0"), (0x200003, b"new"), (0x300000, b"y"), (0x300000, b"\0")])
        before, memory.view[0x5000] = memory.pages(), 0
        after = memory.pages()
        right = before[0x5000][:1] == b"x" and after == nonzero_pages(memory.view)
        os.write(writer, bytes([right, 0x5000 in after]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 2) == b"\1\0"
    assert memory.pages() == nonzero_pages(memory.view)


@pytest.mark.parametrize("how", ["dma", "restore"])
def test_what_was_remembered_is_forgotten_when_memory_changes(how: str) -> None:
    memory = Memory(4 << 20)
    touch(memory, PLACES)
    state = memory.state()
    memory.remember()
    if how == "dma":
        memory.dma_write(0x300000, b"z")
    else:
        memory.restore({"pages": {0x300000: b"z" * 4096}})
    child = os.fork()
    if child == 0:
        os._exit(memory.pages() == nonzero_pages(memory.view))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    memory.restore(state)
    assert memory.pages() == nonzero_pages(memory.view) == state["pages"]
