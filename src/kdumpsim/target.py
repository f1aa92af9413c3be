# SPDX-License-Identifier: GPL-2.0-or-later
"""What kernels, dumps and kexec-tools have to know of the guest's architecture.

The compiler's part (word, ELF class and machine, relocations) is :data:`TARGET`.  Layouts are Linux 2.6's for i386:
<asm/page.h>, <asm/ptrace.h>, <linux/elfcore.h>.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from kdumpsim.compiler.target import ELF32, ELF64, TARGET, ElfClass, ProgramHeader

__all__ = [
    "CRASH_NOTES_BYTES", "ELF32", "ELF64", "ELF_CLASSES", "LOWMEM_END", "MACHINES", "PAGE_OFFSET", "PAGE_SIZE",
    "PRSTATUS", "PT_REGS", "TARGET", "ElfClass", "PrStatusLayout", "ProgramHeader", "RegisterFrame", "physical",
]  # fmt: skip

PAGE_SIZE = 4096
PAGE_OFFSET = 0xC0000000
"""Where the kernel's linear map of physical memory begins."""
LOWMEM_END = 896 << 20
"""Physical end of the linear map; memory above has no virtual address of its own."""
CRASH_NOTES_BYTES = 1024
"""A CPU's room for ELF notes (note_buf_t)."""

ELF_CLASSES: Mapping[int, ElfClass] = {form.number: form for form in (ELF32, ELF64)}
MACHINES = {3: "EM_386", 62: "EM_X86_64"}
"""Names of e_machine."""


def physical(address: int) -> int:
    """The physical address of a virtual one in the linear map (Linux's __pa)."""
    return address - PAGE_OFFSET


@dataclass(frozen=True)
class RegisterFrame:
    """Registers that lie in memory one behind another, each a word."""

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
