# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking at a machine that has stopped."""

from __future__ import annotations

from kdumpsim.debugger.service import new_session
from kdumpsim.debugger.views import Views
from kdumpsim.scenario.scenario import Scenario


def test_looking_at_memory_is_no_devices_read() -> None:
    session = new_session(Scenario("FS_DEVRW", "panic"))
    memory = session.machine.memory
    heard: list[tuple[int, int]] = []
    memory.read = lambda begin, end: heard.append((begin, end))
    memory.dma_write(0x100000, b"text of a kernel")
    assert Views(session).memory(0, 0x100000, 16) == b"text of a kernel"
    assert not heard
    memory.dma_read(0x100000, 16)
    assert heard == [(0x100000, 0x100010)]
