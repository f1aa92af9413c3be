# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the compiler depends on the machine it compiles for.

`kdumpsim.target` adds what kernels, dumps and kexec have to know of the same machine.  Sources: System V ABI (gABI),
chapter 4, and its Intel386 supplement, chapters 3 (data representation) and 4 (relocation).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

ELFOSABI_LINUX = 3


class ProgramHeader(NamedTuple):
    """One program header; its fields' order in a file differs between the ELF classes."""

    type: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    flags: int
    align: int


@dataclass(frozen=True)
class ElfClass:
    """The structures of ELF32 or ELF64, little-endian: formats in the order of the gABI's declarations."""

    number: int
    """EI_CLASS."""
    bits: int
    ehdr: struct.Struct
    shdr: struct.Struct
    sym: struct.Struct
    rel: struct.Struct
    _phdr: struct.Struct
    _phdr_order: tuple[int, ...]
    """Which of :class:`ProgramHeader`'s fields come first, second, ... in the file."""

    @property
    def ident(self) -> bytes:
        """e_ident of a file for no system in particular."""
        return b"\x7fELF" + bytes((self.number, 1, 1)) + bytes(9)

    @property
    def linux_ident(self) -> bytes:
        """e_ident of a file that says it is Linux's (EI_OSABI is ELFOSABI_LINUX), as some debuggers want to hear."""
        return b"\x7fELF" + bytes((self.number, 1, 1, ELFOSABI_LINUX)) + bytes(8)

    @property
    def phdr_size(self) -> int:
        """Bytes of a program header (e_phentsize)."""
        return self._phdr.size

    def pack_phdr(self, header: ProgramHeader) -> bytes:
        """A program header as it is in a file; addresses wrap at the class's width."""
        limit = (1 << self.bits) - 1
        return self._phdr.pack(*(header[field] & limit for field in self._phdr_order))

    def unpack_phdr(self, data: bytes, offset: int = 0) -> ProgramHeader:
        """The program header at `offset` of a file; struct.error if it is cut off."""
        values = self._phdr.unpack_from(data, offset)
        return ProgramHeader(*(values[self._phdr_order.index(field)] for field in range(len(values))))


ELF32 = ElfClass(
    number=1,
    bits=32,
    ehdr=struct.Struct("<16sHHIIIIIHHHHHH"),
    shdr=struct.Struct("<10I"),
    sym=struct.Struct("<IIIBBH"),
    rel=struct.Struct("<II"),
    _phdr=struct.Struct("<8I"),
    _phdr_order=(0, 1, 2, 3, 4, 5, 6, 7),
)
ELF64 = ElfClass(
    number=2,
    bits=64,
    ehdr=struct.Struct("<16sHHIQQQIHHHHHH"),
    shdr=struct.Struct("<IIQQQQIIQQ"),
    sym=struct.Struct("<IBBHQQ"),
    rel=struct.Struct("<QQ"),
    _phdr=struct.Struct("<IIQQQQQQ"),
    _phdr_order=(0, 6, 1, 2, 3, 4, 5, 7),
)


class RelocatedField(NamedTuple):
    """The field that a kind of relocation patches."""

    width: int
    """Bytes."""
    relative: bool = False
    """To the field's own address."""
    wraps: bool = False
    """Is the result cut to the width, rather than held to fit it?"""


@dataclass(frozen=True)
class Target:
    """One machine to compile for."""

    name: str
    triple: str
    cpu: str
    features: str
    word: int
    """Bytes of an address, of `usize` and of the smallest argument on the stack."""
    max_align: int
    """The alignment of integers wider than it."""
    stack_align: int
    """What the stack pointer is a multiple of at a call."""
    frame_pointer: int
    """DWARF's number of the register that points to the caller's one, with the return address above it."""
    elf: ElfClass
    machine: int
    """e_machine."""
    relocations: Mapping[int, RelocatedField]
    """By number; the number 0 patches nothing."""

    @property
    def word_ir(self) -> str:
        """LLVM's integer of a word."""
        return f"i{8 * self.word}"

    @property
    def word_format(self) -> str:
        """`struct`'s letter for an unsigned word."""
        return {4: "I", 8: "Q"}[self.word]


R_386_NONE, R_386_32, R_386_PC32, R_386_PLT32 = 0, 1, 2, 4
R_386_16, R_386_PC16, R_386_8, R_386_PC8 = 20, 21, 22, 23

I386 = Target(
    name="i386",
    triple="i386-unknown-none-elf",
    cpu="i686",
    features="-sse,-sse2,-mmx,-x87,+soft-float",
    word=4,
    max_align=4,
    stack_align=4,
    frame_pointer=5,
    elf=ELF32,
    machine=3,
    relocations={
        R_386_32: RelocatedField(4, wraps=True),
        R_386_PC32: RelocatedField(4, relative=True, wraps=True),
        R_386_PLT32: RelocatedField(4, relative=True, wraps=True),
        R_386_16: RelocatedField(2),
        R_386_PC16: RelocatedField(2, relative=True, wraps=True),  # IP wraps at 64 KiB in 16-bit code
        R_386_8: RelocatedField(1),
        R_386_PC8: RelocatedField(1, relative=True),
    },
)
TARGET = I386
"""What is compiled for."""
