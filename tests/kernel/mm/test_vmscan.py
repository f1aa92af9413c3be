# SPDX-License-Identifier: GPL-2.0-or-later
"""When the scan for memory to free may say that there is none."""

from __future__ import annotations

import struct

from guest_harness import Guest
from kdumpsim import images
from kdumpsim.compiler.assembler import assemble

FREED = 5
NR_INACTIVE = 192
"""Offset in struct zone, which contig_page_data begins with."""
JUMP = b"\xe9"
NONE_ON_ITS_WAY = "xorl %eax, %eax\nret"


def scanned(scan: str) -> int:
    """What try_to_free_pages() of the compiled kernel says, with `scan` in place of the scan of all lists."""
    guest = Guest(images.kernel())
    for function, text in (("scan_by_priority", scan), ("swap_congestion_wait", NONE_ON_ITS_WAY)):
        place = guest.symbols[function]
        guest.write(place, JUMP + struct.pack("<i", guest.alloc(assemble(text)) - (place + 5)))
    guest.set_word("nr_written", 0)
    return guest.call("try_to_free_pages")


def test_pages_that_reach_the_disk_during_a_scan_are_looked_at_again() -> None:
    """They were busy when the scan came by; a disk can be so fast that none is on its way any more when it ends."""
    written = images.kernel().symbols["nr_written"]
    assert scanned(f"movl {written:#x}, %eax\nmovl ${FREED}, {written:#x}\nret") == FREED


def test_pages_that_the_first_scan_only_made_inactive_are_found_by_the_second() -> None:
    """All of memory was accessed since it was last looked at, and nobody else is at it."""
    inactive = images.kernel().symbols["contig_page_data"] + NR_INACTIVE
    assert scanned(f"movl {inactive:#x}, %eax\nmovl ${FREED}, {inactive:#x}\nret") == FREED


def test_scans_that_find_nothing_come_to_an_end() -> None:
    assert scanned("xorl %eax, %eax\nret") == 0
