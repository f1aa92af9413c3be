# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's sources: no circles of imports but known ones, declarations as their definitions say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from test_house import GUESTS, imports, modules, room

KERNEL = "kdumpsim.kernel."
ARCHITECTURE = KERNEL + "architecture"

CIRCLES = {frozenset({"architecture", "arch.i386.thread_info", "core.sched_types"})}
"""Modules of kernel/ that import each other: task_struct and thread_info point at each other.  Add none."""

FORWARD = {
    "do_exit": "threads that return, signals that kill; exit.py stands above kthread.py and signal.py",
    "dtt_crossed": "a crash point may lie anywhere, below what dtt.py needs",
    "preempt_schedule": "preempt_enable() gives way; sched.py needs spinlock.py",
    "put_dead_task": "the switch away from a dead task; it goes by RCU, which needs sched.py",
    "rcu_qsctr_inc": "schedule() is a quiescent state; RCU's softirq needs sched.py",
    "softlockup_tick": "each tick; the watchdog's threads need timers",
    "try_to_free_pages": "the page allocator reclaims; vmscan.py needs pages",
    "wakeup_kswapd": "likewise",
}
"""Functions of guest code that modules other than architecture.py declare, and why they can't be imported."""


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The strongly connected components that have more than one member (Kosaraju's algorithm)."""
    order: list[str] = []
    seen: set[str] = set()
    reverse: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets:
            reverse[target].add(name)

    def visit(name: str, edges: dict[str, set[str]], found: list[str]) -> None:
        stack: list[tuple[str, Iterator[str]]] = [(name, iter(sorted(edges[name])))]
        seen.add(name)
        while stack:
            at, rest = stack[-1]
            if (after := next((n for n in rest if n not in seen), None)) is None:
                found.append(at)
                stack.pop()
            else:
                seen.add(after)
                stack.append((after, iter(sorted(edges[after]))))

    for name in graph:
        if name not in seen:
            visit(name, graph, order)
    seen.clear()
    result = set()
    for name in reversed(order):
        if name not in seen:
            component: list[str] = []
            visit(name, reverse, component)
            if len(component) > 1:
                result.add(frozenset(component))
    return result


def test_modules_of_the_kernel_form_no_circles_but_those_known() -> None:
    graph = {
        name.removeprefix(KERNEL): {other.removeprefix(KERNEL) for other in imports(name) if other.startswith(KERNEL)}
        for name in modules()
        if name.startswith(KERNEL)
    }
    assert circles(graph) == CIRCLES


def test_a_circle_would_be_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == {frozenset("bc")}


def test_only_architecture_knows_arch() -> None:
    arch = KERNEL + "arch."
    through = [
        f"{name} imports {other}"
        for name in modules()
        if not name.startswith(arch) and name != ARCHITECTURE and room(name) == "kernel"
        for other in imports(name)
        if other.startswith(arch)
    ]
    assert not through, "\n".join(through)


@cache
def functions() -> list[tuple[str, ast.FunctionDef, bool]]:
    """Every guest function with its module, and whether it is only declared there."""
    return [
        (name, node, any(ast.unparse(decorator) == "extern" for decorator in node.decorator_list))
        for name, tree in modules().items()
        if room(name) in GUESTS
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    ]


def signature(node: ast.FunctionDef) -> str:
    returns = ast.unparse(node.returns) if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}) -> {returns}"


def test_what_is_declared_is_declared_as_it_is_defined() -> None:
    """No linker compares signatures; C has the definition's file include the declaration's."""
    defined = {(room(name), node.name): signature(node) for name, node, declared in functions() if not declared}
    first: dict[tuple[str, str], str] = {}
    wrong = []
    for name, node, declared in functions():
        if declared:
            key = room(name), node.name
            expected = defined.get(key) or first.setdefault(key, signature(node))
            if signature(node) != expected:
                wrong.append(f"{name}: {signature(node)}, but {expected}")
    assert not wrong, "\n".join(wrong)


def test_declarations_do_not_hide_circles() -> None:
    defined = {node.name for name, node, declared in functions() if not declared and room(name) == "kernel"}
    elsewhere = {
        node.name
        for name, node, declared in functions()
        if declared and room(name) == "kernel" and name != ARCHITECTURE and node.name in defined
    }
    assert elsewhere == set(FORWARD)
