# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel command line (init/main.c).

A module declares its options in the section "setup_params"; an option whose name ends in "=" gets the rest of the word,
any other must be a whole word.
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, cstr, guest, length, ptr, section, u8, u32, usize
from kdumpsim.kernel.architecture import boot_command_line
from kdumpsim.kernel.core.cmdline import memparse as memparse
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.setup_param import ObsKernelParam as ObsKernelParam
from kdumpsim.kernel.core.string import strlcpy, strlen, strncmp

VALUE_LENGTH: Final = 128
"""Longest value given to a setup function, NUL included."""


@guest
def word_length(s: cstr) -> usize:
    """Bytes before the next blank or the end."""
    n: u32 = 0
    while s[n] != 0 and s[n] != ord(" "):
        n += 1
    return n


@guest
def match_option(word: cstr, name: cstr) -> cstr:
    """The value if the word at `word` is the option `name`, else NULL."""
    n = strlen(name)
    if n == 0 or strncmp(word, name, n) != 0:
        return NULL
    if name[n - 1] == ord("=") or word_length(word) == n:
        return word + n
    return NULL


@guest
def parse_early_param() -> None:
    """Give every option on the command line to the function that asked for it."""
    value: array[u8] = length(VALUE_LENGTH)
    i: usize = 0
    while boot_command_line[i] != 0:
        word: cstr = boot_command_line + i
        n = word_length(word)
        for param in section("setup_params", ObsKernelParam):
            rest = match_option(word, param.str)
            if rest != NULL:
                strlcpy(value, rest, min(word_length(rest) + 1, VALUE_LENGTH))
                if param.setup_func(value) < 0:
                    printk(f"<4>Malformed early option '{param.str:s}{value:s}'\n")
        i += n
        while boot_command_line[i] == ord(" "):
            i += 1


@guest
def cmdline_find(name: cstr, buf: ptr[u8], size: usize) -> bool:
    """Look for an option ("maxcpus=", "nosmp"); the last one counts, its value goes to `buf`."""
    found = False
    i: usize = 0
    while boot_command_line[i] != 0:
        word: cstr = boot_command_line + i
        rest = match_option(word, name)
        if rest != NULL:
            found = True
            strlcpy(buf, rest, min(word_length(rest) + 1, size))
        i += word_length(word)
        while boot_command_line[i] == ord(" "):
            i += 1
    return found
