# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI configuration space and the bridges of a 440FX/PIIX3 board.

Follows PCI Local Bus Specification 2.1 (3.7.4.1 configuration mechanism 1, chapter 6 configuration space) and the Intel
82441FX and 82371SB (PIIX3) data sheets: 0xCF8 takes doublewords only, the configuration data lies at 0xCFC..0xCFF in
bytes, words and doublewords, and 0xCF9 is the PIIX's reset control register. An absent function reads as all ones.

Registers: `pci_registers.py`; what PIRQRC does: `pirq.py`.

Not modelled: PAM/SMRAM effects of the host bridge (the registers keep what is written), bus mastering arbitration,
buses beyond 0, special cycles, memory BARs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdumpsim.apic.messages import Line
from kdumpsim.apic.registers import Register, RegisterFile
from kdumpsim.board import pci_registers as regs
from kdumpsim.board.pirq import PirqRouter

CONFIG_ADDRESS = 0xCF8
RESET_CONTROL = 0xCF9
CONFIG_DATA = 0xCFC

# Plain masks, for every access to configuration space goes through the address register.
_ADDRESS = regs.ConfigAddress.WRITABLE
_REGISTER = regs.ConfigAddress.register.mask
_IO, _MASTER = regs.Command.io.mask, regs.Command.master.mask


class PciFunction:
    """One function's 256 bytes: the header that all have, and the registers that are its own.

    `on_change` is called whenever software or a reset has changed anything.
    """

    def __init__(
        self,
        vendor: int,
        device: int,
        class_code: int,
        registers: Mapping[int, tuple[int, Register]],
        *,
        revision: int = 0,
        multifunction: bool = False,
    ) -> None:
        """`class_code` has 24 bits. `registers`: offset to width in bytes and register, COMMAND among them."""
        self.on_change: Callable[[], None] = lambda: None
        header_type = regs.HeaderType()
        header_type.multifunction = multifunction
        self.registers = RegisterFile(
            {
                regs.VENDOR_ID: (2, regs.Wired16(vendor)),
                regs.DEVICE_ID: (2, regs.Wired16(device)),
                regs.STATUS: (2, regs.FastStatus()),
                regs.REVISION: (1, regs.Wired8(revision)),
                regs.CLASS_CODE: (3, regs.ClassCode(class_code)),
                regs.HEADER_TYPE: (1, header_type),
                regs.INTERRUPT_LINE: (1, regs.InterruptLine()),
                **registers,
            }
        )
        self._command = self.registers[regs.COMMAND]

    @property
    def decodes_io(self) -> bool:
        """Does it answer at its ports?"""
        return bool(self._command.value & _IO)

    @property
    def may_master(self) -> bool:
        """May it master the bus?"""
        return bool(self._command.value & _MASTER)

    def io_base(self, at: int) -> int | None:
        """Where the ports of a base address register are, or None while they are not decoded (I/O off, base 0)."""
        base = self.registers[at].value & ~3
        return base if self.decodes_io and 0 < base <= 0xFFFF else None

    def read(self, offset: int, size: int) -> int:
        return self.registers.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        changed = False
        for at, written in self.registers.spread(offset, size, value).items():
            register = self.registers[at]
            before = register.value
            register.write(written)
            changed |= register.value != before
        if changed:
            self.on_change()

    def reset(self) -> None:
        self.registers.reset()
        self.on_change()

    def state(self) -> dict[int, int]:
        return self.registers.state()

    def restore(self, state: dict[int, int]) -> None:
        """Its owner looks at it afterwards: `on_change` would have devices act on what they were before."""
        self.registers.restore(state)


def host_bridge() -> PciFunction:
    """82441FX (440FX) host bridge. PAM and SMRAM keep what is written."""
    return PciFunction(
        0x8086,
        0x1237,
        0x060000,
        {
            regs.COMMAND: (2, regs.HostBridgeCommand()),
            **{at: (1, regs.Stored8()) for at in regs.PAM},
            regs.SMRAM: (1, regs.Smram()),
        },
        revision=2,
    )


def isa_bridge() -> PciFunction:
    """82371SB (PIIX3) PCI to ISA bridge."""
    return PciFunction(
        0x8086,
        0x7000,
        0x060100,
        {
            regs.COMMAND: (2, regs.IsaBridgeCommand()),
            regs.STATUS: (2, regs.Status()),
            regs.IORT: (1, regs.IoRecovery()),
            regs.XBCS: (2, regs.XBusChipSelect()),
            **{regs.PIRQRC + pirq: (1, regs.PirqRoute()) for pirq in range(4)},
            regs.TOM: (1, regs.TopOfMemory()),
            regs.MBIRQ0: (1, regs.MotherboardIrq()),
        },
        multifunction=True,
    )


def ide_function() -> PciFunction:
    """82371SB function 1: IDE in compatibility mode, bus master registers behind BAR 4, where a BIOS has put them."""
    base = regs.IoBase16()
    base.base = 0xC000 >> regs.IoBase16.base.low
    return PciFunction(
        0x8086,
        0x7010,
        0x010180,
        {
            regs.COMMAND: (2, regs.IdeCommand()),
            regs.BAR4: (4, base),
            regs.IDETIM_PRIMARY: (2, regs.IdeTiming()),
            regs.IDETIM_SECONDARY: (2, regs.IdeTiming()),
            regs.SIDETIM: (1, regs.Stored8()),
        },
    )


class PciBus:
    """Configuration mechanism 1 for bus 0, with host bridge 00.0 and PIIX3 01.0, and the reset control register.

    Other functions are `add`ed; they belong to their devices, which save and reset them.
    `on_reset` is called when the guest pulls the reset line through 0xCF9; `irq` gives the wire of an ISA interrupt,
    `direct` are wires of PIRQA# to PIRQD# that no register routes.
    """

    name = "pci"

    def __init__(self, on_reset: Callable[[], None], irq: Callable[[int], Line], direct: Sequence[Line] = ()) -> None:
        self.on_reset = on_reset
        self._router = PirqRouter(irq, direct)
        self._functions: dict[int, PciFunction] = {}  # by CONFIG_ADDRESS without the register
        self._address = regs.ConfigAddress()
        self._reset_control = regs.ResetControl()
        bridge = isa_bridge()
        routes = [bridge.registers[regs.PIRQRC + pirq] for pirq in range(4)]
        bridge.on_change = lambda: self._router.route([register.value for register in routes])
        self._bridges = (host_bridge(), bridge)
        for slot, function in enumerate(self._bridges):
            self.add(slot, 0, function)

    def error(self, *, parity: bool) -> bool:
        """The host bridge finds an error of the bus's parity, or one of its memory; whether it asserts SERR# (3.8)."""
        registers = self._bridges[0].registers
        command, status = registers[regs.COMMAND], registers[regs.STATUS]
        assert isinstance(command, regs.HostBridgeCommand)
        assert isinstance(status, regs.Status)
        status.detected_parity_error |= parity
        status.signaled_system_error |= command.serr
        return bool(command.serr)

    def add(self, slot: int, function: int, device: PciFunction) -> None:
        """Have a function answer at a place; ValueError if that is taken."""
        address = regs.ConfigAddress()
        address.enabled, address.device, address.function = 1, slot, function
        if address.value in self._functions:
            raise ValueError(f"PCI 00:{slot:02x}.{function} is taken")
        self._functions[address.value] = device

    def interrupt_line(self, slot: int, pin: int) -> Line:
        """The wire from a device's INTA# (pin 1) to INTD# (4), true while it asks."""
        return self._router.line(slot, pin)

    def ports(self) -> list[tuple[int, int]]:
        return [(CONFIG_ADDRESS, 8)]

    def port_read(self, port: int, size: int) -> int:
        if port >= CONFIG_DATA:
            function = self._functions.get(self._address.value & ~_REGISTER)
            if function is None or port + size > CONFIG_DATA + 4:
                return (1 << 8 * size) - 1
            return function.read((self._address.value & _REGISTER) + port - CONFIG_DATA, size)
        if port == CONFIG_ADDRESS and size == 4:
            return self._address.value
        if port == RESET_CONTROL and size == 1:
            return self._reset_control.value
        return (1 << 8 * size) - 1

    def port_write(self, port: int, size: int, value: int) -> None:
        if port >= CONFIG_DATA:
            function = self._functions.get(self._address.value & ~_REGISTER)
            if function is not None and port + size <= CONFIG_DATA + 4:
                function.write((self._address.value & _REGISTER) + port - CONFIG_DATA, size, value)
        elif port == CONFIG_ADDRESS and size == 4:
            self._address.value = value & _ADDRESS
        elif port == RESET_CONTROL and size == 1:
            before = self._reset_control.reset_cpu
            self._reset_control.write(value)
            if self._reset_control.reset_cpu and not before:
                self.on_reset()

    def reset(self) -> None:
        self._address.reset()
        self._reset_control.reset()
        for bridge in self._bridges:
            bridge.reset()

    def state(self) -> dict[str, Any]:
        return {
            "address": self._address.value,
            "reset_control": self._reset_control.value,
            "router": self._router.state(),
            "bridges": [bridge.state() for bridge in self._bridges],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._address.value = state["address"]
        self._reset_control.value = state["reset_control"]
        self._router.restore(state["router"])
        for bridge, saved in zip(self._bridges, state["bridges"], strict=True):
            bridge.restore(saved)
