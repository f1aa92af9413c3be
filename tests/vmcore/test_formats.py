# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps written in other formats: what is in them, and what is missing where something was to be missing."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from random import Random

import pytest

from kdumpsim.vmcore.dump import present_pages
from kdumpsim.vmcore.formats import compressors
from kdumpsim.vmcore.formats.compressors import COMPRESSIONS, CompressorMissing
from kdumpsim.vmcore.formats.convert import FORMATS, Suffering, convert
from kdumpsim.vmcore.formats.elf import prstatus, write_elf
from kdumpsim.vmcore.formats.flattened import Flattened
from kdumpsim.vmcore.formats.pages import pages
from kdumpsim.vmcore.pagekinds import zero_pages
from kdumpsim.vmcore.reader import Load, Note, Vmcore, VmcoreError
from kdumpsim.vmcore.values import NotThere

PAGE = 4096
INFO = Note("VMCOREINFO", 0, b"OSRELEASE=2.6.16\nPAGESIZE=4096\n")


class MemoryDump:
    """A dump that is in memory: contents by physical address."""

    machine, bits, abi = "EM_386", 32, 3

    def __init__(self, parts: dict[int, bytes], notes: tuple[Note, ...] = ()) -> None:
        self._parts = parts
        self.notes = notes
        self.loads = tuple(Load(start, start + 0xC0000000, 0, len(data)) for start, data in parts.items())

    def slice(self, load: Load, start: int, end: int) -> bytes:
        return self._parts[load.paddr][start:end]


def contents(count: int) -> bytes:
    """Pages that compress well, badly, not at all, and to nothing."""
    random = Random(9)
    kinds = (bytes(PAGE), random.randbytes(PAGE), b"kdump " * 682 + b"    ", random.randbytes(512) * 8)
    return b"".join(kinds[number % 4] for number in range(count))


def dump(
    notes: tuple[Note, ...] = (prstatus(1, {"eip": 0xC0100000}), prstatus(2, {"eip": 0xC0200000}), INFO),
) -> MemoryDump:
    return MemoryDump({0: contents(160), 0x100000: contents(300)}, notes)


def written(form: str, suffering: Suffering, path: Path, source: MemoryDump | None = None) -> Path:
    with open(path, "wb") as file:
        convert(source or dump(), file, form, suffering)
    return path


def kdump_pages(data: bytes) -> dict[int, bytes | None]:
    """Pages of a file in makedumpfile's format with zlib, by number; None where the descriptor is empty."""
    assert data[:8] == b"KDUMP   "
    block, sub_blocks, bitmap_blocks, top = struct.unpack_from("<iiII", data, 416)
    bitmap_at = (1 + sub_blocks) * block
    second = data[bitmap_at + bitmap_blocks // 2 * block : bitmap_at + bitmap_blocks * block]
    numbers = [pfn for pfn in range(top) if second[pfn // 8] >> pfn % 8 & 1]
    found: dict[int, bytes | None] = {}
    for place, pfn in enumerate(numbers):
        offset, size, flags, _ = struct.unpack_from("<QIIQ", data, bitmap_at + bitmap_blocks * block + 24 * place)
        page = data[offset : offset + size]
        found[pfn] = (zlib.decompress(page) if flags & 1 else page) if offset else None
    return found


def test_an_elf_file_reads_as_it_was_written(tmp_path: Path) -> None:
    with Vmcore(written("elf", Suffering(), tmp_path / "core")) as core:
        assert [(load.paddr, load.size) for load in core.loads] == [(0, 160 * PAGE), (0x100000, 300 * PAGE)]
        assert core.read_physical(0x100000, 300 * PAGE) == contents(300)
        assert core.read_virtual(0xC0000000, 160 * PAGE) == contents(160)
        assert [cpu.registers["eip"] for cpu in core.cpus] == [0xC0100000, 0xC0200000]
        assert (core.machine, core.abi) == ("EM_386", 3)
        assert core.vmcoreinfo == {"OSRELEASE": "2.6.16", "PAGESIZE": "4096"}


def test_pages_of_zeros_that_are_left_out_are_memory_without_contents(tmp_path: Path) -> None:
    source = dump()
    with Vmcore(written("elf", Suffering(level=1), tmp_path / "core", source)) as core:
        stored = {
            number for load in core.loads for number in range(load.paddr // PAGE, (load.paddr + load.size) // PAGE)
        }
    everything = {number for number, _ in pages(source)}
    assert stored == everything - zero_pages(source)
    headers = (tmp_path / "core").read_bytes()
    sizes = [
        struct.unpack_from("<2I", headers, 52 + 32 * n + 16) for n in range(struct.unpack_from("<H", headers, 44)[0])
    ]
    assert any(stored < memory for stored, memory in sizes)
    assert sum(memory for _, memory in sizes[1:]) == 460 * PAGE


class EmptyMemory(MemoryDump):
    """Zeros, of which nothing is held."""

    def __init__(self, count: int) -> None:
        super().__init__({})
        self.loads = (Load(0, 0xC0000000, 0, count * PAGE),)

    def slice(self, load: Load, start: int, end: int) -> bytes:
        return bytes(end - start)


def test_more_segments_than_a_header_can_count(tmp_path: Path) -> None:
    count = 2 * 0xFFFF
    with open(tmp_path / "core", "wb") as file:
        write_elf(EmptyMemory(count), file, left_out=lambda pfn: pfn % 2 == 1)
    with Vmcore(tmp_path / "core") as core:
        assert [load.paddr for load in core.loads] == list(range(0, count * PAGE, 2 * PAGE))


def test_ranges_that_begin_within_a_page_share_it() -> None:
    source = MemoryDump({0x800: b"a" * 0x900, 0x1100: b"b" * 0x1F00})
    assert present_pages(source) == [(0, 3)]
    found = dict(pages(source))
    assert found[0] == bytes(0x800) + b"a" * 0x800
    assert found[1] == b"a" * 0x100 + b"b" * 0xF00
    assert found[2] == b"b" * PAGE


def test_kdump_zlib_holds_every_page(tmp_path: Path) -> None:
    data = written("kdump-zlib", Suffering(), tmp_path / "dump").read_bytes()
    assert kdump_pages(data) == dict(pages(dump()))
    assert b"i686\0" in data[:PAGE], "what readers know the architecture by"


def test_an_incomplete_dump_says_so_and_lacks_half_of_its_pages(tmp_path: Path) -> None:
    data = written("kdump-zlib", Suffering(incomplete=True), tmp_path / "dump").read_bytes()
    found, true = kdump_pages(data), dict(pages(dump()))
    assert struct.unpack_from("<I", data, 412)[0] & 8
    assert len(found) == 460
    assert [page is None for page in found.values()] == [False] * 230 + [True] * 230
    assert all(page == true[pfn] for pfn, page in found.items() if page is not None)
    elf = written("elf", Suffering(incomplete=True), tmp_path / "core").read_bytes()
    assert struct.unpack_from("<I", elf, 36) == (1,), "e_flags"
    with pytest.raises(VmcoreError, match="cut off"):
        Vmcore(tmp_path / "core")


def test_a_truncated_file_is_a_whole_one_without_its_end(tmp_path: Path) -> None:
    for form in FORMATS[:2]:
        whole = written(form, Suffering(), tmp_path / "whole").read_bytes()
        cut = written(form, Suffering(truncate=True), tmp_path / "cut").read_bytes()
        assert cut == whole[: len(whole) * 3 // 4]


def test_registers_of_a_cpu_can_be_missing(tmp_path: Path) -> None:
    with Vmcore(written("elf", Suffering(drop_cpus=(0,)), tmp_path / "core")) as core:
        assert [cpu.pid for cpu in core.cpus] == [2]
        assert core.vmcoreinfo is not None
    with Vmcore(written("elf", Suffering(drop_notes=True), tmp_path / "core")) as core:
        assert core.notes == ()
    with pytest.raises(ValueError, match="no registers of CPU 2 to drop: it has notes of 2 CPUs"):
        written("elf", Suffering(drop_cpus=(2,)), tmp_path / "core")


def test_raw_memory_is_at_its_address(tmp_path: Path) -> None:
    data = written("raw", Suffering(), tmp_path / "raw").read_bytes()
    assert data[:0x100000] == contents(160) + bytes(96 * PAGE)
    assert data[0x100000:] == contents(300)
    with pytest.raises(ValueError, match="no header"):
        written("raw", Suffering(incomplete=True), tmp_path / "raw")


def test_a_flattened_file_is_put_together_from_its_pieces() -> None:
    file = io.BytesIO()
    flat = Flattened(file)
    for offset, text in ((0, b"head"), (9, b"tail"), (4, b"-mid-")):
        flat.seek(offset)
        flat.write(text)
    flat.close()
    data = file.getvalue()
    assert data[:16] == b"makedumpfile\0\0\0\0"
    assert struct.unpack_from(">qq", data, 16) == (1, 1)
    at, whole = 4096, bytearray(13)
    while True:
        offset, size = struct.unpack_from(">qq", data, at)
        if offset < 0:
            break
        whole[offset : offset + size] = data[at + 16 : at + 16 + size]
        at += 16 + size
    assert whole == b"head-mid-tail"
    assert at + 16 == len(data)


@pytest.mark.parametrize(("name", "module"), [("lzo", "lzallright"), ("snappy", "cramjam"), ("zstd", "zstandard")])
def test_a_missing_library_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(CompressorMissing, match=rf"pip install {module}.*kdumpsim\[formats\]"):
        COMPRESSIONS[name].compressor()
    assert compressors.COMPRESSIONS["zlib"].compressor()(bytes(PAGE))


@pytest.mark.parametrize(
    "damage", [b"SIZE(page)=0", b"OFFSET(page.flags)=4096", b"NUMBER(PG_lru)=99999999", b"NUMBER(PG_lru)=-1"]
)
def test_a_vmcoreinfo_that_makes_no_sense_is_refused(damage: bytes, tmp_path: Path) -> None:
    lines = [
        b"SYMBOL(mem_map)=c0000000", b"SIZE(page)=32", b"OFFSET(page.flags)=0", b"OFFSET(page.mapping)=12",
        b"OFFSET(page.private)=8", damage,
    ]  # fmt: skip
    with pytest.raises(NotThere, match="makes no sense"):
        written("elf", Suffering(level=31), tmp_path / "core", dump((Note("VMCOREINFO", 0, b"\n".join(lines)),)))


def test_memory_at_an_absurd_address_costs_nothing(tmp_path: Path) -> None:
    source = MemoryDump({0: contents(4), 1 << 50: contents(4)})
    with pytest.raises(ValueError, match=r"memory at 0x4000000003000: this format is written up to 1 TiB"):
        written("kdump-zlib", Suffering(), tmp_path / "dump", source)


def test_same_dump_same_bytes(tmp_path: Path) -> None:
    for form in FORMATS:
        first, second = (written(form, Suffering(level=1), tmp_path / name).read_bytes() for name in "ab")
        assert first == second
        assert os.path.getsize(tmp_path / "a") == len(first)
