# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for addresses (kernel/kallsyms.c); the linker makes the table: sorted addresses, and their names in a row."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    addr,
    array,
    cast,
    cstr,
    external,
    fn,
    guest,
    i32,
    length,
    placed,
    ptr,
    u8,
    u32,
    usize,
)
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.string import strlen
from kdumpsim.kernel.core.vsprintf import snprintf

_etext: array[u8] = external()
kallsyms_num_syms: u32 = external()
kallsyms_addresses: array[usize] = external()
kallsyms_names: array[u8] = external()

MARKER_SHIFT: Final = 5
MAX_MARKERS: Final = 256
SYMBOL_TEXT: Final = 128

kallsyms_markers: array[usize] = length(MAX_MARKERS)
"""Where in kallsyms_names every 32nd name begins, from kallsyms_init() on."""


@guest
def kallsyms_init() -> i32:
    """Note every 32nd name's place, so that a look-up in a crash need not walk through all of them."""
    offset: usize = 0
    i: u32 = 0
    while i < kallsyms_num_syms and i >> MARKER_SHIFT < MAX_MARKERS:
        if i & ((1 << MARKER_SHIFT) - 1) == 0:
            kallsyms_markers[i >> MARKER_SHIFT] = offset
        offset += strlen(kallsyms_names + offset) + 1
        i += 1
    return 0


_init_kallsyms: fn[[], i32] = placed("initcall1", kallsyms_init)


@guest
def symbol_name(index: u32) -> cstr:
    """Name of the symbol with this place in the table."""
    at: u32 = 0
    offset: usize = 0
    marker = min(index >> MARKER_SHIFT, MAX_MARKERS - 1)
    if kallsyms_markers[marker] != 0:
        at = marker << MARKER_SHIFT
        offset = kallsyms_markers[marker]
    while at < index:
        offset += strlen(kallsyms_names + offset) + 1
        at += 1
    return kallsyms_names + offset


@guest
def kallsyms_lookup(address: usize, offset_out: ptr[usize], size_out: ptr[usize]) -> cstr:
    """Name of the function around `address`, how far into it that is and how long it is; NULL outside the text."""
    if kallsyms_num_syms == 0 or address < kallsyms_addresses[0] or address >= usize(_etext):
        return NULL
    low: u32 = 0
    high: u32 = kallsyms_num_syms
    while high - low > 1:
        middle = (low + high) >> 1
        if kallsyms_addresses[middle] <= address:
            low = middle
        else:
            high = middle
    start = kallsyms_addresses[low]
    end = usize(_etext)
    if high < kallsyms_num_syms:
        end = min(end, kallsyms_addresses[high])
    offset_out[0] = address - start
    size_out[0] = end - start
    return symbol_name(low)


@guest
def sprint_symbol(buf: ptr[u8], size: usize, address: usize) -> None:
    """ "name+0x12/0x34", or the bare address."""
    offset: usize = 0
    extent: usize = 0
    name = kallsyms_lookup(address, addr(offset), addr(extent))
    if name == NULL:
        snprintf(buf, size, "0x%x", address)
    else:
        snprintf(buf, size, "%s+0x%x/0x%x", name, offset, extent)


@guest
def print_symbol(fmt: cstr, address: usize) -> None:
    """printk() with a format that has one %s, for the symbol."""
    text: array[u8] = length(SYMBOL_TEXT)
    sprint_symbol(text, SYMBOL_TEXT, address)
    printk(fmt, cast(cstr, text))
