# SPDX-License-Identifier: GPL-2.0-or-later
"""An i386's registers as gdb wants them described and sent ("Debugging with GDB", appendices E and G)."""

from __future__ import annotations

import struct
from typing import Final

from kdumpsim.cpu.registers import X87, Registers

CORE: Final = (
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags", "cs", "ss", "ds", "es", "fs", "gs",
)  # fmt: skip
CONTROL: Final = ("cr0", "cr2", "cr3", "cr4")
_X87: Final = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
_TYPES: Final = {"esp": "data_ptr", "ebp": "data_ptr", "eip": "code_ptr"}


def target_description() -> str:
    """The registers of the `g` packet, in its order."""
    core = [f'<reg name="{name}" bitsize="32" type="{_TYPES.get(name, "int32")}"/>' for name in CORE]
    core += [f'<reg name="st{slot}" bitsize="80" type="i387_ext"/>' for slot in range(8)]
    core += [f'<reg name="{name}" bitsize="32" type="int" group="float"/>' for name in _X87]
    control = [f'<reg name="{name}" bitsize="32" type="int32" group="system"/>' for name in CONTROL]
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386</architecture>'
        f'<feature name="org.gnu.gdb.i386.core">{"".join(core)}</feature>'
        f'<feature name="kdumpsim.control">{"".join(control)}</feature></target>'
    )


def packed(registers: Registers, x87: X87) -> bytes:
    """The bytes of the `g` packet.  Where the last x87 instruction was is not known: zeros."""
    core = struct.pack(f"<{len(CORE)}I", *(getattr(registers, name) & 0xFFFFFFFF for name in CORE))
    control = struct.pack(f"<{len(CONTROL)}I", *(getattr(registers, name) & 0xFFFFFFFF for name in CONTROL))
    words = struct.pack(f"<{len(_X87)}I", x87.control, x87.status, x87.tag, 0, 0, 0, 0, 0)
    return core + b"".join(x87.stack) + words + control
