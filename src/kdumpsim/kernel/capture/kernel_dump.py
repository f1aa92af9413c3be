# SPDX-License-Identifier: GPL-2.0-or-later
"""Saving the dump from kernel space, with polling and no timer (LKDTT paper, section 7.3).

"Being deprived of timer interrupts is an insurmountable problem for user-space based crash dumping mechanisms such as
kdump, because they depend on a working scheduler and hence the timer."  The paper has a kernel-space way "cohabit" with
that one: ``kernel_dump=fallback`` takes it when the capture kernel itself gives up, before there is a user space or
later; ``kernel_dump=only`` does not even try, and needs neither interrupt controllers nor ticks.

/proc/vmcore is written to the disk that ``dumpdisk=`` names, in savecore's format (docs/kernel.md, "Dump disk").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    addr,
    array,
    cast,
    cstr,
    guest,
    i32,
    length,
    placed,
    ptr,
    u8,
    u32,
    u64,
    usize,
    xchg,
)
from kdumpsim.kernel.architecture import PAGE_SIZE, local_irq_disable, machine_restart, pa, smp_send_stop
from kdumpsim.kernel.block.blk_types import SECTOR_SHIFT, SECTOR_SIZE
from kdumpsim.kernel.capture.elfcorehdr import is_kdump_kernel
from kdumpsim.kernel.capture.vmcore import vmcore_open, vmcore_read, vmcore_sendfile
from kdumpsim.kernel.core.dump import DumpMechanism
from kdumpsim.kernel.core.panic import panic_buf
from kdumpsim.kernel.core.params import ObsKernelParam, cmdline_find
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import memset, strcmp, strlcpy, strncmp
from kdumpsim.kernel.core.types import EINVAL, EIO
from kdumpsim.kernel.drivers.ide_poll import ide_poll_most, ide_poll_open, ide_poll_write
from kdumpsim.kernel.fs.file_types import File, FileOperations

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

DUMP_OFFSET: Final = 4096
DUMP_COMPLETE: Final = 1
DUMP_MAGIC_SIZE: Final = 16
CRC_POLYNOMIAL: Final = 0xEDB8_8320
"""IEEE 802.3, lowest bit first."""
CHUNK: Final = 2 << 20
"""Bytes between two looks at how far the dump is."""
TOLD_EVERY: Final = 16 << 20
DISK_NAME: Final = 16


class DumpDiskHeader(Struct):
    """Sector 0 of the dump disk (disks/dumpdisk.py); `crc` is of what stands before."""

    magic: array[u8] = length(DUMP_MAGIC_SIZE)
    status: u32
    header_bytes: u32
    size: u64
    lba: u64
    unused: array[u8] = length(SECTOR_SIZE - 44)
    crc: u32


class KernelDump(Struct):
    """What kernel_dump= chose: neither, a fallback, or the only way."""

    fallback: bool
    only: bool


kernel_dump: KernelDump = KernelDump()
kernel_dump_begun: u32 = 0
"""1 from the first attempt on: there is no second."""
kernel_dump_magic: array[u8] = b"KDUMPSIM-VMCORE1"
kernel_dump_page: array[u8] = length(PAGE_SIZE, align=4096)
"""What goes to the disk by way of this kernel's memory: sector 0, and the last piece of the dump."""


@guest
def kernel_dump_setup(value: cstr) -> i32:
    """kernel_dump=fallback|only"""
    kernel_dump.only = strcmp(value, "only") == 0
    kernel_dump.fallback = kernel_dump.only or strcmp(value, "fallback") == 0
    return 0 if kernel_dump.fallback or strcmp(value, "off") == 0 else -EINVAL


_param_kernel_dump: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="kernel_dump=", setup_func=kernel_dump_setup)
)


@guest
def poll_sendphys(file: ptr[File], phys: usize, count: usize) -> i32:
    """Write whole sectors at the file's position (FileOperations.sendphys)."""
    done: usize = 0
    while done < count:
        sectors: u32 = min(u32((count - done) >> SECTOR_SHIFT), ide_poll_most())
        if sectors == 0 or not ide_poll_write(u32(file.f_pos >> SECTOR_SHIFT), phys + done, sectors):
            return i32(done) if done != 0 else -EIO
        done += sectors << SECTOR_SHIFT
        file.f_pos += sectors << SECTOR_SHIFT
    return i32(done)


poll_file_operations: FileOperations = FileOperations(sendphys=poll_sendphys)


@guest
def crc_of(data: ptr[u8], count: usize) -> u32:
    """The check of sector 0."""
    crc: u32 = ~u32(0)
    for i in range(count * 8):
        bit: u32 = crc ^ u32(data[i >> 3] >> (i & 7))
        crc = crc >> 1 ^ (CRC_POLYNOMIAL if bit & 1 else 0)
    return ~crc


@guest
def write_sector_0(size: u64) -> bool:
    """The header of a whole dump; of none at all if `size` is 0."""
    memset(kernel_dump_page, 0, SECTOR_SIZE)
    if size != 0:
        header = cast(ptr[DumpDiskHeader], kernel_dump_page)
        for i in range(DUMP_MAGIC_SIZE):
            header.magic[i] = kernel_dump_magic[i]
        header.status = DUMP_COMPLETE
        header.header_bytes = DUMP_OFFSET
        header.size = size
        header.lba = DUMP_OFFSET >> SECTOR_SHIFT
        header.crc = crc_of(kernel_dump_page, SECTOR_SIZE - 4)
    return ide_poll_write(0, pa(usize(kernel_dump_page)), 1)


@guest
def send_vmcore(size: u64) -> bool:
    """All of /proc/vmcore, from where it lies in memory; the last piece, which is no page, filled up with zeros."""
    vmcore: File = File()
    disk: File = File(f_op=poll_file_operations, f_pos=DUMP_OFFSET)
    whole: u64 = size & ~u64(PAGE_SIZE - 1)
    told: u64 = TOLD_EVERY
    while vmcore.f_pos < whole:
        left: u64 = whole - vmcore.f_pos
        if vmcore_sendfile(vmcore, CHUNK if left > CHUNK else usize(left), disk) <= 0:
            return False
        if vmcore.f_pos >= told:
            printk(f"<6>kernel_dump: {u32(vmcore.f_pos >> 20)} of {u32(size >> 20)} MB\n")
            told += TOLD_EVERY
    rest = i32(size - whole)
    if rest == 0:
        return True
    memset(kernel_dump_page, 0, PAGE_SIZE)
    if vmcore_read(vmcore, kernel_dump_page, u32(rest)) != rest:
        return False
    return poll_sendphys(disk, pa(usize(kernel_dump_page)), PAGE_SIZE) == PAGE_SIZE


@guest
def dump_disk_name(name: ptr[u8]) -> None:
    """The word ``dumpdisk=``, with /dev/ or without; hdc if there is none."""
    word: array[u8] = length(DISK_NAME)
    strlcpy(word, "hdc", DISK_NAME)
    cmdline_find("dumpdisk=", word, DISK_NAME)
    short: cstr = word
    if strncmp(word, "/dev/", 5) == 0:
        short = short + 5
    strlcpy(name, short, DISK_NAME)


@guest
def do_kernel_dump() -> None:
    """Save the dump and restart the machine; comes back if it cannot be saved."""
    if xchg(addr(kernel_dump_begun), 1) != 0:
        return
    local_irq_disable()
    smp_send_stop()
    name: array[u8] = length(DISK_NAME)
    dump_disk_name(name)
    size = vmcore_open()
    if size == 0:
        printk("<3>kernel_dump: there is no vmcore\n")
        return
    sectors = ide_poll_open(name)
    if sectors == 0:
        printk(f"<3>kernel_dump: no disk {name:s} that can be polled\n")
        return
    if (size + DUMP_OFFSET + PAGE_SIZE - 1) >> SECTOR_SHIFT >= sectors:
        printk(f"<3>kernel_dump: {name:s} is too small\n")
        return
    printk(f"<5>kernel_dump: saving {u32(size >> 10)} KiB to {name:s}, polled\n")
    if not write_sector_0(0) or not send_vmcore(size) or not write_sector_0(size):
        printk(f"<3>kernel_dump: {name:s} failed\n")
        return
    printk("<5>kernel_dump: vmcore saved\n")
    machine_restart()


@guest
def kernel_dump_fallback(regs: ptr[PtRegs]) -> None:
    """A capture kernel gives up."""
    if is_kdump_kernel() and kernel_dump.fallback:
        printk(f"<5>kernel_dump: user space cannot save the dump: {panic_buf:s}\n")
        do_kernel_dump()


@guest
def kernel_dump_only() -> None:
    """Before interrupts are enabled."""
    if is_kdump_kernel() and kernel_dump.only:
        do_kernel_dump()


KERNEL_DUMP: DumpMechanism = placed(
    "dump_mechanisms7",
    DumpMechanism(name="kdump", hooks=[NULL, kernel_dump_fallback, kernel_dump_fallback, kernel_dump_fallback]),
)
"""The same mechanism as in core/kexec.py, which is for the first kernel; this entry is for the capture kernel."""
