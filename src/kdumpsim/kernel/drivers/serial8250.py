# SPDX-License-Identifier: GPL-2.0-or-later
"""16550 serial ports (National Semiconductor PC16550D; after Linux drivers/serial/8250.c).

ttyS0 is the console: output is polled, so that it works at any time, in a panic too.  Input of both ports is
interrupt driven.  The line status is read once for as many bytes as the FIFO is known to take or to hold.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    Struct,
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
    u8,
    u16,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.architecture import PtRegs, cpu_relax, inb, outb, reset_alert_counter
from kdumpsim.kernel.core.irq import request_irq
from kdumpsim.kernel.core.irq_types import IRQ_HANDLED, IRQ_NONE
from kdumpsim.kernel.core.printk import CON_PRINTBUFFER, Console, printk, register_console
from kdumpsim.kernel.core.sched import schedule, set_current_state, signal_pending
from kdumpsim.kernel.core.sched_types import TASK_INTERRUPTIBLE
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_init, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.timer import schedule_timeout
from kdumpsim.kernel.core.types import EINTR
from kdumpsim.kernel.core.wait import WaitEntry, WaitQueue, finish_wait, init_waitqueue, prepare_to_wait, wake_up

UART_RX: Final = 0
UART_TX: Final = 0
UART_DLL: Final = 0
UART_IER: Final = 1
UART_DLM: Final = 1
UART_IIR: Final = 2
UART_FCR: Final = 2
UART_LCR: Final = 3
UART_MCR: Final = 4
UART_LSR: Final = 5
UART_MSR: Final = 6
UART_SCR: Final = 7

IER_RDI: Final = 0x01
IER_RLSI: Final = 0x04
IIR_NO_INT: Final = 0x01
IIR_ID: Final = 0x0E
IIR_RDI: Final = 0x04
IIR_RLSI: Final = 0x06
IIR_TIMEOUT: Final = 0x0C
IIR_FIFO: Final = 0xC0
FCR_ENABLE_CLEAR: Final = 0x07
FCR_TRIGGER_14: Final = 0xC0
LCR_8N1: Final = 0x03
LCR_DLAB: Final = 0x80
MCR_DTR_RTS_OUT2: Final = 0x0B
LSR_DR: Final = 0x01
LSR_THRE: Final = 0x20

FIFO_SIZE: Final = 16
RX_TRIGGER: Final = 14
RX_SIZE: Final = 8192
PATIENCE: Final = 100000
"""Polls of a transmitter that is busy."""


class Uart8250(Struct):
    """A port.  The ring's indices run freely; the interrupt handler owns `head`, the one reader owns `tail`."""

    base: u16
    irq: u32
    present: bool
    fifo: bool
    throttled: bool
    lock: Spinlock
    head: u32
    tail: u32
    wait: WaitQueue
    rx: array[u8] = length(RX_SIZE)


ttys0: Uart8250 = Uart8250()
ttys1: Uart8250 = Uart8250()


@guest
def serial8250_setup(port: ptr[Uart8250], base: u16, irq: u32) -> None:
    """Find a UART and set it to 115200 8N1, FIFOs on, interrupts off."""
    port.base = base
    port.irq = irq
    spin_lock_init(port.lock)
    outb(0x5A, base + UART_SCR)
    port.present = inb(base + UART_SCR) == 0x5A
    if not port.present:
        return
    outb(0, base + UART_IER)
    outb(LCR_8N1 | LCR_DLAB, base + UART_LCR)
    outb(1, base + UART_DLL)
    outb(0, base + UART_DLM)
    outb(LCR_8N1, base + UART_LCR)
    outb(FCR_ENABLE_CLEAR | FCR_TRIGGER_14, base + UART_FCR)
    port.fifo = inb(base + UART_IIR) & IIR_FIFO == IIR_FIFO
    outb(MCR_DTR_RTS_OUT2, base + UART_MCR)


@guest
def xmitr_ready(port: ptr[Uart8250]) -> bool:
    """Poll the transmitter for a while; whether it is empty."""
    for _ in range(PATIENCE):
        if inb(port.base + UART_LSR) & LSR_THRE:
            return True
        cpu_relax()
    return False


@guest
def xmitr_room(port: ptr[Uart8250]) -> u32:
    """How many bytes an empty transmitter takes."""
    return FIFO_SIZE if port.fifo else 1


@guest
def wait_for_xmitr(port: ptr[Uart8250]) -> u32:
    """For the console: how many bytes the transmitter takes now.  One that is stuck loses them, but not the kernel."""
    xmitr_ready(port)
    return xmitr_room(port)


@guest
def serial8250_write(port: ptr[Uart8250], text: ptr[u8], count: usize) -> usize:
    """Send bytes as they are; how many, which is all of them unless a signal came while the line was held up."""
    room: u32 = 0
    for i in range(count):
        if room == 0:
            while not xmitr_ready(port):
                set_current_state(TASK_INTERRUPTIBLE)
                schedule_timeout(1)
                if signal_pending():
                    return i
            room = xmitr_room(port)
        outb(text[i], port.base + UART_TX)
        room -= 1
    return count


@guest
def serial8250_console_write(console: ptr[Console], text: cstr, count: usize) -> None:
    """Console output: a carriage return goes before each newline.

    A CPU that gets its words out is not locked up; on some boards each access to the UART brings an NMI (QEMU).
    """
    reset_alert_counter()
    room: u32 = 0
    for i in range(count):
        if room < 2:
            room = wait_for_xmitr(ttys0)
            if room < 2 and text[i] == ord("\n"):
                outb(ord("\r"), ttys0.base + UART_TX)
                room = wait_for_xmitr(ttys0)
                outb(text[i], ttys0.base + UART_TX)
                room = 0
                continue
        if text[i] == ord("\n"):
            outb(ord("\r"), ttys0.base + UART_TX)
            room -= 1
        outb(text[i], ttys0.base + UART_TX)
        room -= 1


@guest
def serial8250_receive_byte(port: ptr[Uart8250]) -> None:
    """Move one byte from the FIFO to the ring, which has room."""
    port.rx[port.head % RX_SIZE] = inb(port.base + UART_RX)
    port.head += 1


@guest
def serial8250_receive(port: ptr[Uart8250]) -> None:
    """Serve the causes the UART names until it names none; with a full ring, ask it to be silent."""
    while True:
        cause: u8 = inb(port.base + UART_IIR)
        if cause & IIR_NO_INT:
            return
        if RX_SIZE - (port.head - load_volatile(addr(port.tail))) < FIFO_SIZE:
            port.throttled = True
            outb(0, port.base + UART_IER)
            return
        kind: u8 = cause & IIR_ID
        if kind == IIR_RDI and port.fifo:
            for _ in range(RX_TRIGGER):
                serial8250_receive_byte(port)
        elif kind == IIR_RDI or kind == IIR_TIMEOUT:
            left: u32 = FIFO_SIZE
            while left != 0 and inb(port.base + UART_LSR) & LSR_DR:
                serial8250_receive_byte(port)
                left -= 1
        elif kind == IIR_RLSI:
            inb(port.base + UART_LSR)
        else:
            inb(port.base + UART_MSR)


@guest
def serial8250_interrupt(irq: u32, dev_id: ptr[void], regs: ptr[PtRegs]) -> u32:
    """IRQ 4 and 3."""
    port = cast(ptr[Uart8250], dev_id)
    flags = spin_lock_irqsave(port.lock)
    before: u32 = port.head
    serial8250_receive(port)
    received: u32 = port.head - before
    spin_unlock_irqrestore(port.lock, flags)
    if received == 0:
        return IRQ_NONE
    wake_up(port.wait)
    return IRQ_HANDLED


@guest
def serial8250_startup(port: ptr[Uart8250], name: cstr) -> bool:
    """Begin to receive by interrupts; False if the port or its interrupt cannot be had."""
    if not port.present:
        return False
    init_waitqueue(port.wait)
    if request_irq(port.irq, serial8250_interrupt, 0, name, port) != 0:
        return False
    outb(IER_RDI | IER_RLSI, port.base + UART_IER)
    return True


@guest
def serial8250_unthrottle(port: ptr[Uart8250]) -> None:
    """The ring has room again."""
    flags = spin_lock_irqsave(port.lock)
    if port.throttled and port.head - port.tail <= RX_SIZE // 2:
        port.throttled = False
        outb(IER_RDI | IER_RLSI, port.base + UART_IER)
    spin_unlock_irqrestore(port.lock, flags)


@guest
def serial8250_wait(port: ptr[Uart8250]) -> u32:
    """Sleep until there is input; how many bytes there are, 0 if a signal came first."""
    wait: WaitEntry = WaitEntry()
    while True:
        prepare_to_wait(port.wait, wait, TASK_INTERRUPTIBLE)
        available: u32 = load_volatile(addr(port.head)) - port.tail
        if available != 0 or signal_pending():
            break
        schedule()
    finish_wait(port.wait, wait)
    return available


@guest
def serial8250_read_some(port: ptr[Uart8250], buffer: ptr[u8], count: usize) -> i32:
    """Sleep for at least one byte, then read what there is, up to `count`.  One reader a port."""
    if count == 0:
        return 0
    available: u32 = load_volatile(addr(port.head)) - port.tail
    if available == 0:
        available = serial8250_wait(port)
    if available == 0:
        return -EINTR
    n: usize = min(available, count)
    for i in range(n):
        buffer[i] = port.rx[(port.tail + i) % RX_SIZE]
    port.tail += u32(n)
    if port.throttled:
        serial8250_unthrottle(port)
    return i32(n)


serial8250_console: Console = Console(name="ttyS", write=serial8250_console_write, flags=CON_PRINTBUFFER)


@guest
def serial8250_console_init() -> i32:
    """Make ttyS0 the console."""
    serial8250_setup(ttys0, 0x3F8, 4)
    if ttys0.present:
        register_console(serial8250_console)
    return 0


@guest
def serial8250_init() -> i32:
    """Announce the ports and set up the second one."""
    serial8250_setup(ttys1, 0x2F8, 3)
    if ttys0.present:
        printk(f"<6>ttyS0 at I/O 0x{ttys0.base:x} (irq = {ttys0.irq}) is a {'16550A' if ttys0.fifo else '8250':s}\n")
    if ttys1.present:
        printk(f"<6>ttyS1 at I/O 0x{ttys1.base:x} (irq = {ttys1.irq}) is a {'16550A' if ttys1.fifo else '8250':s}\n")
    return 0


_console_serial8250: fn[[], i32] = placed("con_initcall", serial8250_console_init)
_init_serial8250: fn[[], i32] = placed("initcall6", serial8250_init)
