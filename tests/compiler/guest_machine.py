# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile guest text and run its functions in Unicorn."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import unicorn
from unicorn import x86_const as x86

from kdumpsim.compiler import compile_modules
from kdumpsim.compiler.linker import Layout, LinkedImage, link

BASE, STACK, RETURN = 0x100000, 0x800000, 0x7F0000
PRELUDE = """\
from __future__ import annotations
from enum import IntEnum
from typing import Final, NoReturn
from kdumpsim.compiler.lang import (BUG, NULL, Struct, Union, addr, aligned, array, asm, asm_value, barrier, bits, cast,
  cmpxchg, config, container_of, cstr, extern, external, fetch_add, fetch_and, fetch_or, fetch_sub, fn, frame_address,
  guest, i8, i16, i32, i64, interrupt, length, list_for_each_entry, list_for_each_entry_safe, load_volatile,
  module_asm, naked, offsetof, packed, placed, ptr, return_address, section, sizeof, store_volatile, u8, u16, u32, u64,
  unreachable, usize, void, xchg)
"""
PRELUDE_LINES = PRELUDE.count("\n")


def build(folder: Path, text: str, entry: str, **options: object) -> LinkedImage:
    """Compile and link one module of guest text at BASE."""
    path = folder / "m.py"
    path.write_text(PRELUDE + text)
    objects = compile_modules([], extra_sources={"m": path}, **options)  # type: ignore[arg-type]
    return link(objects, Layout(BASE, BASE, entry))


class Machine:
    """A flat 32-bit machine with an image loaded."""

    def __init__(self, image: LinkedImage) -> None:
        self.symbols: Mapping[str, int] = image.symbols
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        self.uc.mem_map(0, 16 << 20)
        phoff, phnum = struct.unpack_from("<I", image.elf, 28)[0], struct.unpack_from("<H", image.elf, 44)[0]
        for index in range(phnum):
            _, offset, _, paddr, size, *_ = struct.unpack_from("<8I", image.elf, phoff + 32 * index)
            self.uc.mem_write(paddr, image.elf[offset : offset + size])

    def use_segments(self) -> None:
        """A GDT with flat code at selector 8 and data at 0x10, so that segment registers can be loaded."""
        flat = struct.pack("<QQQ", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)
        self.uc.mem_write(0x1000, flat)
        self.uc.reg_write(x86.UC_X86_REG_GDTR, (0, 0x1000, len(flat) - 1, 0))
        self.uc.reg_write(x86.UC_X86_REG_CS, 8)
        for register in (x86.UC_X86_REG_DS, x86.UC_X86_REG_ES, x86.UC_X86_REG_SS):
            self.uc.reg_write(register, 0x10)

    def start(self, function: str, *args: int) -> None:
        """Run a function to its return; arguments are words."""
        self.uc.mem_write(STACK, struct.pack(f"<{len(args) + 1}I", RETURN, *(arg & 0xFFFFFFFF for arg in args)))
        self.uc.reg_write(x86.UC_X86_REG_ESP, STACK)
        self.uc.emu_start(self.symbols[function], RETURN, count=10_000_000)
        assert self.uc.reg_read(x86.UC_X86_REG_EIP) == RETURN
        assert self.uc.reg_read(x86.UC_X86_REG_ESP) == STACK + 4

    def call(self, function: str, *args: int) -> int:
        """The function's result from EAX."""
        self.start(function, *args)
        return int(self.uc.reg_read(x86.UC_X86_REG_EAX))

    def call64(self, function: str, *args: int) -> int:
        """The function's result from EDX:EAX."""
        low = self.call(function, *args)
        return low | int(self.uc.reg_read(x86.UC_X86_REG_EDX)) << 32

    def core(self) -> bytes:
        """The stopped machine as an ELF core file: one NT_PRSTATUS note, all memory as one segment."""
        order = ("EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "EAX", "DS", "ES", "FS", "GS", "EAX", "EIP", "CS", "EFLAGS",
                 "ESP", "SS")  # fmt: skip
        registers = [self.uc.reg_read(getattr(x86, f"UC_X86_REG_{name}")) for name in order]
        status = bytes(72) + struct.pack("<17I", *registers) + bytes(4)
        note = struct.pack("<III", 5, len(status), 1) + b"CORE\0\0\0\0" + status
        memory = self.read(0, 16 << 20)
        header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 4, 3, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        start = 52 + 64
        notes = struct.pack("<8I", 4, start, 0, 0, len(note), 0, 0, 4)
        load = struct.pack("<8I", 1, start + len(note), 0, 0, len(memory), len(memory), 7, 1)
        return header + notes + load + note + memory

    def read(self, address: int, size: int) -> bytes:
        """Guest memory."""
        return bytes(self.uc.mem_read(address, size))
