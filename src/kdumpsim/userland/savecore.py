# SPDX-License-Identifier: GPL-2.0-or-later
"""savecore: save /proc/vmcore to the dump disk (LKDTT paper, section 7.3; docs/kernel.md, "Dump disk").

The dump goes from file to file by sendfile(), so that old memory is fetched by the disk from where it lies; only a
last piece that is no whole page passes through this program.  Sector 0 is written last: a disk with a sound header
holds a whole dump.  The disk is the one the kernel's command line names by ``dumpdisk=``, hdc by default.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    NoReturn,
    Struct,
    addr,
    array,
    cast,
    cstr,
    guest,
    i32,
    length,
    ptr,
    u8,
    u32,
    u64,
    usize,
    void,
)
from kdumpsim.userland.lib import (
    O_RDONLY,
    O_RDWR,
    SEEK_END,
    SEEK_SET,
    close,
    exit,
    fail,
    llseek,
    memcpy,
    memset,
    open,
    put_number,
    puts,
    read,
    sendfile,
    strcpy,
    strlen,
    strncmp,
    write,
)

SECTOR: Final = 512
PAGE: Final = 4096
DUMP_OFFSET: Final = 4096
DUMP_LBA: Final = DUMP_OFFSET // SECTOR
DUMP_COMPLETE: Final = 1
MAGIC_SIZE: Final = 16
CHUNK: Final = 2 << 20
"""Bytes of one sendfile(): how often progress can be told."""
PROGRESS_STEP: Final = 5
CMDLINE: Final = 2048
NAME: Final = 32
EIO: Final = 5


class DumpHeader(Struct):
    """Sector 0 of the dump disk; its last word is the CRC-32 of what stands before."""

    magic: array[u8] = length(MAGIC_SIZE)
    status: u32
    header_bytes: u32
    size: u64
    lba: u64
    unused: array[u8] = length(SECTOR - 44)
    crc: u32


dump_magic: array[u8] = b"KDUMPSIM-VMCORE1"
header: DumpHeader = DumpHeader()
page: array[u8] = length(PAGE)
cmdline: array[u8] = length(CMDLINE)
path: array[u8] = length(NAME)
vmcore: u32 = 0
disk: u32 = 0


@guest
def crc32(data: ptr[u8], count: usize) -> u32:
    """CRC-32 as of IEEE 802.3, bit by bit."""
    crc: u32 = 0xFFFFFFFF
    for i in range(count):
        crc ^= data[i]
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@guest
def option_value(name: cstr) -> cstr:
    """What follows `name` in the last word of the command line that begins with it; NULL without one."""
    value: cstr = NULL
    size = strlen(name)
    for i in range(strlen(cmdline)):
        if (i == 0 or cmdline[i - 1] == ord(" ")) and strncmp(cmdline + i, name, size) == 0:
            value = cmdline + i + size
    return value


@guest
def disk_path() -> None:
    """Make `path` from the word ``dumpdisk=`` of the command line: hdc, /dev/hdc and nothing at all are understood."""
    fd = open("/proc/cmdline", O_RDONLY)
    if fd >= 0:
        read(u32(fd), cmdline, CMDLINE - 1)
        close(u32(fd))
    name: cstr = option_value("dumpdisk=")
    if name == NULL:
        name = "hdc"
    elif strncmp(name, "/dev/", 5) == 0:
        name += 5
    strcpy(path, "/dev/")
    at = strlen(path)
    while at < NAME - 1 and name[0] > ord(" "):
        path[at] = name[0]
        at += 1
        name += 1


@guest
def give_up(what: cstr, more: cstr) -> NoReturn:
    """Say why nothing is saved."""
    puts("savecore: ")
    puts(what)
    puts(more)
    puts("\n")
    exit(1)


@guest
def size_of(fd: u32) -> u64:
    """Where a file ends, in bytes; its position is the beginning again."""
    size: u64 = 0
    error = llseek(fd, 0, SEEK_END, addr(size))
    if error < 0:
        fail("savecore: cannot find a file's end", error)
    llseek(fd, 0, SEEK_SET, addr(size_ignored))
    return size


size_ignored: u64 = 0


@guest
def seek(position: u64) -> None:
    """Where on the disk to write next."""
    error = llseek(disk, position, SEEK_SET, addr(size_ignored))
    if error < 0:
        fail("savecore: cannot seek on the dump disk", error)


@guest
def write_disk(data: ptr[void], count: usize) -> None:
    """Write whole sectors at the disk's position."""
    n = write(disk, data, count)
    if n != i32(count):
        fail("savecore: cannot write to the dump disk", n if n < 0 else -EIO)


@guest
def invalidate() -> None:
    """Make the header of an earlier dump invalid before its data go."""
    n = read(disk, page, SECTOR)
    if n != SECTOR:
        fail("savecore: cannot read the dump disk", n if n < 0 else -EIO)
    if strncmp(page, dump_magic, MAGIC_SIZE) != 0:
        return
    memset(page, 0, SECTOR)
    seek(0)
    write_disk(page, SECTOR)


@guest
def send_pages(size: u64) -> None:
    """Send all whole pages of the dump, and tell every few percent how far it is."""
    total = u32((size + PAGE - 1) >> 12)
    done: u64 = 0
    told: u32 = PROGRESS_STEP
    while done + PAGE <= size:
        left = size - done
        n = sendfile(disk, vmcore, CHUNK if left >= CHUNK else u32(left) & ~(PAGE - 1))
        if n <= 0:
            fail("savecore: cannot copy /proc/vmcore to the dump disk", n if n < 0 else -EIO)
        done += u32(n)
        percent = u32(done >> 12) * 100 // total
        if percent >= told:
            puts("savecore: ")
            put_number(i32(percent))
            puts("%\n")
            told = percent - percent % PROGRESS_STEP + PROGRESS_STEP


@guest
def send_rest(count: usize) -> None:
    """Write the last piece, which is no whole page, filled up with zeros."""
    memset(page, 0, PAGE)
    n = read(vmcore, page, count)
    if n != i32(count):
        fail("savecore: cannot read the end of /proc/vmcore", n if n < 0 else -EIO)
    write_disk(page, PAGE)


@guest
def write_header(size: u64) -> None:
    """Write sector 0."""
    memcpy(header.magic, dump_magic, MAGIC_SIZE)
    header.status = DUMP_COMPLETE
    header.header_bytes = DUMP_OFFSET
    header.size = size
    header.lba = DUMP_LBA
    header.crc = crc32(cast(ptr[u8], header), SECTOR - 4)
    seek(0)
    write_disk(header, SECTOR)


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program; its exit code is 0 when the whole dump is on the disk."""
    global vmcore, disk
    fd = open("/proc/vmcore", O_RDONLY)
    if fd < 0:
        fail("savecore: cannot open /proc/vmcore", fd)
    vmcore = u32(fd)
    size = size_of(vmcore)
    if size == 0:
        give_up("/proc/vmcore is empty", "")
    disk_path()
    fd = open(path, O_RDWR)
    if fd < 0:
        give_up("no disk ", path + 5)
    disk = u32(fd)
    if size + DUMP_OFFSET + PAGE > size_of(disk):
        give_up(path + 5, " is too small")
    puts("savecore: saving ")
    put_number(i32(u32((size + PAGE - 1) >> 12) << 2))
    puts(" KiB from /proc/vmcore to ")
    puts(path + 5)
    puts("\n")
    invalidate()
    seek(DUMP_OFFSET)
    send_pages(size)
    if u32(size) & (PAGE - 1):
        send_rest(u32(size) & (PAGE - 1))
    write_header(size)
    puts("savecore: vmcore saved\n")
    return 0
