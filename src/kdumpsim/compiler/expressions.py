# SPDX-License-Identifier: GPL-2.0-or-later
"""Expressions of function bodies: checked and lowered to LLVM instructions in one walk."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod

from . import constants
from .builder import Builder, Place, Value, raise_poison
from .constants import Const, ConstantError, Text
from .symbols import Builtin, Constant, Function, TypeName, Variable
from .types import (
    BOOL,
    CONST,
    CSTR,
    NULL,
    U8,
    U32,
    USIZE,
    VOID_PTR,
    WORD_IR,
    ArrayType,
    BoolType,
    ConstType,
    EnumType,
    FnType,
    IntType,
    NullType,
    PoisonType,
    PtrType,
    StructType,
    Type,
    as_int,
    is_pointer,
    join,
)  # fmt: skip

_PREDICATES: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip
_SIMPLE: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
}  # fmt: skip
_UNSUPPORTED: dict[type[ast.expr], tuple[str, str]] = {
    ast.NamedExpr: ("':=' is not guest code", "assign in a statement of its own"),
    ast.Lambda: ("lambda is not guest code", "write a @guest function"),
    ast.ListComp: ("comprehensions are not guest code", "write a loop"),
    ast.GeneratorExp: ("comprehensions are not guest code", "write a loop"),
    ast.JoinedStr: ("an f-string only stands as the format of a varargs call", 'printk(f"...")'),
    ast.List: ("a list only initialises a global array", "fill a local array element by element"),
    ast.Tuple: ("there are no tuples in guest code", "one assignment for each name"),
    ast.Slice: ("there are no slices in guest code", "addr(a[i]) and a length"),
}


class Expressions(Builder, ABC):
    """Lowers expressions; calls are in the subclass :class:`~kdumpsim.compiler.calls.Calls`."""

    @abstractmethod
    def call(self, node: ast.Call, expected: Type | None) -> Value:
        """Lower a call."""

    # -- values ------------------------------------------------------------------------------------------------------

    def convert_from(self, node: ast.expr, target: Type) -> Value:
        """Lower an expression and convert it implicitly."""
        return self.convert(self.lower(node, target), target, node)

    def lower(self, node: ast.expr, expected: Type | None = None) -> Value:
        """The value of an expression; `expected` is only a hint for constants that meet no other type."""
        match node:
            case ast.Constant():
                return self._literal(node)
            case ast.Name():
                return self._name(node)
            case ast.BinOp():
                return self._binary(node, expected)
            case ast.UnaryOp():
                return self._unary(node, expected)
            case ast.BoolOp():
                return self._truth_value(node)
            case ast.Compare():
                return self._truth_value(node) if len(node.ops) > 1 else self._compare(node)
            case ast.IfExp():
                return self._choice(node, expected)
            case ast.Call():
                self.at(node)
                return self.call(node, expected)
            case ast.Attribute(value=ast.Name(id=name), attr=member) if not self.is_local(name):
                symbol = self.program.lookup(self.module, name)
                if isinstance(symbol, TypeName) and isinstance(symbol.type, EnumType):
                    return self.from_const(self.program.enum_member(self.module, node, symbol.type, member))
                return self.load(self.place(node), node)
            case ast.Attribute() | ast.Subscript():
                return self.load(self.place(node), node)
        message, hint = _UNSUPPORTED.get(type(node), (f"{type(node).__name__} is not guest code", ""))
        self.fail(node, message, hint)

    def is_local(self, name: str) -> bool:
        """Does a name belong to this function?"""
        return name in self.locals or (name in self.assigned and name not in self.globals)

    def _literal(self, node: ast.Constant) -> Value:
        match node.value:
            case bool() as flag:
                return self.constant(BOOL, int(flag))
            case int() as number:
                return self.constant(CONST, number)
            case str() as text:
                return Value(CSTR, self.unit.string(text.encode()))
            case None:
                self.fail(node, "None is no guest value", "NULL")
            case bytes():
                self.fail(node, 'b"..." initialises global arrays only', "a string literal is a cstr")
        self.fail(node, f"{type(node.value).__name__} constants do not exist in guest code")

    def _name(self, node: ast.Name) -> Value:
        if self.is_local(node.id):
            return self.load(self.place(node), node)
        match self.program.require(self.module, node, node.id):
            case Constant() as constant:
                value = self.program.constant(constant)
                if isinstance(value, Text):
                    return Value(CSTR, self.unit.string(value.data))
                if isinstance(value, Const):
                    return self.from_const(value)
            case Variable():
                return self.load(self.place(node), node)
            case Function() as function:
                return Value(self.program.function_type(function), self.unit.function(function))
            case Builtin(name="NULL"):
                return Value(NULL, "null")
        self.fail(node, f"{node.id} is not a value")

    # -- places ------------------------------------------------------------------------------------------------------

    def place(self, node: ast.expr) -> Place:
        """The place an expression names."""
        match node:
            case ast.Name(id=name):
                if name in self.locals:
                    return self.locals[name].place
                if self.is_local(name):
                    hint = ""
                    if isinstance(self.program.lookup(self.module, name), Variable):
                        hint = f"'global {name}' if the global is meant"
                    self.fail(node, f"{name} is used before it is assigned", hint)
                symbol = self.program.require(self.module, node, name)
                if isinstance(symbol, Variable):
                    kind = self.program.variable_type(symbol)
                    return Place(kind, self.unit.variable(symbol), kind.align)
                self.fail(node, f"{name} is not a variable")
            case ast.Attribute():
                return self._field(node)
            case ast.Subscript():
                return self._element(node)
        self.fail(node, "this is not a place in memory", "a variable, field or element")

    def _aggregate(self, node: ast.expr) -> Place | Value:
        """The base of a field or element: a place of structure or array type, else a value."""
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            outside = isinstance(node, ast.Name) and not self.is_local(node.id)
            if outside and not isinstance(self.program.require(self.module, node, ast.unparse(node)), Variable):
                return self.lower(node)
            place = self.place(node)
            return place if isinstance(place.type, StructType | ArrayType) else self.load(place, node)
        return self.lower(node)

    def _field(self, node: ast.Attribute) -> Place:
        base = self._aggregate(node.value)
        kind = base.type
        if isinstance(kind, PoisonType):
            raise_poison()
        align = base.align if isinstance(base, Place) else 0
        if isinstance(base, Value):
            if isinstance(kind, PtrType) and isinstance(kind.to, StructType):
                kind = kind.to
                align = kind.align
            else:
                hint = "cast(ptr[T], p) first" if is_pointer(kind) else ""
                self.fail(node, f"{kind} has no field {node.attr}", hint)
        if not isinstance(kind, StructType):
            self.fail(node, f"{kind} has no field {node.attr}", "index it first" if isinstance(kind, ArrayType) else "")
        kind.complete()
        member = kind.fields.get(node.attr)
        if member is None:
            self.fail(node, f"{kind} has no field {node.attr}", f"it has {', '.join(kind.fields)}")
        if isinstance(member.type, PoisonType):
            raise_poison()
        inner = min(member.type.align, align, 1 if kind.packed else 4)
        return Place(member.type, self.offset(base.ir, member.offset), inner, member.bits, member.bit)

    def _element(self, node: ast.Subscript) -> Place:
        base = self._aggregate(node.value)
        kind = base.type
        if isinstance(kind, PoisonType):
            raise_poison()
        if isinstance(kind, PtrType):
            of, align = kind.to, kind.to.align
        elif isinstance(kind, ArrayType):
            of, align = kind.of, base.align if isinstance(base, Place) else kind.align
        else:
            self.fail(node, f"{kind} has no elements")
        if isinstance(node.slice, ast.Slice | ast.Tuple):
            self.lower(node.slice)
        index = self.lower(node.slice)
        count = kind.count if isinstance(kind, ArrayType) else None
        if index.const is not None and count is not None and not 0 <= index.const < count:
            self.fail(node.slice, f"index {index.const} is outside the array of {count}")
        return Place(of, self.step(base.ir, of, index, node, node.slice), min(align, of.align))

    def step(
        self, base: str, of: Type, index: Value, node: ast.AST, index_node: ast.AST, negative: bool = False
    ) -> str:
        """The address `index` elements of type `of` from `base`."""
        if as_int(of) is None and not isinstance(of, BoolType | StructType) and not is_pointer(of):
            self.fail(node, f"pointers to {of} cannot be stepped", "cast(ptr[u8], p)")
        if not of.size:
            self.fail(node, f"{of} has no size")
        number = as_int(index.type) if not isinstance(index.type, ConstType | BoolType) else USIZE
        if isinstance(index.type, PoisonType):
            raise_poison()
        if number is None:
            self.fail(index_node, f"an index is an integer, not {index.type}")
        if index.const is not None:
            return self.offset(base, -index.const * of.size if negative else index.const * of.size)
        if number.bits > USIZE.bits:
            self.fail(index_node, f"an index of {number} is too wide", "usize(...)")
        text = self.resize(index, IntType(USIZE.bits, number.signed)).ir
        if negative:
            text = self.temp(f"sub {WORD_IR} 0, {text}")
        return self.temp(f"getelementptr {of.memory}, ptr {base}, {WORD_IR} {text}")

    # -- operators ---------------------------------------------------------------------------------------------------

    def _floating(self, node: ast.expr) -> bool:
        """Is this a shift of a constant by a variable, whose type the context must give?"""
        match node:
            case ast.BinOp(left=left, op=ast.LShift() | ast.RShift()):
                return isinstance(left, ast.Constant | ast.Name) and self._open_constant(left)
            case ast.BinOp(left=left, right=right):
                return (self._floating(left) and (self._floating(right) or self._open_constant(right))) or (
                    self._open_constant(left) and self._floating(right)
                )
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return self._floating(operand)
        return False

    def _open_constant(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name) and self.is_local(node.id):
            return False
        if not isinstance(node, ast.Constant | ast.Name):
            return False
        value = self.program.try_constant(self.module, node)
        return isinstance(value, Const) and isinstance(value.type, ConstType)

    def _binary(self, node: ast.BinOp, expected: Type | None) -> Value:
        wanted = expected if expected is not None and as_int(expected) else None
        if isinstance(node.op, ast.LShift | ast.RShift):
            left = self.lower(node.left, wanted)
            return self.shift(node.op, left, self.lower(node.right), node, wanted)
        if self._floating(node.left) and not self._floating(node.right):
            right = self.lower(node.right, wanted)
            left = self.lower(node.left, wanted if right.const is not None else right.type)
        else:
            left = self.lower(node.left, wanted)
            right = self.lower(node.right, wanted if left.const is not None else left.type)
        self.at(node)
        return self.arithmetic(node.op, left, right, node)

    def shift(
        self, op: ast.operator, left: Value, count: Value, node: ast.BinOp | ast.AugAssign, wanted: Type | None
    ) -> Value:
        """`left << count` or `left >> count`, defined for every count."""
        if left.const is not None and count.const is not None:
            return self._fold(op, left, count, node)
        if isinstance(left.type, ConstType):
            if wanted is None:
                self.fail(node, "the constant shifted here meets no type", "u32(1) << n")
            left = self.convert(left, as_int(wanted) or U32, node)
        number, counter = as_int(left.type), as_int(count.type)
        if isinstance(count.type, ConstType):
            counter = number
        for part in (left, count):
            if isinstance(part.type, PoisonType):
                raise_poison()
        if number is None or counter is None:
            self.fail(node, f"{left.type} cannot be shifted by {count.type}", "integers only")
        word = "shl" if isinstance(op, ast.LShift) else "ashr" if number.signed else "lshr"
        last = number.bits - 1
        if count.const is not None:
            if count.const < 0:
                self.fail(node, "negative shift count")
            if count.const > last:
                if word != "ashr":
                    return self.constant(number, 0)
                return Value(number, self.temp(f"ashr {number.ir} {left.ir}, {last}"))
            return Value(number, self.temp(f"{word} {number.ir} {left.ir}, {count.const}"))
        by = self.resize(count, IntType(number.bits, False))
        if count.limit is not None and count.limit <= last and counter.bits <= number.bits:
            return Value(number, self.temp(f"{word} {number.ir} {left.ir}, {by.ir}"))
        # The comparison is made in the count's own width: a wide count must not be cut first.
        inside = self.temp(f"icmp ule {counter.ir} {count.ir}, {last}")
        if word == "ashr":
            capped = self.temp(f"select i1 {inside}, {number.ir} {by.ir}, {number.ir} {last}")
            return Value(number, self.temp(f"ashr {number.ir} {left.ir}, {capped}"))
        shifted = self.temp(f"{word} {number.ir} {left.ir}, {by.ir}")
        return Value(number, self.temp(f"select i1 {inside}, {number.ir} {shifted}, {number.ir} 0"))

    def _fold(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        try:
            a, b = Const(left.type, left.const or 0), Const(right.type, right.const or 0)
            return self.from_const(constants.binary(op, a, b))
        except ConstantError as error:
            self.fail(node, error.message, error.hint)

    def meet(self, left: Value, right: Value, node: ast.AST) -> tuple[IntType, Value, Value]:
        """The common integer type of two operands, and both in it."""
        for value in (left, right):
            if isinstance(value.type, PoisonType):
                raise_poison()
        a, b = (as_int(v.type) or (IntType(8, False) if isinstance(v.type, BoolType) else None) for v in (left, right))
        if isinstance(left.type, ConstType) and isinstance(right.type, ConstType):
            a = b = self.settled(left, node).type  # type: ignore[assignment]
        a = b if isinstance(left.type, ConstType) else a
        b = a if isinstance(right.type, ConstType) else b
        if a is None or b is None:
            self.fail(node, f"{left.type} and {right.type} do not mix")
        kind = join(a, b)
        if kind is None:
            # A typed constant goes over to the other side's type if that holds it.
            for value, other in ((left, b), (right, a)):
                if value.const is not None and other.low <= value.const <= other.high:
                    kind = other
        if kind is None:
            wide = max(a, b, key=lambda t: t.bits)
            self.fail(node, f"{left.type} and {right.type} do not mix", f"cast one side, e.g. {wide}(...)")
        return kind, self.convert(left, kind, node), self.convert(right, kind, node)

    def arithmetic(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        """`left op right` for every operator but the shifts."""
        if left.const is not None and right.const is not None:
            return self._fold(op, left, right, node)
        if is_pointer(left.type) or is_pointer(right.type):
            return self._pointer_arithmetic(op, left, right, node)
        if isinstance(op, ast.Div):
            self.fail(node, "'/' is not an integer operation", "write // (it floors, as in Python)")
        both_bool = isinstance(left.type, BoolType) and isinstance(right.type, BoolType)
        if both_bool and isinstance(op, constants.BITWISE):
            return Value(BOOL, self.temp(f"{_SIMPLE[type(op)]} i1 {left.ir}, {right.ir}"))
        if isinstance(left.type, BoolType) and not isinstance(right.type, IntType):
            self.fail(node, f"{left.type} {constants.OPERATORS[type(op)]} {right.type} is no arithmetic", "u32(b)")
        if isinstance(right.type, BoolType) and not isinstance(left.type, IntType):
            self.fail(node, f"{left.type} {constants.OPERATORS[type(op)]} {right.type} is no arithmetic", "u32(b)")
        if isinstance(op, ast.BitAnd):
            left, right = self.as_mask(left, right.type), self.as_mask(right, left.type)
        if right.const == 0 and isinstance(op, ast.FloorDiv | ast.Mod):
            self.fail(node, "division by zero")
        kind, a, b = self.meet(left, right, node)
        if isinstance(op, ast.FloorDiv | ast.Mod):
            return self._divide(isinstance(op, ast.Mod), kind, a, b)
        if type(op) not in _SIMPLE:
            self.fail(node, f"operator {constants.OPERATORS.get(type(op), '?')} does not exist in guest code")
        limit = None
        if isinstance(op, ast.BitAnd):
            bounds = [v.limit for v in (a, b) if v.limit is not None and v.limit >= 0]
            limit = min(bounds, default=None)
        return Value(kind, self.temp(f"{_SIMPLE[type(op)]} {kind.ir} {a.ir}, {b.ir}"), limit=limit)

    def as_mask(self, value: Value, other: Type) -> Value:
        """A negative constant (`~FLAG`) as the mask of an `&` with an unsigned number, where wrapping loses nothing."""
        number = as_int(other)
        if not isinstance(value.type, ConstType) or number is None or number.signed or value.const is None:
            return value
        return self.constant(number, number.wrap(value.const)) if -number.high <= value.const < 0 else value

    def _divide(self, modulo: bool, kind: IntType, a: Value, b: Value) -> Value:
        ir = kind.ir
        if not kind.signed:
            limit = b.const - 1 if modulo and b.const is not None else None
            return Value(kind, self.temp(f"{'urem' if modulo else 'udiv'} {ir} {a.ir}, {b.ir}"), limit=limit)
        if b.const is not None and b.const > 0 and b.const & (b.const - 1) == 0:
            text = f"and {ir} {a.ir}, {b.const - 1}" if modulo else f"ashr {ir} {a.ir}, {b.const.bit_length() - 1}"
            return Value(kind, self.temp(text))
        # Floor: where the remainder is not zero and has another sign than the divisor, go one step down.
        remainder = self.temp(f"srem {ir} {a.ir}, {b.ir}")
        crossed = self.temp(f"icmp slt {ir} {self.temp(f'xor {ir} {remainder}, {b.ir}')}, 0")
        off = self.temp(f"and i1 {self.temp(f'icmp ne {ir} {remainder}, 0')}, {crossed}")
        if modulo:
            step = self.temp(f"select i1 {off}, {ir} {b.ir}, {ir} 0")
            return Value(kind, self.temp(f"add {ir} {remainder}, {step}"))
        quotient = self.temp(f"sdiv {ir} {a.ir}, {b.ir}")
        return Value(kind, self.temp(f"sub {ir} {quotient}, {self.temp(f'zext i1 {off} to {ir}')}"))

    def _pointer_arithmetic(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        add, subtract = isinstance(op, ast.Add), isinstance(op, ast.Sub)
        if isinstance(left.type, PtrType) and not is_pointer(right.type) and (add or subtract):
            return Value(left.type, self.step(left.ir, left.type.to, right, node, node, negative=subtract))
        if isinstance(right.type, PtrType) and not is_pointer(left.type) and add:
            return Value(right.type, self.step(right.ir, right.type.to, left, node, node))
        if subtract and left.type == right.type and isinstance(left.type, PtrType):
            size = left.type.to.size
            if not size:
                self.fail(node, f"{left.type} has no elements to count", "usize(p) - usize(q)")
            a, b = (self.temp(f"ptrtoint ptr {v.ir} to {WORD_IR}") for v in (left, right))
            distance = self.temp(f"sub {WORD_IR} {a}, {b}")
            number = IntType(USIZE.bits, True)
            return Value(number, distance if size == 1 else self.temp(f"sdiv exact {WORD_IR} {distance}, {size}"))
        name = constants.OPERATORS[type(op)]
        self.fail(node, f"{left.type} {name} {right.type} does not exist", "usize(p) is a pointer's address")

    def _unary(self, node: ast.UnaryOp, expected: Type | None) -> Value:
        if isinstance(node.op, ast.Not):
            truth = self.truth(self.lower(node.operand), node.operand)
            if truth in ("true", "false"):
                return self.constant(BOOL, int(truth == "false"))
            return Value(BOOL, self.temp(f"xor i1 {truth}, true"))
        value = self.lower(node.operand, expected)
        if isinstance(value.type, PoisonType):
            raise_poison()
        if value.const is not None:
            return self.from_const(constants.unary(node.op, Const(value.type, value.const)))
        kind = as_int(value.type)
        if kind is None:
            self.fail(node, f"{value.type} has no such operator", "not b" if isinstance(value.type, BoolType) else "")
        if isinstance(node.op, ast.USub):
            return Value(kind, self.temp(f"sub {kind.ir} 0, {value.ir}"))
        if isinstance(node.op, ast.Invert):
            return Value(kind, self.temp(f"xor {kind.ir} {value.ir}, -1"))
        return value

    # -- truth -------------------------------------------------------------------------------------------------------

    def _compare(self, node: ast.Compare) -> Value:
        left_node, right_node = node.left, node.comparators[0]
        if self._floating(left_node) and not self._floating(right_node):
            right = self.lower(right_node)
            left = self.lower(left_node, right.type)
        else:
            left = self.lower(left_node)
            right = self.lower(right_node, left.type)
        self.at(node)
        return self.comparison(node.ops[0], left, right, node)

    def comparison(self, op: ast.cmpop, left: Value, right: Value, node: ast.AST) -> Value:
        """`left op right` as a bool."""
        name = _PREDICATES.get(type(op))
        if name is None:
            self.fail(node, "'is' and 'in' are not guest code", "== and !=")
        if left.const is not None and right.const is not None:
            return self.constant(BOOL, int(constants.COMPARE[type(op)](left.const, right.const)))
        if isinstance(left.type, BoolType) and isinstance(right.type, BoolType) and name in ("eq", "ne"):
            return Value(BOOL, self.temp(f"icmp {name} i1 {left.ir}, {right.ir}"))
        if is_pointer(left.type):
            right = self.decayed(right)
        if is_pointer(right.type):
            left = self.decayed(left)
        if is_pointer(left.type) and is_pointer(right.type):
            self._same_pointers(left, right, node)
            word = name if name in ("eq", "ne") else f"u{name}"
            return Value(BOOL, self.temp(f"icmp {word} ptr {left.ir}, {right.ir}"))
        if is_pointer(left.type) or is_pointer(right.type):
            self.fail(node, f"{left.type} and {right.type} do not compare", "NULL, or usize(p)")
        if isinstance(left.type, EnumType) and isinstance(right.type, EnumType) and left.type is not right.type:
            self.fail(node, f"{left.type} and {right.type} do not compare", "u32(...)")
        kind, a, b = self.meet(left, right, node)
        word = name if name in ("eq", "ne") else ("s" if kind.signed else "u") + name
        return Value(BOOL, self.temp(f"icmp {word} {kind.ir} {a.ir}, {b.ir}"))

    def _same_pointers(self, left: Value, right: Value, node: ast.AST) -> None:
        kinds = (left.type, right.type)
        if any(isinstance(k, NullType) or k == VOID_PTR for k in kinds):
            return
        if isinstance(left.type, FnType) and isinstance(right.type, FnType) and left.type.params == right.type.params:
            return
        if left.type != right.type:
            self.fail(node, f"{left.type} and {right.type} do not compare", "cast one of them")

    def condition(self, node: ast.expr, yes: str, no: str) -> None:
        """Branch to `yes` or `no`, evaluating no more than needed."""
        match node:
            case ast.BoolOp(op=junction, values=parts):
                for part in parts[:-1]:
                    following = self.label()
                    targets = (following, no) if isinstance(junction, ast.And) else (yes, following)
                    self.condition(part, *targets)
                    self.start(following, self.reachable)
                self.condition(parts[-1], yes, no)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.condition(operand, no, yes)
            case ast.Compare(left=left, ops=[_, _, *_] as ops, comparators=comparators):
                value = self.lower(left)
                for index, (op, right) in enumerate(zip(ops, comparators, strict=True)):
                    after = self.lower(right, value.type)
                    truth = self.comparison(op, value, after, node)
                    following = self.label() if index + 1 < len(ops) else yes
                    self.branch(truth.ir, following, no)
                    if index + 1 < len(ops):
                        self.start(following, self.reachable)
                    value = after
            case _:
                truth_text = self.truth(self.lower(node), node)
                if truth_text in ("true", "false"):
                    self.jump(yes if truth_text == "true" else no)
                else:
                    self.branch(truth_text, yes, no)

    def _truth_value(self, node: ast.expr) -> Value:
        if isinstance(known := self._known(node), Const):
            return self.from_const(known)
        yes, no, end = self.label(), self.label(), self.label()
        reachable = self.reachable
        self.condition(node, yes, no)
        for label in (yes, no):
            self.start(label, reachable)
            self.jump(end)
        self.start(end, reachable)
        return Value(BOOL, self.temp(f"phi i1 [ true, %{yes} ], [ false, %{no} ]"))

    def _known(self, node: ast.expr) -> Const | Text | None:
        names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
        if any(self.is_local(name) for name in names):
            return None
        return self.program.try_constant(self.module, node)

    def _choice(self, node: ast.IfExp, expected: Type | None) -> Value:
        if isinstance(known := self._known(node.test), Const):
            return self.decayed(self.lower(node.body if known.value else node.orelse, expected))
        yes, no, end = self.label(), self.label(), self.label()
        reachable = self.reachable
        self.condition(node.test, yes, no)
        self.start(yes, reachable)
        first = self.decayed(self.lower(node.body, expected))
        # The conversions belong into the arms, but the second arm's type is known only after it was lowered:
        # the first arm's code is finished when both types are known.
        first_block, mark = self.block, len(self.lines)
        self.start(no, reachable)
        second = self.decayed(self.lower(node.orelse, first.type if first.const is None else expected))
        kind = self._choice_type(first, second, expected, node)
        b = self.convert(second, kind, node.orelse)
        second_block = self.block
        self.jump(end)
        tail, self.lines = self.lines[mark:], self.lines[:mark]
        a = self.convert(first, kind, node.body)
        self.jump(end)
        self.lines += tail
        self.start(end, reachable)
        return Value(kind, self.temp(f"phi {kind.ir} [ {a.ir}, %{first_block} ], [ {b.ir}, %{second_block} ]"))

    def _choice_type(self, first: Value, second: Value, expected: Type | None, node: ast.AST) -> Type:
        a, b = first.type, second.type
        if isinstance(a, PoisonType) or isinstance(b, PoisonType):
            raise_poison()
        if a == b and not isinstance(a, ConstType):
            return a
        if isinstance(a, ConstType) and isinstance(b, ConstType):
            if expected is not None and (isinstance(expected, IntType)):
                return expected
            widest = max(abs(first.const or 0), abs(second.const or 0)), min(first.const or 0, second.const or 0)
            kind = constants.settle(widest[1] if widest[1] < 0 else widest[0])
            return kind or U32
        if is_pointer(a) and is_pointer(b):
            return b if isinstance(a, NullType) else a
        if isinstance(a, BoolType | ConstType) and isinstance(b, BoolType | ConstType):
            return BOOL
        numbers = [as_int(k) or (U8 if isinstance(k, BoolType) else None) for k in (a, b)]
        if isinstance(a, ConstType):
            numbers[0] = numbers[1]
        if isinstance(b, ConstType):
            numbers[1] = numbers[0]
        left, right = numbers
        if left is None or right is None or (kind := join(left, right)) is None:
            self.fail(node, f"the two sides have different types, {a} and {b}", "cast one of them")
        return kind
