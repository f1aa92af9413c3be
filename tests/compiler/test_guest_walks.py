# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures where pointers are wanted, and loops over lists and tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest_machine import Machine, build
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from properties import examples

TEXT = """
class ListHead(Struct):
    next: ptr[ListHead]
    prev: ptr[ListHead]


class Inner(Struct):
    pad: u32
    link: ListHead


class Node(Struct):
    value: u32
    inner: Inner


class Row(Struct):
    key: u32
    name: cstr


handler_t = fn[[u32], u32]

head: ListHead = ListHead(next=head, prev=head)
nodes: array[Node] = length(16)
one: Row = placed("rows1", Row(key=1, name="one"))
three: Row = placed("rows3", Row(key=3, name="three"))
two: Row = placed("rows2", Row(key=2, name="two"))
double_it: handler_t = placed("handlers", twice)
add_one: handler_t = placed("handlers", successor)
chosen: ptr[Row] = two
inner: ptr[ListHead] = nodes[2].inner.link
where: usize = usize(nodes[2])
global_node: Node = Node(value=7)


@guest
def twice(n: u32) -> u32:
    return 2 * n


@guest
def successor(n: u32) -> u32:
    return n + 1


@guest
def list_add_tail(new: ptr[ListHead], list: ptr[ListHead]) -> None:
    new.prev = list.prev
    new.next = list
    list.prev.next = new
    list.prev = new


@guest
def list_del(entry: ptr[ListHead]) -> None:
    entry.prev.next = entry.next
    entry.next.prev = entry.prev
    entry.next = NULL


@guest
def fill(count: u32, first: u32) -> None:
    head.next = head
    head.prev = head
    for i in range(count):
        nodes[i].value = first + i
        list_add_tail(nodes[i].inner.link, head)


@guest
def total(count: u32, first: u32, skipped: u32, last: u32) -> u32:
    fill(count, first)
    sum: u32 = 0
    for node in list_for_each_entry(head, Node, "inner.link"):
        if node.value == skipped:
            continue
        if node.value == last:
            break
        sum += node.value
    return sum


@guest
def kept(count: u32, first: u32) -> u32:
    fill(count, first)
    node: ptr[Node] = NULL
    for node in list_for_each_entry(head, Node, "inner.link"):
        pass
    return node.value if node != NULL else 77


@guest
def pruned(count: u32, first: u32) -> u32:
    fill(count, first)
    for node in list_for_each_entry_safe(head, Node, "inner.link"):
        if node.value % 2:
            list_del(node.inner.link)
    left: u32 = 0
    for node in list_for_each_entry(head, Node, "inner.link"):
        for other in list_for_each_entry(head, Node, "inner.link"):
            left += node.value * other.value
    return left


@guest
def rows() -> u32:
    digits: u32 = 0
    for row in section("rows", Row):
        digits = digits * 10 + row.key + (row.name[0] == ord("t"))
    return digits


@guest
def handle(n: u32) -> u32:
    for handler in section("handlers", handler_t):
        n = handler[0](n)
    return n


@guest
def give(choose_row: u32) -> ptr[Row]:
    return one if choose_row == 1 else chosen


@guest
def decays() -> u32:
    local: Node = Node(value=3)
    p: ptr[Node] = local
    v: ptr[void] = global_node
    hits: u32 = 0
    if p == local and local == p and v == global_node:
        hits += 1
    if cast(ptr[u32], global_node)[0] == 7 and usize(global_node) == usize(addr(global_node)):
        hits += 2
    if container_of(local.inner.link, Node, "inner.link") == p:
        hits += 4
    if give(1) == one and give(2) == two and inner == addr(nodes[2].inner.link) and where == usize(addr(nodes[2])):
        hits += 8
    copy: Node = global_node
    copy.value += 1
    local = copy
    if global_node.value == 7 and local.value == 8:
        hits += 16
    return hits


@guest
def counted(by: u32) -> u32:
    before = fetch_sub(addr(global_node.inner.pad), by)
    return before - global_node.inner.pad
"""


@pytest.fixture(scope="module", params=[[], ["m"]], ids=["plain", "optimized"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(build(tmp_path_factory.mktemp("guest"), TEXT, "total", optimize=request.param))


reuse = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
counts, firsts = st.integers(0, 16), st.integers(0, 9)


@reuse
@given(counts, firsts, st.integers(0, 30), st.integers(0, 30))
def test_lists_are_walked_as_python_would(machine: Machine, count: int, first: int, skipped: int, last: int) -> None:
    expected = 0
    for value in range(first, first + count):
        if value == skipped:
            continue
        if value == last:
            break
        expected += value
    assert machine.call("total", count, first, skipped, last) == expected


@reuse
@given(counts, firsts)
def test_the_variable_keeps_the_last_entry(machine: Machine, count: int, first: int) -> None:
    assert machine.call("kept", count, first) == (first + count - 1 if count else 77)


@reuse
@given(counts, firsts)
def test_the_safe_walk_survives_removal(machine: Machine, count: int, first: int) -> None:
    even = [value for value in range(first, first + count) if value % 2 == 0]
    assert machine.call("pruned", count, first) == sum(even) ** 2


def test_tables_are_walked_in_their_order(machine: Machine) -> None:
    assert machine.call("rows") == 134  # 1, then 2 and 3, which begin with a t
    assert machine.call("handle", 5) == 11


def test_a_structure_is_its_address_where_a_pointer_is_wanted(machine: Machine) -> None:
    assert machine.call("decays") == 31


def test_fetch_sub_gives_the_old_value(machine: Machine) -> None:
    assert machine.call("counted", 5) == 5


def test_a_table_that_nothing_fills_is_an_error(tmp_path: Path) -> None:
    from kdumpsim.compiler.linker import LinkError

    text = '@guest\ndef f() -> u32:\n    for x in section("nothing", u32):\n        return x[0]\n    return 0\n'
    with pytest.raises(LinkError, match="undefined symbol __start_nothing"):
        build(tmp_path, text, "f")
