# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's START: a program of /bin, or else a thread of the kernel."""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, array, cstr, guest, i32, length, ptr, u8, u32, usize
from kdumpsim.userland.lib import E2BIG, EINVAL, ENOENT, set_affinity, spawn, start_workload, strcpy, strlen, strncmp

MAX_NAME: Final = 64
MAX_WORDS: Final = 16
MAX_ARGUMENT: Final = 128
ALL_CPUS: Final = 0xFF


@guest
def digit(char: u8) -> u32:
    """A hexadecimal digit's value; 16 for anything else."""
    if char >= ord("0") and char <= ord("9"):
        return u32(char) - ord("0")
    if char >= ord("a") and char <= ord("f"):
        return u32(char) - ord("a") + 10
    return 16


@guest
def parse_mask(text: cstr) -> u32:
    """The CPUs of "cpus=MASK", MASK in hexadecimal."""
    mask: u32 = 0
    while digit(text[0]) < 16:
        mask = mask << 4 | digit(text[0])
        text = text + 1
    return mask


@guest
def start_program(path: cstr, words: ptr[cstr]) -> i32:
    """Start a program; a first argument cpus=MASK says where it may run."""
    if words[1] == NULL or strncmp(words[1], "cpus=", 5) != 0:
        return spawn(path, words)
    mask = parse_mask(words[1] + 5)
    words[1] = words[0]
    error = set_affinity(mask)
    if error != 0:
        return error
    pid = spawn(path, words + 1)
    set_affinity(ALL_CPUS)
    return pid


@guest
def start(payload: ptr[u8], count: usize) -> i32:
    """Start what a payload of NUL-separated words names; its pid or a negative errno."""
    path: array[u8] = length(MAX_NAME)
    words: array[cstr] = length(MAX_WORDS)
    nr: u32 = 0
    at: u32 = 0
    while at < count:
        if nr == MAX_WORDS - 1:
            return -E2BIG
        words[nr] = payload + at
        at += strlen(payload + at) + 1
        nr += 1
    words[nr] = NULL
    size = strlen(payload)
    if size == 0 or size > MAX_NAME - 6:
        return -EINVAL
    strcpy(path, "/bin/")
    strcpy(path + 5, payload)
    pid = start_program(path, words)
    if pid == -ENOENT:
        argument: cstr = words[1] if nr > 1 else ""
        pid = start_workload(payload, argument)
    return pid
