# SPDX-License-Identifier: GPL-2.0-or-later
"""What a name at module level can stand for."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from .constants import Const, Text
from .modules import Module
from .types import BOOL, CSTR, INTS, NORETURN, USIZE, VOID, FnType, Type

LANG_TYPES: dict[str, Type] = {**INTS, "usize": USIZE, "bool": BOOL, "cstr": CSTR, "void": VOID, "NoReturn": NORETURN}


@dataclass(slots=True)
class Builtin:
    """A name of lang.py or a Python builtin that the compiler knows."""

    name: str


@dataclass(slots=True)
class TypeName:
    """A class or alias that names a type."""

    type: Type


@dataclass(slots=True)
class Constant:
    """A module-level constant; evaluated when first used."""

    name: str
    module: Module
    node: ast.expr
    annotation: ast.expr | None
    value: Const | Text | TypeName | None = None
    busy: bool = False
    failed: bool = False


@dataclass(slots=True)
class Variable:
    """A global variable."""

    name: str
    module: Module
    node: ast.AnnAssign
    type: Type | None = None
    section: str = ""
    align: int = 0
    external: bool = False
    initializer: ast.expr | None = None
    used: bool = False


@dataclass(slots=True)
class Function:
    """A guest function; `kind` is guest, naked, interrupt or extern."""

    name: str
    module: Module
    node: ast.FunctionDef
    kind: str
    error_code: bool = False
    type: FnType | None = None
    failed: bool = False


@dataclass(slots=True)
class Imported:
    """A name that another module defines."""

    module: str
    name: str
    node: ast.AST


Symbol = Builtin | TypeName | Constant | Variable | Function | Imported


@dataclass
class ModuleScope:
    """What one module defines, in order of appearance, plus its imports."""

    module: Module
    names: dict[str, Symbol] = field(default_factory=dict)
    structs: dict[str, ast.ClassDef] = field(default_factory=dict)
    assembly: list[ast.expr] = field(default_factory=list)
