# SPDX-License-Identifier: GPL-2.0-or-later
"""Keyboard controller and keyboard (IBM PS/2 Technical Reference; after Linux i8042.c and atkbd.c).

Scan codes are set 1, as the controller translates them.  Alt+SysRq with a key calls handle_sysrq() from the
interrupt; other keys become characters of a small US layout for the console's readers (`drivers.tty`).
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, fn, guest, i32, placed, ptr, u8, u32, void
from kdumpsim.kernel.architecture import PtRegs, inb, outb, udelay
from kdumpsim.kernel.core.irq import request_irq
from kdumpsim.kernel.core.irq_types import IRQ_HANDLED, IRQ_NONE
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.sysrq import handle_sysrq, sysrq_enabled
from kdumpsim.kernel.core.types import ENODEV
from kdumpsim.kernel.drivers.tty import tty_insert_char

I8042_DATA: Final = 0x60
I8042_STATUS: Final = 0x64
I8042_COMMAND: Final = 0x64
KBD_IRQ: Final = 1

STR_OBF: Final = 0x01
STR_IBF: Final = 0x02
STR_AUXDATA: Final = 0x20

CMD_READ_CTR: Final = 0x20
CMD_WRITE_CTR: Final = 0x60
CTR_KBD_INT: Final = 0x01
CTR_KBD_DISABLE: Final = 0x10
CTR_XLATE: Final = 0x40
KBD_ENABLE: Final = 0xF4
POLL_US: Final = 50
POLLS: Final = 2000

SCAN_EXTENDED: Final = 0xE0
SCAN_RELEASE: Final = 0x80
SCAN_CTRL: Final = 0x1D
SCAN_LSHIFT: Final = 0x2A
SCAN_RSHIFT: Final = 0x36
SCAN_PRINT: Final = 0x37
SCAN_ALT: Final = 0x38
SCAN_SYSRQ: Final = 0x54
NR_KEYS: Final = 58

keymap_plain: array[u8] = b"\0\x1b1234567890-=\x7f\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 "
keymap_shift: array[u8] = b'\0\x1b!@#$%^&*()_+\x7f\tQWERTYUIOP{}\n\0ASDFGHJKL:"~\0|ZXCVBNM<>?\0*\0 '

kbd_extended: bool = False
kbd_shift: bool = False
kbd_ctrl: bool = False
kbd_alt: bool = False
kbd_sysrq: bool = False


@guest
def i8042_wait_write() -> bool:
    """Wait until the controller takes a byte."""
    for _ in range(POLLS):
        if inb(I8042_STATUS) & STR_IBF == 0:
            return True
        udelay(POLL_US)
    return False


@guest
def i8042_wait_read() -> bool:
    """Wait until the controller has a byte."""
    for _ in range(POLLS):
        if inb(I8042_STATUS) & STR_OBF:
            return True
        udelay(POLL_US)
    return False


@guest
def i8042_flush() -> None:
    """Throw away what nobody read: a capture kernel finds the dead kernel's keys here."""
    for _ in range(32):
        if inb(I8042_STATUS) & STR_OBF == 0:
            return
        inb(I8042_DATA)


@guest
def kbd_modifier(code: u8, down: bool) -> bool:
    """Follow the modifier keys; False for every other key."""
    global kbd_shift, kbd_ctrl, kbd_alt, kbd_sysrq
    if code == SCAN_LSHIFT or code == SCAN_RSHIFT:
        kbd_shift = down
    elif code == SCAN_CTRL:
        kbd_ctrl = down
    elif code == SCAN_ALT:
        kbd_alt = down
        if not down:
            kbd_sysrq = False
    elif code == SCAN_SYSRQ or (code == SCAN_PRINT and kbd_extended):
        kbd_sysrq = down and kbd_alt
    else:
        return False
    return True


@guest
def kbd_keycode(code: u8, down: bool, regs: ptr[PtRegs]) -> None:
    """A key went down or up."""
    if kbd_modifier(code, down) or not down or code >= NR_KEYS or kbd_extended:
        return
    char: u8 = keymap_plain[code]
    if char == 0:
        return
    if kbd_sysrq:
        if sysrq_enabled != 0:
            handle_sysrq(char, regs)
        return
    if kbd_shift:
        char = keymap_shift[code]
    if kbd_ctrl:
        char &= 0x1F
    tty_insert_char(char)


@guest
def i8042_interrupt(irq: u32, dev_id: ptr[void], regs: ptr[PtRegs]) -> u32:
    """IRQ 1: a byte from the keyboard."""
    global kbd_extended
    status: u8 = inb(I8042_STATUS)
    if status & STR_OBF == 0:
        return IRQ_NONE
    data: u8 = inb(I8042_DATA)
    if status & STR_AUXDATA:
        return IRQ_HANDLED
    if data == SCAN_EXTENDED:
        kbd_extended = True
        return IRQ_HANDLED
    kbd_keycode(data & 0x7F, data & SCAN_RELEASE == 0, regs)
    kbd_extended = False
    return IRQ_HANDLED


@guest
def i8042_init() -> i32:
    """Set up the controller for a keyboard with interrupts and translated codes."""
    if inb(I8042_STATUS) == 0xFF:
        return -ENODEV
    i8042_flush()
    if not i8042_wait_write():
        printk("<3>i8042: controller does not answer\n")
        return -ENODEV
    outb(CMD_READ_CTR, I8042_COMMAND)
    if not i8042_wait_read():
        printk("<3>i8042: can't read CTR\n")
        return -ENODEV
    ctr: u8 = inb(I8042_DATA)
    ctr = (ctr | CTR_KBD_INT | CTR_XLATE) & (0xFF ^ CTR_KBD_DISABLE)
    i8042_wait_write()
    outb(CMD_WRITE_CTR, I8042_COMMAND)
    i8042_wait_write()
    outb(ctr & (0xFF ^ CTR_KBD_INT), I8042_DATA)
    i8042_wait_write()
    outb(KBD_ENABLE, I8042_DATA)
    i8042_wait_read()
    i8042_flush()
    i8042_wait_write()
    outb(CMD_WRITE_CTR, I8042_COMMAND)
    i8042_wait_write()
    outb(ctr, I8042_DATA)
    i8042_wait_write()
    if request_irq(KBD_IRQ, i8042_interrupt, 0, "i8042", NULL) != 0:
        return -ENODEV
    printk("<6>serio: i8042 KBD port at 0x60,0x64 irq 1\n")
    return 0


_init_i8042: fn[[], i32] = placed("initcall6", i8042_init)
