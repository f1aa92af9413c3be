# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a kexec image: checks on its segments, memory for it, copying (kernel/kexec.c of 2.6.16).

An image for a crash is copied to its destination at once: it lies inside the reserved region.  Any other image is kept
in pages outside all destinations, and a list of words tells relocate_new_kernel where each page goes in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpsim.compiler.lang import NULL, addr, cast, container_of, guest, i32, ptr, sizeof, u8, u32, usize
from kdumpsim.kernel.architecture import PAGE_MASK, PAGE_SIZE, va
from kdumpsim.kernel.core.kexec_types import (
    IND_DESTINATION,
    IND_DONE,
    IND_INDIRECTION,
    IND_SOURCE,
    KEXEC_CONTROL_CODE_SIZE,
    KexecSegment,
    KexecType,
    Kimage,
)
from kdumpsim.kernel.core.list import init_list_head, list_add, list_del
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.resource_types import Resource
from kdumpsim.kernel.core.string import memcpy, memset
from kdumpsim.kernel.core.types import EADDRNOTAVAIL, EFAULT, EINVAL, ENOMEM, ListHead
from kdumpsim.kernel.mm.page_alloc import Page, alloc_page, page_address, page_to_phys, put_page
from kdumpsim.kernel.mm.slab import kfree, kzalloc

if TYPE_CHECKING:
    from kdumpsim.kernel.architecture import __copy_user


@guest
def ranges_overlap(start: usize, end: usize, other_start: usize, other_end: usize) -> bool:
    """Whether two ranges, both with exclusive ends, share a byte."""
    return end > other_start and start < other_end


@guest
def sanity_check_segments(image: ptr[Kimage]) -> i32:
    """Destinations must be whole pages, apart from each other, and not shorter than their data."""
    for i in range(image.nr_segments):
        start = image.segment[i].mem
        end = start + image.segment[i].memsz
        if (start | end) & (PAGE_SIZE - 1):
            return -EADDRNOTAVAIL
        if end < start:
            return -EADDRNOTAVAIL
        if image.segment[i].bufsz > image.segment[i].memsz:
            return -EINVAL
        for j in range(i):
            other = image.segment[j].mem
            if ranges_overlap(start, end, other, other + image.segment[j].memsz):
                return -EINVAL
    return 0


@guest
def inside_region(image: ptr[Kimage], region: ptr[Resource]) -> i32:
    """An image for a crash may touch nothing but the reserved region."""
    if region.end == 0 or image.start < region.start or image.start > region.end:
        return -EADDRNOTAVAIL
    for i in range(image.nr_segments):
        if image.segment[i].memsz == 0:
            continue
        last = image.segment[i].mem + image.segment[i].memsz - 1
        if image.segment[i].mem < region.start or last > region.end:
            return -EADDRNOTAVAIL
    return 0


@guest
def is_destination_range(image: ptr[Kimage], start: usize, end: usize) -> bool:
    """Whether physical start..end (exclusive) is part of any segment's destination."""
    for i in range(image.nr_segments):
        mem = image.segment[i].mem
        if ranges_overlap(start, end, mem, mem + image.segment[i].memsz):
            return True
    return False


@guest
def alloc_crash_control_page(image: ptr[Kimage], region: ptr[Resource]) -> usize:
    """A hole between the segments inside the reserved region, for machine_kexec(); 0 if there is none."""
    hole = region.start
    while hole + (KEXEC_CONTROL_CODE_SIZE - 1) <= region.end:
        if not is_destination_range(image, hole, hole + KEXEC_CONTROL_CODE_SIZE):
            return hole
        hole += KEXEC_CONTROL_CODE_SIZE
    return 0


@guest
def alloc_page_outside(image: ptr[Kimage], destination: usize, owner: ptr[ListHead]) -> ptr[Page]:
    """A page that no segment will overwrite, or the very page at `destination`; put on the list `owner`."""
    while True:
        page = alloc_page()
        if page == NULL:
            return NULL
        where = page_to_phys(page)
        if where == destination or not is_destination_range(image, where, where + PAGE_SIZE):
            list_add(page.lru, owner)
            return page
        list_add(page.lru, image.unusable_pages)


@guest
def free_page_list(head: ptr[ListHead]) -> None:
    """Give back all pages of a list."""
    while head.next != head:
        page = container_of(head.next, Page, "lru")
        list_del(page.lru)
        put_page(page)


@guest
def kimage_free(image: ptr[Kimage]) -> None:
    """Drop an image, if it is one."""
    if image == NULL:
        return
    free_page_list(image.dest_pages)
    free_page_list(image.control_pages)
    free_page_list(image.unusable_pages)
    kfree(image)


@guest
def kimage_alloc(
    entry: usize,
    nr_segments: u32,
    segments: ptr[KexecSegment],
    crash: bool,
    region: ptr[Resource],
    out: ptr[ptr[Kimage]],
) -> i32:
    """A new image of these segments, checked and with a control page, but without contents."""
    image = cast(ptr[Kimage], kzalloc(sizeof(Kimage)))
    if image == NULL:
        return -ENOMEM
    image.start = entry
    image.entry = addr(image.head)
    image.last_entry = addr(image.head)
    image.nr_segments = nr_segments
    image.type = KexecType.KEXEC_TYPE_CRASH if crash else KexecType.KEXEC_TYPE_DEFAULT
    init_list_head(image.control_pages)
    init_list_head(image.dest_pages)
    init_list_head(image.unusable_pages)
    memcpy(image.segment[0], segments, nr_segments * sizeof(KexecSegment))
    result = sanity_check_segments(image)
    if result == 0 and crash:
        result = inside_region(image, region)
    if result == 0:
        if crash:
            image.control_code_page = alloc_crash_control_page(image, region)
        else:
            page = alloc_page_outside(image, 0, image.control_pages)
            image.control_code_page = page_to_phys(page) if page != NULL else 0
        if image.control_code_page == 0:
            printk("<3>Could not allocate control_code_buffer\n")
            result = -ENOMEM
    if result != 0:
        kimage_free(image)
        return result
    out[0] = image
    return 0


@guest
def kimage_add_entry(image: ptr[Kimage], word: usize) -> i32:
    """Append a word to the page list, going on in a new indirection page when one is full."""
    if image.entry[0] != 0:
        image.entry = image.entry + 1
    if image.entry == image.last_entry:
        page = alloc_page_outside(image, 0xFFFFFFFF, image.dest_pages)
        if page == NULL:
            return -ENOMEM
        table = cast(ptr[usize], page_address(page))
        memset(table, 0, PAGE_SIZE)
        image.entry[0] = page_to_phys(page) | IND_INDIRECTION
        image.entry = table
        image.last_entry = table + (PAGE_SIZE // sizeof(usize) - 1)
    image.entry[0] = word
    image.entry = image.entry + 1
    image.entry[0] = 0
    return 0


@guest
def kimage_terminate(image: ptr[Kimage]) -> i32:
    """End the page list."""
    if image.entry[0] != 0:
        image.entry = image.entry + 1
    image.entry[0] = IND_DONE
    return 0


@guest
def kimage_load_segment(image: ptr[Kimage], segment: ptr[KexecSegment]) -> i32:
    """Take over one segment's contents."""
    if image.type == KexecType.KEXEC_TYPE_CRASH:
        return kimage_load_crash_segment(segment)
    return kimage_load_normal_segment(image, segment)


@guest
def kimage_load_crash_segment(segment: ptr[KexecSegment]) -> i32:
    """Copy a segment to where it will be needed, and clear the rest of its memory."""
    to = cast(ptr[u8], va(segment.mem))
    if __copy_user(to, segment.buf, segment.bufsz) != 0:
        return -EFAULT
    memset(to + segment.bufsz, 0, segment.memsz - segment.bufsz)
    return 0


@guest
def kimage_load_normal_segment(image: ptr[Kimage], segment: ptr[KexecSegment]) -> i32:
    """Copy a segment page by page and note where each page goes."""
    result = kimage_add_entry(image, (segment.mem & PAGE_MASK) | IND_DESTINATION)
    offset: usize = 0
    while result == 0 and offset < segment.memsz:
        page = alloc_page_outside(image, segment.mem + offset, image.dest_pages)
        if page == NULL:
            return -ENOMEM
        to = cast(ptr[u8], page_address(page))
        bytes_left = segment.bufsz - offset if segment.bufsz > offset else 0
        count = min(bytes_left, PAGE_SIZE)
        if __copy_user(to, cast(ptr[u8], segment.buf) + offset, count) != 0:
            return -EFAULT
        memset(to + count, 0, PAGE_SIZE - count)
        result = kimage_add_entry(image, page_to_phys(page) | IND_SOURCE)
        offset += PAGE_SIZE
    return result
