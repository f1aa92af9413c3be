# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine-check architecture of the P6 family (SDM vol. 3A, chapter 15): IA32_MCG_CAP, IA32_MCG_STATUS and a bank.

The bank keeps its error over RESET and INIT, as long as there is power (table 9-1).

Not modelled: corrected errors and their interrupt, IA32_MCG_CTL, addresses of errors (ADDRV and MISCV are never set),
and what IA32_MC0_CTL masks: the one error there is, is always enabled.
"""

from __future__ import annotations

from typing import Any, Final

MCG_CAP, MCG_STATUS = 0x179, 0x17A
MC0_CTL, MC0_STATUS, MC0_ADDR = 0x400, 0x401, 0x402
MSRS: Final = frozenset((MCG_CAP, MCG_STATUS, MC0_CTL, MC0_STATUS, MC0_ADDR))

BANKS: Final = 1
EIPV, MCIP = 1 << 1, 1 << 2
"""IA32_MCG_STATUS: the error is of the instruction that was interrupted; a machine check is being handled."""
VAL, UC, EN, PCC = 1 << 63, 1 << 61, 1 << 60, 1 << 57
"""IA32_MC0_STATUS: valid, uncorrected, enabled, the processor's context is corrupt."""
DATA_READ_L2: Final = 0x0136
"""The error's code: a data read met it in the level 2 cache (section 15.9.2, 0000 0001 RRRR TTLL)."""
_WRITABLE: Final = {MCG_CAP: 0, MCG_STATUS: 7, MC0_CTL: (1 << 64) - 1, MC0_STATUS: 0, MC0_ADDR: 0}
"""Bits that WRMSR may set; with others it is #GP."""


class MachineCheckBank:
    """These registers of one processor."""

    def __init__(self) -> None:
        self._values = dict.fromkeys(sorted(MSRS), 0) | {MCG_CAP: BANKS}

    def error(self) -> bool:
        """An error that cannot be corrected; False if one is being handled, and the processor can only shut down."""
        if self._values[MCG_STATUS] & MCIP:
            return False
        self._values[MCG_STATUS] = MCIP | EIPV
        self._values[MC0_STATUS] = VAL | UC | EN | PCC | DATA_READ_L2
        return True

    def read(self, number: int) -> int:
        """RDMSR of one of `MSRS`."""
        return self._values[number]

    def write(self, number: int, value: int) -> bool:
        """WRMSR of one of `MSRS`; False for #GP."""
        if value & ~_WRITABLE[number]:
            return False
        if number != MCG_CAP:
            self._values[number] = value
        return number != MCG_CAP

    def state(self) -> dict[str, Any]:
        return {"machine_check": sorted(self._values.items())}

    def restore(self, state: dict[str, Any]) -> None:
        self._values = dict(state["machine_check"])
