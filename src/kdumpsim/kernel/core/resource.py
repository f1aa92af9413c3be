# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of physical address ranges (kernel/resource.c)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, guest, i32, ptr
from kdumpsim.kernel.core.resource_types import IORESOURCE_MEM, Resource
from kdumpsim.kernel.core.spinlock import Spinlock, spin_lock, spin_unlock
from kdumpsim.kernel.core.types import EBUSY, EINVAL

iomem_resource: Resource = Resource(start=0, end=0xFFFFFFFF, name="PCI mem", flags=IORESOURCE_MEM)
resource_lock: Spinlock = Spinlock(slock=1)


@guest
def link_resource(root: ptr[Resource], new: ptr[Resource]) -> ptr[Resource]:
    """Put `new` among the children of `root`; NULL, or the resource it collides with (__request_resource)."""
    if new.end < new.start or new.start < root.start or new.end > root.end:
        return root
    before: ptr[Resource] = NULL
    after = root.child
    while after != NULL and after.end < new.start:
        before = after
        after = after.sibling
    if after != NULL and after.start <= new.end:
        return after
    new.sibling = after
    new.parent = root
    if before == NULL:
        root.child = new
    else:
        before.sibling = new
    return NULL


@guest
def adopt_children(parent: ptr[Resource], new: ptr[Resource], first: ptr[Resource]) -> i32:
    """Put `new` between `parent` and those of its children, from `first` on, that lie inside `new`."""
    last = first
    while True:
        if last.start < new.start or last.end > new.end:
            return -EBUSY
        if last.sibling == NULL or last.sibling.start > new.end:
            break
        last = last.sibling
    new.parent = parent
    new.sibling = last.sibling
    new.child = first
    last.sibling = NULL
    child = first
    while child != NULL:
        child.parent = new
        child = child.sibling
    if parent.child == first:
        parent.child = new
    else:
        before = parent.child
        while before.sibling != first:
            before = before.sibling
        before.sibling = new
    return 0


@guest
def link_or_nest(parent: ptr[Resource], new: ptr[Resource]) -> i32:
    """insert_resource() without the lock."""
    while True:
        conflict = link_resource(parent, new)
        if conflict == NULL:
            return 0
        if conflict == parent:
            return -EBUSY
        if conflict.start > new.start or conflict.end < new.end:
            return adopt_children(parent, new, conflict)
        if conflict.start == new.start and conflict.end == new.end:
            return adopt_children(parent, new, conflict)
        parent = conflict


@guest
def request_resource(root: ptr[Resource], new: ptr[Resource]) -> i32:
    """Claim a range right below `root`; -EBUSY if somebody has part of it."""
    spin_lock(resource_lock)
    conflict = link_resource(root, new)
    spin_unlock(resource_lock)
    return 0 if conflict == NULL else -EBUSY


@guest
def insert_resource(parent: ptr[Resource], new: ptr[Resource]) -> i32:
    """Put a range wherever it belongs: into a wider one that is there, or around narrower ones."""
    spin_lock(resource_lock)
    result = link_or_nest(parent, new)
    spin_unlock(resource_lock)
    return result


@guest
def release_resource(old: ptr[Resource]) -> i32:
    """Take a range out of its tree."""
    result: i32 = -EINVAL
    spin_lock(resource_lock)
    if old.parent != NULL:
        if old.parent.child == old:
            old.parent.child = old.sibling
            result = 0
        else:
            before = old.parent.child
            while before != NULL and before.sibling != old:
                before = before.sibling
            if before != NULL:
                before.sibling = old.sibling
                result = 0
        old.parent = NULL
    spin_unlock(resource_lock)
    return result
