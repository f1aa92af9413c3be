# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own toyfs and buffer cache, compiled and run on a disk in memory, against the host's half."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import pytest
import unicorn
from hypothesis import given
from hypothesis import strategies as st
from unicorn import x86_const as x86

from kdumpsim.compiler import compile_modules
from kdumpsim.compiler.linker import Layout, LinkedImage, link
from kdumpsim.disks.toyfs import mkfs
from properties import examples
from toyfs_reader import Toyfs

STUBS = Path(__file__).parent / "stubs"
REPLACED = {
    "kdumpsim.kernel.architecture": "asm",
    "kdumpsim.kernel.core.rcupdate": "rcupdate",
    "kdumpsim.kernel.core.sched": "sched",
    "kdumpsim.kernel.core.hrtimer": "hrtimer",
    "kdumpsim.kernel.core.timer": "timer",
    "kdumpsim.kernel.core.printk": "printk",
    "kdumpsim.kernel.mm.slab": "slab",
    "kdumpsim.kernel.mm.vma": "vma",
    "kdumpsim.kernel.mm.page_alloc": "page_alloc",
    "fake_disk": "fake_disk",
}
OFFSET, BASE, STACK, RETURN = 0xC0000000, 0xC0100000, 0xC0700000, 0xC06F0000
SCRATCH, IMAGE, SECTORS = 0xC1000000, 0xC1200000, 4096
ENOENT, EISDIR, EBADF, EINVAL = 2, 21, 9, 22
READ, WRITE, READ_WRITE, CREATE, TRUNCATE = 0, 1, 2, 0o100, 0o1000


@cache
def image() -> LinkedImage:
    objects = compile_modules(
        ["kdumpsim.kernel.core.libgcc"], extra_sources={name: STUBS / f"{file}.py" for name, file in REPLACED.items()}
    )
    return link(objects, Layout(BASE, BASE - OFFSET, "fake_start"))


class Guest:
    """The file system of one disk."""

    def __init__(self, files: dict[str, bytes]) -> None:
        disk = bytearray(SECTORS * 512)
        mkfs(disk, SECTORS, files)
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        self.uc.mem_map(OFFSET, 32 << 20)
        elf = image().elf
        phoff, phnum = struct.unpack_from("<I", elf, 28)[0], struct.unpack_from("<H", elf, 44)[0]
        for index in range(phnum):
            _, offset, vaddr, _, size, *_ = struct.unpack_from("<8I", elf, phoff + 32 * index)
            self.uc.mem_write(vaddr, elf[offset : offset + size])
        self.uc.mem_write(IMAGE, bytes(disk))
        assert self.call("fake_start", IMAGE, SECTORS) == 0

    def call(self, function: str, *args: int) -> int:
        self.uc.mem_write(STACK, struct.pack(f"<{len(args) + 1}I", RETURN, *args))
        self.uc.reg_write(x86.UC_X86_REG_ESP, STACK)
        self.uc.emu_start(image().symbols[function], RETURN)
        assert self.uc.reg_read(x86.UC_X86_REG_EIP) == RETURN, "it waits for ever"
        value = int(self.uc.reg_read(x86.UC_X86_REG_EAX))
        return value - (value >> 31 << 32)

    def open(self, path: str, flags: int) -> int:
        self.uc.mem_write(SCRATCH, path.encode() + b"\0")
        return self.call("sys_open", SCRATCH, flags)

    def write(self, fd: int, data: bytes) -> int:
        self.uc.mem_write(SCRATCH, data)
        return self.call("sys_write", fd, SCRATCH, len(data))

    def read(self, fd: int, count: int) -> bytes:
        n = self.call("sys_read", fd, SCRATCH, count)
        assert n >= 0
        return bytes(self.uc.mem_read(SCRATCH, n))

    def word(self, symbol: str) -> int:
        return int.from_bytes(self.uc.mem_read(image().symbols[symbol], 4), "little")

    def disk(self) -> Toyfs:
        return Toyfs(bytes(self.uc.mem_read(IMAGE, SECTORS * 512)))


def test_reads_what_mkfs_wrote() -> None:
    data = bytes(i * 7 & 0xFF for i in range(20000))
    guest = Guest({"/a/deep/file": data, "/b": b"b"})
    fd = guest.open("/a/deep/file", READ)
    assert fd >= 0
    assert guest.read(fd, 100) == data[:100]
    assert guest.read(fd, 30000) == data[100:]
    assert guest.read(fd, 10) == b""
    assert guest.call("sys_close", fd) == 0
    assert guest.call("sys_close", fd) == -EBADF


def test_errors() -> None:
    guest = Guest({"/d/f": b"1"})
    assert guest.open("/x", READ) == -ENOENT
    assert guest.open("/d/f/x", READ) < 0
    assert guest.open("/d", WRITE) == -EISDIR
    assert guest.open("relative", READ) == -EINVAL
    fd = guest.open("/d/f", READ)
    assert guest.write(fd, b"no") == -EBADF


def test_fsync_brings_it_to_the_disk_and_not_before() -> None:
    guest = Guest({"/f": b"old"})
    fd = guest.open("/f", READ_WRITE)
    assert guest.write(fd, b"new") == 3
    assert guest.disk().read_file("/f") == b"old"
    assert guest.call("sys_fsync", fd) == 0
    assert guest.disk().read_file("/f") == b"new"


def test_forgotten_blocks_are_read_again() -> None:
    guest = Guest({"/f": bytes(16384)})
    fd = guest.open("/f", READ)
    guest.read(fd, 16384)
    guest.call("sys_rewind", fd, 0)
    before = guest.word("fake_requests")
    guest.read(fd, 16384)
    assert guest.word("fake_requests") == before
    guest.call("sys_rewind", fd, 1)
    guest.read(fd, 16384)
    assert guest.word("fake_requests") > before


@pytest.mark.parametrize(("at", "count"), [(0, 1), (0, 20000), (4096, 513), (8192, 11808)])
def test_direct_read(at: int, count: int) -> None:
    data = bytes(i * 13 & 0xFF for i in range(20000))
    guest = Guest({"/boot/kernel": data})
    guest.uc.mem_write(SCRATCH, b"/boot/kernel\0")
    assert guest.call("toyfs_read_direct", SCRATCH, at, SCRATCH + 4096, count) == 0
    assert guest.uc.mem_read(SCRATCH + 4096, count) == data[at : at + count]
    assert guest.call("toyfs_read_direct", SCRATCH, at, SCRATCH + 4096, 20001 - at) == -EINVAL


writes = st.lists(st.tuples(st.sampled_from(["/x", "/y", "/d/f"]), st.integers(1, 9000), st.booleans()), max_size=10)


@given(writes)
@examples(25)
def test_what_the_guest_writes_the_host_reads(steps: list[tuple[str, int, bool]]) -> None:
    guest = Guest({"/d/f": b"0" * 5000})
    model = {"/d/f": b"0" * 5000}
    for number, (path, size, truncate) in enumerate(steps):
        data = bytes([number + 1]) * size
        fd = guest.open(path, WRITE | CREATE | (TRUNCATE if truncate else 0))
        assert fd >= 0
        assert guest.write(fd, data) == size
        assert guest.call("sys_close", fd) == 0
        old = b"" if truncate else model.get(path, b"")
        model[path] = data + old[size:]
    disk = guest.disk()
    assert disk.files() == model
    assert disk.check() == []
