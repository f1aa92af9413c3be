# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel file says of an address, and its instructions; gdb is the referee."""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim import images
from kdumpsim.compiler import compile_modules
from kdumpsim.compiler.linker import Layout, link
from kdumpsim.vmcore.debuginfo import DebugInfo, DebugInfoError
from kdumpsim.vmcore.disassembly import disassemble

FUNCTIONS = ("panic", "ll_rw_block", "do_page_fault", "dtt_overflow", "system_call")


@pytest.fixture(scope="module")
def info() -> DebugInfo:
    return DebugInfo(images.kernel().elf)


@pytest.fixture
def gdb(tmp_path: Path, require_tool: Callable[[str], str]) -> Callable[[list[str]], list[str]]:
    """What gdb says to each of some commands, a line each."""
    vmlinux = tmp_path / "vmlinux"
    vmlinux.write_bytes(images.kernel().elf)

    def ask(commands: list[str]) -> list[str]:
        words = [word for command in ["set width 0", *commands] for word in ("-ex", command)]
        done = subprocess.run(
            [require_tool("gdb"), "-nx", "-batch", *words, str(vmlinux)],
            capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    return ask


def test_functions_and_lines_are_those_gdb_finds(info: DebugInfo, gdb: Callable[[list[str]], list[str]]) -> None:
    symbols = images.kernel().symbols
    addresses = [symbols[name] + offset for name in FUNCTIONS for offset in (0, 1, 7, 20)]
    said = gdb([command for address in addresses for command in (f"info symbol {address}", f"info line *{address}")])
    for address, symbol, line in zip(addresses, said[::2], said[1::2], strict=True):
        function = info.function(address)
        assert function is not None
        offset = address - function.start
        expected = function.name + (f" + {offset}" if offset else "")
        assert symbol == f"{expected} in section .text"
        match = re.match(r'Line (\d+) of "(.*?)"', line)
        assert info.line(address) == (match and (match[2], int(match[1]))), line


def test_instructions_begin_where_gdb_says(info: DebugInfo, gdb: Callable[[list[str]], list[str]]) -> None:
    for name in FUNCTIONS:
        function = info.function(images.kernel().symbols[name])
        assert function is not None
        ours = disassemble(info.code(function.start, function.size), function.start)
        theirs = gdb([f"x/{len(ours)}i {function.start}"])
        assert [i.address for i in ours] == [int(re.findall(r"0x([0-9a-f]+) <", line)[0], 16) for line in theirs]


def test_outside_the_kernel_there_is_nothing(info: DebugInfo) -> None:
    for address in (0, 0xBFFFFFFF, 0xFFFFFFFF):
        assert info.function(address) is None
        assert info.line(address) is None
        assert info.code(address, 4) == b""


@pytest.mark.parametrize("data", [b"", b"no ELF file at all", images.purgatory()[:64]])
def test_a_file_that_is_no_kernel_is_refused(data: bytes) -> None:
    with pytest.raises(DebugInfoError):
        DebugInfo(data)


def words(image: bytes, offset: int, count: int) -> list[int]:
    return [offset + 4 * number for number in range(count) if offset + 4 * number + 4 <= len(image)]


@cache
def small() -> bytes:
    """An image of one module: symbols, lines and code, as a kernel has them."""
    objects = compile_modules(["kdumpsim.kernel.core.libgcc"])
    return link(objects, Layout(0xC0100000, 0x100000, "__udivdi3")).elf


@given(st.data())
def test_a_damaged_kernel_file_is_read_or_refused(data: st.DataObject) -> None:
    whole = small()
    (sections,), (count,) = struct.unpack_from("<I", whole, 32), struct.unpack_from("<H", whole, 48)
    headers = [struct.unpack_from("<10I", whole, sections + 40 * number) for number in range(count)]
    places = words(whole, 0, 13) + words(whole, sections, 10 * count)
    for header in headers:
        places += words(whole, header[4], min(header[5], 400) // 4)
    image = bytearray(whole)
    for at in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=4)):
        struct.pack_into("<I", image, at, data.draw(st.sampled_from([0, 1, 0xFFFFFFFF]) | st.integers(0, 2**32 - 1)))
    with contextlib.suppress(DebugInfoError):
        damaged = DebugInfo(bytes(image))
        damaged.line(0xC0100000)
        assert len(damaged.code(0xC0100000, 64)) <= 64


def test_what_is_no_instruction_is_called_bad() -> None:
    texts = [i.text for i in disassemble(b"\x0f\xff\x90" + b"\x90" * 15, 0x1000)]
    assert texts[:2] != ["nop", "nop"]
    assert "nop" in texts


def test_an_instruction_that_is_cut_off_is_left_out() -> None:
    assert [i.text for i in disassemble(b"\x90\xb8\x00\x00", 0x1000)] == ["nop"]
