# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF core headers; readelf is the referee."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kdumpsim.kexec.elfcorehdr import core_headers, dump_ranges
from kdumpsim.kexec.segments import Range

RAM = (Range(0, 0x9FC00), Range(0x100000, 0x4000000))
CRASH = Range(0x1000000, 0x2000000)
BACKUP = 0x1F60000
NOTES = [0x14A000, 0x14A400]


@pytest.mark.parametrize("elf64", [False, True])
def test_program_headers(elf64: bool) -> None:
    elf = ELFFile(io.BytesIO(core_headers(RAM, CRASH, NOTES, BACKUP, elf64=elf64)))
    assert (elf["e_type"], elf["e_machine"], elf.elfclass) == ("ET_CORE", "EM_386", 64 if elf64 else 32)
    rows = [
        tuple(s[name] for name in ("p_type", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz"))
        for s in elf.iter_segments()
    ]
    assert rows == [
        ("PT_NOTE", 0x14A000, 0, 0x14A000, 1024, 1024),
        ("PT_NOTE", 0x14A400, 0, 0x14A400, 1024, 1024),
        ("PT_LOAD", BACKUP, 0xC0000000, 0, 0xA0000, 0xA0000),
        ("PT_LOAD", 0x100000, 0xC0100000, 0x100000, 0xF00000, 0xF00000),
        ("PT_LOAD", 0x2000000, 0xC2000000, 0x2000000, 0x2000000, 0x2000000),
    ]


def test_vmcoreinfo_is_a_note_after_those_of_the_cpus() -> None:
    data = core_headers(RAM, CRASH, NOTES, BACKUP, vmcoreinfo=Range(0x150000, 0x151000))
    assert data[7] == 3  # EI_OSABI: Linux
    notes = [s for s in ELFFile(io.BytesIO(data)).iter_segments() if s["p_type"] == "PT_NOTE"]
    assert [(s["p_offset"], s["p_memsz"]) for s in notes] == [(0x14A000, 1024), (0x14A400, 1024), (0x150000, 4096)]


@pytest.mark.parametrize("elf64", [False, True])
def test_readelf_finds_no_fault(elf64: bool, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    path = tmp_path / "elfcorehdr"
    path.write_bytes(core_headers(RAM, CRASH, NOTES, BACKUP, elf64=elf64))
    process = subprocess.run(
        [require_tool("readelf"), "-hlW", path], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    )
    assert process.stderr == ""
    assert "CORE (Core file)" in process.stdout
    assert process.stdout.count("LOAD  ") == 3
    assert "0x1f60000" in process.stdout


@pytest.mark.parametrize("elf64", [False, True])
def test_memory_above_the_linear_map_has_no_virtual_address(elf64: bool) -> None:
    """Minus one, as kexec-tools say it; with 0 a debugger would show that memory at NULL."""
    ram = (*RAM, Range(0x10000000, 0x50000000))
    elf = ELFFile(io.BytesIO(core_headers(ram, CRASH, [0], BACKUP, elf64=elf64)))
    assert [(s["p_paddr"], s["p_vaddr"]) for s in elf.iter_segments()][-2:] == [
        (0x10000000, 0xD0000000),
        (0x38000000, (1 << 64) - 1 if elf64 else (1 << 32) - 1),
    ]


def test_the_reserved_region_may_touch_an_end() -> None:
    assert dump_ranges(RAM, Range(0x3000000, 0x4000000)) == [Range(0x100000, 0x3000000)]
    assert dump_ranges(RAM, Range(0x100000, 0x1000000)) == [Range(0x1000000, 0x4000000)]
