# SPDX-License-Identifier: GPL-2.0-or-later
"""Bulk copying and clearing of memory.

Plain moves rather than `rep movs`: on the emulated CPU each iteration of a `rep` instruction costs as much as a whole
block of code.  Clearing looks before it stores, because there loads are far cheaper than stores, and most memory that
is to be cleared is zero already.  Neither function pushes anything, so that an NMI finds the caller right above ESP.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import asm, naked, ptr, u32, usize


@naked
def copy_words(dest: ptr[u32], src: ptr[u32], count: usize) -> None:
    """Copy `count` 32-bit words, from low to high addresses."""
    asm(
        """
        movl 4(%esp), %ecx
        movl 8(%esp), %edx
    1:  subl $$8, 12(%esp)
        jb 2f
        movl 0(%edx), %eax
        movl %eax, 0(%ecx)
        movl 4(%edx), %eax
        movl %eax, 4(%ecx)
        movl 8(%edx), %eax
        movl %eax, 8(%ecx)
        movl 12(%edx), %eax
        movl %eax, 12(%ecx)
        movl 16(%edx), %eax
        movl %eax, 16(%ecx)
        movl 20(%edx), %eax
        movl %eax, 20(%ecx)
        movl 24(%edx), %eax
        movl %eax, 24(%ecx)
        movl 28(%edx), %eax
        movl %eax, 28(%ecx)
        addl $$32, %edx
        addl $$32, %ecx
        jmp 1b
    2:  addl $$8, 12(%esp)
    3:  subl $$1, 12(%esp)
        jb 4f
        movl (%edx), %eax
        movl %eax, (%ecx)
        addl $$4, %edx
        addl $$4, %ecx
        jmp 3b
    4:  ret
        """
    )


@naked
def clear_words(dest: ptr[u32], count: usize) -> None:
    """Zero `count` 32-bit words."""
    asm(
        """
        movl 4(%esp), %ecx
        movl 8(%esp), %edx
    1:  subl $$8, %edx
        jb 3f
        movl 0(%ecx), %eax
        orl 4(%ecx), %eax
        orl 8(%ecx), %eax
        orl 12(%ecx), %eax
        orl 16(%ecx), %eax
        orl 20(%ecx), %eax
        orl 24(%ecx), %eax
        orl 28(%ecx), %eax
        jz 2f
        xorl %eax, %eax
        movl %eax, 0(%ecx)
        movl %eax, 4(%ecx)
        movl %eax, 8(%ecx)
        movl %eax, 12(%ecx)
        movl %eax, 16(%ecx)
        movl %eax, 20(%ecx)
        movl %eax, 24(%ecx)
        movl %eax, 28(%ecx)
    2:  addl $$32, %ecx
        jmp 1b
    3:  addl $$8, %edx
        xorl %eax, %eax
    4:  subl $$1, %edx
        jb 5f
        movl %eax, (%ecx)
        addl $$4, %ecx
        jmp 4b
    5:  ret
        """
    )
