# SPDX-License-Identifier: GPL-2.0-or-later
"""What kernels, dumps and kexec-tools have to know of the guest's architecture.

The compiler's part (word, ELF class and machine, relocations) is :data:`TARGET`.  Layouts are Linux 2.6's for i386:
<asm/page.h>, <asm/ptrace.h>, <linux/elfcore.h>.  How functions are called is the System V ABI's, Intel386 supplement,
chapter 3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kdumpsim.compiler.target import ELF32, ELF64, TARGET, ElfClass, ProgramHeader

if TYPE_CHECKING:
    from kdumpsim.cpu import Registers

__all__ = [
    "ADDRESS_DIGITS", "CRASH_NOTES_BYTES", "DWARF_REGISTERS", "ELF32", "ELF64", "ELF_CLASSES", "FRAME_POINTER",
    "GENERAL_REGISTERS",
    "LOAD_LIMIT", "LOWMEM_END", "MACHINES", "PAGE_OFFSET", "PAGE_SIZE", "PROGRAM_COUNTER", "PRSTATUS", "PT_REGS",
    "RETURN_VALUE",
    "SEGMENTS", "STACK_POINTER", "TARGET", "Call", "ElfClass", "PrStatusLayout", "ProgramHeader",
    "RegisterFrame", "StructLayout", "call_of", "hex_address", "physical", "registers_at_exception",
    "significant_bits", "stack_pointer", "virtual", "words",
]  # fmt: skip

PAGE_SIZE = 4096
PAGE_OFFSET = 0xC0000000
"""Where the kernel's linear map of physical memory begins."""
LOWMEM_END = 896 << 20
"""Physical end of the linear map; memory above has no virtual address of its own."""
LOAD_LIMIT = 1 << 32
"""Physical end of the memory that a kernel and purgatory can be loaded to: they are entered with 32-bit addresses."""
CRASH_NOTES_BYTES = 1024
"""A CPU's room for ELF notes (note_buf_t)."""

ELF_CLASSES: Mapping[int, ElfClass] = {form.number: form for form in (ELF32, ELF64)}
MACHINES = {3: "EM_386", 62: "EM_X86_64"}
"""Names of e_machine."""
ADDRESS_DIGITS = 2 * TARGET.word
"""Hexadecimal digits of an address."""


def physical(address: int) -> int:
    """The physical address of a virtual one in the linear map (Linux's __pa)."""
    return address - PAGE_OFFSET


def virtual(address: int) -> int:
    """The virtual address of a physical one in the linear map (Linux's __va)."""
    return address + PAGE_OFFSET


def hex_address(address: int) -> str:
    """An address as kernels print it."""
    return f"{address:0{ADDRESS_DIGITS}x}"


def words(data: bytes) -> tuple[int, ...]:
    """Memory as unsigned words; struct.error if it is not a whole number of them."""
    return struct.unpack(f"<{len(data) // TARGET.word}{TARGET.word_format}", data)


@dataclass(frozen=True)
class RegisterFrame:
    """Registers that lie in memory one after another, each a word."""

    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return TARGET.word * len(self.names)

    def offset(self, name: str) -> int:
        """Where a register is, in bytes."""
        return TARGET.word * self.names.index(name)

    def unpack(self, data: bytes, offset: int = 0) -> dict[str, int]:
        """The registers by name; struct.error if `data` is too short."""
        values = struct.unpack_from(f"<{len(self.names)}{TARGET.word_format}", data, offset)
        return dict(zip(self.names, values, strict=True))

    def pack(self, values: Mapping[str, int]) -> bytes:
        """The registers by name as they lie in memory; 0 for those that are missing."""
        limit = (1 << 8 * TARGET.word) - 1
        words = (values.get(name, 0) & limit for name in self.names)
        return struct.pack(f"<{len(self.names)}{TARGET.word_format}", *words)


PT_REGS = RegisterFrame(
    ("ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "orig_eax", "eip", "cs", "eflags", "esp", "ss")
)
"""``struct pt_regs``; the last two are there only if the CPU came from another ring."""


@dataclass(frozen=True)
class PrStatusLayout:
    """``struct elf_prstatus``, what an NT_PRSTATUS note holds: its size, and where pr_pid and pr_reg are."""

    size: int
    pid: int
    reg: int
    registers: RegisterFrame
    """``elf_gregset_t``."""


PRSTATUS = PrStatusLayout(
    size=144,
    pid=24,
    reg=72,
    registers=RegisterFrame((*PT_REGS.names[:9], "fs", "gs", *PT_REGS.names[9:])),
)

STACK_POINTER, FRAME_POINTER, PROGRAM_COUNTER, FLAGS = "esp", "ebp", "eip", "eflags"
RETURN_VALUE = "eax"
"""What a function has returned is there."""
DWARF_REGISTERS = ("eax", "ecx", "edx", "ebx", STACK_POINTER, FRAME_POINTER, "esi", "edi", PROGRAM_COUNTER)
"""By their numbers in call frame information (System V ABI, Intel386 supplement)."""
GENERAL_REGISTERS = (
    "eax", "ebx", "ecx", "edx", "esi", "edi", FRAME_POINTER, STACK_POINTER, PROGRAM_COUNTER, FLAGS, "cs", "ds", "es",
)  # fmt: skip
"""What an exception frame and a note both hold of a CPU that ran in the kernel."""
SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
"""Those of them that hold selectors, and the others of their kind."""
_RESUME_FLAG = 1 << 16
"""EFLAGS.RF is set in the image a fault pushes and is not part of what the program saw (SDM vol. 3, 18.3.1.1)."""
_RING = 3
"""The privilege level in a code segment's selector."""


def significant_bits(register: str) -> int:
    """A mask of those bits of a register that say something of the program."""
    if register in SEGMENTS:
        return 0xFFFF
    return (1 << 8 * TARGET.word) - 1 & ~(_RESUME_FLAG if register == FLAGS else 0)


def registers_at_exception(frame: bytes, address: int, *, pushed: bool = True) -> dict[str, int]:
    """`GENERAL_REGISTERS` at an exception, from its ``struct pt_regs``, which is at a linear address.

    Without a change of rings the CPU pushes no stack pointer: it pointed right above what was `pushed`.
    """
    values = PT_REGS.unpack(frame)
    if pushed and not values["cs"] & _RING:
        values[STACK_POINTER] = address + PT_REGS.offset(STACK_POINTER)
    return {name: values[name] for name in GENERAL_REGISTERS}


def stack_pointer(registers: Registers) -> int:
    """Where the stack ends."""
    return int(getattr(registers, STACK_POINTER))


@dataclass(frozen=True)
class Call:
    """The call of a function, as it is at the function's first instruction."""

    stack: int
    """The stack pointer."""
    back: int
    """Where it returns to."""
    arguments: tuple[int, ...]
    """The first ones, each a word."""

    @property
    def stack_after(self) -> int:
        """The stack pointer when it has come back: the return address is gone, the arguments are the caller's."""
        return self.stack + TARGET.word


def call_of(registers: Registers, read: Callable[[int, int], bytes | None], arguments: int = 0) -> Call:
    """The call of the function at whose first instruction a CPU is, with so many arguments, all of them on the stack.

    `read` gives memory at a linear address; what it does not have counts as zeros.
    """
    stack, size = stack_pointer(registers), TARGET.word * (1 + arguments)
    back, *values = words(read(stack, size) or bytes(size))
    return Call(stack, back, tuple(values))


@dataclass(frozen=True)
class StructLayout:
    """A structure of the kernel that the host reads: words (pointers, `usize`) and ``u32``."""

    name: str
    """As in the kernel's debug data."""
    fields: Mapping[str, str]
    """Each field's type, ``word`` or ``u32``, in order."""

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where each field begins; the compiler aligns a field to its size."""
        return self._laid_out()[1]

    @cached_property
    def form(self) -> struct.Struct:
        """How one is packed, padding included."""
        return struct.Struct(self._laid_out()[0])

    def _laid_out(self) -> tuple[str, dict[str, int]]:
        letters, offsets, at, widest = "<", {}, 0, 1
        for name, kind in self.fields.items():
            letter = {"word": TARGET.word_format, "u32": "I"}[kind]
            width = struct.calcsize(f"<{letter}")
            letters += "x" * (-at % width) + letter
            offsets[name] = at = at + -at % width
            at, widest = at + width, max(widest, width)
        return letters + "x" * (-at % widest), offsets

    def entries(self, table: bytes) -> Iterator[dict[str, int]]:
        """The entries of a table of them, each one's values by name; struct.error if the last is cut off."""
        for values in self.form.iter_unpack(table):
            yield dict(zip(self.fields, values, strict=True))
