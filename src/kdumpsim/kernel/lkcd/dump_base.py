# SPDX-License-Identifier: GPL-2.0-or-later
"""LKCD: where it is hooked in, how it is configured, and a dump from begin to end (drivers/dump/dump_{base,execute}.c).

A dump is taken at every oops, in panic(), by the NMI watchdog and at SysRq-C; afterwards the machine restarts
if panic= says when.  A second dump while one is under way is refused, whoever asks for it.

Source: LKCD as its authors sent it to LKML (2002-10-23, "LKCD for 2.5.44") and as distributions patched it into 2.6.
Not modelled: levels other than all memory, compression, polled mode, the network as a dump device, the two-stage dump
by soft boot, copies of the stacks, the time of the crash.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cstr,
    fn,
    guest,
    i32,
    length,
    placed,
    ptr,
    sizeof,
    store_volatile,
    u8,
    u32,
    u64,
    usize,
)
from kdumpsim.kernel.architecture import (
    PAGE_MASK,
    PAGE_SIZE,
    PtRegs,
    crash_setup_regs,
    local_irq_restore,
    local_irq_save,
    machine_restart,
    mdelay,
    smp_processor_id,
    smp_send_stop,
)
from kdumpsim.kernel.core.dump import DumpMechanism
from kdumpsim.kernel.core.panic import panic_timeout
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.resource import iomem_resource
from kdumpsim.kernel.core.resource_types import Resource
from kdumpsim.kernel.core.spinlock import Spinlock, spin_trylock, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import simple_strtoull, strcmp
from kdumpsim.kernel.core.types import EINVAL
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.lkcd.dump_blockdev import (
    dump_add_data,
    dump_block_open,
    dump_block_resume,
    dump_block_silence,
    dump_blockdev,
    dump_seek_first_page,
    dump_update_end_marker,
    dump_update_header,
)
from kdumpsim.kernel.lkcd.dump_fmt import dump_configure_header, dump_header
from kdumpsim.kernel.lkcd.dump_i386 import DumpSilence, dump_oncpu, dump_save_other_cpus, dump_silence_level
from kdumpsim.kernel.lkcd.dump_types import DumpPage

NAME_SIZE: Final = 16

dump_okay: bool = False
"""A device is configured."""
dump_lock: Spinlock = Spinlock(slock=1)
"""Held while a dump is taken."""


@guest
def is_ram(resource: ptr[Resource]) -> bool:
    """Whether a range of addresses is memory."""
    return strcmp(resource.name, "System RAM") == 0


@guest
def first_page(resource: ptr[Resource]) -> usize:
    """The first page of which a range has a part."""
    return resource.start & PAGE_MASK


@guest
def dump_pages() -> u32:
    """Pages that a dump will have."""
    count: u32 = 0
    resource: ptr[Resource] = iomem_resource.child
    while resource != NULL:
        if is_ram(resource):
            count += u32((resource.end - first_page(resource)) // PAGE_SIZE + 1)
        resource = resource.sibling
    return count


@guest
def dump_sequencer() -> i32:
    """Save every page of memory, in order."""
    dump_seek_first_page()
    resource: ptr[Resource] = iomem_resource.child
    while resource != NULL:
        if is_ram(resource):
            first: usize = first_page(resource)
            for number in range((resource.end - first) // PAGE_SIZE + 1):
                error: i32 = dump_add_data(first + number * PAGE_SIZE)
                if error != 0:
                    return error
        resource = resource.sibling
    return 0


@guest
def dump_complete() -> i32:
    """Close the dump: end marker, and the header with the number of pages."""
    error: i32 = dump_update_end_marker()
    if error != 0:
        printk(f"LKCD: dump update end marker error {error}\n")
        return error
    error = dump_update_header()
    if error != 0:
        printk(f"LKCD: dump update header error {error}\n")
    return error


@guest
def dump_restart() -> None:
    """Restart the machine if panic= says when."""
    if panic_timeout > 0:
        printk(f"<0>Rebooting in {panic_timeout} seconds..")
        smp_send_stop()
        mdelay(panic_timeout * 1000)
        machine_restart()


@guest
def dump_execute_savedump() -> i32:
    """Write a dump: headers, pages, end."""
    error: i32 = dump_block_silence()
    if error != 0:
        printk(f"LKCD: dump silence dev failed ! error {error}\n")
        return error
    error = dump_update_header()
    if error != 0:
        printk(f"LKCD: dump update header failed ! error {error}\n")
        dump_block_resume()
        return error
    error = dump_sequencer()
    if error == 0:
        error = dump_complete()
    dump_block_resume()
    dump_restart()
    return error


@guest
def dump_execute(regs: ptr[PtRegs]) -> None:
    """The entry: take a dump with the registers of an exception, or with the caller's."""
    if not dump_okay:
        return
    flags: u32 = local_irq_save()
    if not spin_trylock(dump_lock):
        local_irq_restore(flags)
        printk("<6>LKCD: dump already in progress\n")
        return
    store_volatile(addr(dump_silence_level), DumpSilence.DUMP_HARD_SPIN_CPUS)
    store_volatile(addr(dump_oncpu), smp_processor_id() + 1)
    fixed_regs: PtRegs = PtRegs()
    crash_setup_regs(fixed_regs, regs)
    dump_configure_header(fixed_regs)
    dump_save_other_cpus()
    state: i32 = dump_execute_savedump()
    store_volatile(addr(dump_oncpu), 0)
    spin_unlock_irqrestore(dump_lock, flags)
    if state < 0:
        printk("LKCD: Dump Incomplete or failed!\n")
    else:
        printk(f"LKCD: Dump Complete; {dump_header.dh_num_dump_pages} dump pages saved.\n")


LKCD: DumpMechanism = placed(
    "dump_mechanisms4",
    DumpMechanism(name="lkcd", hooks=[dump_execute, dump_execute, dump_execute, dump_execute]),
)


@guest
def next_number(text: ptr[cstr]) -> u32:
    """The number that follows a blank, which is passed over; -1 where there is none."""
    if text[0][0] != ord(" "):
        return 0xFFFFFFFF
    rest: cstr = NULL
    start: cstr = text[0] + 1
    value: u64 = simple_strtoull(start, addr(rest), 10)
    text[0] = rest
    return 0xFFFFFFFF if rest == start or value > 0xFFFFFFFF else u32(value)


@guest
def dump_device_store(text: cstr, count: usize) -> i32:
    """``NAME START SECTORS`` was written to /proc/sys/dump/device: the partition that dumps go to, as lkcd config does.

    There are no partition tables here, so a part of a disk is named by its first sector and its length.
    """
    global dump_okay
    name: array[u8] = length(NAME_SIZE)
    n: u32 = 0
    while text[n] != 0 and text[n] != ord(" "):
        if n == NAME_SIZE - 1:
            return -EINVAL
        name[n] = text[n]
        n += 1
    rest: cstr = text + n
    start: u32 = next_number(addr(rest))
    sectors: u32 = next_number(addr(rest))
    if start == 0xFFFFFFFF or sectors == 0xFFFFFFFF or rest[0] != 0:
        return -EINVAL
    dump_okay = False
    error: i32 = dump_block_open(name, start, sectors, dump_pages() * (PAGE_SIZE + sizeof(DumpPage)))
    dump_okay = error == 0
    return error


@guest
def dump_device_show(m: ptr[SeqFile]) -> i32:
    """The dump device, or ``none``."""
    if not dump_okay:
        seq_printf(m, "none\n")
        return 0
    seq_printf(m, f"{dump_blockdev.bdev.bd_name:s} {dump_blockdev.start_sector} {dump_blockdev.sectors}\n")
    return 0


@guest
def dump_init() -> i32:
    """Make the file."""
    return register_proc("/proc/sys/dump/device", dump_device_show, dump_device_store)


_init_dump: fn[[], i32] = placed("initcall5", dump_init)
