# SPDX-License-Identifier: GPL-2.0-or-later
"""Port 0x92: fast reset and A20."""

from __future__ import annotations

from kdumpsim.board.port92 import PORT, Port92


def test_the_rising_edge_of_bit_0_resets() -> None:
    resets: list[None] = []
    port = Port92(lambda: resets.append(None))
    assert port.port_read(PORT, 1) == 0x02
    port.port_write(PORT, 1, 0x03)
    port.port_write(PORT, 1, 0x01)
    assert len(resets) == 1
    port.reset()
    port.port_write(PORT, 1, 0x01)
    assert len(resets) == 2


def test_it_keeps_what_is_written_and_its_state() -> None:
    port, other = Port92(lambda: None), Port92(lambda: None)
    port.port_write(PORT, 1, 0xFE)
    assert port.port_read(PORT, 1) == 0xDA
    other.restore(port.state())
    assert other.port_read(PORT, 1) == 0xDA
