# SPDX-License-Identifier: GPL-2.0-or-later
"""A 16550A serial port, after National Semiconductor's PC16550D datasheet.

Transmission takes no time: a byte written is a byte sent, and the transmitter is always empty. What was sent is handed
to `on_output` in batches: after a millisecond of virtual time, after 4096 bytes, or on `flush()`. Input never overruns:
`feed()` queues without limit, and the line behaves as if the sender watched the receiver, filling the FIFO as the guest
drains it (not faster than one byte per `pace_ns`). The divisor still sets the character time-out.

Not modelled: parity, framing and break errors; modem lines other than a terminal's that is always there (CTS, DSR and
DCD high); DMA signalling (FCR bit 3); the PC's gate by OUT2 between this part and its interrupt line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from kdumpsim.apic.messages import Line
from kdumpsim.apic.registers import Access, Field, Register
from kdumpsim.apic.timers import Timers

DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCRATCH = range(8)
FIFO_SIZE = 16
TRIGGERS = (1, 4, 8, 14)
CRYSTAL_HZ = 1_843_200
BATCH_NS = 1_000_000
BATCH_BYTES = 4096
_ROOM, _COUNT, _SENT_BYTES = range(3)
"""Words of `Uart.sent`; from the last on it has the bytes."""


class InterruptEnable(Register):
    received = Field(0)
    transmitter_empty = Field(1)
    line_status = Field(2)
    modem_status = Field(3)


class InterruptId(Register):
    none_pending = Field(0, access=Access.RO, reset=1)
    cause = Field(1, 3, access=Access.RO)
    fifo = Field(6, 2, access=Access.RO)


class FifoControl(Register):
    enabled = Field(0)
    clear_receiver = Field(1)
    clear_transmitter = Field(2)
    dma_mode = Field(3)
    trigger = Field(6, 2)


class LineControl(Register):
    word_length = Field(0, 2)
    stop_bits = Field(2)
    parity = Field(3)
    even_parity = Field(4)
    stick_parity = Field(5)
    send_break = Field(6)
    divisor_latch = Field(7)


class ModemControl(Register):
    dtr = Field(0)
    rts = Field(1)
    out1 = Field(2)
    out2 = Field(3)
    loop = Field(4)


class LineStatus(Register):
    data_ready = Field(0, access=Access.RO)
    overrun = Field(1, access=Access.RO)
    parity_error = Field(2, access=Access.RO)
    framing_error = Field(3, access=Access.RO)
    break_interrupt = Field(4, access=Access.RO)
    holding_empty = Field(5, access=Access.RO, reset=1)
    transmitter_empty = Field(6, access=Access.RO, reset=1)
    fifo_error = Field(7, access=Access.RO)


class ModemStatus(Register):
    delta_cts = Field(0, access=Access.RO)
    delta_dsr = Field(1, access=Access.RO)
    trailing_ri = Field(2, access=Access.RO)
    delta_dcd = Field(3, access=Access.RO)
    cts = Field(4, access=Access.RO, reset=1)
    dsr = Field(5, access=Access.RO, reset=1)
    ri = Field(6, access=Access.RO)
    dcd = Field(7, access=Access.RO, reset=1)


# IIR causes, by priority
CAUSE_LINE_STATUS, CAUSE_RECEIVED, CAUSE_TIMEOUT, CAUSE_TRANSMITTER, CAUSE_MODEM = 3, 2, 6, 1, 0

# Plain masks for the paths that run once per character
_DATA_READY = LineStatus.data_ready.mask
_LINE_ERRORS = (
    LineStatus.overrun.mask
    | LineStatus.parity_error.mask
    | LineStatus.framing_error.mask
    | LineStatus.break_interrupt.mask
)
_LOOP = ModemControl.loop.mask
_DLAB = LineControl.divisor_latch.mask
_RECEIVED = InterruptEnable.received.mask
_TRANSMITTER = InterruptEnable.transmitter_empty.mask
_FIFO_COMMANDS = FifoControl.clear_receiver.mask | FifoControl.clear_transmitter.mask


class Uart:
    """One port at `base`. `irq` is its interrupt line, high while a cause is pending."""

    def __init__(
        self,
        name: str,
        base: int,
        timers: Timers,
        irq: Line,
        on_output: Callable[[bytes], None],
        *,
        pace_ns: int = 0,
    ) -> None:
        self.name = name
        self.on_output = on_output
        self.pace_ns = pace_ns
        self._base = base
        self._timers = timers
        self._irq = irq
        self._batch_timer = timers.timer(f"{name}-output", self.flush)
        self._timeout_timer = timers.timer(f"{name}-timeout", self._timed_out)
        self._pace_timer = timers.timer(f"{name}-pace", self._refill)
        self._ier = InterruptEnable()
        self._fcr = FifoControl()
        self._lcr = LineControl()
        self._mcr = ModemControl()
        self._lsr = LineStatus()
        self._msr = ModemStatus()
        self._scratch = 0
        self._divisor = 12
        self._fifo: deque[int] = deque()
        self._capacity = self._trigger = 1
        self._queue: deque[int] = deque()  # fed by the host, not yet on the wire
        self._next_arrival = 0
        self.sent = memoryview(bytearray(8 * _SENT_BYTES + BATCH_BYTES)).cast("Q")
        """What was transmitted and not yet handed on, where its CPUs may put more of it (`cpu.Shortcuts.latches`)."""
        self._sent_bytes = self.sent[_SENT_BYTES:].cast("B")
        self._transmitter_pending = False
        self._timeout_pending = False
        self._level = False

    def ports(self) -> list[tuple[int, int]]:
        return [(self._base, 8)]

    def feed(self, data: bytes) -> None:
        """Bytes from the host, to arrive as the guest takes them."""
        self._queue.extend(data)
        self._refill()

    def flush(self) -> None:
        """Hand on what was transmitted and not yet handed on (the Machine calls it when run() returns)."""
        self._batch_timer.cancel()
        data = self._output()
        if data:
            self.sent[_ROOM] = self.sent[_COUNT] = 0
            self.on_output(data)

    def _output(self) -> bytes:
        return bytes(self._sent_bytes[: self.sent[_COUNT]])

    def _make_room(self) -> None:
        """Say how many more bytes may be transmitted without us: all but the first and the last of a batch, while
        transmitting does nothing else.
        """
        count = self.sent[_COUNT]
        plain = count and not (self._lcr.value & _DLAB or self._mcr.value & _LOOP or self._ier.value & _TRANSMITTER)
        self.sent[_ROOM] = BATCH_BYTES - 1 - count if plain else 0

    # -- ports ---------------------------------------------------------------------------------------------------------

    def port_read(self, port: int, size: int) -> int:
        register = port - self._base
        if register == LSR:
            value = self._lsr.value
            if value & _LINE_ERRORS:
                self._lsr.value = value & ~_LINE_ERRORS
                self._update()
            return value
        if register == DATA:
            return self._divisor & 0xFF if self._lcr.value & _DLAB else self._receive()
        if register == IIR_FCR:
            return self._read_iir()
        if register == IER:
            return self._divisor >> 8 if self._lcr.value & _DLAB else self._ier.value
        if register == MSR:
            value = self._msr.value
            self._msr.value = value & 0xF0
            self._update()
            return value
        return (self._scratch, self._lcr.value, self._mcr.value)[(SCRATCH, LCR, MCR).index(register)]

    def port_write(self, port: int, size: int, value: int) -> None:
        register = port - self._base
        value &= 0xFF
        if register == DATA:
            if self._lcr.value & _DLAB:
                self._divisor = self._divisor & 0xFF00 | value
            else:
                self._transmit(value)
        elif register == IER:
            if self._lcr.value & _DLAB:
                self._divisor = self._divisor & 0xFF | value << 8
            else:
                self._write_ier(value)
        elif register == IIR_FCR:
            self._write_fcr(value)
        elif register == LCR:
            self._lcr.write(value)
            self._make_room()
        elif register == MCR:
            self._write_mcr(value)
        elif register == SCRATCH:
            self._scratch = value

    def _transmit(self, value: int) -> None:
        if self._mcr.value & _LOOP:
            self._arrive(value)
        else:
            count = self.sent[_COUNT]
            if not count:
                self._batch_timer.arm(self._timers.now + BATCH_NS)
            self._sent_bytes[count] = value
            self.sent[_COUNT] = count + 1
            if count + 1 == BATCH_BYTES:
                self.flush()
            self._make_room()
        if self._ier.value & _TRANSMITTER:  # full for a moment, and empty again
            self._transmitter_pending = True
            self._update()

    def _receive(self) -> int:
        fifo = self._fifo
        if not fifo:
            return 0
        value = fifo.popleft()
        self._timeout_pending = False
        if self._queue:
            self._fill()
        if not fifo:
            self._lsr.value &= ~_DATA_READY
        if self._ier.value:
            self._received()
        return value

    def _read_iir(self) -> int:
        cause = self._cause()
        iir = InterruptId()
        iir.fifo = 3 if self._fcr.enabled else 0
        if cause is not None:
            iir.none_pending = 0
            iir.cause = cause
            if cause == CAUSE_TRANSMITTER:
                self._transmitter_pending = False
                self._update()
        return iir.value

    def _write_ier(self, value: int) -> None:
        newly = value & ~self._ier.value
        self._ier.write(value)
        self._make_room()
        if newly & _TRANSMITTER:  # enabling it with an empty transmitter raises it at once
            self._transmitter_pending = True
        elif not value & _TRANSMITTER:
            self._transmitter_pending = False
        self._received()

    def _write_fcr(self, value: int) -> None:
        command = FifoControl(value)
        switched = command.enabled != self._fcr.enabled
        if switched or (command.enabled and command.clear_receiver):
            self._fifo.clear()
            self._timeout_pending = False
            self._lsr.value &= ~_DATA_READY
        self._fcr.value = value & ~_FIFO_COMMANDS if command.enabled else 0
        self._size_fifo()
        self._refill()
        self._received()

    def _size_fifo(self) -> None:
        enabled = self._fcr.enabled
        self._capacity = FIFO_SIZE if enabled else 1
        self._trigger = TRIGGERS[self._fcr.trigger] if enabled else 1

    def _write_mcr(self, value: int) -> None:
        self._mcr.write(value)
        self._make_room()
        msr = ModemStatus(self._msr.value)
        if self._mcr.loop:
            lines = {"cts": self._mcr.rts, "dsr": self._mcr.dtr, "ri": self._mcr.out1, "dcd": self._mcr.out2}
        else:
            lines = {"cts": 1, "dsr": 1, "ri": 0, "dcd": 1}
        self._msr.delta_cts |= msr.cts ^ lines["cts"]
        self._msr.delta_dsr |= msr.dsr ^ lines["dsr"]
        self._msr.trailing_ri |= msr.ri & ~lines["ri"]
        self._msr.delta_dcd |= msr.dcd ^ lines["dcd"]
        for name, level in lines.items():
            setattr(self._msr, name, level)
        self._refill()
        self._update()

    # -- receiver ------------------------------------------------------------------------------------------------------

    def _refill(self) -> None:
        """Let queued input in, and see what follows from it."""
        if self._queue and self._fill():
            self._lsr.value |= _DATA_READY
            self._received()

    def _fill(self) -> bool:
        """Move queued input into the FIFO as far as there is room and the pace allows; whether any came."""
        if self._mcr.value & _LOOP:  # loop-back disconnects the wire
            return False
        fifo, queue = self._fifo, self._queue
        before = len(fifo)
        while queue and len(fifo) < self._capacity:
            if self.pace_ns:
                now = self._timers.now
                if now < self._next_arrival:
                    self._pace_timer.arm(self._next_arrival)
                    break
                self._next_arrival = now + self.pace_ns
            fifo.append(queue.popleft())
        return len(fifo) != before

    def _arrive(self, value: int) -> None:
        """A byte over loop-back, where nothing watches for room."""
        if len(self._fifo) < self._capacity:
            self._fifo.append(value)
            self._lsr.value |= _DATA_READY
        else:
            self._lsr.overrun = 1
        self._received()

    def _received(self) -> None:
        """The FIFO or what is wanted of it changed: start or stop the character time-out, look at the interrupt."""
        if self._ier.value & _RECEIVED and 0 < len(self._fifo) < self._trigger and not self._timeout_pending:
            self._timeout_timer.arm(self._timers.now + 4 * self._character_ns())
        elif self._timeout_timer.deadline is not None:
            self._timeout_timer.cancel()
        self._update()

    def _character_ns(self) -> int:
        bits = 1 + 5 + self._lcr.word_length + self._lcr.parity + 1 + self._lcr.stop_bits
        return bits * 16 * (self._divisor or 1) * 1_000_000_000 // CRYSTAL_HZ

    def _timed_out(self) -> None:
        self._timeout_pending = True
        self._update()

    # -- interrupts ----------------------------------------------------------------------------------------------------

    def _cause(self) -> int | None:
        """The pending cause of highest priority."""
        enabled = self._ier.value
        if not enabled:
            return None
        if enabled & InterruptEnable.line_status.mask and self._lsr.value & _LINE_ERRORS:
            return CAUSE_LINE_STATUS
        if enabled & _RECEIVED:
            if len(self._fifo) >= self._trigger:
                return CAUSE_RECEIVED
            if self._timeout_pending:
                return CAUSE_TIMEOUT
        if enabled & _TRANSMITTER and self._transmitter_pending:
            return CAUSE_TRANSMITTER
        if enabled & InterruptEnable.modem_status.mask and self._msr.value & 0x0F:
            return CAUSE_MODEM
        return None

    def _update(self) -> None:
        level = self._cause() is not None
        if level != self._level:
            self._level = level
            self._irq(level)

    # -- reset and state -----------------------------------------------------------------------------------------------

    def _registers(self) -> dict[str, Register]:
        return {
            "ier": self._ier,
            "fcr": self._fcr,
            "lcr": self._lcr,
            "mcr": self._mcr,
            "lsr": self._lsr,
            "msr": self._msr,
        }

    def reset(self) -> None:
        """Master reset. What the host has queued stays on its side of the wire, what was sent is sent."""
        self.flush()
        for register in self._registers().values():
            register.reset()
        self._fifo.clear()
        self._size_fifo()
        self._transmitter_pending = self._timeout_pending = False
        self._timeout_timer.cancel()
        self._refill()
        self._update()

    def state(self) -> dict[str, Any]:
        return {
            "registers": {name: register.value for name, register in self._registers().items()},
            "scratch": self._scratch,
            "divisor": self._divisor,
            "fifo": bytes(self._fifo),
            "queue": bytes(self._queue),
            "output": self._output(),
            "next_arrival": self._next_arrival,
            "transmitter_pending": self._transmitter_pending,
            "timeout_pending": self._timeout_pending,
            "level": self._level,
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name, register in self._registers().items():
            register.value = state["registers"][name]
        self._scratch, self._divisor = state["scratch"], state["divisor"]
        self._fifo, self._queue = deque(state["fifo"]), deque(state["queue"])
        output = state["output"]
        self._sent_bytes[: len(output)] = output
        self.sent[_COUNT] = len(output)
        self._make_room()
        self._next_arrival = state["next_arrival"]
        self._size_fifo()
        self._transmitter_pending, self._timeout_pending = state["transmitter_pending"], state["timeout_pending"]
        self._level = state["level"]
