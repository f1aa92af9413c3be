# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupt lines: descriptors, handlers and an interrupt's way through them (kernel/irq/{handle,manage,spurious}.c).

The two listings of the LKDTT paper are __do_IRQ() and handle_IRQ_event().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cast,
    cstr,
    fn,
    guest,
    i32,
    length,
    load_volatile,
    placed,
    ptr,
    sizeof,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.architecture import (
    cpu_online,
    cpu_relax,
    dump_stack,
    local_irq_disable,
    local_irq_enable,
    show_arch_interrupts,
    smp_processor_id,
)
from kdumpsim.kernel.core.config import NR_CPUS, NR_IRQS
from kdumpsim.kernel.core.irq_types import (
    IRQ_HANDLED,
    IRQ_NONE,
    SA_INTERRUPT,
    SA_SHIRQ,
    HwInterruptType,
    Irqaction,
    IrqDesc,
    IrqStatus,
)
from kdumpsim.kernel.core.kallsyms import print_symbol
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import (
    spin_lock,
    spin_lock_init,
    spin_lock_irqsave,
    spin_unlock,
    spin_unlock_irqrestore,
)
from kdumpsim.kernel.core.types import EBUSY, EINVAL, ENOMEM
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint, cpoint
from kdumpsim.kernel.mm.slab import kfree, kzalloc

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

IRQ_INPROGRESS: Final = IrqStatus.IRQ_INPROGRESS
IRQ_DISABLED: Final = IrqStatus.IRQ_DISABLED
IRQ_PENDING: Final = IrqStatus.IRQ_PENDING

IRQ_WINDOW: Final = 100000
MAX_UNHANDLED: Final = 99900
"""A line is shut off if nobody wanted more than so many of IRQ_WINDOW interrupts."""


@guest
def no_irq_startup(irq: u32) -> u32:
    """Controller of lines that have none."""
    return 0


@guest
def no_irq_chip(irq: u32) -> None:
    """Controller of lines that have none."""


no_irq_type: HwInterruptType = HwInterruptType(
    typename="none",
    startup=no_irq_startup,
    shutdown=no_irq_chip,
    enable=no_irq_chip,
    disable=no_irq_chip,
    ack=no_irq_chip,
    end=no_irq_chip,
)

irq_desc: array[IrqDesc] = length(NR_IRQS)
irqpoll: bool = False
irq_err_count: u32 = 0
"""Interrupts that came without a line; the architecture counts them."""


@guest
def init_irq_desc() -> None:
    """Make all lines disabled ones without a controller, before init_IRQ() gives them theirs."""
    for irq in range(NR_IRQS):
        desc: ptr[IrqDesc] = irq_desc[irq]
        desc.handler = no_irq_type
        desc.status = IRQ_DISABLED
        desc.depth = 1
        desc.affinity = (1 << NR_CPUS) - 1
        spin_lock_init(desc.lock)


INT_HW_IRQ_EN: CrashPoint = placed(
    "cpoints", CrashPoint(name="INT_HW_IRQ_EN", which=2, help="IRQ handling, interrupts on: handle_IRQ_event")
)


@guest
def handle_IRQ_event(irq: u32, regs: ptr[PtRegs], action: ptr[Irqaction]) -> u32:
    """Call all handlers of a line, with interrupts on unless the first wants them off (listing 2)."""
    retval: u32 = 0
    if action.flags & SA_INTERRUPT == 0:
        local_irq_enable()
        cpoint(INT_HW_IRQ_EN)
    while action != NULL:
        retval |= action.handler(irq, action.dev_id, regs)
        action = action.next
    local_irq_disable()
    return retval


@guest
def report_bad_irq(irq: u32, desc: ptr[IrqDesc]) -> None:
    """Say that nobody wants a line's interrupts, and who has been asked (__report_bad_irq)."""
    printk(f'<3>irq {irq}: nobody cared (try booting with the "irqpoll" option)\n')
    dump_stack()
    printk("<3>handlers:\n")
    action: ptr[Irqaction] = desc.action
    while action != NULL:
        handler = usize(cast(ptr[void], action.handler))
        printk(f"<3>[<{u32(handler):08x}>]")
        print_symbol(" (%s)\n", handler)
        action = action.next


@guest
def poll_shared_handlers(irq: u32, regs: ptr[PtRegs], action: ptr[Irqaction]) -> bool:
    """Ask a line's handlers, of those that can share it; True if one had something to do."""
    handled: bool = False
    while action != NULL:
        if action.flags & SA_SHIRQ and action.handler(irq, action.dev_id, regs) == IRQ_HANDLED:
            handled = True
        action = action.next
    local_irq_disable()
    return handled


@guest
def misrouted_irq(irq: u32, regs: ptr[PtRegs]) -> bool:
    """Ask the handlers of all other lines but the timer's, disabled lines included; True if one was waited for.

    2.6.16 takes the lock of every line, also where nobody listens.
    """
    handled: bool = False
    for other in range(1, NR_IRQS):
        desc: ptr[IrqDesc] = irq_desc[other]
        if other == irq or desc.action == NULL:
            continue
        spin_lock(desc.lock)
        if desc.status & IRQ_INPROGRESS:
            if desc.action != NULL and desc.action.flags & SA_SHIRQ:
                desc.status |= IRQ_PENDING
            spin_unlock(desc.lock)
            continue
        desc.status |= IRQ_INPROGRESS
        spin_unlock(desc.lock)
        if poll_shared_handlers(other, regs, desc.action):
            handled = True
        work: bool = False
        spin_lock(desc.lock)
        while desc.status & IRQ_PENDING and desc.action != NULL:
            work = True
            desc.status &= ~IRQ_PENDING
            spin_unlock(desc.lock)
            handle_IRQ_event(other, regs, desc.action)
            spin_lock(desc.lock)
        desc.status &= ~IRQ_INPROGRESS
        if work:
            desc.handler.end(other)
        spin_unlock(desc.lock)
    return handled


@guest
def note_interrupt(irq: u32, desc: ptr[IrqDesc], action_ret: u32, regs: ptr[PtRegs]) -> None:
    """Shut off a line that goes on without anybody wanting it (2.6.16 kernel/irq/spurious.c).  The line's lock is held.

    It is looked at each time it has come IRQ_WINDOW times.  With `irqpoll` the handlers of the other lines are asked
    about an interrupt that nobody wanted, and at each tick of the timer: so a device whose line is off is served.
    """
    if action_ret != IRQ_HANDLED:
        desc.irqs_unhandled += 1
    if irqpoll and (irq == 0 or action_ret == IRQ_NONE):
        if misrouted_irq(irq, regs) and action_ret == IRQ_NONE:
            desc.irqs_unhandled -= 1
    desc.irq_count += 1
    if desc.irq_count < IRQ_WINDOW:
        return
    desc.irq_count = 0
    if desc.irqs_unhandled > MAX_UNHANDLED:
        report_bad_irq(irq, desc)
        printk(f"<0>Disabling IRQ #{irq}\n")
        desc.status |= IRQ_DISABLED
        desc.depth = 1
        desc.handler.disable(irq)
    desc.irqs_unhandled = 0


INT_HARDWARE_ENTRY: CrashPoint = placed(
    "cpoints", CrashPoint(name="INT_HARDWARE_ENTRY", which=1, help="IRQ handling: __do_IRQ, its descriptor's lock held")
)


@guest
def __do_IRQ(irq: u32, regs: ptr[PtRegs]) -> u32:
    """Serve a line: acknowledge, and call the handlers unless another CPU is at it (listing 1)."""
    desc: ptr[IrqDesc] = irq_desc[irq]
    desc.kstat_irqs[smp_processor_id()] += 1
    spin_lock(desc.lock)
    desc.handler.ack(irq)
    status = desc.status | IRQ_PENDING
    action: ptr[Irqaction] = NULL
    if status & (IRQ_DISABLED | IRQ_INPROGRESS) == 0:
        action = desc.action
        status &= ~IRQ_PENDING
        status |= IRQ_INPROGRESS
    desc.status = status
    if action != NULL:
        cpoint(INT_HARDWARE_ENTRY)
        while True:
            spin_unlock(desc.lock)
            action_ret = handle_IRQ_event(irq, regs, action)
            spin_lock(desc.lock)
            note_interrupt(irq, desc, action_ret, regs)
            if desc.status & IRQ_PENDING == 0:
                break
            desc.status &= ~IRQ_PENDING
        desc.status &= ~IRQ_INPROGRESS
    desc.handler.end(irq)
    spin_unlock(desc.lock)
    return 1


@guest
def setup_irq(irq: u32, new: ptr[Irqaction]) -> i32:
    """Add a handler to a line and enable the line if it is the first."""
    desc: ptr[IrqDesc] = irq_desc[irq]
    new.irq = irq
    flags = spin_lock_irqsave(desc.lock)
    last: ptr[Irqaction] = desc.action
    if last != NULL:
        if last.flags & new.flags & SA_SHIRQ == 0:
            spin_unlock_irqrestore(desc.lock, flags)
            return -EBUSY
        while last.next != NULL:
            last = last.next
        last.next = new
    else:
        desc.action = new
        desc.depth = 0
        desc.status &= ~(IRQ_DISABLED | IRQ_INPROGRESS)
        desc.handler.startup(irq)
    spin_unlock_irqrestore(desc.lock, flags)
    return 0


@guest
def request_irq(
    irq: u32, handler: fn[[u32, ptr[void], ptr[PtRegs]], u32], flags: u32, name: cstr, dev_id: ptr[void]
) -> i32:
    """Have `handler` called for a line's interrupts."""
    if irq >= NR_IRQS or (flags & SA_SHIRQ and dev_id == NULL):
        return -EINVAL
    action = cast(ptr[Irqaction], kzalloc(sizeof(Irqaction)))
    if action == NULL:
        return -ENOMEM
    action.handler = handler
    action.flags = flags
    action.name = name
    action.dev_id = dev_id
    result = setup_irq(irq, action)
    if result != 0:
        kfree(action)
    return result


@guest
def free_irq(irq: u32, dev_id: ptr[void]) -> None:
    """Take a handler off; the line is shut down after the last. Waits until it runs nowhere."""
    desc: ptr[IrqDesc] = irq_desc[irq]
    flags = spin_lock_irqsave(desc.lock)
    before: ptr[Irqaction] = NULL
    action = desc.action
    while action != NULL and action.dev_id != dev_id:
        before = action
        action = action.next
    if action != NULL:
        if before != NULL:
            before.next = action.next
        else:
            desc.action = action.next
        if desc.action == NULL:
            desc.status |= IRQ_DISABLED
            desc.handler.shutdown(irq)
    spin_unlock_irqrestore(desc.lock, flags)
    if action != NULL:
        synchronize_irq(irq)
        kfree(action)


@guest
def synchronize_irq(irq: u32) -> None:
    """Wait until no CPU serves the line."""
    while load_volatile(addr(irq_desc[irq].status)) & IRQ_INPROGRESS:
        cpu_relax()


@guest
def disable_irq_nosync(irq: u32) -> None:
    """Mask a line; calls nest."""
    desc: ptr[IrqDesc] = irq_desc[irq]
    flags = spin_lock_irqsave(desc.lock)
    if desc.depth == 0:
        desc.status |= IRQ_DISABLED
        desc.handler.disable(irq)
    desc.depth += 1
    spin_unlock_irqrestore(desc.lock, flags)


@guest
def disable_irq(irq: u32) -> None:
    """Mask a line and wait until no CPU serves it."""
    disable_irq_nosync(irq)
    if irq_desc[irq].action != NULL:
        synchronize_irq(irq)


@guest
def enable_irq(irq: u32) -> None:
    """Undo one disable_irq()."""
    desc: ptr[IrqDesc] = irq_desc[irq]
    flags = spin_lock_irqsave(desc.lock)
    if desc.depth == 1:
        desc.status &= ~IRQ_DISABLED
        desc.handler.enable(irq)
    if desc.depth > 0:
        desc.depth -= 1
    spin_unlock_irqrestore(desc.lock, flags)


@guest
def interrupts_show(m: ptr[SeqFile]) -> i32:
    """/proc/interrupts: counts for each CPU, controller, handlers."""
    seq_printf(m, "     ")
    for cpu in range(NR_CPUS):
        if cpu_online(cpu):
            seq_printf(m, "      CPU%-2u", cpu)
    seq_printf(m, "\n")
    for irq in range(NR_IRQS):
        desc: ptr[IrqDesc] = irq_desc[irq]
        action = desc.action
        if action == NULL:
            continue
        seq_printf(m, "%3u: ", irq)
        for cpu in range(NR_CPUS):
            if cpu_online(cpu):
                seq_printf(m, "%10u ", desc.kstat_irqs[cpu])
        seq_printf(m, " %14s  %s", desc.handler.typename, action.name)
        while action.next != NULL:
            action = action.next
            seq_printf(m, ", %s", action.name)
        seq_printf(m, "\n")
    show_arch_interrupts(m)
    seq_printf(m, "ERR: %10u\n", irq_err_count)
    return 0


@guest
def proc_interrupts_init() -> i32:
    """Make /proc/interrupts."""
    return register_proc("/proc/interrupts", interrupts_show, NULL)


@guest
def irqpoll_setup(rest: cstr) -> i32:
    """``irqpoll``: ask handlers of other lines, and at every tick."""
    global irqpoll
    irqpoll = True
    printk("<4>Misrouted IRQ fixup and polling support enabled\n")
    printk("<4>This may significantly impact system performance\n")
    return 1


_param_irqpoll: ObsKernelParam = placed("setup_params", ObsKernelParam(str="irqpoll", setup_func=irqpoll_setup))
_init_proc_interrupts: fn[[], i32] = placed("initcall5", proc_interrupts_init)
