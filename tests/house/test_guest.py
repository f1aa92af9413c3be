# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's sources: no circles of imports but known ones, declarations as their definitions say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
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

WIDE = """
import dataclasses
from kdumpsim.compiler import package_modules, target
target.TARGET = dataclasses.replace(target.I386, word=8)
from kdumpsim.compiler.diagnostics import Reporter
from kdumpsim.compiler.emit import ModuleEmitter
from kdumpsim.compiler.modules import load_program
from kdumpsim.compiler.program import Program
reporter = Reporter()
loaded = load_program([*package_modules("kdumpsim.kernel"), *package_modules("kdumpsim.userland")], {}, reporter)
program = Program(loaded, {}, reporter)
for name in loaded:
    ModuleEmitter(program, name, False).lower()
for found in reporter.diagnostics:
    if "/kernel/arch/" not in found.path:
        print(f"{found.path}:{found.line}: {found.message}")
"""
"""Have the compiler's front end check guest code for a machine with 64-bit words; what it says outside of arch/."""

MEMORY = re.compile(r"(^|_)(addr|address|phys|paddr|vaddr|pfn|size|len|length|memsz|bufsz)$")
"""Names of addresses and sizes."""
NARROW = {
    "kernel.block.blk_types": {"bv_len"},  # no longer than a request, whose sectors are 32 bits
    "kernel.capture.elf": {"p_vaddr", "p_paddr", "p_memsz"},  # ELF32's structure
    "kernel.core.printk": {"log_buf_len"},  # an int to dump tools
    "kernel.fs.file_types": {"len"},  # a name's, at most 255
    "kernel.fs.toyfs": {"block_size", "size"},  # on disk
    "kernel.lkcd.dump_blockdev": {"size"},  # of a piece of a request
    "kernel.lkcd.dump_types": {"dh_header_size", "dh_page_size", "dha_header_size", "dp_size"},  # on disk
    "kernel.net.ip": {"address"},  # IPv4's
    "kernel.net.ipconfig": {"address"},
    "kernel.net.devinet": {"address", "ifa_address"},
    "kernel.net.socket": {"sin_addr"},
    "userland.socket": {"sin_addr"},
    "userland.agent": {"length"},  # the agent's protocol
    "userland.agent_port": {"length"},
    "userland.agent_kexec": {"memsz", "bufsz", "path_length"},
}
"""What is called so and has 32 bits on every machine, by module."""


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


def test_generic_code_is_ready_for_wider_words() -> None:
    """Where a word has 64 bits an address does not go into a u32, and the compiler says so."""
    done = subprocess.run([sys.executable, "-c", WIDE], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_addresses_and_sizes_are_words() -> None:
    """A u32 goes into a usize by itself, so the compiler can't tell those that should have been words themselves."""
    found: dict[str, set[str]] = {}
    for name, tree in modules().items():
        if room(name) in {"kernel", "userland"} and not name.startswith(KERNEL + "arch."):
            for node in ast.walk(tree):
                match node:
                    case ast.AnnAssign(target=ast.Name(id=word), annotation=ast.Name(id="u32")):
                        pass
                    case ast.arg(arg=word, annotation=ast.Name(id="u32")):
                        pass
                    case _:
                        continue
                if MEMORY.search(word):
                    found.setdefault(name.removeprefix("kdumpsim."), set()).add(word)
    assert found == NARROW
