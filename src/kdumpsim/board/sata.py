# SPDX-License-Identifier: GPL-2.0-or-later
"""An ICH5-like SATA function in native mode: two ports behind base address registers, one level-triggered interrupt.

Follows the Intel 82801EB (ICH5) data sheet (252516), device 31 function 2; the PCI IDE Controller Specification 1.0 for
native mode: BAR 0 and 2 are the channels' command blocks (8 ports), BAR 1 and 3 their control blocks (4 ports, of which
the third is device control and alternate status), and both channels ask by the function's INTA#; PCI Local Bus
Specification 2.3 for Interrupt Disable and Interrupt Status; "Programming Interface for Bus Master IDE Controller" 1.0
for BAR 4. Each port has one drive, the master of its channel (MAP 0): protocols and drives are those of `ide.py`.

INTA# is driven as long as a drive's INTRQ is up and nIEN is clear, whatever the bus master's status says: reading the
drive's status ends it, as does a software reset.

Not modelled: legacy and combined mode (the programming interface says that native mode is fixed, where the ICH5's can
be changed), the link itself (no hot plug; PCS keeps the enable bits without an effect), timing registers (kept),
SDMA_CNT, SDMA_TIM and IDE_CONFIG (zeros), power management.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdumpsim.apic.messages import Line
from kdumpsim.apic.registers import Register
from kdumpsim.apic.timers import Timers
from kdumpsim.board import pci_registers as regs
from kdumpsim.board.busmaster import DmaMemory
from kdumpsim.board.disk import Disk
from kdumpsim.board.ide import MASTER_PORTS, PciIde
from kdumpsim.board.pci import PciFunction

VENDOR, DEVICE = 0x8086, 0x24D1
PORTS = 2
NATIVE = 0x85  # bus master; both channels native, and nothing else
BLOCKS = ((regs.BAR0, regs.BAR1), (regs.BAR2, regs.BAR3))
"""Of each channel: the registers with the bases of its command and control blocks."""
_COMMAND_PORTS, _CONTROL_PORTS = 8, 4
_CONTROL = 2
_BASES = {regs.BAR0: 0xC200, regs.BAR1: 0xC208, regs.BAR2: 0xC210, regs.BAR3: 0xC218}  # where a BIOS has put them
_MASTERS = 0xC220


def sata_function(present: int) -> PciFunction:
    """The configuration space; `present` has a bit for each port with a drive."""
    ports = regs.PortControl()
    ports.present = present
    bases: dict[int, tuple[int, Register]] = {}
    for at, base in _BASES.items():
        kind = regs.IoBase8 if at in (regs.BAR0, regs.BAR2) else regs.IoBase4
        bases[at] = (4, kind(base | kind.io_space.mask))
    return PciFunction(
        VENDOR,
        DEVICE,
        0x010100 | NATIVE,
        {
            regs.COMMAND: (2, regs.SataCommand()),
            regs.STATUS: (2, regs.SataStatus()),
            **bases,
            regs.BAR4: (4, regs.IoBase16(_MASTERS | regs.IoBase16.io_space.mask)),
            regs.INTERRUPT_PIN: (1, regs.Wired8(1)),
            regs.IDETIM_PRIMARY: (2, regs.IdeTiming()),
            regs.IDETIM_SECONDARY: (2, regs.IdeTiming()),
            regs.SIDETIM: (1, regs.Stored8()),
            regs.MAP: (1, regs.AddressMap()),
            regs.PCS: (2, ports),
        },
        revision=2,
    )


class SataController(PciIde):
    """`disks`: those of port 0 and port 1; `inta` is its INTA#, true while it asks."""

    def __init__(self, timers: Timers, memory: DmaMemory, inta: Line, disks: Sequence[Disk | None] = ()) -> None:
        if len(disks) > PORTS:
            raise ValueError(f"a SATA controller has room for {PORTS} disks")
        first, second = [*disks, None, None][:PORTS]
        self._inta = inta
        self._asking = [False, False]
        self._line = False
        pci = sata_function((first is not None) | (second is not None) << 1)
        command, status = pci.registers[regs.COMMAND], pci.registers[regs.STATUS]
        assert isinstance(command, regs.SataCommand)
        assert isinstance(status, regs.SataStatus)
        self._command, self._status = command, status
        channels = (lambda level: self._ask(0, level), lambda level: self._ask(1, level))
        super().__init__("sata", pci, timers, memory, channels, (first, None, second, None))

    def _ask(self, channel: int, level: bool) -> None:
        self._asking[channel] = level
        self._update_inta()

    def _update_inta(self) -> None:
        self._status.interrupt = any(self._asking)
        level = any(self._asking) and not self._command.interrupt_disable
        if level != self._line:
            self._line = level
            self._inta(level)

    def _pci_changed(self) -> None:
        super()._pci_changed()
        self._update_inta()

    def _blocks(self) -> Sequence[tuple[int | None, int | None]]:
        bases = [(self.pci.io_base(command), self.pci.io_base(control)) for command, control in BLOCKS]
        return [(command, None if control is None else control + _CONTROL) for command, control in bases]

    def _claims(self) -> list[tuple[int, int]]:
        bases = [(at, size) for pair in BLOCKS for at, size in zip(pair, (_COMMAND_PORTS, _CONTROL_PORTS), strict=True)]
        claimed = [(self.pci.io_base(at), size) for at, size in (*bases, (regs.BAR4, MASTER_PORTS))]
        return [(base, size) for base, size in claimed if base is not None]

    def state(self) -> dict[str, Any]:
        return super().state() | {"asking": list(self._asking), "line": self._line}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._asking = list(state["asking"])
        self._line = state["line"]
