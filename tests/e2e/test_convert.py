# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim convert`: what it writes, as the readers of those formats read it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.pagekinds import left_out, zero_pages
from kdumpsim.vmcore.reader import Vmcore
from kdumpsim.vmcore.values import KernelMemory

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]
Converted = Callable[..., Path]
Read = Callable[..., dict[str, Any]]
READER = Path(__file__).parent.parent / "kdumpfile_reader.py"
PYTHON = "/usr/bin/python3"
"""The one that Debian's bindings are for."""


@pytest.fixture
def converted(crash: Crash, tmp_path: Path) -> Converted:
    """`converted("raw", "--filter", "31")`: the dump of FS_DEVRW/panic so converted."""

    def convert(form: str, *options: str) -> Path:
        target = tmp_path / form
        words = ("convert", str(crash("FS_DEVRW", "panic").directory), "--to", form, "--output", str(target), *options)
        process = kdumpsim(*words)
        assert process.returncode == 0, process.stderr
        return target

    return convert


@pytest.fixture(scope="session")
def kdumpfile() -> Read:
    """`kdumpfile(path, address…)`: what libkdumpfile reads."""
    asked = subprocess.run([PYTHON, "-c", "import kdumpfile"], capture_output=True, check=False)
    if asked.returncode:
        if os.environ.get("CI"):
            pytest.fail("python3-libkdumpfile is not installed, and CI must have it")
        pytest.skip("python3-libkdumpfile is not installed")

    def read(path: Path, *addresses: int) -> dict[str, Any]:
        words = [PYTHON, str(READER), str(path), *map(hex, addresses)]
        process = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert process.returncode == 0, process.stderr
        found: dict[str, Any] = json.loads(process.stdout)
        return {**found, "pages": {int(number): digest for number, digest in found["pages"].items()}}

    return read


def dumped(run: Run) -> dict[int, str]:
    """SHA-256 of each page of the dump, by number."""
    with Vmcore(run.directory / "vmcore") as core:
        return {address // 4096: hashlib.sha256(data).hexdigest() for address, data in core.pages()}


def free_pages(memory: KernelMemory) -> int:
    """How many pages the kernel has free, by its own count."""
    if "nr_free_pages" in memory:
        return int(memory["nr_free_pages"])
    zones = memory["contig_page_data"]["node_zones"]
    return sum(int(zones.at(number)["free_pages"]) for number in range(zones.shape.count))


def test_elf_without_more_is_the_dump_itself(crash: Crash, converted: Converted) -> None:
    assert converted("elf").read_bytes() == (crash("FS_DEVRW", "panic").directory / "vmcore").read_bytes()


@pytest.mark.parametrize("form", ["kdump-zlib", "kdump-lzo", "kdump-snappy", "kdump-zstd"])
def test_libkdumpfile_reads_every_page_and_every_cpu(
    form: str, crash: Crash, converted: Converted, kdumpfile: Read
) -> None:
    run = crash("FS_DEVRW", "panic")
    found = kdumpfile(converted(form))
    with Vmcore(run.directory / "vmcore") as core:
        for name in ("eip", "esp"):
            assert found[name] == [cpu.registers[name] for cpu in core.cpus]
    assert (found["format"], found["machine"]) == ("diskdump", "ia32")
    assert found["pages"] == dumped(run)


@pytest.mark.parametrize("form", ["elf", "kdump-zlib", "kdump-lzo", "kdump-snappy", "kdump-zstd"])
def test_libkdumpfile_reads_virtual_memory(form: str, crash: Crash, converted: Converted, kdumpfile: Read) -> None:
    run = crash("FS_DEVRW", "panic")
    symbols = Layout((run.directory / "vmlinux").read_bytes()).symbols
    addresses = [symbols[name] for name in ("init_task", "linux_banner", "jiffies")]
    with Vmcore(run.directory / "vmcore") as core:
        memory = [core.read_virtual(address, 16).hex() for address in addresses]
    assert kdumpfile(converted(form, "--filter", "31"), *addresses)["memory"] == memory


def test_makedumpfile_puts_a_flattened_dump_together(
    converted: Converted, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    tool, target = require_tool("makedumpfile"), tmp_path / "together"
    with open(converted("flattened"), "rb") as file:
        process = subprocess.run([tool, "-R", str(target)], stdin=file, capture_output=True, timeout=300, check=False)
    assert process.returncode == 0, process.stderr
    assert target.read_bytes() == converted("kdump-zlib").read_bytes()


@pytest.mark.parametrize("level", [1, 8, 16, 31])
def test_pages_left_out_are_the_kernels_free_ones_programs_own_and_zeros(
    level: int, crash: Crash, converted: Converted, kdumpfile: Read
) -> None:
    run = crash("FS_DEVRW", "panic")
    found, whole = kdumpfile(converted("kdump-zstd", "--filter", str(level)))["pages"], dumped(run)
    layout = Layout((run.directory / "vmlinux").read_bytes())
    with Vmcore(run.directory / "vmcore") as core:
        memory = KernelMemory(core, layout)
        free = free_pages(memory)
        missing = whole.keys() - found.keys()
        if level == 16:
            assert len(missing) == free
        if level == 8:
            spaces = memory.entries(memory["init_mm"]["mmlist"], "mm_struct", "mmlist")
            assert len(missing) == sum(int(space["rss"]) for space in spaces) > 10
        assert missing == left_out(level & ~1, core, layout, {})
        assert zero_pages(core) - missing <= found.keys(), "they share one page, and can be read"
    assert all(whole[number] == digest for number, digest in found.items())


def test_makedumpfile_leaves_out_the_same_pages(
    crash: Crash, converted: Converted, kdumpfile: Read, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    run = crash("FS_DEVRW", "panic")
    tool, target = require_tool("makedumpfile"), tmp_path / "filtered"
    words = [tool, "-d", "31", "-c", str(run.directory / "vmcore"), str(target)]
    process = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    ours = kdumpfile(converted("kdump-zlib", "--filter", "31"))
    assert ours["pages"] == kdumpfile(target)["pages"]


def test_a_damaged_dump_or_kernel_is_one_message(crash: Crash, converted: Converted, tmp_path: Path) -> None:
    run = crash("FS_DEVRW", "panic")
    cut = converted("elf", "--truncate")
    for words, message in (
        ((str(cut), "--to", "raw"), "is cut off"),
        ((str(tmp_path / "none"), "--to", "raw"), "no such file or directory; `kdumpsim run` writes one"),
        ((str(run.directory), "--to", "kdump"), "unknown format 'kdump'; did you mean kdump-"),
        ((str(run.directory), "--to", "elf", "--filter", "32"), "--filter 32 is out of range: choose 1 to 31"),
        ((str(run.directory / "console.log"), "--to", "elf"), "not a usable ELF file"),
        ((str(cut), "--to", "elf", "--output", str(cut)), "would replace"),
    ):
        process = kdumpsim("convert", *words)
        assert (process.returncode, process.stdout) == (2, "")
        assert message in process.stderr
        assert "Traceback" not in process.stderr
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "vmcore").symlink_to(run.directory / "vmcore")
    (tmp_path / "dump" / "vmlinux").write_bytes((run.directory / "vmlinux").read_bytes()[:100000])
    process = kdumpsim("convert", str(tmp_path / "dump"), "--to", "elf", "--filter", "16")
    assert process.returncode == 2
    assert "vmlinux: a damaged ELF file" in process.stderr
    assert not list((tmp_path / "dump").glob("vmcore.*"))
