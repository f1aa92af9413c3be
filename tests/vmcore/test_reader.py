# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading dumps; readelf and gdb are the referees of the ones the tests make."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.vmcore.reader import MAX_NOTES, Vmcore, VmcoreError

from .builders import FULL, MIB, FakeMachine, dump, note, prstatus

EXTREMES = st.sampled_from([0, 1, 4, 7, 32, 0x7F, 0x1000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
MUTATIONS = st.lists(
    st.tuples(st.integers(0, 0x280), st.sampled_from("BHIQ"), EXTREMES | st.integers(0, 2**64 - 1)),
    min_size=1,
    max_size=6,
)
"""Places in a file's headers, and what is written there instead."""


@pytest.fixture
def memory() -> memoryview:
    view = FakeMachine().memory.view
    view[0x1234:0x1238] = b"low!"
    view[MIB : MIB + 4] = b"text"
    view[3 * MIB - 2 : 3 * MIB + 2] = b"edge"
    return view


@pytest.mark.parametrize("bits", [32, 64])
def test_memory_and_notes(memory: memoryview, tmp_path: Path, bits: int) -> None:
    notes = prstatus(5, {"eip": 0xC0100010, "esp": 0xC0300000}) + prstatus(0, {"eip": 0xC0100020})
    notes += note(b"VMCOREINFO", 0, b"OSRELEASE=2.6.16\nPAGESIZE=4096\n")
    second = prstatus(0, {"eip": 0xC0100020})
    memory[0x3000 : 0x3000 + len(second)] = second
    memory[0x5000:0x500C] = struct.pack("<III", 5, 4096, 1)
    path = tmp_path / "vmcore"
    path.write_bytes(dump(memory, FULL, notes, bits=bits))
    with Vmcore(path) as core:
        assert (core.bits, core.machine) == (bits, "EM_386")
        assert [(load.paddr, load.size) for load in core.loads] == [(0, 0xA0000), (MIB, MIB), (3 * MIB, MIB)]
        assert core.read_physical(0x1234, 4) == b"low!"
        assert core.read_virtual(0xC0100000, 4) == b"text"
        assert core.read_physical(3 * MIB, 2) == b"ge"
        assert [(cpu.pid, cpu.registers["eip"]) for cpu in core.cpus] == [(5, 0xC0100010), (0, 0xC0100020)]
        assert core.cpus_at(0x3000, 1024) == core.cpus[1:]
        assert core.cpus_at(0x4000, 1024) == []  # nothing was ever written there
        assert core.cpus_at(0x5000, 1024) == []  # a note that says it is larger than its area
        assert core.cpus_at(2 * MIB, 1024) == []  # not in the dump
        assert core.vmcoreinfo == {"OSRELEASE": "2.6.16", "PAGESIZE": "4096"}
        pages = dict(core.pages())
        assert len(pages) == 0xA0 + 512
        assert pages[0x1000][0x234:0x238] == b"low!"
        for address in (0xA0000, 2 * MIB, 3 * MIB - 1, 4 * MIB - 1):
            with pytest.raises(VmcoreError, match="is not in the dump"):
                core.read_physical(address, 2)


def test_reading_holes_does_not_allocate_them(memory: memoryview) -> None:
    """On a full tmpfs the allocation of a hole is SIGBUS for whoever reads it through a mapping."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("this host has no tmpfs at /dev/shm")
    whole = dump(memory, FULL)
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(whole[:4096])
        file.truncate(len(whole))
        file.flush()
        before = os.stat(file.name).st_blocks
        with Vmcore(file.name) as core:
            assert sum(len(page) for _, page in core.pages()) == len(whole) - 4096
        assert os.stat(file.name).st_blocks == before


def test_reading_across_two_loads(memory: memoryview, tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(dump(memory, [(0, MIB + 2), (MIB + 2, 2 * MIB)]))
    with Vmcore(path) as core:
        assert core.read_physical(MIB, 4) == b"text"
        assert core.vmcoreinfo is None


def test_what_is_no_vmcore(memory: memoryview, tmp_path: Path) -> None:
    good = dump(memory, FULL, prstatus(1, {}))
    for name, data, message in (
        ("empty", b"", "is empty"),
        ("text", b"hello" * 100, "not a usable ELF file"),
        ("exec", dump(memory, FULL, kind=2), "not a core file"),
        ("cut", good[:-4096], "is cut off"),
        ("header", good[:20], "not a usable ELF file"),
        ("note", dump(memory, FULL, prstatus(1, {})[:100]), "note reaches beyond"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(VmcoreError, match=message):
            Vmcore(path)
    with pytest.raises(VmcoreError, match="No such file"):
        Vmcore(tmp_path / "nothing")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(VmcoreError, match="not a regular file"):
            Vmcore(path)
    with pytest.raises(VmcoreError, match="Is a directory"):
        Vmcore(tmp_path)


def test_more_notes_than_any_machine_has_are_not_read(memory: memoryview, tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(dump(memory, FULL, struct.pack("<III", 0, 0, 1) * (MAX_NOTES // 12 + 1)))
    with pytest.raises(VmcoreError, match="bytes of notes; at most"):
        Vmcore(path)


def test_segments_cannot_share_the_same_bytes_again_and_again(memory: memoryview, tmp_path: Path) -> None:
    good = dump(memory, FULL)
    path = tmp_path / "vmcore"
    path.write_bytes(good[:52] + good[52 + 64 : 52 + 96] * 3 + good[52 + 96 :])
    with pytest.raises(VmcoreError, match=r"promise \d+ bytes, the file has"):
        Vmcore(path)


@pytest.mark.parametrize("bits", [32, 64])
def test_so_many_segments_that_a_section_counts_them(memory: memoryview, tmp_path: Path, bits: int) -> None:
    image = bytearray(dump(memory, FULL, bits=bits))
    number, (shoff, form), sh_info = (44, (32, "<I"), 28) if bits == 32 else (56, (40, "<Q"), 44)
    struct.pack_into("<H", image, number, 0xFFFF)
    struct.pack_into(form, image, shoff, 0x800)
    struct.pack_into("<I", image, 0x800 + sh_info, 3)
    path = tmp_path / "vmcore"
    path.write_bytes(image)
    with Vmcore(path) as core:
        assert [load.paddr for load in core.loads] == [0, MIB, 3 * MIB]


@given(st.sampled_from([32, 64]), MUTATIONS, st.integers(0, 5 * 4096) | st.none())
def test_damaged_headers_raise_nothing_but_vmcore_error(
    tmp_path_factory: pytest.TempPathFactory, bits: int, mutations: list[tuple[int, str, int]], cut: int | None
) -> None:
    view = memoryview(bytearray(16384))
    notes = prstatus(5, {"eip": 0xC0100010}) + note(b"VMCOREINFO", 0, b"OSRELEASE=2.6.16\n")
    image = bytearray(dump(view, ((0, 4096), (8192, 12288)), notes, bits=bits))
    for at, width, value in mutations:
        place = at if at < 0x200 else 4096 + at - 0x200  # the headers, or the notes
        struct.pack_into(f"<{width}", image, place, value & (1 << 8 * struct.calcsize(width)) - 1)
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(image[:cut])
    with contextlib.suppress(VmcoreError), Vmcore(path) as core:
        assert sum(len(page) for _, page in core.pages()) <= len(image)
        assert core.cpus is not None
        assert core.vmcoreinfo != {}
        core.read_physical(0, 4096)


def test_readelf_and_gdb_agree(memory: memoryview, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(dump(memory, FULL, prstatus(5, {"eip": 0xC0100010, "esp": 0xC0300000, "eax": 77})))
    readelf = subprocess.run(
        [require_tool("readelf"), "-aW", path], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    )
    assert (readelf.stderr, readelf.stdout.count("LOAD  ")) == ("", 3)
    assert "NT_PRSTATUS" in readelf.stdout
    gdb = subprocess.run(
        [require_tool("gdb"), "-nx", "-batch", "-ex", f"core-file {path}", "-ex", "p $eax", "-ex", "x/s 0xc0001234"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "$1 = 77" in gdb.stdout
    assert '"low!"' in gdb.stdout
