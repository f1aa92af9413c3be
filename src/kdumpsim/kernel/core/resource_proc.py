# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/iomem: the tree of physical addresses as text (kernel/resource.c).

kexec-tools on the host parse /proc/iomem: RAM, the kernel's own place and the reserved region.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, cstr, fn, guest, i32, placed, ptr
from kdumpsim.kernel.core.resource import iomem_resource
from kdumpsim.kernel.core.resource_types import Resource
from kdumpsim.kernel.fs.file_types import SeqFile
from kdumpsim.kernel.fs.proc import register_proc
from kdumpsim.kernel.fs.seq_file import seq_printf


@guest
def show_resources(m: ptr[SeqFile], root: ptr[Resource]) -> i32:
    """Print a tree, parents before children."""
    depth: i32 = 0
    blank: cstr = ""
    node = root.child
    while node != NULL:
        name: cstr = node.name if node.name != NULL else "<BAD>"
        seq_printf(m, "%*s%08x-%08x : %s\n", depth * 2, blank, node.start, node.end, name)
        if node.child != NULL:
            node = node.child
            depth += 1
            continue
        while node != root and node.sibling == NULL:
            node = node.parent
            depth -= 1
        if node == root:
            break
        node = node.sibling
    return 0


@guest
def iomem_show(m: ptr[SeqFile]) -> i32:
    """/proc/iomem, as kexec-tools parse it: two blanks a level, "start-end : name"."""
    return show_resources(m, iomem_resource)


@guest
def ioresources_init() -> i32:
    """Make the /proc file."""
    return register_proc("/proc/iomem", iomem_show, NULL)


_init_ioresources: fn[[], i32] = placed("initcall5", ioresources_init)
