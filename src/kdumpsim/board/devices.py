# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device is, and the one list of all that a PC is made of.

Ports, memory-mapped registers, interrupt lines, reset, snapshot and restore all come from this list. A device gets its
interrupt lines while it is fitted, and is found at its ports and addresses because it was: one that is not in the list
is not in the machine. CPUs, memory and the clock are in it, too, for they have a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from kdumpsim.apic.messages import Line
from kdumpsim.board.bus import MemoryDevice, MmioBus, PortBus, PortDevice

State = dict[str, Any]
"""Plain data: what pickles, and names nothing of the process it was taken in."""


class Device(Protocol):
    """Anything in the PC that has a state. One with ports is a `PortDevice`, one with registers in memory a
    `MemoryDevice` besides.
    """

    @property
    def name(self) -> str:
        """Its own in this PC, and the same in every PC of the same configuration."""

    def reset(self) -> None:
        """Do what the reset line does. Levels of input lines belong to those who drive them."""

    def state(self) -> State:
        """Return all that its future depends on, but for pending timers, which are the clock's."""

    def restore(self, state: State) -> None:
        """Take over a `state()`, whatever it was before. Arms and cancels no timer, drives no line."""


@runtime_checkable
class Movable(Protocol):
    """A device whose `ports()` change while the machine runs; it calls `on_remap` then."""

    on_remap: Callable[[], None]


D = TypeVar("D", bound=Device)


@dataclass(frozen=True)
class Fitted:
    """A device and its place: the ISA interrupts it was given, and the one CPU it belongs to (None: to all)."""

    device: Device
    irqs: tuple[int, ...] = ()
    cpu: int | None = None

    @property
    def ports(self) -> list[tuple[int, int]]:
        """(First, count) of its ports now."""
        return self.device.ports() if isinstance(self.device, PortDevice) else []

    @property
    def memory(self) -> list[tuple[int, int]]:
        """(Base, size) of its registers in memory."""
        return self.device.memory() if isinstance(self.device, MemoryDevice) else []


class DeviceList:
    """In the order of fitting, which is that of reset. `irq` gives the wire of an ISA interrupt.

    Where ports overlap, which only a guest that moves base addresses can bring about, the first in the list answers.
    """

    def __init__(self, cpus: int, irq: Callable[[int], Line]) -> None:
        self.ports = PortBus()
        self.mmio = MmioBus(cpus)
        self._irq = irq
        self._fitted: dict[str, Fitted] = {}

    def __iter__(self) -> Iterator[Fitted]:
        return iter(self._fitted.values())

    def fit(self, make: Callable[[Callable[[int], Line]], D], *, cpu: int | None = None) -> D:
        """Make a device, given a function that hands out interrupt lines by number, and put it in the list.

        ValueError if its name, or one of its ports or pages, is taken.
        """
        irqs: list[int] = []

        def wire(number: int) -> Line:
            irqs.append(number)
            return self._irq(number)

        device = make(wire)
        if device.name in self._fitted:
            raise ValueError(f"there is a device {device.name!r} already")
        if isinstance(device, PortDevice):
            self.ports.attach(device)
        if isinstance(device, MemoryDevice):
            self.mmio.attach(device, cpu)
        if isinstance(device, Movable):
            device.on_remap = self.ports.remap
        self._fitted[device.name] = Fitted(device, tuple(irqs), cpu)
        return device

    def add(self, device: D, *, cpu: int | None = None) -> D:
        """Put a device without interrupt lines in the list; ValueError as in `fit`."""
        return self.fit(lambda _: device, cpu=cpu)

    def reset(self) -> None:
        """Reset every device, first to last."""
        for fitted in self:
            fitted.device.reset()

    def state(self) -> dict[str, State]:
        """Return the state of every device by name."""
        return {name: fitted.device.state() for name, fitted in self._fitted.items()}

    def restore(self, states: dict[str, State]) -> None:
        """Take over a `state()`; ValueError if it is not of these devices."""
        if states.keys() != self._fitted.keys():
            missing, strange = sorted(self._fitted.keys() - states.keys()), sorted(states.keys() - self._fitted.keys())
            differences = [
                *(f"no {name}" for name in missing), *(f"{name}, which is not in this machine" for name in strange)
            ]  # fmt: skip
            raise ValueError(f"the snapshot is of another machine: it has {', '.join(differences)}")
        for name, fitted in self._fitted.items():
            fitted.device.restore(states[name])
