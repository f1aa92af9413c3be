# SPDX-License-Identifier: GPL-2.0-or-later
"""How the memory of a dying kernel gets out: the dump mechanisms, and where a crash asks them.

A mechanism is one entry, which stands in its own sources; nothing else has to know of it:

    MINE: DumpMechanism = placed("dump_mechanisms5", DumpMechanism(name="mine", hooks=[NULL, my_dump, NULL, my_dump]))

The four places are those at which the patches of 2.6's time had their calls: die(), panic(), the NMI watchdog and
SysRq-C.  There the entries are asked in the order of their levels (the digit after the table's name), those of one
level in the linker's order.  A mechanism that takes a dump does not come back.  One that comes back is not armed, or
does not want this crash: the next one is asked, and after the last the place goes on as a kernel without any would.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from kdumpsim.compiler.lang import NULL, Struct, array, cstr, fn, guest, length, ptr, section

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import PtRegs

CRASH_PLACES: Final = 4


class CrashPlace(IntEnum):
    """Where a crash asks for a dump."""

    OOPS = 0
    """die(), once it has printed (with FAULT_CHECKS before, too); whether the oops is fatal is not decided yet."""
    PANIC = 1
    """panic(), before it stops the other CPUs; called without registers."""
    NMI = 2
    """The NMI watchdog has found this CPU locked up in the kernel."""
    SYSRQ = 3
    """SysRq-C, at the keyboard or through /proc/sysrq-trigger (without registers)."""


class DumpMechanism(Struct):
    """A dump mechanism.  The host reads the name (`mechanisms/base.py`)."""

    name: cstr
    hooks: array[fn[[ptr[PtRegs]], None]] = length(CRASH_PLACES)
    """What each place calls, with the registers of the crash or NULL; NULL where it is not hooked in."""


@guest
def try_crashdump(place: CrashPlace, regs: ptr[PtRegs]) -> None:
    """Ask the mechanisms for a dump; comes back if none takes one."""
    for mechanism in section("dump_mechanisms", DumpMechanism):
        hook: fn[[ptr[PtRegs]], None] = mechanism.hooks[place]
        if hook != NULL:
            hook(regs)
