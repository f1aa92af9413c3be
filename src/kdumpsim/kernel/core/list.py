# SPDX-License-Identifier: GPL-2.0-or-later
"""Circular doubly linked lists, and lists for hash tables (include/linux/list.h)."""

from __future__ import annotations

from kdumpsim.compiler.lang import NULL, addr, guest, ptr
from kdumpsim.kernel.core.types import HlistHead, HlistNode
from kdumpsim.kernel.core.types import ListHead as ListHead


@guest
def init_list_head(head: ptr[ListHead]) -> None:
    """Make `head` an empty list."""
    head.next = head
    head.prev = head


@guest
def list_add(new: ptr[ListHead], head: ptr[ListHead]) -> None:
    """Put `new` right after `head`: the list used as a stack."""
    first = head.next
    first.prev = new
    new.next = first
    new.prev = head
    head.next = new


@guest
def list_add_tail(new: ptr[ListHead], head: ptr[ListHead]) -> None:
    """Put `new` right before `head`: the list used as a queue."""
    last = head.prev
    head.prev = new
    new.next = head
    new.prev = last
    last.next = new


@guest
def list_del(entry: ptr[ListHead]) -> None:
    """Take `entry` out of its list; its own links are left as they were."""
    before = entry.prev
    after = entry.next
    after.prev = before
    before.next = after


@guest
def list_del_init(entry: ptr[ListHead]) -> None:
    """Take `entry` out of its list and make it an empty list of its own."""
    list_del(entry)
    init_list_head(entry)


@guest
def list_empty(head: ptr[ListHead]) -> bool:
    """Whether nothing hangs on `head`."""
    return head.next == head


@guest
def list_move_tail(entry: ptr[ListHead], head: ptr[ListHead]) -> None:
    """Take `entry` out of its list and put it at the end of another."""
    list_del(entry)
    list_add_tail(entry, head)


@guest
def list_splice_init(entries: ptr[ListHead], head: ptr[ListHead]) -> None:
    """Move all that hangs on `entries` right after `head`."""
    if list_empty(entries):
        return
    first = entries.next
    last = entries.prev
    after = head.next
    first.prev = head
    head.next = first
    last.next = after
    after.prev = last
    init_list_head(entries)


@guest
def hlist_add_head(n: ptr[HlistNode], h: ptr[HlistHead]) -> None:
    """Put `n` first in the list."""
    first = h.first
    n.next = first
    if first != NULL:
        first.pprev = addr(n.next)
    h.first = n
    n.pprev = addr(h.first)


@guest
def hlist_del(n: ptr[HlistNode]) -> None:
    """Take `n` out of its list; its own links are left as they were."""
    next = n.next
    n.pprev[0] = next
    if next != NULL:
        next.pprev = n.pprev
