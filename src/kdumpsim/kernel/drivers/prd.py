# SPDX-License-Identifier: GPL-2.0-or-later
"""Physical region descriptors (Programming Interface for Bus Master IDE Controller, revision 1.0, section 1.2)."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, Struct, bits, guest, ptr, u32
from kdumpsim.kernel.block.blk_types import Bio, BioVec

PRD_BLOCK: Final = 0x10000


class PrdEntry(Struct):
    """A piece of memory inside one 64 KiB block; a count of 0 means 64 KiB."""

    base: u32
    count: u32 = bits(16)
    reserved: u32 = bits(15)
    end_of_table: u32 = bits(1)


@guest
def prd_fill(table: ptr[PrdEntry], entries: u32, bio: ptr[Bio]) -> bool:
    """Describe the memory of a chain of bios; False if the table cannot."""
    count: u32 = 0
    while bio != NULL:
        for i in range(bio.bi_vcnt):
            vec: ptr[BioVec] = bio.bi_io_vec[i]
            at = u32(vec.bv_phys)
            left: u32 = vec.bv_len
            if (at | left) & 1:
                return False
            while left != 0:
                if count == entries:
                    return False
                piece: u32 = min(left, PRD_BLOCK - (at & (PRD_BLOCK - 1)))
                entry: ptr[PrdEntry] = table[count]
                entry.base = at
                entry.count = piece & 0xFFFF
                entry.end_of_table = 0
                at += piece
                left -= piece
                count += 1
        bio = bio.bi_next
    if count == 0:
        return False
    table[count - 1].end_of_table = 1
    return True
