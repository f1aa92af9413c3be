# SPDX-License-Identifier: GPL-2.0-or-later
"""What the linker makes of .debug_frame: one CIE for all entries alike, signal frames, and EBP after it was popped.

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
_CIE = 0xFFFFFFFF
"""In place of an entry's CIE pointer: this is a CIE."""
_POPPED = bytes((0x0C, 4, 4))
"""DW_CFA_def_cfa ESP, 4: only the return address is left (DWARF 4, section 6.4.2; ESP is register 4, EBP 5)."""
_RESTORE_EBP = bytes((0xC0 | 5,))
_AGAIN = bytes((0x0C, 5, 8))
"""DW_CFA_def_cfa EBP, 8: the code after an epilogue in the middle of a function."""
_SAVED_EBP = bytes((0x80 | 5, 2))


def note_signal_frames(text: str) -> str:
    """Assembly text in which each .cfi_signal_frame also notes its address, on the same line."""
    return re.sub(r"\.cfi_signal_frame\b", _NOTE, text)


def finish_frames(frames: bytes, noted: bytes) -> bytes:
    """A relocated .debug_frame whose CIEs are there once and before the entries that use them.

    `noted` holds the addresses of the procedures whose entries are signal frames'.
    """
    wanted = {address for (address,) in struct.iter_unpack("<I", noted)}
    given: dict[int, bytes] = {}
    written: dict[bytes, int] = {}
    out = bytearray()
    position = 0
    while position < len(frames):
        length, cie, start = struct.unpack_from("<III", frames, position)
        body = frames[position + 4 : position + 4 + length]
        if cie == _CIE:
            given[position] = body
        else:
            common = _signal_cie(given[cie]) if start in wanted else given[cie]
            if common not in written:
                written[common] = len(out)
                out += struct.pack("<I", len(common)) + common
            body = struct.pack("<I", written[common]) + _restore_popped_ebp(body[4:])
            out += struct.pack("<I", len(body)) + body
        position += 4 + length
    return bytes(out)


def _signal_cie(body: bytes) -> bytes:
    """A CIE with the augmentation "S" in place of none."""
    version, rest = body[:5], body[5:]  # identifier and version byte, then the augmentation's NUL
    return body if rest[:1] != b"\0" else _padded(version + b"S" + rest)


def _restore_popped_ebp(entry: bytes) -> bytes:
    """An entry that says where EBP is once an epilogue has popped it: in the register, and no longer in the stack.

    LLVM changes the CFA there and leaves EBP's rule, whose slot is then below the stack pointer.  An interrupt right
    after ``sti; pop %ebp`` overwrites it, and a debugger would take the flags for the caller's frame pointer.
    """
    range_, code = entry[:8], entry[8:]  # first address and size, then instructions
    code = code.replace(_POPPED, _POPPED + _RESTORE_EBP).replace(_AGAIN, _AGAIN + _SAVED_EBP)
    return _padded(range_ + code)


def _padded(body: bytes) -> bytes:
    """A body that ends at a whole word, with DW_CFA_nop."""
    return body + bytes(-len(body) % 4)
