# SPDX-License-Identifier: GPL-2.0-or-later
"""Arithmetic on compile-time constants, shared by module level and function bodies."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from .types import BOOL, CONST, I32, I64, U32, U64, BoolType, EnumType, IntType, Type, as_int, join


@dataclass(frozen=True, slots=True)
class Const:
    """An integer constant: type CONST until it has met one."""

    type: Type
    value: int


@dataclass(frozen=True, slots=True)
class Text:
    """A string constant (`Final[cstr]` or a literal)."""

    data: bytes


class ConstantError(Exception):
    """The operation has no value; args are the message and a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


COMPARE: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
    ast.BitXor: lambda a, b: a ^ b,
}
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&", ast.BitOr: "|",
    ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@",
}  # fmt: skip
BITWISE = (ast.BitAnd, ast.BitOr, ast.BitXor)
_HUGE_SHIFT = 4096


def common(left: Type, right: Type) -> Type:
    """The type two constants meet in; ConstantError when there is none."""
    a, b = as_int(left), as_int(right)
    if a is None or b is None:
        return a or b or CONST
    if (wide := join(a, b)) is None:
        raise ConstantError(f"{left} and {right} do not mix", f"cast one side: {a}(...) or {b}(...)")
    return wide


def _shape(kind: Type, value: int) -> Const:
    return Const(kind, kind.wrap(value) if isinstance(kind, IntType) else value)


def binary(op: ast.operator, left: Const, right: Const) -> Const:
    """`left op right`, wrapped if it has a type."""
    kind = type(op)
    if kind is ast.Div:
        raise ConstantError("'/' is not an integer operation", "write // (it floors, as in Python)")
    if isinstance(op, ast.LShift | ast.RShift):
        if right.value < 0:
            raise ConstantError("negative shift count")
        width = as_int(left.type)
        count = min(right.value, width.bits if width else _HUGE_SHIFT)
        value = left.value << count if isinstance(op, ast.LShift) else left.value >> count
        return _shape(width or CONST, value)
    if kind not in _ARITHMETIC:
        raise ConstantError(f"operator {OPERATORS.get(kind, '?')} does not exist here")
    if isinstance(op, ast.FloorDiv | ast.Mod) and right.value == 0:
        raise ConstantError("division by zero")
    if isinstance(left.type, BoolType) and isinstance(right.type, BoolType) and isinstance(op, BITWISE):
        return Const(BOOL, _ARITHMETIC[kind](left.value, right.value))
    return _shape(common(left.type, right.type), _ARITHMETIC[kind](left.value, right.value))


def unary(op: ast.unaryop, operand: Const) -> Const:
    """`op operand`, wrapped if it has a type."""
    if isinstance(op, ast.Not):
        return Const(BOOL, int(not operand.value))
    value = {ast.USub: -operand.value, ast.UAdd: operand.value, ast.Invert: ~operand.value}[type(op)]
    return _shape(as_int(operand.type) or CONST, value)


def settle(value: int) -> IntType | None:
    """The type of a constant that meets none: i32 if it fits, else u32, else a 64-bit one."""
    return next((t for t in (I32, U32, I64, U64) if t.low <= value <= t.high), None)


def wrap_cast(kind: IntType | EnumType | BoolType, value: int) -> Const:
    """An explicit cast of a constant."""
    if isinstance(kind, BoolType):
        return Const(BOOL, int(value != 0))
    return Const(kind, (as_int(kind) or U32).wrap(value))
