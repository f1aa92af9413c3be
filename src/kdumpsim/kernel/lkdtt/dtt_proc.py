# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/dtt/ctrl and /proc/dtt/cpoints, which ttutils talks to (LKDTT paper, section 3.3).

ctrl takes one command a write: ``set NAME TYPE [COUNT [CPU]]``, ``reset NAME [-f]``, ``add NAME ID`` and
``rmv NAME``.  CPU is our own: with it only crossings on that CPU count.  So is ``strike TYPE`` (`lkdtt.instant`).
"""

from __future__ import annotations

from typing import Final

from kdumpsim.compiler.lang import NULL, addr, array, cstr, fn, guest, i32, length, placed, ptr, u8, u32, u64, usize
from kdumpsim.kernel.architecture import cpu_online
from kdumpsim.kernel.core.config import NR_CPUS
from kdumpsim.kernel.core.string import simple_strtoull, strcmp
from kdumpsim.kernel.core.types import EINVAL, ENOENT
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf
from kdumpsim.kernel.lkdtt.cpoint import CrashPoint
from kdumpsim.kernel.lkdtt.dtt import (
    ANY_CPU,
    DEFAULT_COUNT,
    NR_CPOINTS,
    crash_types,
    dtt_find,
    dtt_find_type,
    dtt_lookup,
    dtt_reset,
    dtt_set,
)
from kdumpsim.kernel.lkdtt.dynamic import dtt_add, dtt_remove
from kdumpsim.kernel.lkdtt.instant import dtt_set_strike

MAX_COMMAND: Final = 128
MAX_WORDS: Final = 5


@guest
def split_words(text: ptr[u8], words: ptr[cstr], most: u32) -> u32:
    """Cut `text` at blanks, in place; the number of words found, at most `most` + 1."""
    count: u32 = 0
    at: u32 = 0
    while True:
        while text[at] == ord(" ") or text[at] == ord("\t") or text[at] == ord("\n"):
            at += 1
        if text[at] == 0:
            return count
        if count == most:
            return most + 1
        words[count] = text + at
        count += 1
        while text[at] > ord(" "):
            at += 1
        if text[at] != 0:
            text[at] = 0
            at += 1


@guest
def parse_count(text: cstr) -> i32:
    """A positive decimal number, or -EINVAL."""
    rest: cstr = NULL
    count: u64 = simple_strtoull(text, addr(rest), 10)
    if rest == text or rest[0] != 0 or count == 0 or count > 0x7FFFFFFF:
        return -EINVAL
    return i32(count)


@guest
def parse_cpu(text: cstr) -> u32:
    """The number of a CPU that is there, or ANY_CPU."""
    rest: cstr = NULL
    cpu: u64 = simple_strtoull(text, addr(rest), 10)
    if rest == text or rest[0] != 0 or cpu >= NR_CPUS or not cpu_online(u32(cpu)):
        return ANY_CPU
    return u32(cpu)


@guest
def ctrl_set(words: ptr[cstr], nr: u32) -> i32:
    """``set NAME TYPE [COUNT [CPU]]``"""
    if nr < 3:
        return -EINVAL
    point: ptr[CrashPoint] = dtt_find(words[1])
    if point == NULL:
        return -ENOENT
    kind: i32 = dtt_find_type(words[2])
    if kind < 0:
        return kind
    count: i32 = DEFAULT_COUNT
    if nr >= 4:
        count = parse_count(words[3])
        if count < 0:
            return count
    cpu: u32 = ANY_CPU
    if nr == 5:
        cpu = parse_cpu(words[4])
        if cpu == ANY_CPU:
            return -EINVAL
    dtt_set(point, u32(kind), u32(count), cpu)
    return 0


@guest
def ctrl_reset(words: ptr[cstr], nr: u32) -> i32:
    """``reset NAME [-f]``"""
    if nr < 2 or nr > 3 or (nr == 3 and strcmp(words[2], "-f") != 0):
        return -EINVAL
    point: ptr[CrashPoint] = dtt_find(words[1])
    if point == NULL:
        return -ENOENT
    dtt_reset(point, nr == 3)
    return 0


@guest
def ctrl_add(words: ptr[cstr], nr: u32) -> i32:
    """``add NAME ID``"""
    if nr != 3:
        return -EINVAL
    which: i32 = parse_count(words[2])
    return dtt_add(words[1], u32(which)) if which > 0 else which


@guest
def ctrl_rmv(words: ptr[cstr], nr: u32) -> i32:
    """``rmv NAME``"""
    return dtt_remove(words[1]) if nr == 2 else -EINVAL


@guest
def dtt_ctrl_store(text: cstr, count: usize) -> i32:
    """A command was written to /proc/dtt/ctrl."""
    line: array[u8] = length(MAX_COMMAND)
    words: array[cstr] = length(MAX_WORDS)
    if count >= MAX_COMMAND:
        return -EINVAL
    for i in range(count):
        line[i] = text[i]
    line[count] = 0
    nr: u32 = split_words(line, words, MAX_WORDS)
    if nr == 0 or nr > MAX_WORDS:
        return -EINVAL
    if strcmp(words[0], "set") == 0:
        return ctrl_set(words, nr)
    if strcmp(words[0], "reset") == 0:
        return ctrl_reset(words, nr)
    if strcmp(words[0], "add") == 0:
        return ctrl_add(words, nr)
    if strcmp(words[0], "rmv") == 0:
        return ctrl_rmv(words, nr)
    if strcmp(words[0], "strike") == 0:
        return dtt_set_strike(words[1]) if nr == 2 else -EINVAL
    return -EINVAL


@guest
def dtt_cpoints_show(m: ptr[SeqFile]) -> i32:
    """The list ``ttutils ls`` prints, with the columns of the paper's Table 1."""
    seq_printf(m, "id      crash type      crash point name        count   location\n")
    for which in range(NR_CPOINTS):
        point: ptr[CrashPoint] = dtt_lookup(which)
        if point == NULL:
            continue
        kind: cstr = crash_types[point.kind].name
        location: cstr = "dyn" if point.dynamic != 0 else "kern"
        seq_printf(m, f"{which:<8}{kind:<16s}{point.name:<24s}{point.count:<8}{location:s}\n")
    return 0


@guest
def dtt_proc_init() -> i32:
    """Make the two files."""
    register_proc("/proc/dtt/ctrl", NULL, dtt_ctrl_store)
    register_proc("/proc/dtt/cpoints", dtt_cpoints_show, NULL)
    return 0


_init_dtt_proc: fn[[], i32] = placed("initcall5", dtt_proc_init)
