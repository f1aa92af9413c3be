# SPDX-License-Identifier: GPL-2.0-or-later
"""Signal frames in .debug_frame.

A debugger must look up the caller of an interrupt stub by the interrupted address itself, not by the one before it as
for a call; ``.cfi_signal_frame`` says so.  LLVM writes it into .eh_frame only.  So the assembly notes the address of
each such procedure in a section of its own, and the linker gives those procedures' entries a CIE with the augmentation
"S" (DWARF 4, section 6.4.1; the letter is GCC's).
"""

from __future__ import annotations

import re
import struct

#: Where the addresses are noted; dropped from the image.
SECTION = ".debug_signal_frames"
_NOTE = f'.cfi_signal_frame; 8888: .pushsection {SECTION},"",@progbits; .long 8888b; .popsection'


def note_signal_frames(text: str) -> str:
    """Assembly text in which each .cfi_signal_frame also notes its address, on the same line."""
    return re.sub(r"\.cfi_signal_frame\b", _NOTE, text)


def mark_signal_frames(frames: bytearray, noted: bytes) -> None:
    """Give the entries of the noted procedures in a relocated .debug_frame the CIE of a signal frame."""
    wanted = {address for (address,) in struct.iter_unpack("<I", noted)}
    clones: dict[int, int] = {}
    position, end = 0, len(frames)
    while position < end:
        length, cie, start = struct.unpack_from("<III", frames, position)
        if cie != 0xFFFFFFFF and start in wanted:
            if cie not in clones:
                clones[cie] = len(frames)
                frames += _signal_cie(frames, cie)
            struct.pack_into("<I", frames, position + 4, clones[cie])
        position += 4 + length


def _signal_cie(frames: bytearray, position: int) -> bytes:
    """A copy of a CIE with the augmentation "S" in place of none."""
    (length,) = struct.unpack_from("<I", frames, position)
    body = bytes(frames[position + 4 : position + 4 + length])
    version, rest = body[:5], body[5:]  # identifier and version byte, then the augmentation's NUL
    if rest[:1] != b"\0":
        return bytes(frames[position : position + 4 + length])
    body = version + b"S" + rest
    body += bytes(-(len(body) + 4) % 4)  # DW_CFA_nop
    return struct.pack("<I", len(body)) + body
