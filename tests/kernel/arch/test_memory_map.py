# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory map: /proc/iomem, crashkernel= that cannot be had, and maps with more ranges than there is room for."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from arch_machine import BOOTED, Guest

from guest_harness import guest as flat_guest
from kdumpsim import images
from kdumpsim.board.machine import MachineConfig
from kdumpsim.target import PAGE_OFFSET

MIB = 1 << 20
RESERVING = "Reserving 16MB of memory at 16MB for crashkernel"


def test_iomem_whole(boot: Callable[..., Any]) -> None:
    """As 2.6.16 fills it: the ROM first, so that the map's `reserved` at f0000 is refused; then map and video RAM."""
    guest = boot()
    symbol = {name: guest.first.symbols[name] - PAGE_OFFSET for name in ("_text", "_etext", "_sdata", "_end")}
    assert guest.text("/proc/iomem") == (
        "00000000-0009fbff : System RAM\n"
        "0009fc00-0009ffff : reserved\n"
        "000a0000-000bffff : Video RAM area\n"
        "000f0000-000fffff : System ROM\n"
        "00100000-03ffffff : System RAM\n"
        f"  {symbol['_text']:08x}-{symbol['_etext'] - 1:08x} : Kernel code\n"
        f"  {symbol['_sdata']:08x}-{symbol['_end'] - 1:08x} : Kernel data\n"
        "  01000000-01ffffff : Crash kernel\n"
        "fffc0000-ffffffff : reserved\n"
    )


def test_ram_in_two_pieces_that_touch_is_one(boot: Callable[..., Any]) -> None:
    """A region across the seam is in /proc/iomem, where kexec-tools look for it."""
    guest = boot("memmap=exactmap memmap=640K@0K memmap=19M@1M memmap=44M@20M")
    text = guest.text("/proc/iomem")
    assert "00100000-03ffffff : System RAM\n" in text
    assert "  01000000-01ffffff : Crash kernel\n" in text


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("64M@1M", "beyond low memory"),
        ("63M@1M", "in use by the kernel"),
        ("8M@1M", "in use by the kernel"),
        ("61M@3M", "too little memory would be left"),
        ("0@16M", "its size is 0"),
        ("16M@0", "begins below 1MB"),
        ("16M@512K", "begins below 1MB"),
        ("16M@64M", "beyond low memory"),
        ("16M@56M", "beyond low memory"),
        ("16M@0xfffff000", "beyond low memory"),
        ("4096M@16M", "beyond low memory"),
        ("4112M@16M", "beyond low memory"),
        ("16M@0x101000000", "beyond low memory"),
        ("0xffffffffff000000@32M", "beyond low memory"),
        ("16M@16385K", "not made of whole pages"),
        ("16385K@16M", "not made of whole pages"),
    ],
)
def test_a_bad_region_is_a_warning_and_a_boot_without_it(option: str, reason: str) -> None:
    guest = Guest(cmdline=f"console=ttyS0 crashkernel={option}")
    guest.until(BOOTED)
    (line,) = [line for line in guest.console.splitlines() if line.startswith("crashkernel reservation failed - ")]
    assert reason in line
    assert "Reserving" not in guest.console
    assert guest.word("crashk_res", 1) == 0
    assert "Memory: 64" in guest.console, "nothing is missing from what is available"


@pytest.mark.parametrize(
    ("memory", "holes", "option", "reason"),
    [
        (64 * MIB, ((20 * MIB, MIB),), "16M@16M", "not all of it is memory"),
        (1024 * MIB, (), "64M@880M", "beyond low memory"),
        (1024 * MIB, (), "64M@900M", "beyond low memory"),
    ],
)
def test_a_region_that_the_linear_map_does_not_show(
    memory: int, holes: tuple[tuple[int, int], ...], option: str, reason: str
) -> None:
    guest = Guest(MachineConfig(memory=memory, holes=holes), f"console=ttyS0 crashkernel={option}")
    guest.until(BOOTED)
    assert f": {reason}" in guest.console or reason in guest.console
    assert "Reserving" not in guest.console


@pytest.mark.parametrize("value", [
    "16M@", "@16M", "16M@16M,high", "much", "much@16M",
    "32M-", "32M-64M", "64M-32M:8M", "32M-64M:", "32M-64M:8M,", "32M-64M:8M,128M", "32M-64M:8M@", ":8M",
])  # fmt: skip
def test_what_is_no_region_is_said_to_be_none(value: str) -> None:
    guest = Guest(cmdline=f"console=ttyS0 crashkernel={value}")
    guest.until(BOOTED)
    assert f"Malformed early option 'crashkernel={value}'" in guest.console
    assert guest.word("crashk_res", 1) == 0


@pytest.mark.parametrize(
    ("memory", "option", "start", "size"),
    [
        (64, "16M", 48, 16),
        (32, "16M", 16, 16),
        (64, "17M", 47, 17),
        (128, "64M-128M:8M,128M-:16M", 112, 16),
        (64, "64M-128M:8M,128M-:16M", 56, 8),
        (64, "64M-128M:8M,128M-:16M@16M", 16, 8),
        (64, "0-:8M,64M-:16M", 56, 8),
    ],
)
def test_the_kernel_finds_a_place_and_a_size(memory: int, option: str, start: int, size: int) -> None:
    """The highest place there is; of several ranges that hold the memory the first decides."""
    guest = Guest(MachineConfig(memory=memory * MIB), f"console=ttyS0 crashkernel={option}")
    guest.until(BOOTED)
    assert f"Reserving {size}MB of memory at {start}MB for crashkernel" in guest.console
    assert guest.word("crashk_res", 1) == (start + size) * MIB - 1


def test_the_place_that_the_kernel_finds_is_memory() -> None:
    """Below the hole, though above it there is more memory than that."""
    guest = Guest(MachineConfig(memory=64 * MIB, holes=((49 * MIB, MIB),)), "console=ttyS0 crashkernel=16M")
    guest.until(BOOTED)
    assert "Reserving 16MB of memory at 33MB for crashkernel" in guest.console


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("63M", "no suitable area found"),
        ("4096M", "no suitable area found"),
        ("128M-:16M", "none of its ranges"),
        ("16M-64M:8M,128M-256M:16M@16M", "none of its ranges"),
    ],
)
def test_no_place_or_no_size_is_a_warning_and_a_boot_without_it(option: str, reason: str) -> None:
    guest = Guest(cmdline=f"console=ttyS0 crashkernel={option}")
    guest.until(BOOTED)
    (line,) = [line for line in guest.console.splitlines() if line.startswith("crashkernel reservation failed - ")]
    assert reason in line
    assert guest.word("crashk_res", 1) == 0
    assert "Memory: 64" in guest.console, "nothing is missing from what is available"


def test_nothing_is_put_into_the_region_while_the_kernel_boots() -> None:
    """A region right behind the kernel, where the boot allocator would have its bitmap."""
    start = -(-images.kernel().physical_end // 4096) * 4096 + 4096
    guest = Guest(MachineConfig(memory=512 * MIB), f"console=ttyS0 crashkernel=16M@{start:#x}")
    view = guest.machine.memory.view
    view[start : start + 16 * MIB] = before = b"\xee" * (16 * MIB)
    guest.until(BOOTED)
    assert "Reserving 16MB of memory" in guest.console
    assert bytes(view[start : start + 16 * MIB]) == before


def test_the_bitmap_does_not_go_into_a_hole() -> None:
    """With a hole from the kernel's last page on, it goes behind the hole."""
    end = -(-images.kernel().physical_end // 4096) * 4096
    guest = Guest(MachineConfig(memory=64 * MIB, holes=((end, MIB),)))
    guest.until(BOOTED)


def holes(count: int) -> tuple[tuple[int, int], ...]:
    return tuple((2 * MIB + i * MIB, 4096) for i in range(count))


def test_what_does_not_fit_into_the_map_is_said() -> None:
    """27 holes and the four ranges of a PC are the 32 that fit; with more, the last ones are named."""
    fits = Guest(MachineConfig(holes=holes(27)))
    fits.until(BOOTED)
    assert "Too many entries" not in fits.console
    guest = Guest(MachineConfig(holes=holes(29)))
    guest.until(BOOTED)
    assert guest.console.count("Ooops! Too many entries in the memory map!") == 2
    assert "e820: dropped 0000000001e01000 - 0000000004000000 (usable)\n" in guest.console
    assert "e820: dropped 00000000fffc0000 - 0000000100000000 (reserved)\n" in guest.console


@pytest.mark.parametrize("kind", [2, 3, 4])
def test_a_range_that_is_no_ram_is_never_used_though_the_map_is_full(kind: int) -> None:
    g = flat_guest()
    g.reset()
    e820 = g.symbols["e820"]
    g.write(e820, bytes(4 + 32 * 20))
    for i in range(32):
        g.call("add_memory_region", 2 * i * MIB, 0, MIB, 0, 1)
    g.call("add_memory_region", 4 * MIB + 0x80000, 0, 4 * MIB, 0, kind)
    g.call("sanitize_e820_map")
    (count,) = struct.unpack("<I", g.read(e820, 4))
    ranges = [struct.unpack("<QQI", g.read(e820 + 4 + 20 * i, 20)) for i in range(count)]
    ram = [(start, start + size) for start, size, _ in ranges]
    assert ram[:5] == [
        (0, MIB), (2 * MIB, 3 * MIB), (4 * MIB, 4 * MIB + 0x80000), (10 * MIB, 11 * MIB), (12 * MIB, 13 * MIB),
    ]  # fmt: skip
    g.write(e820, bytes(4 + 32 * 20))
