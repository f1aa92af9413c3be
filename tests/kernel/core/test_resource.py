# SPDX-License-Identifier: GPL-2.0-or-later
"""Resource trees: whatever is inserted, children stay sorted, apart from each other and inside their parents."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from guest_harness import guest, host_module

resource = host_module("kdumpsim.kernel.core.resource")

Range = tuple[int, int]
ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)).map(lambda r: (r[0], r[0] + r[1])), max_size=12)
FIELDS = ("start", "end", "name", "flags", "parent", "sibling", "child")


def may_insert(tree: list[Range], new: Range) -> bool:
    """Ranges may nest, not cross."""
    crossing = [r for r in tree if r[0] <= new[1] and new[0] <= r[1]]
    return all((r[0] <= new[0] and new[1] <= r[1]) or (new[0] <= r[0] and r[1] <= new[1]) for r in crossing)


def check_tree(node: Any, low: int, high: int) -> list[Range]:
    """All ranges below a node, after looking at the order of things."""
    found = []
    child, last = node.child, low - 1
    while child is not None:
        assert child.parent is node
        assert last < child.start <= child.end <= high
        last = child.end
        found += [(child.start, child.end), *check_tree(child, child.start, child.end)]
        child = child.sibling
    return found


@given(ranges)
def test_cpython(wanted: list[Range]) -> None:
    def new(start: int, end: int) -> Any:
        return resource.Resource(start=start, end=end, parent=None, sibling=None, child=None)

    root = new(0, 100)
    accepted: list[Range] = []
    for start, end in wanted:
        ok = may_insert(accepted, (start, end))
        assert (resource.link_or_nest(root, new(start, end)) == 0) == ok
        accepted += [(start, end)] * ok
    assert sorted(check_tree(root, 0, 100)) == sorted(accepted)


class View:
    """A struct Resource in guest memory, read like the Python object."""

    def __init__(self, address: int, known: dict[int, View]) -> None:
        self.values = dict(zip(FIELDS, struct.unpack("<7I", guest().read(address, 28)), strict=True))
        self.known = known
        known[address] = self

    def __getattr__(self, name: str) -> Any:
        value = self.values[name]
        if name in ("start", "end"):
            return value
        return None if value == 0 else self.known[value] if value in self.known else View(value, self.known)


@given(ranges)
def test_compiled(wanted: list[Range]) -> None:
    g = guest()
    g.reset()

    def new(start: int, end: int) -> int:
        return g.alloc(struct.pack("<7I", start, end, 0, 0, 0, 0, 0))

    root = new(0, 100)
    accepted: list[Range] = []
    for start, end in wanted:
        ok = may_insert(accepted, (start, end))
        assert (g.call("insert_resource", root, new(start, end)) == 0) == ok
        accepted += [(start, end)] * ok
    assert sorted(check_tree(View(root, {}), 0, 100)) == sorted(accepted)


def test_iomem_text() -> None:
    """What kexec-tools parse."""
    g = guest()
    g.reset()

    def new(start: int, end: int, name: bytes) -> int:
        return g.alloc(struct.pack("<7I", start, end, g.string(name), 0, 0, 0, 0))

    root = new(0, 0xFFFFFFFF, b"PCI mem")
    for entry in (
        (0x1000000, 0x1FFFFFF, b"Crash kernel"),
        (0x100000, 0x3FFFFFF, b"System RAM"),
        (0x100000, 0x12FFFF, b"Kernel code"),
        (0, 0x9FFFF, b"System RAM"),
    ):
        assert g.call("insert_resource", root, new(*entry)) == 0
    text = g.alloc(1024)
    m = g.alloc(struct.pack("<4I", text, 1024, 0, 0))
    g.call("show_resources", m, root)
    assert g.read(text, g.word(m + 8)).decode() == (
        "00000000-0009ffff : System RAM\n"
        "00100000-03ffffff : System RAM\n"
        "  00100000-0012ffff : Kernel code\n"
        "  01000000-01ffffff : Crash kernel\n"
    )
