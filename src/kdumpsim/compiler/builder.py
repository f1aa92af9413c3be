# SPDX-License-Identifier: GPL-2.0-or-later
"""The ground that function bodies stand on: LLVM instructions, blocks, values, places and implicit conversions."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import NoReturn

from .constants import Const, settle
from .diagnostics import Failure
from .statics import pointer_fits
from .symbols import Function
from .types import (
    BOOL,
    POISON,
    U32,
    WORD,
    WORD_IR,
    ArrayType,
    BoolType,
    ConstType,
    EnumType,
    IntType,
    NoReturnType,
    PoisonType,
    PtrType,
    StructType,
    Type,
    VoidType,
    as_int,
    is_pointer,
    join,
)  # fmt: skip
from .unit import Unit


@dataclass(frozen=True, slots=True)
class Value:
    """A value in a register: LLVM operand text, its number if constant, and an upper bound where one is known."""

    type: Type
    ir: str
    const: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """An object in memory; for a bit-field `type` is the storage unit's."""

    type: Type
    ir: str
    align: int
    bits: int = 0
    bit: int = 0


@dataclass(slots=True)
class Local:
    """A local variable or parameter."""

    place: Place
    line: int


class Builder:
    """State and helpers of one function's lowering."""

    def __init__(self, unit: Unit, function: Function) -> None:
        self.unit, self.function = unit, function
        self.program, self.module = unit.program, unit.module
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.locals: dict[str, Local] = {}
        self.assigned: set[str] = set()
        self.globals: set[str] = set()
        self.reachable = True
        self.block = "entry"
        self.scope = ""
        self._dbg = ""
        self._temps = 0
        self._labels = 0

    # -- errors and position -----------------------------------------------------------------------------------------

    def fail(self, node: ast.AST, message: str, hint: str = "") -> NoReturn:
        """Record an error and leave the statement."""
        self.program.reporter.fail(self.module.source, node, message, hint)

    def at(self, node: ast.AST) -> None:
        """Attribute the instructions that follow to a node's line."""
        line = getattr(node, "lineno", 0)
        if line and self.scope:
            self._dbg = ", !dbg " + self.unit.debug.location(line, self.scope)

    # -- instructions ------------------------------------------------------------------------------------------------

    def emit(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {text}{self._dbg}")

    def temp(self, text: str) -> str:
        """An instruction with a result; the result's name."""
        self._temps += 1
        name = f"%t{self._temps}"
        self.lines.append(f"  {name} = {text}{self._dbg}")
        return name

    def label(self) -> str:
        """A new block's name."""
        self._labels += 1
        return f"b{self._labels}"

    def start(self, label: str, reachable: bool = True) -> None:
        """Begin a block; the one before must have ended."""
        self.lines.append(f"{label}:")
        self.block, self.reachable = label, reachable

    def jump(self, label: str) -> None:
        """End the block by a jump."""
        self.emit(f"br label %{label}")

    def branch(self, truth: str, yes: str, no: str) -> None:
        """End the block by a two-way branch."""
        self.emit(f"br i1 {truth}, label %{yes}, label %{no}")

    def trap(self) -> None:
        """End the block where control never comes: an UD2 keeps return addresses inside the function."""
        self.unit.declare("llvm.trap", "declare void @llvm.trap()")
        self.emit("call void @llvm.trap()")
        self.emit("unreachable")
        self.start(self.label(), reachable=False)

    def alloca(self, kind: Type, name: str = "") -> str:
        """A slot in the frame."""
        self._temps += 1
        slot = f"%v{self._temps}" + (f".{name}" if name.isascii() else "")
        align = max(kind.align, WORD if kind.size >= WORD else 1)
        self.allocas.append(f"  {slot} = alloca {kind.memory}, align {align}")
        return slot

    # -- values ------------------------------------------------------------------------------------------------------

    def constant(self, kind: Type, value: int) -> Value:
        """An integer, bool or enum constant as a value."""
        return Value(kind, str(bool(value)).lower() if isinstance(kind, BoolType) else str(value), value, value)

    def from_const(self, const: Const) -> Value:
        """A compile-time constant as a value."""
        return self.constant(const.type, const.value)

    def load(self, place: Place, node: ast.AST, volatile: bool = False) -> Value:
        """The value of a place; an array's is a pointer, a structure's its address (see :meth:`decayed`)."""
        kind = place.type
        word = "load volatile" if volatile else "load"
        match kind:
            case PoisonType():
                raise_poison()
            case ArrayType(of=of):
                return Value(PtrType(of), place.ir)
            case StructType():
                return Value(kind, place.ir)
            case VoidType():
                self.fail(node, "a ptr[void] points to nothing that can be read", "cast(ptr[T], p) first")
            case BoolType():
                byte = self.temp(f"{word} i8, ptr {place.ir}, align 1")
                return Value(BOOL, self.temp(f"icmp ne i8 {byte}, 0"))
        value = self.temp(f"{word} {kind.ir}, ptr {place.ir}, align {place.align}")
        if place.bits:
            number = as_int(kind) or U32
            shift = number.bits - place.bits
            if number.signed:
                value = self.temp(f"shl {kind.ir} {value}, {shift - place.bit}")
                value = self.temp(f"ashr {kind.ir} {value}, {shift}")
            else:
                value = self.temp(f"lshr {kind.ir} {value}, {place.bit}") if place.bit else value
                value = self.temp(f"and {kind.ir} {value}, {(1 << place.bits) - 1}")
                return Value(kind, value, limit=(1 << place.bits) - 1)
        return Value(kind, value)

    def store(self, place: Place, value: Value, node: ast.AST, volatile: bool = False) -> None:
        """Store a value, already converted to the place's type."""
        kind = place.type
        if isinstance(kind, VoidType):
            self.fail(node, "a ptr[void] points to nothing that can be written", "cast(ptr[T], p) first")
        text = value.ir
        if place.bits:
            text = self._merge_bits(place, value, node)
        elif isinstance(kind, BoolType):
            text = self.memory_bool(value)
        word = "store volatile" if volatile else "store"
        self.emit(f"{word} {kind.memory} {text}, ptr {place.ir}, align {place.align}")

    def memory_bool(self, value: Value) -> str:
        """A bool's byte."""
        return str(value.const) if value.const is not None else self.temp(f"zext i1 {value.ir} to i8")

    def _merge_bits(self, place: Place, value: Value, node: ast.AST) -> str:
        number = as_int(place.type) or U32
        ones = (1 << place.bits) - 1
        if value.const is not None:
            low = -(1 << (place.bits - 1)) if number.signed else 0
            if not low <= value.const <= ones:
                self.fail(node, f"{value.const} does not fit {place.bits} bits")
            part = str((value.const & ones) << place.bit)
        else:
            part = self.temp(f"and {number.ir} {value.ir}, {ones}")
            part = self.temp(f"shl {number.ir} {part}, {place.bit}") if place.bit else part
        old = self.temp(f"load {number.ir}, ptr {place.ir}, align {place.align}")
        keep = ((1 << number.bits) - 1) ^ (ones << place.bit)
        old = self.temp(f"and {number.ir} {old}, {keep}")
        return self.temp(f"or {number.ir} {old}, {part}")

    def resize(self, value: Value, target: IntType) -> Value:
        """Make an integer, bool or enum of any width fit `target` by extending or cutting."""
        if value.const is not None:
            return self.constant(target, target.wrap(value.const))
        if isinstance(value.type, BoolType):
            return Value(target, self.temp(f"zext i1 {value.ir} to {target.ir}"), limit=1)
        have = as_int(value.type) or U32
        if have.bits == target.bits:
            return Value(target, value.ir, limit=value.limit)
        if have.bits > target.bits:
            return Value(target, self.temp(f"trunc {have.ir} {value.ir} to {target.ir}"))
        word = "sext" if have.signed else "zext"
        return Value(target, self.temp(f"{word} {have.ir} {value.ir} to {target.ir}"), limit=value.limit)

    def decayed(self, value: Value) -> Value:
        """Where a pointer is wanted, a structure is its address."""
        return Value(PtrType(value.type), value.ir) if isinstance(value.type, StructType) else value

    def convert(self, value: Value, target: Type, node: ast.AST) -> Value:
        """The implicit conversion of assignment, passing and returning; an error where a cast is needed."""
        if is_pointer(target):
            value = self.decayed(value)
        have = value.type
        if isinstance(have, PoisonType) or isinstance(target, PoisonType):
            raise_poison()
        if have == target:
            return value
        if isinstance(have, VoidType | NoReturnType):
            self.fail(node, "this call gives no value")
        if is_pointer(target):
            if is_pointer(have):
                if pointer_fits(target, have):
                    return Value(target, value.ir)
                self.fail(node, f"{have} does not fit {target}", f"cast({target}, ...)")
            hint = f"cast({target}, ...)" if value.const != 0 else "NULL"
            self.fail(node, f"{have} does not fit {target}", hint)
        if is_pointer(have):
            self.fail(
                node,
                f"{have} does not fit {target}",
                "usize(p) is a pointer's address" if as_int(target) else "p != NULL",
            )
        if isinstance(target, BoolType):
            if isinstance(have, ConstType) and value.const in (0, 1):
                return self.constant(BOOL, value.const)
            self.fail(node, f"{have} does not fit bool", "compare it: x != 0")
        if isinstance(target, EnumType):
            self.fail(node, f"{have} does not fit {target}", f"{target}(...)")
        if not isinstance(target, IntType):
            self.fail(node, f"{have} does not fit {target}")
        if value.const is not None:
            if target.low <= value.const <= target.high:
                return self.constant(target, value.const)
            shown = value.const if abs(value.const) < 1 << 20 else hex(value.const)
            self.fail(node, f"{shown} does not fit {target}", f"{target}({shown}) wraps it")
        number = BOOL_AS_INT if isinstance(have, BoolType) else as_int(have)
        if number is None or join(number, target) != target:
            self.fail(node, f"{have} does not fit {target}", f"cast it: {target}(...)")
        return self.resize(value, target)

    def settled(self, value: Value, node: ast.AST) -> Value:
        """A value that stands alone: a constant that has met no type takes the default one."""
        if isinstance(value.type, StructType):
            self.fail(
                node,
                f"a structure ({value.type}) is not a value",
                f"x: {value.type} = ... copies it, addr(...) points to it",
            )
        if not isinstance(value.type, ConstType):
            return value
        kind = settle(value.const or 0)
        if kind is None:
            self.fail(node, "this constant does not fit 64 bits")
        return self.constant(kind, value.const or 0)

    def truth(self, value: Value, node: ast.AST) -> str:
        """An i1: is the value not zero?"""
        kind = value.type
        if isinstance(kind, PoisonType):
            raise_poison()
        if value.const is not None:
            return str(bool(value.const)).lower()
        if isinstance(kind, BoolType):
            return value.ir
        if is_pointer(kind):
            return self.temp(f"icmp ne ptr {value.ir}, null")
        if as_int(kind) is None:
            self.fail(node, f"{kind} has no truth value")
        return self.temp(f"icmp ne {kind.ir} {value.ir}, 0")

    def offset(self, base: str, distance: int) -> str:
        """A pointer some bytes further."""
        if not distance:
            return base
        if base.startswith("@"):
            return f"getelementptr (i8, ptr {base}, {WORD_IR} {distance})"
        return self.temp(f"getelementptr i8, ptr {base}, {WORD_IR} {distance}")


BOOL_AS_INT = IntType(8, False)


def raise_poison() -> NoReturn:
    """Leave an expression that has been complained about already."""
    raise Failure(str(POISON))
