# SPDX-License-Identifier: GPL-2.0-or-later
"""8139too: the RealTek RTL8139 network card (RTL8139(A/B) Programming Guide; drivers/net/8139too.c of 2.6.16).

Probing resets the chip, whatever it was doing, as 2.6.16's driver did: so a capture kernel's probe ends the receiving
that a dead kernel has left running.  Until then the card writes to the dead kernel's ring.  The receiver and the
interrupt are turned on when the device is opened (`net/ipconfig.py`), which a capture kernel does not do.

The chip writes what it receives into one ring; each packet is copied out of it.  What is sent is copied into one of
four buffers, a descriptor each.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, addr, cast, fn, guest, i32, placed, ptr, u8, u16, u32, usize, void
from kdumpsim.kernel.architecture import PtRegs, inb, inw, outb, outl, outw, pa, udelay
from kdumpsim.kernel.core.irq import free_irq, request_irq
from kdumpsim.kernel.core.irq_types import IRQ_HANDLED, IRQ_NONE, SA_SHIRQ
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock_init, spin_lock_irqsave, spin_unlock_irqrestore
from kdumpsim.kernel.core.string import memcpy, memset
from kdumpsim.kernel.core.types import EIO, ENOMEM
from kdumpsim.kernel.drivers.pci import (
    PCI_BASE_ADDRESS_0,
    PCI_NONE,
    pci_find_device,
    pci_io_base,
    pci_irq,
    pci_set_master,
)
from kdumpsim.kernel.mm.page_alloc import __get_free_pages, free_pages
from kdumpsim.kernel.net.dev import netif_rx, netif_stop_queue, netif_wake_queue, register_netdev
from kdumpsim.kernel.net.eth import ETH_FRAME_LEN, ETH_HLEN, ETH_ZLEN, eth_type_trans
from kdumpsim.kernel.net.skbuff import ETH_ALEN, NetDevice, SkBuff, alloc_skb, kfree_skb, skb_put

PCI_VENDOR_ID_REALTEK: Final = 0x10EC
PCI_DEVICE_ID_8139: Final = 0x8139

# Registers, as offsets of the I/O BAR.
IDR0: Final = 0x00
TSD0: Final = 0x10
TSAD0: Final = 0x20
RBSTART: Final = 0x30
CR: Final = 0x37
CAPR: Final = 0x38
IMR: Final = 0x3C
ISR: Final = 0x3E
TCR: Final = 0x40
RCR: Final = 0x44
MPC: Final = 0x4C

CR_BUFE: Final = 0x01
CR_TE: Final = 0x04
CR_RE: Final = 0x08
CR_RST: Final = 0x10
ISR_ROK: Final = 0x0001
ISR_RER: Final = 0x0002
ISR_TOK: Final = 0x0004
ISR_TER: Final = 0x0008
ISR_RXOVW: Final = 0x0010
ISR_FOVW: Final = 0x0040
ISR_RX: Final = ISR_ROK | ISR_RER | ISR_RXOVW | ISR_FOVW
ISR_TX: Final = ISR_TOK | ISR_TER
TSD_OWN: Final = 1 << 13
TSD_TOK: Final = 1 << 15
TSD_TABT: Final = 1 << 30
TCR_CONFIG: Final = 0x03000600
"""The usual gap between frames; bursts of 1024 bytes."""
TCR_CLRABT: Final = 1
RCR_RING: Final = 2
RCR_WRAP: Final = 0x80
RCR_RECEIVE: Final = 0x0000E70A | RCR_RING << 11 | RCR_WRAP
"""No FIFO threshold, bursts of any length; broadcasts and what is sent to us."""
RX_BUF_LEN: Final = 8192 << RCR_RING
RX_ORDER: Final = 4
"""Pages of the ring with the 16 bytes and the packet that may go on behind its end."""
RX_HEADER: Final = 4
RX_STATUS_ROK: Final = 1
CRC_LEN: Final = 4
CAPR_BIAS: Final = 16
"""CAPR holds what was read, less this."""
NUM_TX_DESC: Final = 4
TX_BUF_SIZE: Final = 2048
TX_ORDER: Final = 1
RESET_POLLS: Final = 1000
SEND_POLLS: Final = 1000
"""Ten milliseconds, or a cable that is not there would hold up the dump."""


class Rtl8139Private(Struct):
    """The card. Indices of descriptors run freely."""

    dev: NetDevice
    ioaddr: u16
    irq: u32
    rx_ring: ptr[u8]
    cur_rx: u32
    """Where the next packet begins, an offset that runs freely."""
    tx_bufs: ptr[u8]
    cur_tx: u32
    dirty_tx: u32
    lock: Spinlock
    """Of the transmit side."""


rtl8139_card: Rtl8139Private = Rtl8139Private()


@guest
def rtl8139_chip_reset(tp: ptr[Rtl8139Private]) -> bool:
    """Stop everything and forget it; False if the chip never comes back."""
    outb(CR_RST, tp.ioaddr + CR)
    for _ in range(RESET_POLLS):
        if inb(tp.ioaddr + CR) & CR_RST == 0:
            return True
        udelay(10)
    return False


@guest
def rtl8139_hw_start(tp: ptr[Rtl8139Private]) -> None:
    """From reset to receiving and sending.

    The receiver goes on last: a frame that arrived before the chip knew where the ring lies would go somewhere else.
    """
    io = tp.ioaddr
    tp.cur_rx = 0
    outl(u32(pa(usize(tp.rx_ring))), io + RBSTART)
    outl(0, io + MPC)
    for i in range(NUM_TX_DESC):
        outl(u32(pa(usize(tp.tx_bufs))) + i * TX_BUF_SIZE, io + TSAD0 + 4 * u16(i))
    tp.cur_tx = 0
    tp.dirty_tx = 0
    outb(CR_RE | CR_TE, io + CR)
    outl(TCR_CONFIG, io + TCR)
    outl(RCR_RECEIVE, io + RCR)
    outw(ISR_RX | ISR_TX, io + IMR)


@guest
def rtl8139_rx_err(tp: ptr[Rtl8139Private]) -> None:
    """The ring makes no sense: start the chip anew."""
    tp.dev.stats.rx_errors += 1
    flags = spin_lock_irqsave(tp.lock)
    if rtl8139_chip_reset(tp):
        rtl8139_hw_start(tp)
    netif_wake_queue(tp.dev)
    spin_unlock_irqrestore(tp.lock, flags)


@guest
def rtl8139_rx(tp: ptr[Rtl8139Private]) -> None:
    """Take all packets out of the ring and hand them up."""
    stats = addr(tp.dev.stats)
    while inb(tp.ioaddr + CR) & CR_BUFE == 0:
        packet = tp.rx_ring + tp.cur_rx % RX_BUF_LEN
        header: u32 = cast(ptr[u32], packet)[0]
        size = header >> 16
        count: u32 = size - CRC_LEN
        if header & RX_STATUS_ROK == 0 or size < ETH_HLEN + CRC_LEN or count > ETH_FRAME_LEN:
            rtl8139_rx_err(tp)
            return
        skb = alloc_skb(count, 0)
        if skb != NULL:
            skb.dev = tp.dev
            memcpy(skb_put(skb, count), packet + RX_HEADER, count)
            eth_type_trans(skb)
            stats.rx_packets += 1
            stats.rx_bytes += count
            netif_rx(skb)
        else:
            stats.rx_dropped += 1
        tp.cur_rx = (tp.cur_rx + size + RX_HEADER + 3) & ~3
        outw(u16((tp.cur_rx - CAPR_BIAS) % RX_BUF_LEN), tp.ioaddr + CAPR)


@guest
def rtl8139_tx_interrupt(tp: ptr[Rtl8139Private]) -> None:
    """See which descriptors are through."""
    flags = spin_lock_irqsave(tp.lock)
    stats = addr(tp.dev.stats)
    while tp.dirty_tx != tp.cur_tx:
        at: u16 = tp.ioaddr + TSD0 + 4 * u16(tp.dirty_tx % NUM_TX_DESC)
        status: u32 = u32(inw(at)) | (u32(inw(at + 2)) << 16)
        if status & (TSD_TOK | TSD_TABT) == 0:
            break
        if status & TSD_TABT:
            stats.tx_errors += 1
            outl(TCR_CONFIG | TCR_CLRABT, tp.ioaddr + TCR)
        else:
            stats.tx_packets += 1
            stats.tx_bytes += status & (TSD_OWN - 1)
        tp.dirty_tx += 1
    netif_wake_queue(tp.dev)
    spin_unlock_irqrestore(tp.lock, flags)


@guest
def rtl8139_interrupt(irq: u32, dev_id: ptr[void], regs: ptr[PtRegs]) -> u32:
    """INTA#."""
    tp = cast(ptr[Rtl8139Private], dev_id)
    status = inw(tp.ioaddr + ISR)
    if status & (ISR_RX | ISR_TX) == 0:
        return IRQ_NONE
    outw(status, tp.ioaddr + ISR)
    if status & (ISR_RXOVW | ISR_FOVW):
        tp.dev.stats.rx_over_errors += 1
    if status & ISR_RX:
        rtl8139_rx(tp)
    if status & ISR_TX:
        rtl8139_tx_interrupt(tp)
    return IRQ_HANDLED


@guest
def rtl8139_start_xmit(skb: ptr[SkBuff], dev: ptr[NetDevice]) -> None:
    """Copy a packet into the next descriptor's buffer, padded to the shortest frame, and hand it to the chip."""
    tp = cast(ptr[Rtl8139Private], dev.priv)
    if skb.len > ETH_FRAME_LEN:
        dev.stats.tx_dropped += 1
        kfree_skb(skb)
        return
    flags = spin_lock_irqsave(tp.lock)
    entry: u32 = tp.cur_tx % NUM_TX_DESC
    buffer = tp.tx_bufs + entry * TX_BUF_SIZE
    count: usize = max(skb.len, ETH_ZLEN)
    memcpy(buffer, skb.data, skb.len)
    memset(buffer + skb.len, 0, count - skb.len)
    outl(u32(count), tp.ioaddr + TSD0 + 4 * u16(entry))
    tp.cur_tx += 1
    if tp.cur_tx - tp.dirty_tx == NUM_TX_DESC:
        netif_stop_queue(dev)
    spin_unlock_irqrestore(tp.lock, flags)
    kfree_skb(skb)


@guest
def rtl8139_poll_send(dev: ptr[NetDevice], data: ptr[u8], count: usize) -> bool:
    """Reset the chip, which forgets what it was at, and have it send one frame; True once that is on its way."""
    tp = cast(ptr[Rtl8139Private], dev.priv)
    if not rtl8139_chip_reset(tp):
        return False
    memcpy(tp.tx_bufs, data, count)
    outl(u32(pa(usize(tp.tx_bufs))), tp.ioaddr + TSAD0)
    outb(CR_TE, tp.ioaddr + CR)
    outl(TCR_CONFIG, tp.ioaddr + TCR)
    outl(u32(count), tp.ioaddr + TSD0)
    for _ in range(SEND_POLLS):
        if inw(tp.ioaddr + TSD0) & TSD_TOK:
            return True
        udelay(10)
    return False


@guest
def rtl8139_open(dev: ptr[NetDevice]) -> i32:
    """Memory, interrupt, and off it goes."""
    tp = cast(ptr[Rtl8139Private], dev.priv)
    tp.rx_ring = cast(ptr[u8], __get_free_pages(RX_ORDER))
    tp.tx_bufs = cast(ptr[u8], __get_free_pages(TX_ORDER))
    error: i32 = -ENOMEM
    if tp.rx_ring != NULL and tp.tx_bufs != NULL:
        error = request_irq(tp.irq, rtl8139_interrupt, SA_SHIRQ, dev.name, tp)
        if error == 0:
            if rtl8139_chip_reset(tp):
                rtl8139_hw_start(tp)
                return 0
            free_irq(tp.irq, tp)
            error = -EIO
    if tp.rx_ring != NULL:
        free_pages(tp.rx_ring, RX_ORDER)
    if tp.tx_bufs != NULL:
        free_pages(tp.tx_bufs, TX_ORDER)
    return error


@guest
def rtl8139_init_one() -> i32:
    """Look for a card; take the first."""
    devfn = pci_find_device(PCI_VENDOR_ID_REALTEK, PCI_DEVICE_ID_8139)
    if devfn == PCI_NONE:
        return 0
    tp: ptr[Rtl8139Private] = rtl8139_card
    pci_set_master(devfn)
    tp.ioaddr = pci_io_base(devfn, PCI_BASE_ADDRESS_0)
    tp.irq = pci_irq(devfn)
    spin_lock_init(tp.lock)
    if not rtl8139_chip_reset(tp):
        printk("<3>8139too: the chip does not come back from reset\n")
        return -EIO
    dev: ptr[NetDevice] = tp.dev
    a: ptr[u8] = dev.dev_addr
    for i in range(ETH_ALEN):
        a[i] = inb(tp.ioaddr + IDR0 + u16(i))
    dev.open = rtl8139_open
    dev.hard_start_xmit = rtl8139_start_xmit
    dev.poll_send = rtl8139_poll_send
    dev.priv = tp
    register_netdev(dev)
    printk(f"<6>{dev.name:s}: RealTek RTL8139 at 0x{tp.ioaddr:x}, ")
    printk(f"{a[0]:02x}:{a[1]:02x}:{a[2]:02x}:{a[3]:02x}:{a[4]:02x}:{a[5]:02x}, IRQ {tp.irq}\n")
    return 0


@guest
def rtl8139_shutdown() -> None:
    """Before another kernel is started in order: nothing may be written to memory that will be that kernel's.

    The handler goes first, for it may be at work on another CPU and would start a chip that it finds reset anew.
    """
    tp: ptr[Rtl8139Private] = rtl8139_card
    if tp.dev.up:
        tp.dev.up = False
        free_irq(tp.irq, tp)
        rtl8139_chip_reset(tp)


_shutdown_rtl8139: fn[[], None] = placed("device_shutdowns", rtl8139_shutdown)
_init_rtl8139: fn[[], i32] = placed("initcall6", rtl8139_init_one)
