# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI configuration space by mechanism 1 (PCI Local Bus Specification 2.1, section 3.7.4.1)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import cstr, fn, guest, i32, placed, u8, u16, u32
from kdumpsim.kernel.architecture import inb, inl, inw, outl, outw, pcibios_irq
from kdumpsim.kernel.core.params import ObsKernelParam
from kdumpsim.kernel.core.printk import printk

CONFIG_ADDRESS: Final = 0xCF8
CONFIG_DATA: Final = 0xCFC
CONFIG_ENABLE: Final = 0x80000000

PCI_VENDOR_ID: Final = 0x00
PCI_COMMAND: Final = 0x04
PCI_CLASS_REVISION: Final = 0x08
PCI_CLASS_PROG: Final = 0x09
PCI_HEADER_TYPE: Final = 0x0E
PCI_BASE_ADDRESS_0: Final = 0x10
PCI_BASE_ADDRESS_1: Final = 0x14
PCI_BASE_ADDRESS_2: Final = 0x18
PCI_BASE_ADDRESS_3: Final = 0x1C
PCI_BASE_ADDRESS_4: Final = 0x20
PCI_INTERRUPT_LINE: Final = 0x3C
PCI_INTERRUPT_PIN: Final = 0x3D

PCI_COMMAND_IO: Final = 0x1
PCI_COMMAND_MASTER: Final = 0x4
PCI_COMMAND_INTX_DISABLE: Final = 0x400
"""PCI 2.3: the function does not drive its interrupt pin."""
PCI_CLASS_STORAGE_IDE: Final = 0x0101
PCI_NONE: Final = 0xFFFFFFFF

disable_pci_intx: bool = False


@guest
def pci_conf1(devfn: u32, offset: u32) -> u32:
    """The address register's value for a register of bus 0."""
    return CONFIG_ENABLE | (devfn << 8) | (offset & 0xFC)


@guest
def pci_read_config_dword(devfn: u32, offset: u32) -> u32:
    """32 bits of a function's configuration space on bus 0; all ones where there is none."""
    outl(pci_conf1(devfn, offset), CONFIG_ADDRESS)
    return inl(CONFIG_DATA)


@guest
def pci_read_config_word(devfn: u32, offset: u32) -> u16:
    """16 bits of a function's configuration space."""
    outl(pci_conf1(devfn, offset), CONFIG_ADDRESS)
    return inw(u16(CONFIG_DATA + (offset & 2)))


@guest
def pci_read_config_byte(devfn: u32, offset: u32) -> u8:
    """8 bits of a function's configuration space."""
    outl(pci_conf1(devfn, offset), CONFIG_ADDRESS)
    return inb(u16(CONFIG_DATA + (offset & 3)))


@guest
def pci_write_config_word(devfn: u32, offset: u32, value: u16) -> None:
    """Write 16 bits of a function's configuration space."""
    outl(pci_conf1(devfn, offset), CONFIG_ADDRESS)
    outw(value, u16(CONFIG_DATA + (offset & 2)))


@guest
def pci_find(offset: u32, shift: u32, wanted: u32) -> u32:
    """The first function on bus 0 whose register at `offset` is `wanted` from bit `shift` on: devfn, or PCI_NONE."""
    slot: u32 = 0
    while slot < 32:
        function: u32 = 0
        functions: u32 = 1
        while function < functions:
            devfn: u32 = (slot << 3) | function
            if pci_read_config_dword(devfn, PCI_VENDOR_ID) != PCI_NONE:
                if function == 0 and pci_read_config_byte(devfn, PCI_HEADER_TYPE) & 0x80:
                    functions = 8
                if pci_read_config_dword(devfn, offset) >> shift == wanted:
                    return devfn
            function += 1
        slot += 1
    return PCI_NONE


@guest
def pci_find_class(class_code: u32) -> u32:
    """The first function on bus 0 of a class and subclass (0x0101: IDE), as devfn, or PCI_NONE."""
    return pci_find(PCI_CLASS_REVISION, 16, class_code)


@guest
def pci_find_device(vendor: u32, device: u32) -> u32:
    """The first function on bus 0 made by `vendor` as `device`, as devfn, or PCI_NONE."""
    return pci_find(PCI_VENDOR_ID, 0, (device << 16) | vendor)


@guest
def pci_io_base(devfn: u32, register: u32) -> u16:
    """Where the ports of a base address register are (PCI Local Bus Specification, 6.2.5.1)."""
    return u16(pci_read_config_dword(devfn, register) & 0xFFFC)


@guest
def pci_irq(devfn: u32) -> u32:
    """The interrupt line of a function (2.6.16's dev->irq)."""
    line: u32 = pci_read_config_byte(devfn, PCI_INTERRUPT_LINE)
    return pcibios_irq(devfn >> 3, pci_read_config_byte(devfn, PCI_INTERRUPT_PIN), line)


@guest
def pci_intx(devfn: u32, enable: bool) -> None:
    """Let a function drive its interrupt pin, or not.  One older than PCI 2.3 knows no such thing."""
    command: u16 = pci_read_config_word(devfn, PCI_COMMAND)
    wanted: u16 = command & ~PCI_COMMAND_INTX_DISABLE if enable else command | PCI_COMMAND_INTX_DISABLE
    if wanted != command:
        pci_write_config_word(devfn, PCI_COMMAND, wanted)


@guest
def pci_disable_intx_all() -> i32:
    """``disable_pci_intx``: no function drives its interrupt pin until a driver lets it.

    What Goyal proposed to LKML on 2005-06-04 for capture kernels, whose devices nobody has shut down.  A function that
    is older than PCI 2.3 goes on: the bit does not stay.
    """
    if not disable_pci_intx:
        return 0
    functions: u32 = 0
    disabled: u32 = 0
    for slot in range(32):
        devfn: u32 = slot << 3
        count: u32 = 8 if pci_read_config_byte(devfn, PCI_HEADER_TYPE) & 0x80 else 1
        for function in range(count):
            if pci_read_config_dword(devfn + function, PCI_VENDOR_ID) == PCI_NONE:
                continue
            functions += 1
            pci_intx(devfn + function, False)
            if pci_read_config_word(devfn + function, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE:
                disabled += 1
    printk(f"<6>PCI: interrupt pins of {disabled} of {functions} functions disabled\n")
    return 0


@guest
def disable_pci_intx_setup(rest: cstr) -> i32:
    """``disable_pci_intx``"""
    global disable_pci_intx
    disable_pci_intx = True
    return 1


@guest
def pci_set_master(devfn: u32) -> None:
    """Let a function answer to its ports and be bus master."""
    command: u16 = pci_read_config_word(devfn, PCI_COMMAND)
    pci_write_config_word(devfn, PCI_COMMAND, command | PCI_COMMAND_IO | PCI_COMMAND_MASTER)


_param_disable_pci_intx: ObsKernelParam = placed(
    "setup_params", ObsKernelParam(str="disable_pci_intx", setup_func=disable_pci_intx_setup)
)
_init_disable_pci_intx: fn[[], i32] = placed("initcall5", pci_disable_intx_all)
