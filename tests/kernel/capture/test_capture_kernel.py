# SPDX-License-Identifier: GPL-2.0-or-later
"""The capture kernel: good and bad core headers, a controller nobody shut down, disks that are not there."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.board.machine import StopReason
from kdumpsim.kexec import cmdline, elfcorehdr, load
from kdumpsim.lkdtt.dumpdisk import extract
from kdumpsim.vmcore.reader import Vmcore


def vmcore(guest: Any, folder: Path) -> Vmcore:
    header = guest.dumped()
    assert header is not None
    extract(guest.dump, header, folder / "vmcore")
    return Vmcore(folder / "vmcore")


def headers(monkeypatch: pytest.MonkeyPatch, change: Callable[[bytearray], bytes], **options: bool) -> None:
    """Have kexec-tools load other core headers than they would."""
    right = elfcorehdr.core_headers
    monkeypatch.setattr(load, "core_headers", lambda *a, **k: change(bytearray(right(*a, **{**k, **options}))))


def put(offset: int, data: bytes) -> Callable[[bytearray], bytes]:
    def change(right: bytearray) -> bytes:
        right[offset : offset + len(data)] = data
        return bytes(right)

    return change


@pytest.mark.parametrize("elf64", [False, True])
def test_headers_of_both_classes(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, elf64: bool
) -> None:
    headers(monkeypatch, bytes, elf64=elf64)
    guest = boot()
    assert guest.crash() is StopReason.RESET
    with vmcore(guest, tmp_path) as core:
        assert core.bits == (64 if elf64 else 32)
        assert len(core.cpus) == 2
        assert [(part.paddr, part.size) for part in core.loads] == [
            (0, 640 << 10), (1 << 20, 15 << 20), (32 << 20, 32 << 20)
        ]  # fmt: skip
        assert all(part.offset % 4096 == 0 for part in core.loads)


BAD = {
    "no ELF magic": put(0, b"JUNK"),
    "unknown class": put(4, b"\7"),
    "wrong byte order": put(5, b"\2"),
    "not a core file": put(16, b"\2\0"),
    "wrong machine": put(18, b"\x3e\0"),
    "program headers out of place": put(28, b"\xff\xff\xff\x7f"),
    "wrong header sizes": put(42, b"\x38\0"),
    "no or too many program headers": put(44, b"\0\0"),
    "p_filesz": put(52 + 2 * 32 + 16, b"\xff\xff\xff\xff"),
    "beyond 4 GiB": put(52 + 2 * 32 + 4, struct.pack("<IIIII", 0xFFFFF000, 0, 0, 0x2000, 0x2000)),
    "no PT_LOAD": put(44, b"\2\0"),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_headers_leave_an_empty_vmcore_and_say_why(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    headers(monkeypatch, BAD[reason])
    guest = boot()
    assert guest.crash() is StopReason.RESET
    assert guest.dumped() is None
    said = [line for line in guest.console.splitlines() if "elf header not sane" in line]
    assert len(said) == 1
    assert reason in said[0]
    assert "/proc/vmcore is empty" in guest.console


@pytest.mark.parametrize("count", [1, 8, 50])
def test_a_naive_driver_finds_a_transfer_under_way(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Without reset_devices the driver waits for BSY, as 2.6.16's; here purgatory takes longer than any transfer."""
    right = cmdline.capture_command_line
    monkeypatch.setattr(load, "capture_command_line", lambda *a, **k: right(*a, **{**k, "defaults": ("maxcpus=1",)}))
    guest = boot()
    assert guest.crash(point=f"FS_DEVRW panic {count}") is StopReason.RESET
    assert guest.dumped() is not None


def test_saving_without_dma(boot: Callable[..., Any]) -> None:
    guest = boot()
    guest.kexec_p("ide=nodma")
    for key in ("leftalt", "sysrq", "c"):
        guest.machine.i8042.press(key)
    guest.machine.run(until=guest.machine.clock.now + 60 * 10**9, stop=lambda: "savecore: 5%" in guest.console)
    assert "LBA48, PIO" in guest.console
    assert guest.dump.read(8, 1).startswith(b"\x7fELF")
    low, rest = 640 << 10, 1 << 20
    assert guest.dump.read(16 + low // 512, rest // 512) == bytes(guest.machine.memory.view[1 << 20 : (1 << 20) + rest])


def test_no_dump_disk(boot: Callable[..., Any]) -> None:
    guest = boot()
    assert guest.crash("dumpdisk=hdb") is StopReason.RESET
    assert guest.dumped() is None
    assert "savecore: no disk hdb" in guest.console
    assert "Restarting system." in guest.console


def test_a_dump_disk_that_is_too_small(boot: Callable[..., Any]) -> None:
    guest = boot()
    guest.kexec_p("dumpdisk=hda")
    guest.agent.write_file("/proc/sysrq-trigger", b"h")
    before = guest.system.digest()
    for key in ("leftalt", "sysrq", "c"):
        guest.machine.i8042.press(key)
    assert guest.run(30) is StopReason.RESET
    assert "savecore: hda is too small" in guest.console
    assert guest.system.digest() == before


def test_an_old_dump_is_not_taken_for_the_new_one(boot: Callable[..., Any]) -> None:
    guest = boot()
    guest.kexec_p()
    guest.dump.write(0, b"KDUMPSIM-VMCORE1" + bytes(496))
    for key in ("leftalt", "sysrq", "c"):
        guest.machine.i8042.press(key)
    guest.machine.run(until=guest.machine.clock.now + 60 * 10**9, stop=lambda: "savecore: 5%" in guest.console)
    assert guest.dump.read(0, 1) == bytes(512)
    assert guest.run(30) is StopReason.RESET
    assert guest.dumped() is not None
