# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual CPUs on Unicorn: the only place that knows Unicorn."""

from .activity import Activity
from .bus import Counter, CpuBus, MmioRegion, RamBlock, Shortcuts
from .cpu import Cpu, Exit
from .layout import LayoutError
from .native import ENGINE
from .neighbours import Neighbours
from .registers import Registers

__all__ = [
    "ENGINE",
    "Activity",
    "Counter",
    "Cpu",
    "CpuBus",
    "Exit",
    "LayoutError",
    "MmioRegion",
    "Neighbours",
    "RamBlock",
    "Registers",
    "Shortcuts",
]
