# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of a whole guest program: what each module defines, imports and re-exports.

`Program` turns the statements at module level into symbols, resolves names and annotations, and evaluates constants,
all lazily, so that modules may refer to each other in any order.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import constants
from .constants import Const, ConstantError, Text
from .diagnostics import Failure, Reporter, Source
from .modules import KNOWN, Module, import_target
from .types import (
    BOOL,
    CONST,
    CSTR,
    INTS,
    NORETURN,
    POISON,
    U32,
    VOID,
    ArrayType,
    BoolType,
    EnumType,
    FnType,
    IntType,
    PtrType,
    StructType,
    Type,
)  # fmt: skip

LANG_TYPES: dict[str, Type] = {**INTS, "usize": U32, "bool": BOOL, "cstr": CSTR, "void": VOID, "NoReturn": NORETURN}
_PLAIN_BUILTINS = {"min", "max", "abs", "len", "ord", "range", "bool"}
_FOREIGN_HINTS = {
    "int": "choose a width: u32, i32, ...",
    "str": "strings are cstr",
    "bytes": "bytes are array[u8] or ptr[u8]",
    "float": "there are no floating-point numbers in the kernel",
    "None": "write NULL for a pointer",
    "print": "use printk",
}


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


class Program:
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

    # -- declarations ------------------------------------------------------------------------------------------------

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
        if bases != ["Struct"] or node.keywords:
            self.reporter.fail(source, node, "a guest class derives from Struct or IntEnum, and from nothing else")
        struct = StructType(node.name, scope.module.name, node.lineno)
        for decorator in node.decorator_list:
            match decorator:
                case ast.Name(id="packed"):
                    struct.packed = True
                case ast.Call(func=ast.Name(id="aligned"), args=[boundary], keywords=[]):
                    try:
                        struct.minimum_align = self.integer(scope.module, boundary)
                    except Failure:
                        continue
                    if struct.minimum_align & (struct.minimum_align - 1) or struct.minimum_align < 1:
                        self.reporter.error(source, boundary, "an alignment is a power of two")
                        struct.minimum_align = 1
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

    def require_object(self, module: Module, node: ast.AST, kind: Type) -> None:
        """Fail unless something of this type can exist; completes structures, so that circles are found."""
        if isinstance(kind, ArrayType):
            self.require_object(module, node, kind.of)
        elif kind in (VOID, NORETURN, CONST):
            self.reporter.fail(module.source, node, f"nothing can have type {kind}", "use ptr[void]")
        elif isinstance(kind, StructType):
            kind.complete()

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

    # -- names and types ---------------------------------------------------------------------------------------------

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
            if annotation is None or self.annotation(module, annotation) != U32:
                self.reporter.error(source, args.vararg, "the words of a varargs call are *args: u32")
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
                return TypeName(kind)
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

    def _constant_call(self, module, node, name, args, number) -> Const | None:  # type: ignore[no-untyped-def]
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
                values = [number(arg) for arg in args]
                if all(v is not None for v in values):
                    pick = min if symbol.name == "min" else max
                    return pick(values, key=lambda v: v.value)  # type: ignore[no-any-return]
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
        from .statics import settle_variable

        if variable.type is None:
            settle_variable(self, variable)
        assert variable.type is not None
        return variable.type

    def source(self, module: str) -> Source:
        """The source of a module."""
        return self.scopes[module].module.source
