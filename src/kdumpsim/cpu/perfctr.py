# SPDX-License-Identifier: GPL-2.0-or-later
"""The two performance counters of the P6 family (Intel SDM volume 3B, "Performance Monitoring (P6 Family Processor)").

Modelled: PerfEvtSel0 and 1 with event, EN, INT, OS and USR; 40-bit counters of which WRMSR writes 32, sign-extended;
RDPMC; overflow. The one event is CPU_CLK_UNHALTED, the clocks of a processor that is not halted: the processor's clock
runs at 1 GHz as its time stamp counter does, and code is all that takes time.

Not modelled: other events, which count nothing; OS without USR and USR without OS, which count in every ring; unit and
counter masks, edge detection, pin control.
"""

from __future__ import annotations

from typing import Any, Final

PERFCTR0, PERFCTR1 = 0xC1, 0xC2
EVNTSEL0, EVNTSEL1 = 0x186, 0x187
MSRS: Final = frozenset((PERFCTR0, PERFCTR1, EVNTSEL0, EVNTSEL1))

EVENT: Final = 0xFF
CPU_CLK_UNHALTED: Final = 0x79
USR, OS, INT, EN = 1 << 16, 1 << 17, 1 << 20, 1 << 22  # EN: in EVNTSEL0 alone, for both counters

_WRAP: Final = 1 << 40


class PerformanceCounters:
    """The counters of one processor. `retired` is its count of code bytes, each of which takes `clocks` clocks."""

    def __init__(self, clocks: int) -> None:
        self._clocks = clocks
        self.deadline: int | None = None
        """The `retired` at which a counter that is to interrupt overflows."""
        self._select = [0, 0]
        self._value = [0, 0]
        self._since = 0  # `retired` when the values were right
        self.overflowed = False

    def _counts(self, index: int) -> bool:
        select = self._select[index]
        return bool(self._select[0] & EN and select & EVENT == CPU_CLK_UNHALTED and select & (OS | USR))

    def _advance(self, retired: int) -> None:
        """Bring the values up to date, and note an overflow that interrupts."""
        clocks = (retired - self._since) * self._clocks
        self._since = retired
        for index in range(2):
            if self._counts(index):
                value = self._value[index] + clocks
                self.overflowed |= value >= _WRAP and bool(self._select[index] & INT)
                self._value[index] = value % _WRAP

    def _plan(self) -> None:
        left = [
            -(-(_WRAP - self._value[index]) // self._clocks)
            for index in range(2)
            if self._counts(index) and self._select[index] & INT
        ]
        self.deadline = self._since + min(left) if left else None

    def counter(self, index: int, retired: int) -> int:
        """The 40 bits of a counter."""
        self._advance(retired)
        self._plan()
        return self._value[index]

    def read(self, number: int, retired: int) -> int:
        """RDMSR of one of `MSRS`."""
        if number in (EVNTSEL0, EVNTSEL1):
            return self._select[number - EVNTSEL0]
        return self.counter(number - PERFCTR0, retired)

    def write(self, number: int, value: int, retired: int) -> None:
        """WRMSR of 64 bits to one of `MSRS`; a counter takes the low 32."""
        self._advance(retired)
        if number in (EVNTSEL0, EVNTSEL1):
            self._select[number - EVNTSEL0] = value & 0xFFFFFFFF
        else:
            low = value & 0xFFFFFFFF
            self._value[number - PERFCTR0] = low | 0xFF_0000_0000 if low >> 31 else low
        self._plan()

    @property
    def quiet(self) -> bool:
        """None has overflowed, or will."""
        return self.deadline is None and not self.overflowed

    def take_overflow(self, retired: int) -> bool:
        """Has a counter with INT set overflowed since this was asked last?"""
        if self.deadline is not None and retired >= self.deadline:
            self._advance(retired)
            self._plan()
        taken, self.overflowed = self.overflowed, False
        return taken

    def reset(self) -> None:
        """RESET. INIT leaves the counters alone (table 9-1)."""
        self._select, self._value = [0, 0], [0, 0]
        self.overflowed, self.deadline = False, None

    def state(self) -> dict[str, Any]:
        return {
            "select": list(self._select),
            "value": list(self._value),
            "since": self._since,
            "overflowed": self.overflowed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._select, self._value = list(state["select"]), list(state["value"])
        self._since, self.overflowed = state["since"], state["overflowed"]
        self._plan()
