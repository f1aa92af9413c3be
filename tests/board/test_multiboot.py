# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board import firmware
from kdumpsim.board.multiboot import BootError, BootState, Module, find_header, load

MAGIC = 0x1BADB002


class Memory:
    def __init__(self, size: int = 4 << 20) -> None:
        self.view = memoryview(bytearray(size))


def header(flags: int = 3, *fields: int) -> bytes:
    return struct.pack("<3I", MAGIC, flags, -(MAGIC + flags) & 0xFFFFFFFF) + struct.pack(f"<{len(fields)}I", *fields)


def elf(*segments: tuple[int, int, bytes, int], entry: int, machine: int = 3, bits: int = 1, kind: int = 2) -> bytes:
    """An ELF32 file of (vaddr, paddr, data, memsz) segments."""
    ident = struct.pack("<4s5B7x", b"\x7fELF", bits, 1, 1, 0, 0)
    out = bytearray(
        ident + struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, entry, 52, 0, 0, 52, 32, len(segments), 0, 0, 0)
    )
    offset = 52 + 32 * len(segments)
    for vaddr, paddr, data, memsz in segments:
        out += struct.pack("<8I", 1, offset, vaddr, paddr, len(data), memsz, 7, 4096)
        offset += len(data)
    for _, _, data, _ in segments:
        out += data
    return bytes(out)


KERNEL = header() + b"\x90" * 100


def boot(
    image: bytes, memory: Memory | None = None, cmdline: str = "k", modules: tuple[Module | bytes, ...] = ()
) -> BootState:
    memory = memory or Memory()
    return load(image, cmdline, modules, memory, firmware.e820(len(memory.view)))


def string(view: memoryview, at: int) -> bytes:
    return bytes(view[at : at + 200]).split(b"\0")[0]


def words(view: memoryview, at: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", view, at)


def test_elf_kernel_is_loaded_by_physical_address() -> None:
    memory = Memory()
    memory.view[0x200000:0x202000] = b"\xee" * 0x2000
    image = elf((0xC0100000, 0x100000, KERNEL, len(KERNEL)), (0xC0200000, 0x200000, b"data", 0x1000), entry=0xC010000C)
    state = boot(image, memory)
    assert state.eip == 0x10000C
    assert state.eax == 0x2BADB002
    assert (state.cr0, state.eflags, state.cs, state.ds) == (0x11, 2, 8, 16)
    assert bytes(memory.view[0x100000 : 0x100000 + len(KERNEL)]) == KERNEL
    assert bytes(memory.view[0x200000:0x201000]) == b"data" + bytes(0xFFC)
    assert memory.view[0x201000] == 0xEE


def test_physical_entry_stays() -> None:
    assert boot(elf((0x80100000, 0x100000, KERNEL, 200), entry=0x10000C)).eip == 0x10000C


def test_information_structure() -> None:
    memory = Memory()
    image = elf((0x100000, 0x100000, KERNEL, 0x1234), entry=0x10000C)
    state = boot(image, memory, "vmlinux a=1 b", (Module(b"m" * 5000, "mod one"), b"two"))
    view, at = memory.view, state.ebx
    flags, lower, upper, device, cmdline, mods_count, mods = words(view, at, 7)
    assert flags == 0x24F
    assert (lower, upper, device) == (639, 3 * 1024, 0x8000FFFF)
    assert string(view, cmdline) == b"vmlinux a=1 b"
    assert mods_count == 2
    begin, end, name, _ = words(view, mods, 4)
    assert begin == 0x102000
    assert bytes(view[begin:end]) == b"m" * 5000
    assert string(view, name) == b"mod one"
    begin, end, name, _ = words(view, mods + 16, 4)
    assert begin == 0x104000
    assert bytes(view[begin:end]) == b"two"
    assert string(view, name) == b""
    length, address = words(view, at + 44, 2)
    entries = []
    while length:
        size, base, extent, kind = struct.unpack_from("<IQQI", view, address)
        entries.append((base, extent, kind))
        address, length = address + size + 4, length - size - 4
    assert entries == [tuple(entry) for entry in firmware.e820(len(view))]
    assert string(view, words(view, at + 64, 1)[0]) == b"kdumpsim"


def test_no_modules_no_flag() -> None:
    memory = Memory()
    state = boot(elf((0x100000, 0x100000, KERNEL, 200), entry=0x10000C), memory)
    assert words(memory.view, state.ebx, 1)[0] == 0x247


def test_information_moves_out_of_the_way_of_a_low_kernel() -> None:
    memory = Memory()
    low = b"\x11" * 0x4000
    state = boot(elf((0x100000, 0x100000, KERNEL, 200), (0x8000, 0x8000, low, len(low)), entry=0x10000C), memory)
    assert state.ebx == 0x101000
    assert bytes(memory.view[0x8000:0xC000]) == low


def test_a_position_independent_kernel_is_loaded_where_it_says() -> None:
    memory = Memory()
    assert boot(elf((0x200000, 0x200000, KERNEL, 200), entry=0x20000C, kind=3), memory).eip == 0x20000C
    assert bytes(memory.view[0x200000 : 0x200000 + len(KERNEL)]) == KERNEL


@pytest.mark.parametrize("parts", [((0xFF000, 0x1000), (0x100000, 0x200)), ((0xFF000, 0x1200),), ((0xFFF80, 0x280),)])
def test_what_falls_into_the_rom_is_lost(parts: tuple[tuple[int, int], ...]) -> None:
    """ld's page with the ELF header, before a kernel at 1 MiB: a segment of its own, or the beginning of the first."""
    memory = Memory()
    memory.view[0xF0000:0x100000] = b"R" * 0x10000
    whole = KERNEL.ljust(0x1000, b"\x11") + b"\x22" * 0x200
    segments = [(at, at, whole[at - 0xFF000 : at - 0xFF000 + size], size + 0x80) for at, size in parts]
    assert boot(elf(*segments, entry=0x10000C) + KERNEL, memory).eip == 0x10000C
    assert bytes(memory.view[0xF0000:0x100000]) == b"R" * 0x10000
    assert bytes(memory.view[0x100000:0x100280]) == b"\x22" * 0x200 + bytes(0x80)


def test_address_fields() -> None:
    memory = Memory()
    memory.view[0x100000:0x110000] = b"\xee" * 0x10000
    flat = b"\xcc" * 16 + header(0x10003, 0x100010, 0x100000, 0x100100, 0x100200, 0x100030) + b"\x90" * 500
    state = boot(flat, memory)
    assert state.eip == 0x100030
    assert bytes(memory.view[0x100000:0x100100]) == flat[:0x100]
    assert bytes(memory.view[0x100100:0x100200]) == bytes(0x100)
    assert memory.view[0x100200] == 0xEE
    whole = header(0x10000, 0x100000, 0x100000, 0, 0, 0x100020) + b"\x90" * 100
    boot(whole, memory)
    assert bytes(memory.view[0x100000 : 0x100000 + len(whole)]) == whole


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\n" * 100, "neither an ELF"),
        (elf((0, 0x100000, b"\x90" * 64, 64), entry=0x100000), "no Multiboot header"),
        (elf((0, 0x100000, b"\x90" * 64, 64), entry=0, bits=2), "64-bit"),
        (elf((0, 0x100000, KERNEL, 200), entry=0, bits=2, machine=62), "64-bit"),
        (elf((0, 0x100000, KERNEL, 200), entry=0, machine=40), "not an ELF file for the i386"),
        (elf((0, 0x100000, KERNEL, 200), entry=0, kind=1), "not an executable"),
        (elf((0, 0x100000, KERNEL, 200), entry=0)[:90], "neither|no Multiboot"),
        (elf((0, 0x100000, KERNEL, 200), entry=0)[:-50], "cut off"),
        (elf(entry=0) + KERNEL, "nothing to load"),
        (elf((0, 0x100000, KERNEL, 64 << 20), entry=0), "does not fit.*0x100000..0x400000"),
        (elf((0, 0xA0000, KERNEL, 200), entry=0), "does not fit"),
        (elf((0, 0xEF000, KERNEL, 0x20000), entry=0), "does not fit"),
        (elf((0xF8000, 0xF8000, KERNEL, 200), (0x100000, 0x100000, b"x", 1), entry=0xF800C), "ROM"),
        (elf((0xC00F8000, 0xF8000, KERNEL, 0x10000), entry=0xC00F800C), "ROM"),
        (elf((0, 0xF8000, KERNEL, 200), entry=0x100000), "ROM"),
        (header(3) + bytes(100), "not an ELF file, and"),
        (header(0x8) + bytes(100), "features 0x8"),
        (header(0x10003, 0x100000, 0x100000, 0x200000, 0, 0), "do not fit the file"),
        (header(0x10003, 0x100000, 0x100004, 0, 0, 0), "do not fit the file"),
        (header(0x10003, 0x100000, 0x100000, 0, 0x100004, 0) + bytes(9), "bss"),
        (b"\x90" * 8192 + KERNEL, "first 8 KiB"),
    ],
)
def test_errors_are_clear_and_leave_memory_alone(image: bytes, message: str) -> None:
    memory = Memory()
    with pytest.raises(BootError, match=message):
        boot(image, memory)
    assert not any(memory.view[::509])


def test_segments_cannot_fill_memory_again_and_again() -> None:
    """65,535 program headers in two megabytes, each asking for most of memory."""
    count = 0xFFFF
    image = bytearray(elf((0x100000, 0x100000, KERNEL, 200), entry=0x10000C))
    row = struct.pack("<8I", 1, 84, 0x100000, 0x100000, len(KERNEL), 0x2F0000, 7, 4096)
    struct.pack_into("<I", image, 28, len(image))
    struct.pack_into("<H", image, 44, count)
    with pytest.raises(BootError, match="larger than memory"):
        boot(bytes(image) + row * count)


extremes = st.sampled_from([0, 1, 2, 3, 32, 0x7F, 0xFFFF, 0xF0000, 0xFFFFF, 0x100000, 0x7FFFFFFF, 0xFFFFFFFF])


@given(st.lists(st.tuples(st.integers(0, 36), extremes | st.integers(0, 2**32 - 1)), min_size=1, max_size=4))
def test_damaged_headers_raise_nothing_but_boot_error(damage: list[tuple[int, int]]) -> None:
    flat = header(0x10003, 0x100000, 0x100000, 0, 0, 0x100020) + bytes(100)
    for image in (elf((0xC0100000, 0x100000, KERNEL, 0x1000), (0, 0x200000, b"", 9), entry=0xC010000C), flat):
        damaged = bytearray(image)
        for place, value in damage:
            if 4 * place + 4 <= len(damaged):
                struct.pack_into("<I", damaged, 4 * place, value)
        with contextlib.suppress(BootError):
            assert boot(bytes(damaged)).eax == 0x2BADB002


def test_module_that_does_not_fit() -> None:
    with pytest.raises(BootError, match="module 1"):
        boot(elf((0x100000, 0x100000, KERNEL, 200), entry=0x10000C), modules=(b"x", bytes(3 << 20)))


@given(st.integers(0, 8200), st.integers(0, 0xFFFF), st.integers(0, 1))
def test_header_search(offset: int, flags: int, damage: int) -> None:
    head = bytearray(header(flags))
    head[8] ^= damage
    found = find_header(bytes(offset) + bytes(head) + bytes(100))
    if damage or offset % 4 or offset + 12 > 8192:
        assert found is None
    else:
        assert found == (offset, flags, 0, 0, 0, 0, 0)


@given(st.binary(max_size=120), st.integers(0, 300), st.binary(max_size=8))
def test_damaged_files_raise_nothing_but_boot_error(tail: bytes, at: int, noise: bytes) -> None:
    image = bytearray(elf((0xC0100000, 0x100000, KERNEL, 0x1000), entry=0xC010000C) + tail)
    image[at : at + len(noise)] = noise
    with contextlib.suppress(BootError):
        assert boot(bytes(image)).eax == 0x2BADB002
