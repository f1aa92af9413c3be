# SPDX-License-Identifier: GPL-2.0-or-later
"""The 16550A, by its datasheet and by what drivers do to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import Probe, run_for, transplant
from kdumpsim.board.clock import Clock
from kdumpsim.board.uart import Uart

DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
FCR, DLL, DLM = IIR, DATA, IER
NONE, LINE_STATUS, RECEIVED, TIMEOUT, TRANSMITTER, MODEM = 0x01, 0x06, 0x04, 0x0C, 0x02, 0x00
OUT2, LOOP, DLAB = 0x08, 0x10, 0x80
CHARACTER_NS = 86_805  # 8N1 at 115200


class Bench:
    def __init__(self, *, pace_ns: int = 0, interrupts: int = 0, fifo: int = 0x00) -> None:
        self.clock = Clock()
        self.irq = Probe()
        self.batches: list[bytes] = []
        self.uart = Uart("com", 0x3F8, self.clock, self.irq, self.batches.append, pace_ns=pace_ns)
        self.out(LCR, DLAB)
        self.out(DLL, 1)
        self.out(DLM, 0)
        self.out(LCR, 0x03)
        self.out(FCR, fifo)
        self.out(MCR, 0x03 | OUT2)
        self.out(IER, interrupts)

    def out(self, register: int, value: int) -> None:
        self.uart.port_write(0x3F8 + register, 1, value)

    def read(self, register: int) -> int:
        return self.uart.port_read(0x3F8 + register, 1)

    def drain(self) -> bytes:
        """What a polling driver does."""
        data = bytearray()
        while self.read(LSR) & 1:
            data.append(self.read(DATA))
        return bytes(data)


# -- transmitter -------------------------------------------------------------------------------------------------------


def test_output_comes_in_batches_and_costs_no_time() -> None:
    bench = Bench()
    for byte in b"Kernel panic":
        assert bench.read(LSR) == 0x60
        bench.out(DATA, byte)
    assert bench.batches == []
    run_for(bench.clock, 1_000_000)
    assert bench.batches == [b"Kernel panic"]
    assert bench.clock.next_deadline() is None


def test_flush_and_large_batches() -> None:
    bench = Bench()
    for _ in range(5000):
        bench.out(DATA, 0x41)
    assert [len(batch) for batch in bench.batches] == [4096]
    bench.uart.flush()
    assert [len(batch) for batch in bench.batches] == [4096, 904]
    bench.uart.flush()
    assert len(bench.batches) == 2


def test_an_answer_may_be_fed_from_the_output_callback() -> None:
    bench = Bench(fifo=0x01)
    bench.uart.on_output = lambda data: bench.uart.feed(data.upper())
    bench.out(DATA, ord("a"))
    bench.uart.flush()
    assert bench.drain() == b"A"


def test_transmitter_empty_interrupt() -> None:
    bench = Bench()
    bench.out(IER, 0x02)
    assert bench.irq.level  # at once: it is empty
    assert bench.read(IIR) == TRANSMITTER
    assert not bench.irq.level  # reading the IIR answers it
    assert bench.read(IIR) == NONE
    bench.out(DATA, 0x41)
    assert bench.irq.level
    bench.out(IER, 0x00)
    assert not bench.irq.level
    bench.out(IER, 0x02)
    assert bench.irq.level


# -- receiver ----------------------------------------------------------------------------------------------------------


def test_without_fifo_bytes_come_one_by_one() -> None:
    bench = Bench(interrupts=0x01)
    bench.uart.feed(b"ab")
    assert bench.read(IIR) == RECEIVED
    assert bench.read(DATA) == ord("a")
    assert bench.irq.level
    assert bench.read(DATA) == ord("b")
    assert not bench.irq.level
    assert bench.read(LSR) == 0x60
    assert bench.read(DATA) == 0


@pytest.mark.parametrize(("code", "level"), [(0, 1), (1, 4), (2, 8), (3, 14)])
def test_trigger_levels(code: int, level: int) -> None:
    bench = Bench(interrupts=0x01, fifo=0x01 | code << 6)
    bench.uart.feed(bytes(level - 1))
    assert not bench.irq.level
    bench.uart.feed(b"x")
    assert bench.irq.level
    assert bench.read(IIR) == 0xC0 | RECEIVED
    bench.read(DATA)
    assert bench.read(IIR) & 0x0F == NONE


def test_character_timeout() -> None:
    bench = Bench(interrupts=0x01, fifo=0x81)
    bench.uart.feed(b"xyz")
    run_for(bench.clock, 4 * CHARACTER_NS - 10)
    assert not bench.irq.level
    run_for(bench.clock, 20)
    assert bench.read(IIR) == 0xC0 | TIMEOUT
    assert bench.read(DATA) == ord("x")
    assert not bench.irq.level  # reading restarts the time
    run_for(bench.clock, 4 * CHARACTER_NS)
    assert bench.irq.level
    assert bench.drain() == b"yz"
    assert not bench.irq.level
    assert bench.clock.next_deadline() is None


def test_bulk_input_never_overruns() -> None:
    bench = Bench(fifo=0xC1)
    data = bytes(range(256)) * 40
    bench.uart.feed(data)
    assert bench.drain() == data


def test_pace() -> None:
    bench = Bench(pace_ns=1000, fifo=0x01)
    bench.uart.feed(b"abc")
    assert bench.drain() == b"a"
    run_for(bench.clock, 999)
    assert bench.drain() == b""
    run_for(bench.clock, 1001)
    assert bench.drain() == b"bc"


def test_clearing_and_switching_the_fifo_throws_bytes_away() -> None:
    bench = Bench(fifo=0x01)
    bench.uart.feed(b"abc")
    bench.out(FCR, 0x03)
    assert bench.read(LSR) & 1 == 0
    bench.uart.feed(b"abc")
    bench.out(FCR, 0x00)
    assert bench.read(LSR) & 1 == 0
    assert bench.read(IIR) == NONE


# -- modem, loop-back, the rest ----------------------------------------------------------------------------------------


def test_out2_does_not_gate_the_interrupt() -> None:
    """As on QEMU; there are kernels (xv6) that never set it."""
    bench = Bench(interrupts=0x01)
    bench.out(MCR, 0x00)
    bench.uart.feed(b"x")
    assert bench.irq.level
    assert bench.read(IIR) == RECEIVED
    bench.out(MCR, 0x03 | OUT2)
    assert bench.irq.level


def test_a_terminal_is_always_there() -> None:
    assert Bench().read(MSR) == 0xB0


def test_loop_back_of_modem_lines() -> None:
    """How drivers detect a UART."""
    bench = Bench()
    bench.out(MCR, LOOP | 0x0A)
    assert bench.read(MSR) & 0xF0 == 0x90
    bench.out(MCR, LOOP | 0x05)
    assert bench.read(MSR) == 0x6B
    assert bench.read(MSR) == 0x60
    bench.out(MCR, LOOP)
    assert bench.read(MSR) == 0x06  # RI's trailing edge, DSR's change


def test_loop_back_of_data_can_overrun() -> None:
    bench = Bench(interrupts=0x04)
    bench.uart.feed(b"later")
    assert bench.read(DATA) == ord("l")
    bench.out(FCR, 0x01)
    bench.out(MCR, LOOP)
    bench.drain()
    for byte in range(17):
        bench.out(DATA, byte)
    assert bench.read(IIR) & 0x0F == LINE_STATUS
    assert bench.irq.level
    assert bench.read(LSR) == 0x63
    assert bench.read(LSR) == 0x61
    assert bench.drain() == bytes(range(16))
    assert bench.batches == []


def test_interrupt_priorities() -> None:
    bench = Bench(interrupts=0x0F, fifo=0x01)
    bench.out(MCR, LOOP | 0x03)
    for byte in range(17):
        bench.out(DATA, byte)
    causes = [bench.read(IIR) & 0x0F]
    bench.read(LSR)
    causes.append(bench.read(IIR) & 0x0F)
    bench.drain()
    causes += [bench.read(IIR) & 0x0F, bench.read(IIR) & 0x0F]
    bench.read(MSR)
    causes.append(bench.read(IIR) & 0x0F)
    assert causes == [LINE_STATUS, RECEIVED, TRANSMITTER, MODEM, NONE]


def test_divisor_latch_and_scratch() -> None:
    bench = Bench()
    bench.out(SCR, 0x5A)
    assert bench.read(SCR) == 0x5A
    bench.out(LCR, DLAB | 0x03)
    bench.out(DLL, 0x80)
    bench.out(DLM, 0x01)
    assert (bench.read(DLL), bench.read(DLM)) == (0x80, 0x01)
    bench.out(LCR, 0x03)
    assert (bench.read(DATA), bench.read(IER)) == (0, 0)
    bench.out(IER, 0xFF)
    assert bench.read(IER) == 0x0F


def test_reset_hands_on_what_was_sent() -> None:
    bench = Bench(interrupts=0x01)
    bench.out(DATA, 0x21)
    bench.uart.feed(b"x")
    bench.uart.reset()
    assert bench.batches == [b"!"]
    assert not bench.irq.level
    assert bench.read(IER) == 0


# -- properties --------------------------------------------------------------------------------------------------------

steps = st.one_of(
    st.tuples(st.just("out"), st.integers(0, 7), st.integers(0, 255)),
    st.tuples(st.just("in"), st.integers(0, 7), st.none()),
    st.tuples(st.just("feed"), st.binary(max_size=40), st.none()),
    st.tuples(st.just("run"), st.integers(0, 10**6), st.none()),
)


@given(st.lists(steps, max_size=50), st.sampled_from([0, 5000]))
def test_state_round_trips_and_the_line_follows_the_iir(script: list[tuple[str, Any, Any]], pace_ns: int) -> None:
    bench = Bench(pace_ns=pace_ns)
    for kind, first, second in script:
        if kind == "out":
            bench.out(first, second)
        elif kind == "in":
            assert 0 <= bench.read(first) <= 0xFF
        elif kind == "feed":
            bench.uart.feed(first)
        else:
            run_for(bench.clock, first)
        state = bench.uart.state()
        assert bench.irq.level == (bench.uart._cause() is not None)
        assert bool(state["registers"]["lsr"] & 1) == bool(state["fifo"])
    copy = transplant(
        bench.uart,
        bench.clock,
        lambda clock: Uart("com", 0x3F8, clock, Probe(), lambda data: None, pace_ns=pace_ns),
    )
    assert copy.state() == bench.uart.state()
    for register in (IER, LCR, MCR, LSR, MSR, SCR, IIR, DATA):
        assert copy.port_read(0x3F8 + register, 1) == bench.read(register)


@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans())
def test_what_is_fed_is_what_is_read(pieces: list[bytes], fifo: bool) -> None:
    bench = Bench(fifo=0x01 if fifo else 0x00)
    got = b""
    for piece in pieces:
        bench.uart.feed(piece)
        if len(piece) % 2:
            got += bench.drain()
    assert got + bench.drain() == b"".join(pieces)
