# SPDX-License-Identifier: GPL-2.0-or-later
"""kexec: checking and taking over images, and starting them (kernel/kexec.c of 2.6.16; kdump paper, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import NULL, addr, array, cast, guest, i32, length, placed, ptr, u8, u32, usize, void, xchg
from kdumpsim.kernel.architecture import (
    call_on_crash_stack,
    crash_setup_regs,
    current,
    local_irq_restore,
    local_irq_save,
    machine_crash_shutdown,
    machine_kexec,
    machine_kexec_prepare,
    machine_shutdown,
)
from kdumpsim.kernel.core.config import CRASH_STACKS, FAULT_CHECKS, NR_CPUS
from kdumpsim.kernel.core.device import device_shutdown
from kdumpsim.kernel.core.dump import DumpMechanism
from kdumpsim.kernel.core.hardirq import in_interrupt
from kdumpsim.kernel.core.kexec_image import kimage_alloc, kimage_free, kimage_load_segment, kimage_terminate
from kdumpsim.kernel.core.kexec_types import (
    KEXEC_ARCH_386,
    KEXEC_ARCH_DEFAULT,
    KEXEC_ARCH_MASK,
    KEXEC_FLAGS,
    KEXEC_NOTE_BYTES,
    KEXEC_ON_CRASH,
    KEXEC_SEGMENT_MAX,
    KexecSegment,
    Kimage,
)
from kdumpsim.kernel.core.panic import panic_on_oops
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.resource_types import IORESOURCE_BUSY, IORESOURCE_MEM, Resource
from kdumpsim.kernel.core.sched import current_is_sound
from kdumpsim.kernel.core.sched_types import TaskStruct
from kdumpsim.kernel.core.types import EBUSY, EINVAL
from kdumpsim.kernel.core.vmcoreinfo import crash_save_vmcoreinfo

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

crash_notes: array[u8] = length(NR_CPUS * KEXEC_NOTE_BYTES, align=4)
"""Each CPU's registers at the crash, as ELF notes; /sys exports the addresses."""

crashk_res: Resource = Resource(name="Crash kernel", flags=IORESOURCE_BUSY | IORESOURCE_MEM)
"""The reserved region (crashkernel=); `end` is 0 without one."""

kexec_image: ptr[Kimage] = NULL
"""What kernel_kexec() would start."""
kexec_crash_image: ptr[Kimage] = NULL
"""What crash_kexec() would start."""
crash_image: ptr[Kimage] = NULL
"""What the dump route is about to start, for the CPU that will."""
kexec_lock: u32 = 0
"""1 while an image is being loaded, and from a crash on."""


@guest
def kexec_should_crash(p: ptr[TaskStruct]) -> bool:
    """Whether an oops of this task cannot be survived, so that the dump is taken at once."""
    return in_interrupt() or p.pid == 0 or p.pid == 1 or panic_on_oops != 0


@guest
def load_image(entry: u32, nr_segments: u32, segments: ptr[KexecSegment], crash: bool, out: ptr[ptr[Kimage]]) -> i32:
    """Check and copy all segments of an image; on failure nothing is left of it."""
    image: ptr[Kimage] = NULL
    result = kimage_alloc(entry, nr_segments, segments, crash, crashk_res, addr(image))
    if result != 0:
        return result
    result = machine_kexec_prepare(image)
    i: u32 = 0
    while result == 0 and i < nr_segments:
        result = kimage_load_segment(image, image.segment[i])
        i += 1
    if result == 0:
        result = kimage_terminate(image)
    if result != 0:
        kimage_free(image)
        return result
    out[0] = image
    return 0


@guest
def sys_kexec_load(entry: u32, nr_segments: u32, segments: ptr[KexecSegment], flags: u32) -> i32:
    """The system call kexec_load: take over an image, or with no segments drop the loaded one."""
    if flags & KEXEC_FLAGS != flags & ~KEXEC_ARCH_MASK:
        return -EINVAL
    if flags & KEXEC_ARCH_MASK != KEXEC_ARCH_386 and flags & KEXEC_ARCH_MASK != KEXEC_ARCH_DEFAULT:
        return -EINVAL
    if nr_segments > KEXEC_SEGMENT_MAX:
        return -EINVAL
    if xchg(addr(kexec_lock), 1) != 0:
        return -EBUSY
    crash = flags & KEXEC_ON_CRASH != 0
    place: ptr[ptr[Kimage]] = addr(kexec_image)
    if crash:
        place = addr(kexec_crash_image)
        # The new image would overwrite the old one where it lies.
        kimage_free(xchg(place, NULL))
    image: ptr[Kimage] = NULL
    result: i32 = 0
    if nr_segments > 0:
        result = load_image(entry, nr_segments, segments, crash, addr(image))
    if result == 0:
        image = xchg(place, image)
    xchg(addr(kexec_lock), 0)
    kimage_free(image)
    return result


@guest
def start_crash_image(regs: ptr[PtRegs]) -> None:
    """The dump route: start the capture kernel, if one is loaded; comes back only if none is.

    kexec_lock keeps sys_kexec_load() on another CPU from replacing the image under us, and lets only one of several
    crashing CPUs through.
    """
    global crash_image
    locked = xchg(addr(kexec_lock), 1)
    if locked == 0:
        image = xchg(addr(kexec_crash_image), NULL)
        if image != NULL:
            crash_image = image
            crash_save_vmcoreinfo()
            machine_crash_shutdown(regs)
            machine_kexec(image)
        xchg(addr(kexec_lock), 0)


@guest
def crash_kexec(regs: ptr[PtRegs]) -> None:
    """Take the dump route with the registers of an exception, or with the caller's; comes back if it leads nowhere.

    With CRASH_STACKS it begins on this CPU's own stack, lock and all: who comes here with a full stack may fault once
    more before that, and must find the lock free.
    """
    fixed_regs: PtRegs = PtRegs()
    crash_setup_regs(fixed_regs, regs)
    if CRASH_STACKS:
        flags = local_irq_save()
        call_on_crash_stack(cast(ptr[void], start_crash_image), usize(fixed_regs), 0)
        local_irq_restore(flags)
    else:
        start_crash_image(fixed_regs)


@guest
def crash_kexec_oops(regs: ptr[PtRegs]) -> None:
    """An oops: start the capture kernel at once if it cannot be survived."""
    if (FAULT_CHECKS and not current_is_sound()) or kexec_should_crash(current()):
        crash_kexec(regs)


KDUMP: DumpMechanism = placed(
    "dump_mechanisms5",
    DumpMechanism(name="kdump", hooks=[crash_kexec_oops, crash_kexec, crash_kexec, crash_kexec]),
)


@guest
def kernel_kexec() -> i32:
    """kexec -e: shut the machine down in order and start the loaded kernel."""
    image = xchg(addr(kexec_image), NULL)
    if image == NULL:
        return -EINVAL
    device_shutdown()
    printk("<0>Starting new kernel\n")
    machine_shutdown()
    machine_kexec(image)
    return 0
