# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF of this machine (include/asm-i386/elf.h)."""

from __future__ import annotations

from typing import Final

EM_386: Final = 3
ELF_MACHINE: Final = EM_386
"""What this architecture's ELF files say in e_machine."""
