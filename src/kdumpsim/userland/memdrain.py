# SPDX-License-Identifier: GPL-2.0-or-later
"""memdrain [MIB [PASSES]]: use memory up, page by page, until programs' pages are swapped out, and go on using it.

It touches MIB mebibytes, by default all memory there is and a quarter of the swap area, then checks and rewrites them
in turn, PASSES times or for ever.  What it reads back must be what it wrote: a page that comes back wrong ends it
with exit code 1 (LKDTT paper, section 3.3: the helper that brings about MEM_SWAPOUT).
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, cast, cstr, guest, i32, length, ptr, u8, u32, usize
from kdumpsim.userland.lib import O_RDONLY, close, open, parse_number, put_number, puts, read, sbrk

PAGE_WORDS: Final = 1024
STRIDE: Final = 64
"""Words between two that are written: two in each sector of the disk."""
PAGES_PER_MIB: Final = 256
KIB_PER_PAGE: Final = 4
TEXT: Final = 512
FOR_EVER: Final = 0xFFFF_FFFF
MIXER: Final = 2654435761
"""Knuth's multiplier: neighbouring pages differ in every byte."""


@guest
def field(text: cstr, name: cstr) -> u32:
    """The number behind a name at the start of a line."""
    at: u32 = 0
    while text[at] != 0:
        i: u32 = 0
        while name[i] != 0 and text[at + i] == name[i]:
            i += 1
        if name[i] == 0:
            at += i
            while text[at] == ord(" ") or text[at] == ord(":"):
                at += 1
            return parse_number(text + at)
        while text[at] != 0 and text[at] != ord("\n"):
            at += 1
        if text[at] != 0:
            at += 1
    return 0


@guest
def default_pages() -> u32:
    """All memory and a quarter of swap."""
    text: array[u8] = length(TEXT)
    fd = open("/proc/meminfo", O_RDONLY)
    if fd < 0:
        return 0
    count = read(u32(fd), text, TEXT - 1)
    close(u32(fd))
    if count < 0:
        return 0
    text[count] = 0
    return (field(text, "MemTotal") + field(text, "SwapTotal") // 4) // KIB_PER_PAGE


@guest
def fill(page: ptr[u32], seed: u32) -> None:
    """Write a page."""
    value = seed * MIXER
    for i in range(0, PAGE_WORDS, STRIDE):
        page[i] = value + i


@guest
def check(page: ptr[u32], seed: u32) -> bool:
    """Whether a page is what fill() made of it."""
    value = seed * MIXER
    for i in range(0, PAGE_WORDS, STRIDE):
        if page[i] != value + i:
            return False
    return True


@guest
def say(what: cstr, number: u32, unit: cstr) -> None:
    """Report a number."""
    puts("memdrain: ")
    puts(what)
    put_number(i32(number))
    puts(unit)


@guest
def drain(start: ptr[u32], pages: u32) -> u32:
    """Get memory and write it; how many pages could be had."""
    done: u32 = 0
    while done < pages:
        if done % PAGES_PER_MIB == 0 and sbrk(PAGES_PER_MIB * PAGE_WORDS * 4) == NULL:
            break
        fill(start + done * PAGE_WORDS, done)
        done += 1
    return done


@guest
def use(start: ptr[u32], pages: u32, turn: u32) -> bool:
    """Check every page and write it anew."""
    for i in range(pages):
        page = start + i * PAGE_WORDS
        if not check(page, turn * pages + i):
            say("page ", i, " came back wrong\n")
            return False
        fill(page, (turn + 1) * pages + i)
    return True


@guest
def main(argc: u32, argv: ptr[cstr]) -> i32:
    """The program."""
    pages = parse_number(argv[1]) * PAGES_PER_MIB if argc > 1 else default_pages()
    passes = parse_number(argv[2]) if argc > 2 else FOR_EVER
    start = cast(ptr[u32], (usize(sbrk(0)) + 4095) & 0xFFFF_F000)
    sbrk(usize(start) - usize(sbrk(0)))
    say("draining ", pages, " pages\n")
    pages = drain(start, pages)
    say("", pages, " pages in use\n")
    turn: u32 = 0
    while turn < passes:
        if not use(start, pages, turn):
            return 1
        turn += 1
    say("", turn, " passes, every page came back as it was\n")
    return 0
