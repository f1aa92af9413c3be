# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole guest program: the statements at module level become symbols."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from . import lang
from .constants import Const
from .diagnostics import Failure, Reporter
from .modules import KNOWN, Module, import_target
from .resolve import Resolver, call_of
from .symbols import Builtin, Constant, Function, Imported, ModuleScope, Symbol, TypeName, Variable
from .types import (
    CONST,
    POISON,
    U32,
    ArrayType,
    EnumType,
    IntType,
    StructType,
    Type,
)


class Program(Resolver):
    """All modules of one compilation."""

    def __init__(self, modules: Mapping[str, Module], config: Mapping[str, int], reporter: Reporter) -> None:
        self.config, self.reporter = config, reporter
        self.scopes = {name: ModuleScope(module) for name, module in modules.items()}
        for scope in self.scopes.values():
            for node in scope.module.tree.body:
                try:
                    self._declare(scope, node)
                except Failure:
                    continue

    def _declare(self, scope: ModuleScope, node: ast.stmt) -> None:
        source = scope.module.source
        fail = self.reporter.fail
        match node:
            case ast.Import():
                fail(source, node, "'import x' is not guest code", "write 'from x import name'")
            case ast.ImportFrom():
                self._declare_import(scope, node)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
                for child in node.body:
                    if isinstance(child, ast.ImportFrom):
                        self._declare_import(scope, child)
                    else:
                        self.reporter.error(source, child, "only imports may stand under 'if TYPE_CHECKING'")
            case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id="module_asm"), args=[text], keywords=[])):
                scope.assembly.append(text)
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]):
                self._define(scope, name, Constant(name, scope.module, node.value, None), node)
            case ast.AnnAssign(target=ast.Name(id=name)):
                if (final := self._final(node.annotation)) is not None:
                    if node.value is None:
                        fail(source, node, f"constant {name} has no value")
                    self._define(scope, name, Constant(name, scope.module, node.value, final), node)
                else:
                    self._define(scope, name, Variable(name, scope.module, node), node)
            case ast.FunctionDef():
                self._declare_function(scope, node)
            case ast.ClassDef():
                self._declare_class(scope, node)
            case _:
                fail(source, node, "this statement cannot stand at module level", "put it into a @guest function")

    @staticmethod
    def _final(annotation: ast.expr) -> ast.expr | None:
        """The X of Final[X] (Constant None for a bare Final); None when it is no Final."""
        match annotation:
            case ast.Name(id="Final"):
                return ast.Constant(value=None)
            case ast.Subscript(value=ast.Name(id="Final"), slice=kind):
                return kind
            case ast.Name(id="TypeAlias"):
                return ast.Constant(value=None)
        return None

    def _define(self, scope: ModuleScope, name: str, symbol: Symbol, node: ast.AST) -> None:
        if name in scope.names:
            self.reporter.error(scope.module.source, node, f"{name} is already defined in this module")
        else:
            scope.names[name] = symbol

    def _declare_import(self, scope: ModuleScope, node: ast.ImportFrom) -> None:
        source = scope.module.source
        target = import_target(scope.module.name, node, source.path.name == "__init__.py")
        for alias in node.names:
            name = alias.asname or alias.name
            if alias.name == "*":
                self.reporter.error(source, alias, "'import *' is not guest code", "name what you import")
            elif target in KNOWN:
                if target == lang.__name__ and alias.name not in lang.__all__:
                    self.reporter.error(source, alias, f"the guest language has no {alias.name}")
                scope.names[name] = Builtin(alias.name)
            else:
                known = scope.names.get(name)
                symbol = Imported(target, alias.name, alias)
                if isinstance(known, Imported) and (known.module, known.name) == (target, alias.name):
                    continue
                self._define(scope, name, symbol, alias)

    def _declare_function(self, scope: ModuleScope, node: ast.FunctionDef) -> None:
        source, module = scope.module.source, scope.module
        found: list[str] = []
        error_code = False
        for decorator in node.decorator_list:
            match decorator:
                case ast.Name(id=("guest" | "naked" | "extern") as kind):
                    found.append(kind)
                case ast.Call(func=ast.Name(id="interrupt"), args=[], keywords=keywords):
                    found.append("interrupt")
                    for keyword in keywords:
                        if keyword.arg != "error_code" or not isinstance(keyword.value, ast.Constant):
                            self.reporter.error(source, decorator, "interrupt() takes error_code=True or False only")
                        else:
                            error_code = bool(keyword.value.value)
                case _:
                    self.reporter.error(
                        source, decorator, "unknown decorator", "functions: guest, naked, interrupt(), extern"
                    )
        kinds = [k for k in found if k != "guest"] or found
        if len(kinds) != 1:
            message = (
                "a guest function needs @guest" if not kinds else f"@{kinds[0]} and @{kinds[1]} exclude each other"
            )
            self.reporter.error(source, node, message)
            kinds = kinds[:1] or ["guest"]
        self._define(scope, node.name, Function(node.name, module, node, kinds[0], error_code), node)

    def _declare_class(self, scope: ModuleScope, node: ast.ClassDef) -> None:
        source = scope.module.source
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        if bases == ["IntEnum"]:
            if node.decorator_list:
                self.reporter.error(source, node.decorator_list[0], "an IntEnum takes no decorator")
            enum = EnumType(node.name, scope.module.name, node.lineno)
            enum.resolve = lambda kind, node=node: self._fill_enum(scope, node, kind)
            self._define(scope, node.name, TypeName(enum), node)
            return
        if bases not in (["Struct"], ["Union"]) or node.keywords:
            message = "a guest class derives from Struct, Union or IntEnum, and from nothing else"
            self.reporter.fail(source, node, message)
        struct = StructType(node.name, scope.module.name, node.lineno, union=bases == ["Union"])
        for decorator in node.decorator_list:
            match decorator:
                case ast.Name(id="packed"):
                    struct.packed = True
                case ast.Call(func=ast.Name(id="aligned"), args=[_], keywords=[]):
                    pass  # _fill_struct: its constant may be another module's
                case _:
                    self.reporter.error(source, decorator, "unknown decorator", "structures: packed, aligned(n)")
        struct.resolve = lambda kind, node=node: self._fill_struct(scope, node, kind)
        scope.structs[node.name] = node
        self._define(scope, node.name, TypeName(struct), node)

    def _fill_struct(self, scope: ModuleScope, node: ast.ClassDef, struct: StructType) -> None:
        module, source = scope.module, scope.module.source

        def again(_: StructType) -> None:
            self.reporter.fail(source, node, f"structure {node.name} contains itself", "hold it through ptr[...]")

        struct.resolve = again
        for decorator in node.decorator_list:
            if (call := call_of(decorator, "aligned")) is not None and len(call.args) == 1:
                struct.minimum_align = self._alignment(module, call.args[0])
        members: list[tuple[str, Type, int, int]] = []
        seen: set[str] = set()
        for child in node.body:
            try:
                match child:
                    case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
                        pass
                    case ast.AnnAssign(target=ast.Name(id=name)):
                        if name in seen:
                            self.reporter.fail(source, child, f"field {name} is defined twice")
                        seen.add(name)
                        kind, bits = self._field(module, child)
                        members.append((name, kind, bits, child.lineno))
                    case _:
                        self.reporter.fail(source, child, "a Struct holds annotated fields only")
            except Failure:
                if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                    members.append((child.target.id, POISON, 0, child.lineno))
        struct.lay_out(members)

    def _alignment(self, module: Module, node: ast.expr) -> int:
        try:
            boundary = self.integer(module, node)
        except Failure:
            return 1
        if boundary & (boundary - 1) or boundary < 1:
            self.reporter.error(module.source, node, "an alignment is a power of two")
            return 1
        return boundary

    def _field(self, module: Module, node: ast.AnnAssign) -> tuple[Type, int]:
        source = module.source
        kind = self.annotation(module, node.annotation)
        match node.value:
            case None:
                if isinstance(kind, ArrayType):
                    self.reporter.fail(source, node, "an array field needs its length", "= length(n)")
            case ast.Call(func=ast.Name(id="length"), args=[count], keywords=[]):
                if not isinstance(kind, ArrayType):
                    self.reporter.fail(source, node, f"length() belongs to array fields, not {kind}")
                kind = ArrayType(kind.of, self.integer(module, count))
            case ast.Call(func=ast.Name(id="bits"), args=[count], keywords=[]):
                width = self.integer(module, count)
                if not isinstance(kind, IntType | EnumType):
                    self.reporter.fail(source, node, f"a bit-field is an integer, not {kind}")
                if not 0 < width <= kind.size * 8:
                    self.reporter.fail(source, count, f"a bit-field of {kind} has 1 to {kind.size * 8} bits")
                return kind, width
            case _:
                self.reporter.fail(
                    source, node.value, "a field takes no default", "only length(n) and bits(n) stand here"
                )
        self.require_object(module, node.annotation, kind)
        return kind, 0

    def _fill_enum(self, scope: ModuleScope, node: ast.ClassDef, enum: EnumType) -> None:
        source = scope.module.source
        for child in node.body:
            match child:
                case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
                    continue
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    pass
                case _:
                    self.reporter.error(source, child, "an IntEnum holds NAME = constant only")
                    continue
            try:
                own = {k: Const(CONST, v) for k, v in enum.members.items()}
                number = self.integer(scope.module, value, own)
            except Failure:
                number = 0
            if not U32.low <= number <= U32.high:
                self.reporter.error(source, value, f"{number} does not fit an enumeration's 32 unsigned bits")
            enum.members[name] = number & U32.high
