# SPDX-License-Identifier: GPL-2.0-or-later
"""The two i8259A interrupt controllers of a PC/AT, after Intel's 8259A datasheet (231468) and, for the edge/level
control registers, the PIIX3's (290550).

An edge-triggered request has to stay high until it is acknowledged: if its line falls first, the request is gone and
an acknowledge cycle finds the default IR7 (the datasheet's spurious interrupt). QEMU keeps such requests; devices that
hold their line until served cannot tell the difference.

Not modelled: special fully nested mode, buffered mode and 8080 mode (their bits are declared and ignored), single mode
(there are always two), ICW1's LTIM (as in the PIIX3, ELCR decides), ICW3 (the slave is on IR2).
"""

from __future__ import annotations

from typing import Any

from .messages import Line, unconnected
from .registers import Field, Register

CASCADE = 2
MASTER_ELCR = 0xF8  # IRQ 0, 1 and 2 are always edge-triggered
SLAVE_ELCR = 0xDE  # and so are 8 and 13


class Icw1(Register):
    needs_icw4 = Field(0)
    single = Field(1)
    interval = Field(2)
    level_triggered = Field(3)
    is_icw1 = Field(4)


class Icw2(Register):
    base = Field(3, 5)


class Icw4(Register):
    mode_8086 = Field(0)
    auto_eoi = Field(1)
    buffered = Field(2, 2)
    special_fully_nested = Field(4)


class Ocw2(Register):
    level = Field(0, 3)
    is_ocw3 = Field(3)
    end = Field(5)
    specific = Field(6)
    rotate = Field(7)


class Ocw3(Register):
    read_isr = Field(0)
    read_register = Field(1)
    poll = Field(2)
    special_mask = Field(5)
    set_special_mask = Field(6)


_STATE = (
    "lines",
    "irr",
    "isr",
    "imr",
    "elcr",
    "base",
    "lowest",
    "auto_eoi",
    "rotate_auto_eoi",
    "special_mask",
    "read_isr",
    "polling",
    "expected",
    "needs_icw4",
    "single",
)


class I8259:
    """One chip. `request()` is its priority resolver; the pair connects its output."""

    def __init__(self, elcr_mask: int) -> None:
        self.elcr_mask = elcr_mask
        self.lines = 0
        self.reset()

    def reset(self) -> None:
        """Power-on: everything masked until software runs the initialisation sequence. Input levels are kept."""
        self.irr = self.isr = self.elcr = self.base = 0
        self.imr = 0xFF
        self.lowest = 7  # the input of lowest priority
        self.auto_eoi = self.rotate_auto_eoi = self.special_mask = False
        self.read_isr = self.polling = False
        self.expected = 0  # which ICW the next write to the data port is, 0 for none
        self.needs_icw4 = self.single = False

    def set_line(self, number: int, level: bool) -> None:
        bit = 1 << number
        if not level:
            self.lines &= ~bit
            self.irr &= ~bit
        elif not self.lines & bit:
            self.lines |= bit
            self.irr |= bit

    def _highest(self, requests: int) -> int | None:
        """The input of highest priority in a set."""
        for distance in range(1, 9):
            number = self.lowest + distance & 7
            if requests >> number & 1:
                return number
        return None

    def request(self) -> int | None:
        """The input that asks for the processor now: requested, not masked, and above all that is in service."""
        requests = self.irr & ~self.imr
        if not requests:
            return None
        number = self._highest(requests)
        serving = self.isr & ~self.imr if self.special_mask else self.isr
        if not serving:
            return number
        winner = self._highest(requests | serving)
        return None if winner is None or serving >> winner & 1 else number

    def acknowledge(self) -> int | None:
        """An INTA cycle: the input served, or None if the request is gone (the chip then answers IR7)."""
        number = self.request()
        if number is None:
            return None
        bit = 1 << number
        self.irr = self.irr & ~bit | self.lines & self.elcr & bit
        if not self.auto_eoi:
            self.isr |= bit
        elif self.rotate_auto_eoi:
            self.lowest = number
        return number

    def read(self, data_port: bool) -> int:
        if self.polling:
            self.polling = False
            number = self.acknowledge()
            return 0 if number is None else 0x80 | number
        if data_port:
            return self.imr
        return self.isr if self.read_isr else self.irr

    def write(self, data_port: bool, value: int) -> None:
        if data_port:
            self._write_data(value)
        elif value & Icw1.is_icw1.mask:
            self._begin(Icw1(value))
        elif value & Ocw2.is_ocw3.mask:
            self._write_ocw3(Ocw3(value))
        else:
            self._write_ocw2(Ocw2(value))

    def write_elcr(self, value: int) -> None:
        self.elcr = value & self.elcr_mask
        self.irr |= self.lines & self.elcr

    def _begin(self, icw1: Icw1) -> None:
        elcr = self.elcr
        self.reset()
        self.elcr = elcr
        self.imr = 0
        self.irr = self.lines & elcr  # an edge has to come again
        self.needs_icw4 = bool(icw1.needs_icw4)
        self.single = bool(icw1.single)
        self.expected = 2

    def _write_data(self, value: int) -> None:
        if self.expected == 0:
            self.imr = value
        elif self.expected == 2:
            self.base = value & Icw2.base.mask
            self.expected = 3 if not self.single else 4 if self.needs_icw4 else 0
        elif self.expected == 3:
            self.expected = 4 if self.needs_icw4 else 0
        else:
            self.auto_eoi = bool(Icw4(value).auto_eoi)
            self.expected = 0

    def _write_ocw2(self, command: Ocw2) -> None:
        number: int | None = command.level
        if command.end:
            if not command.specific:  # in special mask mode a masked input in service is not ended
                number = self._highest(self.isr & ~self.imr if self.special_mask else self.isr)
            if number is None:
                return
            self.isr &= ~(1 << number)
            if command.rotate:
                self.lowest = number
        elif command.specific:
            if command.rotate:  # set priority; without `rotate` this is the datasheet's "no operation"
                self.lowest = command.level
        else:
            self.rotate_auto_eoi = bool(command.rotate)

    def _write_ocw3(self, command: Ocw3) -> None:
        if command.poll:
            self.polling = True
        elif command.read_register:
            self.read_isr = bool(command.read_isr)
        if command.set_special_mask:
            self.special_mask = bool(command.special_mask)

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _STATE}

    def restore(self, state: dict[str, Any]) -> None:
        for name in _STATE:
            setattr(self, name, state[name])


class I8259Pair:
    """Master and slave as the processor and the devices see them. `on_intr` is told of every change of INTR."""

    name = "pic"

    def __init__(self, on_intr: Line = unconnected) -> None:
        self.on_intr = on_intr
        self.intr = False
        self.master = I8259(MASTER_ELCR)
        self.slave = I8259(SLAVE_ELCR)

    def ports(self) -> list[tuple[int, int]]:
        return [(0x20, 2), (0xA0, 2), (0x4D0, 2)]

    def set_irq(self, irq: int, level: bool) -> None:
        """A device's line; IRQ 2 is the cascade alone."""
        if irq < 8:
            if irq != CASCADE:
                self.master.set_line(irq, level)
        else:
            self.slave.set_line(irq - 8, level)
        self._update()

    def acknowledge(self) -> int:
        """The INTA cycles: the vector. INTR falls, and rises again if something else asks."""
        number = self.master.acknowledge()
        if number is None:
            vector = self.master.base | 7
        elif number == CASCADE:
            inner = self.slave.acknowledge()
            vector = self.slave.base | (7 if inner is None else inner)
            self.master.set_line(CASCADE, False)
        else:
            vector = self.master.base | number
        self._set_intr(False)
        self._update()
        return vector

    def port_read(self, port: int, size: int) -> int:
        if port >= 0x4D0:
            return (self.master if port == 0x4D0 else self.slave).elcr
        chip = self.master if port < 0xA0 else self.slave
        polled = chip.polling
        value = chip.read(bool(port & 1))
        if polled:
            self._update()
        return value

    def port_write(self, port: int, size: int, value: int) -> None:
        value &= 0xFF
        if port >= 0x4D0:
            (self.master if port == 0x4D0 else self.slave).write_elcr(value)
        else:
            (self.master if port < 0xA0 else self.slave).write(bool(port & 1), value)
        self._update()

    def _update(self) -> None:
        self.master.set_line(CASCADE, self.slave.request() is not None)
        self._set_intr(self.master.request() is not None)

    def _set_intr(self, level: bool) -> None:
        if level != self.intr:
            self.intr = level
            self.on_intr(level)

    def reset(self) -> None:
        self.master.reset()
        self.slave.reset()
        self._update()

    def state(self) -> dict[str, Any]:
        return {"master": self.master.state(), "slave": self.slave.state(), "intr": self.intr}

    def restore(self, state: dict[str, Any]) -> None:
        self.master.restore(state["master"])
        self.slave.restore(state["slave"])
        self.intr = state["intr"]
