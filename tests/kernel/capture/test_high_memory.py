# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that the linear map does not show: in the dump, and nowhere a debugger would take it for something else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.board.machine import StopReason
from kdumpsim.disks.dumpdisk import extract
from kdumpsim.kexec import elfcorehdr, load
from kdumpsim.vmcore.reader import Vmcore, VmcoreError

MIB = 1 << 20
HIGH, END = 900 * MIB, 904 * MIB


@pytest.fixture(params=[32, 64])
def crashed(
    request: pytest.FixtureRequest, boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Any, Path, int]:
    """A machine with RAM at 0 and at 900 MiB that crashed and was saved: machine, files, bits of the headers."""
    bits: int = request.param
    right = elfcorehdr.core_headers
    monkeypatch.setattr(load, "core_headers", lambda *a, **k: right(*a, **{**k, "elf64": bits == 64}))
    guest = boot(memory=END, holes=((64 * MIB, HIGH - 64 * MIB),))
    guest.machine.memory.view[HIGH : HIGH + 4] = b"high"
    assert guest.crash() is StopReason.RESET
    header = guest.dumped()
    assert header is not None
    extract(guest.dump, header, tmp_path / "vmcore")
    (tmp_path / "vmlinux").write_bytes(guest.first.elf)
    return guest, tmp_path, bits


def test_readers_find_it_by_its_physical_address_only(
    crashed: tuple[Any, Path, int], require_tool: Callable[[str], str]
) -> None:
    guest, folder, bits = crashed
    with Vmcore(folder / "vmcore") as core:
        (part,) = (part for part in core.loads if part.paddr == HIGH)
        assert (part.size, part.vaddr) == (END - HIGH, None)
        assert core.read_physical(HIGH, 4) == b"high"
        assert core.read_virtual(guest.first.symbols["panic"], 16) == core.read_physical(
            guest.first.symbols["panic"] - 0xC0000000, 16
        )
        for address in (0, 1, (1 << bits) - 1):
            with pytest.raises(VmcoreError, match="virtual address"):
                core.read_virtual(address, 1)
    readelf = subprocess.run(
        [require_tool("readelf"), "-lW", folder / "vmcore"], capture_output=True, text=True, check=True,
        env={"LC_ALL": "C"},
    )  # fmt: skip
    assert readelf.stderr == ""
    assert f"0x{'f' * (bits // 4)} 0x{HIGH:0{bits // 4}x} 0x{END - HIGH:0{6 if bits == 64 else 5}x}" in readelf.stdout


def test_gdb_shows_no_memory_at_null(crashed: tuple[Any, Path, int], require_tool: Callable[[str], str]) -> None:
    _, folder, bits = crashed
    if bits == 64:
        pytest.skip("gdb opens no 64-bit core of a 32-bit machine")
    words = [require_tool("gdb"), "-nx", "-batch"]
    for command in ("x/s 0", "x/s 0x10", "thread apply all bt", "print jiffies"):
        words += ["-ex", command]
    process = subprocess.run(
        [*words, folder / "vmlinux", folder / "vmcore"], capture_output=True, text=True, check=False
    )
    assert process.stderr.count("Cannot access memory at address") == 2 or "<error: Cannot" in process.stdout
    assert "high" not in process.stdout
    assert "ll_rw_block" in process.stdout
    assert "$1 = " in process.stdout
