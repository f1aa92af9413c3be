# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare CPU with memory and a serial port, for code that runs without a kernel."""

from __future__ import annotations

import struct

from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_32, Uc
from unicorn.x86_const import (
    UC_X86_INS_IN,
    UC_X86_INS_OUT,
    UC_X86_REG_EAX,
    UC_X86_REG_EIP,
    UC_X86_REG_ESP,
)

MEMORY = 32 << 20
RETURN = 0x1000
STACK = 0x80000


class BareMachine:
    """Flat memory, paging off; what goes to COM1 is collected in `serial`."""

    def __init__(self) -> None:
        self.uc = Uc(UC_ARCH_X86, UC_MODE_32)
        self.uc.mem_map(0, MEMORY)
        self.serial = bytearray()
        self.uc.hook_add(UC_HOOK_INSN, self._in, None, 1, 0, UC_X86_INS_IN)
        self.uc.hook_add(UC_HOOK_INSN, self._out, None, 1, 0, UC_X86_INS_OUT)

    def write(self, address: int, data: bytes) -> None:
        self.uc.mem_write(address, data)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.uc.mem_read(address, size))

    def call(self, function: int, *arguments: int) -> int:
        """Call a C function; its result."""
        self.write(STACK, struct.pack(f"<{len(arguments) + 1}I", RETURN, *arguments))
        self.uc.reg_write(UC_X86_REG_ESP, STACK)
        self.uc.emu_start(function, RETURN)
        result: int = self.uc.reg_read(UC_X86_REG_EAX)
        return result

    def run(self, start: int, stop: int) -> int:
        """Run from `start` until `stop` or HLT; EIP then."""
        self.uc.emu_start(start, stop)
        eip: int = self.uc.reg_read(UC_X86_REG_EIP)
        return eip

    def _in(self, _uc: Uc, port: int, _size: int, _data: object) -> int:
        return 0x60 if port == 0x3FD else 0xFF

    def _out(self, _uc: Uc, port: int, _size: int, value: int, _data: object) -> None:
        if port == 0x3F8:
            self.serial.append(value & 0xFF)
