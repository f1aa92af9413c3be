# SPDX-License-Identifier: GPL-2.0-or-later
"""kexec in the guest: what its kexec_load accepts and refuses, and kexec -l, -e on our own machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from kdumpsim import images
from kdumpsim.agent.client import AgentClient, KexecFlags, Reboot
from kdumpsim.agent.errors import AgentError
from kdumpsim.agent.segments import FileData
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.disks.toyfs import mkfs
from kdumpsim.kexec.load import kexec_load_normal, kexec_load_panic, kexec_unload, read_crash_notes, read_layout
from kdumpsim.kexec.segments import Range, Segment
from kdumpsim.target import PAGE_OFFSET

SECTORS = 16384
LINE = "console=ttyS0,115200 combined_mode=ide root=/dev/hda panic_on_oops=1"
CRASH = KexecFlags.ON_CRASH | KexecFlags.ARCH
LOADED, CRASH_LOADED = "/sys/kernel/kexec_loaded", "/sys/kernel/kexec_crash_loaded"


class Guest:
    """Our machine with the first kernel up and its agent listening."""

    def __init__(self, append: str = "") -> None:
        disk = Disk.memory(SECTORS)
        files = {"/boot/vmlinux": images.kernel().stripped, "/small": b"0123456789" * 1000}
        mkfs(disk, SECTORS, {**files, **images.userland()})
        self.machine = Machine(MachineConfig(cpus=2, memory=64 << 20, disks=(disk, None, None, None)))
        self.console = bytearray()
        self.machine.uarts[0].on_output = self.console.extend
        self.agent = AgentClient(MachineTransport(self.machine), timeout=20)
        self.machine.load_multiboot(images.kernel().stripped, f"{LINE} crashkernel=16M@16M {append}")
        self.agent.hello()

    def flag(self, path: str) -> bool:
        return self.agent.read_file(path).strip() == b"1"


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    return Guest()


def test_what_the_guest_says_of_itself(guest: Guest) -> None:
    layout = read_layout(guest.agent)
    assert layout.crash == Range(0x1000000, 0x2000000)
    assert layout.ram == (Range(0, 0x9FC00), Range(0x100000, 0x4000000))
    base = images.kernel().symbols["crash_notes"] - PAGE_OFFSET
    assert read_crash_notes(guest.agent) == [base, base + 1024]


def page(mem: int, memsz: int = 0x1000, data: bytes | FileData = b"x") -> Segment:
    return Segment("test", mem, memsz, data)


@pytest.mark.parametrize(
    ("segments", "flags", "refusal"),
    [
        ([page(0x1000800)], CRASH, errno.EADDRNOTAVAIL),
        ([page(0x1000000, 0x800)], CRASH, errno.EADDRNOTAVAIL),
        ([page(0xFFF000)], CRASH, errno.EADDRNOTAVAIL),
        ([page(0x1FFF000, 0x2000)], CRASH, errno.EADDRNOTAVAIL),
        ([page(0x2000000)], CRASH, errno.EADDRNOTAVAIL),
        ([page(0x1000000, 0x3000), page(0x1002000)], CRASH, errno.EINVAL),
        ([page(0x1000000), page(0x1000000)], CRASH, errno.EINVAL),
        ([page(0x1000000, 0x1000, bytes(0x1001))], CRASH, errno.EINVAL),
        ([page(0x1000000)], KexecFlags.ON_CRASH | 40 << 16, errno.EINVAL),
        ([page(0x1000000)], CRASH | 0x80, errno.EINVAL),
        ([page(0x1000000 + (i << 12)) for i in range(17)], CRASH, errno.EINVAL),
        ([page(0x1000000, 0x1000, FileData("/nothing", 0, 10))], CRASH, errno.ENOENT),
    ],
    ids=[
        "not aligned", "size not aligned", "below the region", "over its end", "above it", "overlap", "twice",
        "more bytes than memory", "other architecture", "unknown flag", "too many", "no such file",
    ],
)  # fmt: skip
def test_refusals(guest: Guest, segments: list[Segment], flags: int, refusal: int) -> None:
    with pytest.raises(AgentError) as caught:
        guest.agent.kexec_load(0x1000000, segments, flags)
    assert caught.value.errno == refusal
    assert not guest.flag(CRASH_LOADED)


def test_segments_arrive_where_they_belong(guest: Guest) -> None:
    memory = guest.machine.memory.view
    memory[0x1003000:0x1006000] = b"\xee" * 0x3000
    guest.agent.kexec_load(
        0x1003000,
        [page(0x1003000, 0x1000, b"inline" * 100), page(0x1004000, 0x2000, FileData("/small", 13, 4500))],
        CRASH,
    )
    assert guest.flag(CRASH_LOADED)
    assert bytes(memory[0x1003000:0x1004000]) == (b"inline" * 100).ljust(0x1000, b"\0")
    assert bytes(memory[0x1004000:0x1006000]) == (b"0123456789" * 1000)[13:4513].ljust(0x2000, b"\0")
    kexec_unload(guest.agent, panic=True)
    assert not guest.flag(CRASH_LOADED)


def test_a_whole_capture_kernel_by_file_and_inline(guest: Guest) -> None:
    capture = images.kernel(16 << 20).stripped
    plan = kexec_load_panic(guest.agent, capture, None, LINE)
    view = guest.machine.memory.view
    for segment in plan.segments:
        data = plan.kernel.contents(segment)
        assert bytes(view[segment.mem : segment.mem + segment.memsz]) == data.ljust(segment.memsz, b"\0"), segment.name
    kexec_unload(guest.agent, panic=True)


def test_load_and_execute() -> None:
    guest = Guest()
    kexec_load_normal(guest.agent, images.kernel().stripped, "/boot/vmlinux", f"{LINE} second=1")
    assert guest.flag(LOADED)
    guest.agent.version = None
    guest.agent.reboot(Reboot.KEXEC)
    assert "toy" in guest.agent.hello()
    assert b"second=1" in guest.agent.read_file("/proc/cmdline")
    assert guest.console.count(b"Total of 2 processors activated") == 2
    assert b"I'm in purgatory" in guest.console


def memory_map(console: bytes, boot: int, who: str) -> list[str]:
    """The ranges the kernel of a boot printed."""
    text = console.decode().replace("\r", "").split("BIOS-provided physical RAM map:\n")[boot]
    return [line for line in text.splitlines() if line.startswith(f" {who}: ")]


def test_the_next_kernel_is_told_the_whole_memory_map() -> None:
    """RAM, reserved ranges and ACPI's: what the first kernel's map was is what the second one's firmware says."""
    guest = Guest("memmap=64K#48M memmap=64K$50M")
    before = guest.agent.read_file("/proc/iomem")
    assert b"03000000-0300ffff : ACPI Tables\n" in before
    kexec_load_normal(guest.agent, images.kernel().stripped, "/boot/vmlinux", f"{LINE} crashkernel=16M@16M")
    guest.agent.version = None
    guest.agent.reboot(Reboot.KEXEC)
    guest.agent.hello()
    first = memory_map(bytes(guest.console), 1, "user")
    assert [line.partition(": ")[2] for line in memory_map(bytes(guest.console), 2, "BIOS-e820")] == [
        line.partition(": ")[2] for line in first
    ]
    assert [line.rpartition("(")[2] for line in first].count("reserved)") == 4
    assert guest.agent.read_file("/proc/iomem") == before
