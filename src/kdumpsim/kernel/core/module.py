# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded modules (kernel/module.c of 2.6.16): the list of them, which oopses and /proc/modules show.

Nothing loads modules yet: all drivers, and guest modules of a user's own, are linked into the kernel.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from kdumpsim.compiler.lang import (
    NULL,
    Struct,
    array,
    cstr,
    fn,
    guest,
    i32,
    length,
    list_for_each_entry,
    placed,
    ptr,
    u8,
    u32,
    usize,
    void,
)
from kdumpsim.kernel.core.list import init_list_head
from kdumpsim.kernel.core.printk import printk
from kdumpsim.kernel.core.types import ListHead
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf

MODULE_NAME_LEN: Final = 60


class ModuleState(IntEnum):
    """What a module is doing."""

    MODULE_STATE_LIVE = 0
    MODULE_STATE_COMING = 1
    MODULE_STATE_GOING = 2


class Module(Struct):
    """A loaded module."""

    state: ModuleState
    list: ListHead
    name: array[u8] = length(MODULE_NAME_LEN)
    init: fn[[], i32]
    module_core: ptr[void]
    """Its code and data, and how many bytes they take."""
    core_size: usize


modules: ListHead = ListHead()


@guest
def modules_init() -> None:
    """Make the list, empty, before anything can print it."""
    init_list_head(modules)


@guest
def print_modules() -> None:
    """A line of an oops."""
    printk("<0>Modules linked in:")
    for mod in list_for_each_entry(modules, Module, "list"):
        printk(f" {mod.name:s}")
    printk("\n")


@guest
def modules_show(m: ptr[SeqFile]) -> i32:
    """/proc/modules: name, size, state and address of each."""
    for mod in list_for_each_entry(modules, Module, "list"):
        state: cstr = "Live"
        if mod.state != ModuleState.MODULE_STATE_LIVE:
            state = "Loading" if mod.state == ModuleState.MODULE_STATE_COMING else "Unloading"
        seq_printf(m, f"{mod.name:s} {u32(mod.core_size)} 0 - {state:s} 0x{mod.module_core:p}\n")
    return 0


@guest
def proc_modules_init() -> i32:
    """Make /proc/modules."""
    return register_proc("/proc/modules", modules_show, NULL)


_init_proc_modules: fn[[], i32] = placed("initcall5", proc_modules_init)
