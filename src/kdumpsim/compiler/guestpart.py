# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest code of a test file, which is a guest module and a host module in one.

A file is a test file if it imports pytest, or has a function ``test…`` or a class ``Test…`` of the host.  Its guest
code is what is marked as such (functions with a guest decorator, structures and unions, `placed` globals,
`module_asm`), and what that uses of the file's other names: constants, globals, enumerations, imports of guest modules.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import TypeGuard

DECORATORS = frozenset({"guest", "naked", "extern", "interrupt"})
STRUCTURES = frozenset({"Struct", "Union"})
LANGUAGE = "kdumpsim.compiler.lang"


def is_test_file(tree: ast.Module) -> bool:
    """Does CPython run this module, too, as one of pytest's?"""
    return any(map(_is_of_pytest, tree.body))


def guest_part(tree: ast.Module, is_guest: Callable[[ast.ImportFrom], bool]) -> ast.Module:
    """The guest code of a test file, every node where it was.  `is_guest` tells whether an import is of guest code."""
    named: dict[str, list[ast.stmt]] = {}
    for node in _statements(tree.body):
        for name in _names(node):
            named.setdefault(name, []).append(node)
    kept: set[ast.stmt] = set()
    used: set[str] = set()
    waiting = [node for node in tree.body if _is_guest_code(node)]
    while waiting:
        node = waiting.pop()
        if node in kept:
            continue
        kept.add(node)
        if isinstance(node, ast.ImportFrom):
            continue
        new = _uses(node) - used
        used |= new
        waiting += [found for name in new for found in named.get(name, ()) if _may_be_guest(found, is_guest)]
    return ast.Module(body=list(_pruned(tree.body, kept, used)), type_ignores=[])


def has_guest_code(text: str) -> bool:
    """Is there guest code in a test file with this text?  False for one with a syntax error."""
    if LANGUAGE not in text:
        return False
    try:
        return any(map(_is_guest_code, ast.parse(text).body))
    except SyntaxError:
        return False


def _is_of_pytest(node: ast.stmt) -> bool:
    match node:
        case ast.Import(names=names):
            return any(alias.name == "pytest" for alias in names)
        case ast.ImportFrom(module="pytest", level=0):
            return True
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name.lower().startswith("test") and not _is_guest_code(node)
    return False


def _is_guest_code(node: ast.stmt) -> bool:
    """Is a statement marked as guest code?"""
    match node:
        case ast.FunctionDef(decorator_list=decorators):
            return any(_word(decorator) in DECORATORS for decorator in decorators)
        case ast.ClassDef(bases=bases):
            return any(_word(base) in STRUCTURES for base in bases)
        case ast.AnnAssign(value=ast.Call(func=function)):
            return _word(function) == "placed"
        case ast.Expr(value=ast.Call(func=function)):
            return _word(function) == "module_asm"
    return False


def _word(node: ast.expr) -> str:
    """The name that is used or called; empty for anything else."""
    match node:
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            return name
    return ""


def _uses(node: ast.stmt) -> set[str]:
    """The names of the module that a statement uses: not those that are a function's own."""
    found = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    used = {name.id for name in found}
    if isinstance(node, ast.FunctionDef):
        shared = {name for part in ast.walk(node) if isinstance(part, ast.Global) for name in part.names}
        own = {argument.arg for argument in node.args.args} | {n.id for n in found if isinstance(n.ctx, ast.Store)}
        used -= own - shared
    return used


def _may_be_guest(node: ast.stmt, is_guest: Callable[[ast.ImportFrom], bool]) -> bool:
    """All but imports of host modules: their names are unknown to guest code."""
    return is_guest(node) if isinstance(node, ast.ImportFrom) else not isinstance(node, ast.Import)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Those that define names, also under ``if TYPE_CHECKING:``."""
    for node in body:
        if _is_for_checkers(node):
            yield from node.body
        else:
            yield node


def _is_for_checkers(node: ast.stmt) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and _word(node.test) == "TYPE_CHECKING" and not node.orelse


def _names(node: ast.stmt) -> Iterator[str]:
    """The names that a statement at module level defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name for alias in names)


def _pruned(body: Iterable[ast.stmt], kept: set[ast.stmt], used: set[str]) -> Iterator[ast.stmt]:
    """The statements that are kept, and of imports the names that are used."""
    for node in body:
        if _is_for_checkers(node):
            yield from _pruned(node.body, kept, used)
        elif node in kept and isinstance(node, ast.ImportFrom):
            names = [alias for alias in node.names if (alias.asname or alias.name) in used]
            yield ast.copy_location(ast.ImportFrom(node.module, names, node.level), node)
        elif node in kept:
            yield node
