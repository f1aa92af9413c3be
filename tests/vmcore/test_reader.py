# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading dumps; readelf and gdb are the referees of the ones the tests make."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.vmcore.reader import Vmcore, VmcoreError

from .builders import FULL, MIB, FakeMachine, dump, note, prstatus


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
    path = tmp_path / "vmcore"
    path.write_bytes(dump(memory, FULL, notes, bits=bits))
    with Vmcore(path) as core:
        assert (core.bits, core.machine) == (bits, "EM_386")
        assert [(load.paddr, load.size) for load in core.loads] == [(0, 0xA0000), (MIB, MIB), (3 * MIB, MIB)]
        assert core.read_physical(0x1234, 4) == b"low!"
        assert core.read_virtual(0xC0100000, 4) == b"text"
        assert core.read_physical(3 * MIB, 2) == b"ge"
        assert [(cpu.pid, cpu.registers["eip"]) for cpu in core.cpus] == [(5, 0xC0100010), (0, 0xC0100020)]
        assert core.vmcoreinfo == {"OSRELEASE": "2.6.16", "PAGESIZE": "4096"}
        pages = dict(core.pages())
        assert len(pages) == 0xA0 + 512
        assert pages[0x1000][0x234:0x238] == b"low!"
        for address in (0xA0000, 2 * MIB, 3 * MIB - 1, 4 * MIB - 1):
            with pytest.raises(VmcoreError, match="is not in the dump"):
                core.read_physical(address, 2)


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
