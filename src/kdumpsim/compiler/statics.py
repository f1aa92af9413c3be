# SPDX-License-Identifier: GPL-2.0-or-later
"""Global variables: their types, and their static initialisers as LLVM constants."""

from __future__ import annotations

import ast
from typing import NoReturn

from .constants import Const, Text
from .diagnostics import Failure
from .symbols import Builtin, Constant, Function, Variable
from .types import (
    CSTR,
    NULL,
    USIZE,
    VOID_PTR,
    WORD,
    WORD_IR,
    ArrayType,
    BoolType,
    EnumType,
    Field,
    FnType,
    IntType,
    PoisonType,
    PtrType,
    StructType,
    Type,
    as_int,
    is_pointer,
)  # fmt: skip
from .unit import Unit


def byte_string(data: bytes) -> str:
    """Bytes as LLVM's c"..." text."""
    return 'c"' + "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:02x}" for b in data) + '"'


def _zeros(size: int) -> tuple[str, str]:
    return f"[{size} x i8]", "zeroinitializer"


def _pointee(kind: Type) -> Type:
    """What the address of an object of this type points to."""
    return kind.of if isinstance(kind, ArrayType) else kind


def pointer_fits(target: Type, source: Type) -> bool:
    """Does a pointer of type `source` go where `target` is wanted, without a cast?"""
    if target == source or source == NULL:
        return True
    if target == VOID_PTR:
        return is_pointer(source)
    if isinstance(target, FnType) and isinstance(source, FnType):
        same = target.params == source.params and target.varargs == source.varargs
        return same and (
            target.result == source.result or (str(target.result), str(source.result)) == ("void", "NoReturn")
        )
    return False


class StaticValues:
    """Turns initialiser expressions of one module into LLVM constants."""

    def __init__(self, unit: Unit) -> None:
        self.unit, self.program, self.module = unit, unit.program, unit.module

    def _fail(self, node: ast.AST, message: str, hint: str = "") -> NoReturn:
        self.program.reporter.fail(self.module.source, node, message, hint)

    def value(self, kind: Type, node: ast.expr) -> tuple[str, str]:
        """LLVM type and text of an initialiser for an object of type `kind`."""
        if isinstance(kind, PoisonType):
            raise Failure(str(kind))
        node = self.program.chosen(self.module, node)
        if isinstance(kind, ArrayType):
            return self._array(kind, node)
        if isinstance(kind, StructType):
            return self._struct(kind, node)
        if is_pointer(kind):
            return "ptr", self.pointer(kind, node)
        return kind.memory, self._number(kind, node)

    def _number(self, kind: Type, node: ast.expr) -> str:
        match node:
            case ast.Call(func=ast.Name(id=("u32" | "usize" | "i32")), args=[inner]) if kind.size == WORD:
                if self.program.try_constant(self.module, inner) is None:
                    return f"ptrtoint (ptr {self.pointer(VOID_PTR, inner)} to {WORD_IR})"
        value = self.program.try_constant(self.module, node)
        if value is None:
            self._fail(node, "a global's initialiser must be known to the linker", "compute it at run time instead")
        if isinstance(value, Text):
            self._fail(node, f"a string does not fit {kind}")
        return str(self.fit(kind, value, node))

    def fit(self, kind: Type, value: Const, node: ast.AST) -> int:
        """The constant as a value of type `kind`; fails when it does not fit."""
        if isinstance(kind, EnumType) and value.type != kind:
            self._fail(node, f"{value.type} is no {kind}", f"{kind}(...)")
        number = as_int(kind)
        low, high = (number.low, number.high) if number else (0, 1)
        if isinstance(kind, IntType | EnumType | BoolType):
            if not low <= value.value <= high:
                self._fail(node, f"{value.value} does not fit {kind}", f"{kind}({value.value}) wraps it")
            return value.value
        self._fail(node, f"an integer does not fit {kind}", f"cast({kind}, ...)")

    def _array(self, kind: ArrayType, node: ast.expr) -> tuple[str, str]:
        count = kind.count or 0
        match node:
            case ast.Constant(value=bytes() as data):
                if kind.of.size != 1:
                    self._fail(node, f"bytes do not fill {kind}")
                if len(data) > count:
                    self._fail(node, f"{len(data)} bytes do not fit an array of {count}")
                return f"[{count} x i8]", byte_string(data.ljust(count, b"\0"))
            case ast.List(elts=items):
                times = 1
            case ast.BinOp(left=ast.List(elts=items), op=ast.Mult(), right=factor):
                times = self.program.integer(self.module, factor)
            case ast.Call(func=ast.Name(id="length")):
                return kind.memory, "zeroinitializer"
            case _:
                self._fail(node, f"this does not initialise {kind}", 'a list, b"..." or length(n)')
        if len(items) * times > count:
            self._fail(node, f"{len(items) * times} elements do not fit an array of {count}")
        parts = [self.value(kind.of, item) for item in items] * times
        if missing := (count - len(parts)) * kind.of.size:
            parts.append(_zeros(missing))
        return self._aggregate(parts)

    @staticmethod
    def _aggregate(parts: list[tuple[str, str]]) -> tuple[str, str]:
        # A packed literal structure lays parts of different types end to end.
        types = ", ".join(kind for kind, _ in parts)
        values = ", ".join(f"{kind} {value}" for kind, value in parts)
        return f"<{{ {types} }}>", f"<{{ {values} }}>"

    def _struct(self, kind: StructType, node: ast.expr) -> tuple[str, str]:
        if not isinstance(node, ast.Call) or self.program.type_of_expression(self.module, node.func) is not kind:
            self._fail(node, f"this does not initialise {kind}", f"{kind}(field=value, ...)")
        if node.args:
            self._fail(node, f"the fields of {kind}(...) are given by name")
        given: dict[str, ast.expr] = {}
        kind.complete()
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg not in kind.fields:
                self._fail(keyword, f"{kind} has no field {keyword.arg}", f"it has {', '.join(kind.fields)}")
            else:
                given[keyword.arg] = keyword.value
        if kind.union and len(given) > 1:
            self._fail(node, f"{kind} is a union: one field of it has a value")
        if not given:
            return kind.memory, "zeroinitializer"
        parts: list[tuple[str, str]] = []
        end = 0
        units: dict[int, int] = {}
        # Bit-fields share units, so that those without a value have a part in one.
        members = [m for m in kind.fields.values() if m.name in given or (m.bits and not kind.union)]
        for member in members:
            if member.bits:
                self._bit_field(member, given.get(member.name), units)
        done: set[int] = set()
        for member in members:
            if member.bits and member.offset in done:
                continue
            if gap := member.offset - end:
                parts.append(_zeros(gap))
            if member.bits:
                done.add(member.offset)
                parts.append((member.type.memory, str(units[member.offset])))
            else:
                parts.append(self.value(member.type, given[member.name]))
            end = member.offset + member.type.size
        if gap := kind.size - end:
            parts.append(_zeros(gap))
        return self._aggregate(parts)

    def _bit_field(self, member: Field, node: ast.expr | None, units: dict[int, int]) -> None:
        units.setdefault(member.offset, 0)
        if node is None:
            return
        value = self.program.integer(self.module, node)
        signed = isinstance(member.type, IntType) and member.type.signed
        limit = IntType(member.bits, signed)
        if not limit.low <= value <= limit.high:
            self._fail(node, f"{value} does not fit {member.bits} bits")
        units[member.offset] |= (value & ((1 << member.bits) - 1)) << member.bit

    # -- addresses ---------------------------------------------------------------------------------------------------

    def pointer(self, kind: Type, node: ast.expr) -> str:
        """LLVM text of an address known to the linker, checked to fit `kind`."""
        have, text = self._address(node)
        if not pointer_fits(kind, have):
            self._fail(node, f"{have} does not fit {kind}", f"cast({kind}, ...)")
        return text

    def _address(self, node: ast.expr) -> tuple[Type, str]:
        program, module = self.program, self.module
        match node:
            case ast.Constant(value=str() as text):
                return CSTR, self.unit.string(text.encode())
            case ast.Name(id=name):
                match program.require(module, node, name):
                    case Builtin(name="NULL"):
                        return NULL, "null"
                    case Function() as function:
                        return program.function_type(function), self.unit.function(function)
                    case Variable() as variable:
                        kind = program.variable_type(variable)
                        if isinstance(kind, ArrayType | StructType):
                            return PtrType(_pointee(kind)), self.unit.variable(variable)
                        self._fail(
                            node, f"the value of {name} is not known to the linker", f"its address: addr({name})"
                        )
                    case Constant() as constant:
                        value = program.constant(constant)
                        if isinstance(value, Text):
                            return CSTR, self.unit.string(value.data)
            case ast.Call(func=ast.Name(id="addr"), args=[place], keywords=[]):
                if isinstance(place, ast.Name):
                    symbol = program.require(module, place, place.id)
                    if isinstance(symbol, Function):
                        return program.function_type(symbol), self.unit.function(symbol)
                base, offset, kind = self._place(place)
                return PtrType(_pointee(kind)), self._offset(base, offset)
            case ast.Call(func=ast.Name(id="cast"), args=[wanted, inner], keywords=[]):
                target = program.annotation(module, wanted)
                if not is_pointer(target):
                    self._fail(wanted, "a static cast makes a pointer")
                constant_value = program.try_constant(module, inner)
                if isinstance(constant_value, Const):
                    return target, f"inttoptr ({WORD_IR} {USIZE.wrap(constant_value.value)} to ptr)"
                return target, self._address(inner)[1]
            case ast.Attribute() | ast.Subscript():
                base, offset, kind = self._place(node)
                if isinstance(kind, ArrayType | StructType):
                    return PtrType(_pointee(kind)), self._offset(base, offset)
        self._fail(node, "this is not an address known to the linker", "addr(global), a function, a string or NULL")

    @staticmethod
    def _offset(base: str, offset: int) -> str:
        return f"getelementptr (i8, ptr {base}, {WORD_IR} {offset})" if offset else base

    def _place(self, node: ast.expr) -> tuple[str, int, Type]:
        program = self.program
        match node:
            case ast.Name(id=name):
                symbol = program.require(self.module, node, name)
                if isinstance(symbol, Variable):
                    return self.unit.variable(symbol), 0, program.variable_type(symbol)
            case ast.Attribute(value=inner, attr=attr):
                base, offset, kind = self._place(inner)
                step, member = program.field_path(self.module, node, kind, attr)
                return base, offset + step, member
            case ast.Subscript(value=inner, slice=index):
                base, offset, kind = self._place(inner)
                if isinstance(kind, ArrayType):
                    return base, offset + program.integer(self.module, index) * kind.of.size, kind.of
        self._fail(node, "this is not a place known to the linker")
