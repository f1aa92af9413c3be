# SPDX-License-Identifier: GPL-2.0-or-later
"""The serial ports' driver: what a line does that takes its time."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from kdumpsim.agent.client import ANSWER, Frame, FrameDecoder, Op

LSR_THRE = 0x20
PAGE_OFFSET = 0xC0000000
ALERT = 500
"""NMIs after which a CPU is locked up."""


def test_a_cpu_that_prints_is_not_locked_up(boot: Callable[..., Any]) -> None:
    """With interrupts off it takes no timer interrupt, and on QEMU an NMI with every character."""
    guest = boot("nmi_watchdog=1")
    counter, view = guest.first.symbols["alert_counter"] - PAGE_OFFSET, guest.machine.memory.view
    guest.machine.watch(
        guest.first.symbols["serial8250_console_write"],
        lambda cpu: struct.pack_into("<II", view, counter, ALERT - 1, ALERT - 1),
    )
    seen: list[tuple[int, int]] = []
    guest.machine.watch(guest.first.symbols["xmitr_ready"], lambda cpu: seen.append((cpu.index, *counts())))

    def counts() -> tuple[int, int]:
        return struct.unpack_from("<II", view, counter)

    guest.agent.write_file("/proc/sysrq-trigger", b"h")
    guest.run(0.1)
    printing = [entry for entry in seen if ALERT - 1 in entry[1:]]
    assert printing
    assert all(entry[1 + entry[0]] == 0 for entry in printing)


def test_a_line_that_is_held_up_loses_nothing(boot: Callable[..., Any]) -> None:
    """As a socket does that is not being read: what is written to a transmitter that is full is lost."""
    guest = boot()
    line = guest.machine.uarts[1]
    status, transmit = line._lsr.value, line._transmit
    received = bytearray()
    line.on_output = received.extend
    line._lsr.value, line._transmit = status & ~LSR_THRE, lambda value: None
    line.feed(Frame(Op.HELLO, 77, b"").encode())
    guest.run(2)
    assert not received
    line._lsr.value, line._transmit = status, transmit
    guest.run(1)
    (answer,) = FrameDecoder().feed(bytes(received))
    assert (answer.op, answer.tag) == (Op.HELLO | ANSWER, 77)
    assert b"-toy" in answer.payload
