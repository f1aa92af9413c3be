# SPDX-License-Identifier: GPL-2.0-or-later
"""Kexec's structures and constants (include/linux/kexec.h of 2.6.16)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import Struct, array, length, ptr, u32, usize, void
from kdumpsim.kernel.core.types import ListHead

KEXEC_SEGMENT_MAX: Final = 16
KEXEC_ON_CRASH: Final = 0x0000_0001
KEXEC_ARCH_MASK: Final = 0xFFFF_0000
KEXEC_ARCH_DEFAULT: Final = 0 << 16
KEXEC_ARCH_386: Final = 3 << 16
"""EM_386 in the upper half, as ELF numbers machines."""
KEXEC_FLAGS: Final = KEXEC_ON_CRASH

KEXEC_NOTE_BYTES: Final = 1024
"""Room for one CPU's ELF notes."""

KEXEC_CONTROL_CODE_SIZE: Final = 4096

IND_DESTINATION: Final = 0x1
"""Entry of the page list: the next source pages go here."""
IND_INDIRECTION: Final = 0x2
"""The list goes on in this page."""
IND_DONE: Final = 0x4
IND_SOURCE: Final = 0x8


class KexecType(IntEnum):
    """What an image is for."""

    KEXEC_TYPE_DEFAULT = 0
    KEXEC_TYPE_CRASH = 1


class KexecSegment(Struct):
    """One piece of an image: `bufsz` bytes at `buf` go to physical `mem`, the rest of `memsz` is zeroed."""

    buf: ptr[void]
    bufsz: usize
    mem: usize
    memsz: usize


class Kimage(Struct):
    """A loaded image.

    `head` starts the list of pages that relocate_new_kernel walks: words of a physical page address and IND_ bits;
    an image for a crash lies at its destination already and has the bare IND_DONE.
    """

    head: usize
    entry: ptr[usize]
    """Where the next word of the page list goes."""
    last_entry: ptr[usize]
    """The last word of the indirection page in use."""
    start: usize
    """Physical address to jump to."""
    control_code_page: usize
    """Physical address of a page outside every destination, for machine_kexec()."""
    type: KexecType
    nr_segments: u32
    segment: array[KexecSegment] = length(KEXEC_SEGMENT_MAX)
    control_pages: ListHead
    """Pages kept by this image for its control code."""
    dest_pages: ListHead
    """Source pages and indirection pages."""
    unusable_pages: ListHead
    """Pages that lay in a destination and could not be used; held until the image goes."""
