# SPDX-License-Identifier: GPL-2.0-or-later
"""Signal frames in .debug_frame, and where EBP is after it was popped.

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
_FDE_HEADER = 12
"""CIE pointer, first address and size, before an entry's instructions."""
_POPPED = bytes((0x0C, 4, 4))
"""DW_CFA_def_cfa ESP, 4: only the return address is left (DWARF 4, section 6.4.2; ESP is register 4, EBP 5)."""
_RESTORE_EBP = bytes((0xC0 | 5,))
_AGAIN = bytes((0x0C, 5, 8))
"""DW_CFA_def_cfa EBP, 8: the code behind an epilogue in the middle of a function."""
_SAVED_EBP = bytes((0x80 | 5, 2))


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


def restore_popped_ebp(frames: bytearray) -> None:
    """Say where EBP is once an epilogue has popped it: in the register, and no longer in the stack.

    LLVM changes the CFA there and leaves EBP's rule, whose slot is then below the stack pointer.  An interrupt right
    after ``sti; pop %ebp`` overwrites it, and a debugger would take the flags for the caller's frame pointer.
    """
    out = bytearray()
    moved: dict[int, int] = {}
    position = 0
    while position < len(frames):
        length, cie = struct.unpack_from("<II", frames, position)
        body = frames[position + 4 : position + 4 + length]
        if cie == 0xFFFFFFFF:
            moved[position] = len(out)
        else:
            struct.pack_into("<I", body, 0, moved[cie])
            code = (
                bytes(body[_FDE_HEADER:]).replace(_POPPED, _POPPED + _RESTORE_EBP).replace(_AGAIN, _AGAIN + _SAVED_EBP)
            )
            body = body[:_FDE_HEADER] + code
            body += bytes(-len(body) % 4)  # DW_CFA_nop
        out += struct.pack("<I", len(body)) + body
        position += 4 + length
    frames[:] = out
