# SPDX-License-Identifier: GPL-2.0-or-later
"""Resolving names, annotations and constants, lazily, so that modules may refer to each other in any order."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from . import constants
from .constants import Const, ConstantError, Text
from .diagnostics import Failure, Reporter
from .modules import Module
from .symbols import LANG_TYPES, Builtin, Constant, Function, Imported, ModuleScope, Symbol, TypeName, Variable
from .types import (
    BOOL,
    CONST,
    CSTR,
    NORETURN,
    POISON,
    USIZE,
    VOID,
    ArrayType,
    BoolType,
    EnumType,
    FnType,
    IntType,
    PtrType,
    StructType,
    Type,
    named,
)

_PLAIN_BUILTINS = {"min", "max", "abs", "len", "ord", "range", "bool"}
_FOREIGN_HINTS = {
    "int": "choose a width: u32, i32, ...",
    "str": "strings are cstr",
    "bytes": "bytes are array[u8] or ptr[u8]",
    "float": "there are no floating-point numbers in the kernel",
    "None": "write NULL for a pointer",
    "print": "use printk",
}


def call_of(node: ast.expr | None, name: str) -> ast.Call | None:
    """`node` as a call of the language's function `name`, else None."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
        return node
    return None


class Resolver:
    """Names and constants of a program whose modules' definitions stand in `scopes`."""

    scopes: dict[str, ModuleScope]
    config: Mapping[str, int]
    reporter: Reporter

    def lookup(self, module: Module, name: str) -> Symbol | None:
        """What a name means at module level, with imports followed; None when it is unknown."""
        symbol = self.scopes[module.name].names.get(name)
        seen = set()
        while isinstance(symbol, Imported):
            if (symbol.module, symbol.name) in seen or symbol.module not in self.scopes:
                raise Failure(name)
            seen.add((symbol.module, symbol.name))
            found = self.scopes[symbol.module].names.get(symbol.name)
            if found is None:
                self.reporter.fail(module.source, symbol.node, f"{symbol.module} has no name {symbol.name}")
            symbol = found
        if symbol is None and name in _PLAIN_BUILTINS:
            return Builtin(name)
        return symbol

    def require(self, module: Module, node: ast.AST, name: str) -> Symbol:
        """Like lookup, and an unknown name is an error."""
        symbol = self.lookup(module, name)
        if symbol is None:
            hint = _FOREIGN_HINTS.get(name, "")
            if (not hint and name in LANG_TYPES) or name in ("NULL", "addr", "cast", "sizeof"):
                hint = f"from kdumpsim.compiler.lang import {name}"
            self.reporter.fail(module.source, node, f"unknown name {name}", hint)
        return symbol

    def annotation(self, module: Module, node: ast.expr) -> Type:
        """The type an annotation means; arrays come without their length."""
        kind = self.type_of_expression(module, node)
        if kind is None:
            self.reporter.fail(module.source, node, "this is not a type")
        return kind

    def type_of_expression(self, module: Module, node: ast.expr) -> Type | None:
        """The type an expression names, or None if it names no type."""
        match node:
            case ast.Constant(value=None):
                return VOID
            case ast.Constant(value=str() as text):
                try:
                    inner = ast.parse(text, mode="eval").body
                except SyntaxError:
                    return None
                for child in ast.walk(inner):
                    ast.copy_location(child, node)
                return self.type_of_expression(module, inner)
            case ast.Name(id=name):
                match self.require(module, node, name):
                    case Builtin(name=known):
                        return LANG_TYPES.get(known)
                    case TypeName(type=kind):
                        return kind
                    case Constant() as constant:
                        value = self.constant(constant)
                        return value.type if isinstance(value, TypeName) else None
                return None
            case ast.Subscript(value=ast.Name(id=name), slice=inside):
                symbol = self.lookup(module, name)
                if not isinstance(symbol, Builtin):
                    return None
                if symbol.name == "ptr":
                    return PtrType(self._pointee(module, inside))
                if symbol.name == "array":
                    of = self.annotation(module, inside)
                    if isinstance(of, ArrayType) or of in (VOID, NORETURN):
                        self.reporter.fail(
                            module.source, inside, f"there is no array of {of}", "use a Struct for the row"
                        )
                    return ArrayType(of, None)
                if symbol.name == "fn":
                    return self._fn(module, node, inside)
        return None

    def _pointee(self, module: Module, node: ast.expr) -> Type:
        kind = self.annotation(module, node)
        if isinstance(kind, ArrayType):
            self.reporter.fail(module.source, node, "a pointer points to an element", f"ptr[{kind.of}]")
        return kind

    def _fn(self, module: Module, node: ast.AST, inside: ast.expr) -> Type:
        match inside:
            case ast.Tuple(elts=[ast.List(elts=params), result]):
                kinds = tuple(self.value_type(module, p) for p in params)
                return FnType(kinds, self.annotation(module, result))
        self.reporter.fail(module.source, node, "a function pointer's type is fn[[A, B], R]")

    def value_type(self, module: Module, node: ast.expr) -> Type:
        """An annotation of something passed in a register or on the stack: no structure, array or void."""
        kind = self.annotation(module, node)
        if isinstance(kind, StructType):
            self.reporter.fail(module.source, node, f"{kind} is a structure", f"pass ptr[{kind}] and addr(x)")
        if isinstance(kind, ArrayType):
            self.reporter.fail(module.source, node, "arrays are passed as pointers", f"ptr[{kind.of}]")
        if kind in (VOID, NORETURN):
            self.reporter.fail(module.source, node, f"nothing can have type {kind}")
        return kind

    def function_type(self, function: Function) -> FnType:
        """The type of a function, from its annotations."""
        if function.failed:
            raise Failure(function.name)
        if function.type is not None:
            return function.type
        module, args = function.module, function.node.args
        source = module.source
        before = len(self.reporter.diagnostics)
        extra = [*args.posonlyargs, *args.kwonlyargs, *([args.kwarg] if args.kwarg else []), *args.defaults]
        for wrong in extra:
            self.reporter.error(source, wrong, "guest functions have plain positional parameters, without defaults")
        params: list[Type] = []
        for arg in args.args:
            try:
                if arg.annotation is None:
                    self.reporter.fail(source, arg, f"parameter {arg.arg} has no type")
                params.append(self.value_type(module, arg.annotation))
            except Failure:
                params.append(POISON)
        if args.vararg is not None:
            annotation = args.vararg.annotation
            if annotation is None or self.annotation(module, annotation) != USIZE:
                self.reporter.error(source, args.vararg, "the words of a varargs call are *args: usize")
        result: Type = VOID
        if function.node.returns is None:
            hint = "'-> None' if it returns nothing"
            self.reporter.error(source, function.node.lineno, f"function {function.name} has no result type", hint)
        else:
            try:
                result = self.annotation(module, function.node.returns)
                if isinstance(result, StructType | ArrayType):
                    self.reporter.error(
                        source, function.node.returns, f"{result} cannot be returned", "return a pointer"
                    )
            except Failure:
                pass
        function.type = FnType(tuple(params), result, args.vararg is not None)
        function.failed = len(self.reporter.diagnostics) > before
        if function.failed:
            raise Failure(function.name)
        return function.type

    # -- constants ---------------------------------------------------------------------------------------------------

    def constant(self, symbol: Constant) -> Const | Text | TypeName:
        """The value of a module-level constant."""
        source = symbol.module.source
        if symbol.failed:
            raise Failure(symbol.name)
        if symbol.value is None:
            if symbol.busy:
                self.reporter.fail(source, symbol.node, f"constant {symbol.name} depends on itself")
            symbol.busy = True
            try:
                symbol.value = self._evaluate_constant(symbol)
            except Failure:
                symbol.failed = True
                raise
            finally:
                symbol.busy = False
        return symbol.value

    def _evaluate_constant(self, symbol: Constant) -> Const | Text | TypeName:
        module, node, annotation = symbol.module, symbol.node, symbol.annotation
        if isinstance(node, ast.Subscript | ast.Name):
            kind = self.type_of_expression(module, node)
            if kind is not None:
                return TypeName(named(kind, symbol.name))
        value = self.evaluate(module, node)
        if annotation is None or (isinstance(annotation, ast.Constant) and annotation.value is None):
            return value
        declared = self.annotation(module, annotation)
        if isinstance(value, Text):
            if declared != CSTR:
                self.reporter.fail(
                    module.source, annotation, f"a string constant is Final[cstr], not Final[{declared}]"
                )
            return value
        if isinstance(declared, IntType):
            if not declared.low <= value.value <= declared.high:
                self.reporter.fail(module.source, node, f"{value.value} does not fit {declared}")
            return Const(declared, value.value)
        if declared == BOOL or isinstance(declared, EnumType):
            return Const(declared, value.value)
        self.reporter.fail(module.source, annotation, f"there are no constants of type {declared}")

    def integer(self, module: Module, node: ast.expr, names: Mapping[str, Const] | None = None) -> int:
        """Evaluate a constant expression that must be an integer."""
        value = self.evaluate(module, node, names)
        if isinstance(value, Text):
            self.reporter.fail(module.source, node, "an integer constant is needed here, not a string")
        return value.value

    def evaluate(self, module: Module, node: ast.expr, names: Mapping[str, Const] | None = None) -> Const | Text:
        """Evaluate a constant expression; `names` are names besides the module's."""
        value = self.try_constant(module, node, names)
        if value is None:
            self.reporter.fail(module.source, node, "this is not a constant")
        return value

    def try_constant(
        self, module: Module, node: ast.expr, names: Mapping[str, Const] | None = None
    ) -> Const | Text | None:
        """The value of a constant expression, or None when it is not one."""

        def number(child: ast.expr) -> Const | None:
            value = self.try_constant(module, child, names)
            return value if isinstance(value, Const) else None

        try:
            match node:
                case ast.Constant(value=bool() as flag):
                    return Const(BOOL, int(flag))
                case ast.Constant(value=int() as integer):
                    return Const(CONST, integer)
                case ast.Constant(value=str() as text):
                    return Text(text.encode())
                case ast.Name(id=name):
                    if names and name in names:
                        return names[name]
                    symbol = self.lookup(module, name)
                    if isinstance(symbol, Constant):
                        value = self.constant(symbol)
                        return None if isinstance(value, TypeName) else value
                case ast.Attribute(value=ast.Name(id=name), attr=member) if not (names and name in names):
                    symbol = self.lookup(module, name)
                    if isinstance(symbol, TypeName) and isinstance(symbol.type, EnumType):
                        return self.enum_member(module, node, symbol.type, member)
                case ast.BinOp(left=left, op=op, right=right):
                    a, b = number(left), number(right)
                    return constants.binary(op, a, b) if a and b else None
                case ast.UnaryOp(op=unary, operand=operand):
                    a = number(operand)
                    return constants.unary(unary, a) if a else None
                case ast.BoolOp(op=bool_op, values=children):
                    parts = [number(child) for child in children]
                    if all(parts):
                        truths = [bool(p and p.value) for p in parts]
                        return Const(BOOL, int(all(truths) if isinstance(bool_op, ast.And) else any(truths)))
                case ast.Compare(left=left, ops=ops, comparators=comparators):
                    operands = [number(child) for child in (left, *comparators)]
                    known = [o for o in operands if o]
                    if len(known) == len(operands) and all(type(o) in constants.COMPARE for o in ops):
                        pairs = zip(known, known[1:], ops, strict=False)
                        results = [constants.COMPARE[type(o)](a.value, b.value) for a, b, o in pairs]
                        return Const(BOOL, int(all(results)))
                case ast.IfExp(test=test, body=body, orelse=orelse):
                    if (a := number(test)) is not None:
                        return self.try_constant(module, body if a.value else orelse, names)
                case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                    if not (names and name in names):
                        return self._constant_call(module, node, name, args, number)
        except ConstantError as error:
            self.reporter.fail(module.source, node, error.message, error.hint)
        return None

    def enum_member(self, module: Module, node: ast.AST, enum: EnumType, member: str) -> Const:
        """E.MEMBER."""
        enum.complete()
        if member not in enum.members:
            self.reporter.fail(module.source, node, f"{enum} has no member {member}")
        return Const(enum, enum.members[member])

    def _constant_call(
        self,
        module: Module,
        node: ast.Call,
        name: str,
        args: Sequence[ast.expr],
        number: Callable[[ast.expr], Const | None],
    ) -> Const | None:
        symbol = self.lookup(module, name)
        kind: Type | None = None
        if isinstance(symbol, TypeName):
            kind = symbol.type
        elif isinstance(symbol, Builtin):
            kind = LANG_TYPES.get(symbol.name)
        if isinstance(kind, IntType | EnumType | BoolType):
            if len(args) == 1 and (value := number(args[0])) is not None:
                return constants.wrap_cast(kind, value.value)
            return None
        if not isinstance(symbol, Builtin):
            return None
        match symbol.name, args:
            case "sizeof", [what]:
                target = self.type_of_expression(module, what) if not self._is_variable(module, what) else None
                if target is None:
                    return None
                self.require_object(module, what, target)
                return Const(CONST, target.size)
            case "offsetof", [what, ast.Constant(value=str() as path)]:
                return Const(CONST, self.field_path(module, node, self.annotation(module, what), path)[0])
            case "ord", [ast.Constant(value=str() as text)] if len(text) == 1 and ord(text) < 256:
                return Const(CONST, ord(text))
            case "config", [ast.Constant(value=str() as key), default]:
                if (value := number(default)) is None:
                    self.reporter.fail(module.source, default, "the default must be a constant")
                return Const(value.type, self.config.get(key, value.value))
            case (("min" | "max"), [_, *_]):
                values = [found for arg in args if (found := number(arg)) is not None]
                if len(values) == len(args):
                    return (min if symbol.name == "min" else max)(values, key=lambda v: v.value)
            case "abs", [what]:
                if (value := number(what)) is not None:
                    return Const(value.type, abs(value.value))
            case "len", [ast.Name(id=array)]:
                variable = self.lookup(module, array)
                if isinstance(variable, Variable):
                    kind = self.variable_type(variable)
                    if isinstance(kind, ArrayType) and kind.count is not None:
                        return Const(CONST, kind.count)
        return None

    def _is_variable(self, module: Module, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and isinstance(self.lookup(module, node.id), Variable | None)

    def field_path(self, module: Module, node: ast.AST, kind: Type, path: str) -> tuple[int, Type]:
        """Offset in bytes and type of a dotted path of fields in a structure."""
        offset = 0
        for name in path.split("."):
            if not isinstance(kind, StructType):
                self.reporter.fail(module.source, node, f"{kind} is not a structure")
            kind.complete()
            if name not in kind.fields:
                self.reporter.fail(
                    module.source, node, f"{kind} has no field {name}", f"it has {', '.join(kind.fields)}"
                )
            member = kind.fields[name]
            if member.bits:
                self.reporter.fail(module.source, node, f"bit-field {name} has no offset in bytes")
            offset += member.offset
            kind = member.type
        return offset, kind

    def variable_type(self, variable: Variable) -> Type:
        """The type of a global, its array length included."""
        if variable.type is None:
            self._settle_variable(variable)
        assert variable.type is not None
        return variable.type

    def _settle_variable(self, variable: Variable) -> None:
        """Find a global's type, section, alignment and initialiser."""
        module, node = variable.module, variable.node
        source, fail = module.source, self.reporter.fail
        variable.type = POISON  # stays if what follows fails
        kind = self.annotation(module, node.annotation)
        value = node.value
        if value is None:
            fail(
                source,
                node,
                f"global {variable.name} has no initialiser",
                "= 0, = NULL, = Struct(), = length(n) or = external()",
            )
        value = self.chosen(module, value)
        if (call := call_of(value, "external")) is not None:
            if call.args or call.keywords:
                fail(source, call, "external() takes no arguments")
            variable.external = True
            variable.type = kind
            return
        if (call := call_of(value, "placed")) is not None:
            if len(call.args) != 2 or call.keywords:
                fail(source, call, "placed(section, value) takes two arguments")
            section = self.evaluate(module, call.args[0])
            if not isinstance(section, Text):
                fail(source, call.args[0], "a section's name is a string")
            variable.section, value = section.data.decode(), call.args[1]
        if (call := call_of(value, "length")) is not None:
            if not isinstance(kind, ArrayType):
                fail(source, call, f"length() makes an array, not {kind}")
            for keyword in call.keywords:
                if keyword.arg != "align":
                    fail(source, keyword, "length(count, align=bytes) takes nothing else here")
                variable.align = self.integer(module, keyword.value)
                if variable.align < 1 or variable.align & (variable.align - 1):
                    fail(source, keyword.value, "an alignment is a power of two")
            if len(call.args) != 1:
                fail(source, call, "length(count) takes one count")
            kind = ArrayType(kind.of, self.integer(module, call.args[0]))
            value = None
        elif isinstance(kind, ArrayType):
            kind = ArrayType(kind.of, self._count(variable, value))
        self.require_object(module, node.annotation, kind)
        variable.type, variable.initializer = kind, value

    def chosen(self, module: Module, node: ast.expr) -> ast.expr:
        """The arm of `a if c else b` that a constant condition leaves; anything else as it is."""
        while isinstance(node, ast.IfExp) and (test := self.try_constant(module, node.test)) is not None:
            node = node.body if isinstance(test, Text) or test.value else node.orelse
        return node

    def _count(self, variable: Variable, value: ast.expr | None) -> int:
        """How many elements an array's initialiser gives it."""
        module = variable.module
        match value:
            case ast.List(elts=items):
                return len(items)
            case ast.Constant(value=bytes() as data):
                return len(data)
            case ast.BinOp(left=ast.List(elts=items), op=ast.Mult(), right=times):
                return len(items) * self.integer(module, times)
        self.reporter.fail(
            module.source, value or variable.node, 'an array\'s initialiser is length(n), a list or b"..."'
        )

    def require_object(self, module: Module, node: ast.AST, kind: Type) -> None:
        """Fail unless something of this type can exist; completes structures, so that circles are found."""
        if isinstance(kind, ArrayType):
            self.require_object(module, node, kind.of)
        elif kind in (VOID, NORETURN, CONST):
            self.reporter.fail(module.source, node, f"nothing can have type {kind}", "use ptr[void]")
        elif isinstance(kind, StructType):
            kind.complete()
