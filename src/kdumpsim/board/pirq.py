# SPDX-License-Identifier: GPL-2.0-or-later
"""From a PCI device's interrupt pin to an ISA interrupt: PIRQA# to PIRQD# and the PIIX3's route control registers.

Follows the Intel 82371SB (PIIX3) data sheet, PIRQRC[A:D] at 0x60..0x63 of function 0. Several PIRQs may share one IRQ.
A slot's pins go around the four PIRQs as on QEMU's `pc`: INTA# of slot 1 is PIRQA#, of slot 2 PIRQB#. IRQ lines are
active high from here on.

A board may wire the PIRQs to pins of the I/O APIC besides, as the 82801EB (ICH5) does (data sheet, "Interrupt Mapping":
PIRQA# to PIRQD# are its interrupts 16 to 19); then PIRQRC is about the 8259s only.

Not modelled: MBIRQ, which routes the motherboard's own interrupts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kdumpsim.apic.messages import Line
from kdumpsim.board.pci_registers import PirqRoute

_NOT_ROUTED, _IRQ = PirqRoute.not_routed.mask, PirqRoute.irq.mask
_ROUTABLE = (3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15)


class PciInterrupt(NamedTuple):
    """A device's pin (1 is INTA#), the IRQ that firmware routes it to, and its pin of the I/O APIC, where the PIRQ has
    one of its own: active low, then.
    """

    slot: int
    pin: int
    irq: int
    ioapic_pin: int | None = None


def pirq(slot: int, pin: int) -> int:
    """Which PIRQ (0 is A) a slot's pin is wired to."""
    return slot + pin - 2 & 3


class PirqRouter:
    """`irq(n)` gives the wire of ISA interrupt n; `direct` are wires of PIRQA# to PIRQD# that no register routes."""

    def __init__(self, irq: Callable[[int], Line], direct: Sequence[Line] = ()) -> None:
        self._lines = {number: irq(number) for number in _ROUTABLE}
        self._direct = direct
        self._asking: set[tuple[int, int]] = set()  # (PIRQ, slot)
        self._routes = [_NOT_ROUTED] * 4
        self._driven: set[int] = set()

    def line(self, slot: int, pin: int) -> Line:
        """The wire a device drives; several may share a PIRQ."""
        number = pirq(slot, pin)

        def drive(level: bool) -> None:
            if level:
                self._asking.add((number, slot))
            else:
                self._asking.discard((number, slot))
            if self._direct:
                self._direct[number](any(number == asking for asking, _ in self._asking))
            self._update()

        return drive

    def route(self, registers: Sequence[int]) -> None:
        """PIRQRC[A:D] hold these."""
        if self._routes != list(registers):
            self._routes = list(registers)
            self._update()

    def _update(self) -> None:
        routed = {self._routes[number] for number, _ in self._asking}
        wanted = {route & _IRQ for route in routed if not route & _NOT_ROUTED} & self._lines.keys()
        changed, self._driven = wanted ^ self._driven, wanted
        for number in sorted(changed):
            self._lines[number](number in wanted)

    def state(self) -> dict[str, Any]:
        return {"asking": sorted(self._asking), "routes": list(self._routes), "driven": sorted(self._driven)}

    def restore(self, state: dict[str, Any]) -> None:
        """The interrupt controllers have the lines' levels themselves."""
        self._asking = {(number, slot) for number, slot in state["asking"]}
        self._routes = list(state["routes"])
        self._driven = set(state["driven"])
