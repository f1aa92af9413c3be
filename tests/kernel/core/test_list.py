# SPDX-License-Identifier: GPL-2.0-or-later
"""List operations against a Python list, both ways of running them."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from guest_harness import guest, host_module

lists = host_module("kdumpsim.kernel.core.list")

operations = st.lists(st.tuples(st.sampled_from(["list_add", "list_add_tail", "list_del", "move"]), st.integers(0, 5)))


def expected(steps: list[tuple[str, int]]) -> tuple[list[int], list[tuple[str, int]]]:
    """The list in the end, and the steps that made sense."""
    model: list[int] = []
    done = []
    for name, item in steps:
        if name in ("list_del", "move") and item in model:
            model.remove(item)
            if name == "move":
                model.append(item)
        elif name == "list_add" and item not in model:
            model.insert(0, item)
        elif name == "list_add_tail" and item not in model:
            model.append(item)
        else:
            continue
        done.append((name if name != "move" else "list_move_tail", item))
    return model, done


@given(operations)
def test_cpython(steps: list[tuple[str, int]]) -> None:
    model, done = expected(steps)
    head, *items = (lists.ListHead() for _ in range(7))
    lists.init_list_head(head)
    for name, item in done:
        args = (items[item],) if name == "list_del" else (items[item], head)
        getattr(lists, name)(*args)
    forward, backward = [], []
    entry = head.next
    while entry is not head:
        forward.append(items.index(entry))
        entry = entry.next
    entry = head.prev
    while entry is not head:
        backward.append(items.index(entry))
        entry = entry.prev
    assert forward == model == backward[::-1]
    assert lists.list_empty(head) == (not model)


@given(operations)
def test_compiled(steps: list[tuple[str, int]]) -> None:
    model, done = expected(steps)
    g = guest()
    g.reset()
    head = g.alloc(8 * 7, 8)
    g.call("init_list_head", head)
    for name, item in done:
        place = head + 8 * (item + 1)
        g.call(name, *((place,) if name == "list_del" else (place, head)))
    forward = []
    at = head
    while True:
        at, previous = g.word(at), at
        assert struct.unpack("<2I", g.read(at, 8))[1] == previous
        if at == head:
            break
        forward.append((at - head) // 8 - 1)
    assert forward == model
    assert bool(g.call("list_empty", head) & 0xFF) == (not model)
