# SPDX-License-Identifier: GPL-2.0-or-later
"""The serial ports' driver: what a line does that takes its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim.agent.client import ANSWER, Frame, FrameDecoder, Op

LSR_THRE = 0x20


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
