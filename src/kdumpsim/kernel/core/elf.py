# SPDX-License-Identifier: GPL-2.0-or-later
"""What crashing and capturing kernels both know of ELF (include/linux/elf.h)."""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, u32


class ElfNote(Struct):
    """Note header; name and contents follow, each padded to 4 bytes.  All zeros end a list of notes."""

    n_namesz: u32
    n_descsz: u32
    n_type: u32
