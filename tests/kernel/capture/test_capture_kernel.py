# SPDX-License-Identifier: GPL-2.0-or-later
"""The capture kernel: good and bad core headers, a controller nobody shut down, disks that are not there."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from kdumpsim import images
from kdumpsim.board.machine import StopReason
from kdumpsim.disks.dumpdisk import extract
from kdumpsim.kexec import cmdline, elfcorehdr, load
from kdumpsim.target import PAGE_OFFSET
from kdumpsim.vmcore.reader import Vmcore


def vmcore(guest: Any, folder: Path) -> Vmcore:
    header = guest.dumped()
    assert header is not None
    extract(guest.dump, header, folder / "vmcore")
    return Vmcore(folder / "vmcore")


def saving(guest: Any) -> bool:
    """Has savecore told how far it is?"""
    return re.search(r"savecore: \d+%", guest.console) is not None


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


@pytest.mark.parametrize("append", ["", "kernel_dump=only"])
def test_memory_that_is_no_whole_pages(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, append: str
) -> None:
    """Sizes that are no multiple of a page, nor of a sector; the gaps between the pieces are zeros."""
    cut = 1001

    def shorten(right: bytearray) -> bytes:
        for number in range(struct.unpack_from("<H", right, 44)[0]):
            at = 52 + 32 * number
            if struct.unpack_from("<I", right, at)[0] == 1:
                size = struct.unpack_from("<I", right, at + 16)[0] - cut
                struct.pack_into("<II", right, at + 16, size, size)
        return bytes(right)

    headers(monkeypatch, shorten)
    guest = boot()
    assert guest.crash(append) is StopReason.RESET
    dump = guest.dumped()
    assert dump is not None
    assert dump.size % 4096 == 4096 - cut
    assert ("savecore: vmcore saved" in guest.console) is not ("kernel_dump: vmcore saved" in guest.console)
    with vmcore(guest, tmp_path) as core:
        memory = bytes(guest.machine.memory.view)
        low, *others = core.loads
        assert [part.size for part in core.loads] == [(640 << 10) - cut, (15 << 20) - cut, (32 << 20) - cut]
        for part in others:
            end = part.paddr + part.size
            assert core.read_physical(end - 20000, 20000) == memory[end - 20000 : end]
    image = (tmp_path / "vmcore").read_bytes()
    assert image[low.offset + low.size : others[0].offset] == bytes(cut)


NOTES = 3
"""Of two CPUs, and VMCOREINFO."""
BAD = {
    "no ELF magic": put(0, b"JUNK"),
    "unknown class": put(4, b"\7"),
    "wrong byte order": put(5, b"\2"),
    "not a core file": put(16, b"\2\0"),
    "wrong machine": put(18, b"\x3e\0"),
    "program headers out of place": put(28, b"\xff\xff\xff\x7f"),
    "wrong header sizes": put(42, b"\x38\0"),
    "no or too many program headers": put(44, b"\0\0"),
    "p_filesz": put(52 + NOTES * 32 + 16, b"\xff\xff\xff\xff"),
    "beyond 4 GiB": put(52 + NOTES * 32 + 4, struct.pack("<IIIII", 0xFFFFF000, 0, 0, 0x2000, 0x2000)),
    "no PT_LOAD": put(44, bytes((NOTES, 0))),
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


@pytest.mark.parametrize("count", [8, 9, 50])
def test_a_naive_driver_finds_the_disk_in_an_interrupt_nobody_served(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Without reset_devices the driver waits for BSY, as 2.6.16's; the interrupt that is entered may be the disk's."""
    right = cmdline.capture_command_line
    monkeypatch.setattr(load, "capture_command_line", lambda *a, **k: right(*a, **{**k, "defaults": ("maxcpus=1",)}))
    guest = boot()
    assert guest.crash(point=f"INT_HARDWARE_ENTRY panic {count}") is StopReason.RESET
    assert guest.dumped() is not None


def test_saving_without_dma(boot: Callable[..., Any]) -> None:
    guest = boot()
    guest.kexec_p("ide=nodma")
    for key in ("leftalt", "sysrq", "c"):
        guest.machine.i8042.press(key)
    low, rest = 640 << 10, 1 << 20
    guest.machine.run(until=guest.machine.clock.now + 60 * 10**9, stop=lambda: guest.dump.written > 4096 + low + rest)
    assert "LBA48, PIO" in guest.console
    assert guest.dump.read(8, 1).startswith(b"\x7fELF")
    assert guest.dump.read(16 + low // 512, rest // 512) == bytes(guest.machine.memory.view[1 << 20 : (1 << 20) + rest])


def test_no_dump_disk(boot: Callable[..., Any]) -> None:
    guest = boot()
    assert guest.crash("dumpdisk=hdb") is StopReason.RESET
    assert guest.dumped() is None
    assert "savecore: no disk hdb" in guest.console
    assert "init: /sbin/savecore failed with exit code 1" in guest.console
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
    guest.machine.run(until=guest.machine.clock.now + 60 * 10**9, stop=lambda: saving(guest))
    assert guest.dump.read(0, 1) == bytes(512)
    assert guest.run(30) is StopReason.RESET
    assert guest.dumped() is not None


@pytest.fixture(scope="module")
def send_pages() -> int:
    """Where savecore begins to send the dump."""
    with io.BytesIO(images.user_program("/sbin/savecore")) as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return int(table.get_symbol_by_name("send_pages")[0]["st_value"])


def test_savecore_is_a_program(boot: Callable[..., Any], send_pages: int) -> None:
    """It runs in ring 3, in an address space of its own."""
    guest = boot()
    rings: list[tuple[int, bool]] = []
    kernel = guest.capture.symbols["swapper_pg_dir"] - PAGE_OFFSET
    guest.machine.watch(send_pages, lambda cpu: rings.append((cpu.cpl(), cpu.registers().cr3 == kernel)))
    assert guest.crash() is StopReason.RESET
    assert rings == [(3, False)]
    assert guest.dumped() is not None


def test_a_capture_kernel_without_init_panics(boot: Callable[..., Any]) -> None:
    guest = boot()
    assert guest.crash("rdinit=/sbin/nothing panic=1") is StopReason.RESET
    assert "Kernel panic - not syncing: No init found: /sbin/nothing: error 2." in guest.console
    assert guest.dumped() is None


def test_a_capture_kernel_without_init_saves_the_dump_itself(boot: Callable[..., Any], tmp_path: Path) -> None:
    """kernel_dump=fallback: what panic() would otherwise be the end of."""
    guest = boot()
    assert guest.crash("rdinit=/sbin/nothing panic=1 kernel_dump=fallback") is StopReason.RESET
    assert "kernel_dump: user space cannot save the dump: No init found: /sbin/nothing: error 2." in guest.console
    memory = bytes(guest.machine.memory.view)
    with vmcore(guest, tmp_path) as core:
        high = core.loads[-1]
        assert core.read_physical(high.paddr, high.size) == memory[high.paddr : high.paddr + high.size]


@pytest.mark.parametrize("append", ["kernel_dump=only", "kernel_dump=fallback rdinit=/sbin/nothing"])
def test_the_kernel_space_way_needs_no_interrupt(boot: Callable[..., Any], append: str) -> None:
    """None is taken while the dump is saved; with `only` no other CPU or controller is set up before."""
    guest = boot()
    saving: list[bool] = []
    taken: list[int] = []

    def count(cpu: Any, deliver: Callable[[int], None]) -> None:
        def interrupt(vector: int) -> None:
            if saving == [True]:
                taken.append(vector)
            deliver(vector)

        cpu.interrupt = interrupt

    for cpu in guest.machine.cpus:
        count(cpu, cpu.interrupt)
    guest.machine.watch(guest.capture.symbols["ide_poll_open"], lambda cpu: saving.append(True))
    guest.machine.watch(guest.capture.symbols["machine_restart"], lambda cpu: saving.append(False))
    prepared: list[Any] = []
    guest.machine.watch(guest.capture.symbols["smp_prepare_cpus"], prepared.append)
    assert guest.crash(append) is StopReason.RESET
    assert bool(prepared) is ("only" not in append)
    assert saving == [True, False]
    assert taken == []
    assert guest.dumped() is not None
    assert "savecore" not in guest.console


@pytest.mark.parametrize(
    ("disk", "complaint"),
    [("hdb", "no disk hdb that can be polled"), ("sdb", "no disk sdb that can be polled"), ("hda", "hda is too small")],
)
def test_a_disk_that_cannot_be_polled_is_left_to_user_space(
    boot: Callable[..., Any], disk: str, complaint: str
) -> None:
    guest = boot()
    before = guest.system.digest()
    guest.kexec_p(f"kernel_dump=only dumpdisk={disk}")
    for key in ("leftalt", "sysrq", "c"):
        guest.machine.i8042.press(key)
    assert guest.run(30) is StopReason.RESET
    assert f"kernel_dump: {complaint}" in guest.console
    assert "savecore: " in guest.console
    assert guest.dumped() is None
    assert guest.system.digest() == before


def test_a_savecore_that_dies_is_told_of(boot: Callable[..., Any], send_pages: int) -> None:
    guest = boot()
    guest.machine.watch(send_pages, lambda cpu: guest.machine.request_stop())
    assert guest.crash() is StopReason.STOPPED
    (cpu,) = (cpu for cpu in guest.machine.cpus if cpu.cpl() == 3 and not cpu.halted)
    cpu.set_registers(eip=0x10)
    assert guest.run(30) is StopReason.RESET
    assert "savecore[" in guest.console
    assert "segfault at 00000010" in guest.console
    assert "init: /sbin/savecore was killed by signal 11" in guest.console
    assert guest.dumped() is None
