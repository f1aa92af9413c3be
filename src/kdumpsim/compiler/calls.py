# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls in function bodies: guest functions, function pointers, f-strings, casts and the language's own functions."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from .asm import AsmError, bug_call, inline_call, marked
from .builder import Place, Value, raise_poison
from .constants import Const, Text
from .expressions import Expressions
from .symbols import LANG_TYPES, Builtin, Function, TypeName, Variable
from .types import (
    BOOL,
    CONST,
    CSTR,
    NORETURN,
    U32,
    USIZE,
    VOID,
    VOID_PTR,
    WORD_IR,
    ArrayType,
    BoolType,
    ConstType,
    EnumType,
    FnType,
    IntType,
    NoReturnType,
    PoisonType,
    PtrType,
    StructType,
    Type,
    VoidType,
    as_int,
    is_pointer,
    word_type,
)  # fmt: skip

_SPEC = re.compile(r"(?P<align>[<>]?)(?P<flags>[#0+ -]*)(?P<width>\d*)(?P<precision>\.\d+)?(?P<kind>[a-zA-Z]?)")
_RMW = {"xchg": "xchg", "fetch_add": "add", "fetch_sub": "sub", "fetch_or": "or", "fetch_and": "and"}


class Calls(Expressions):
    """Lowers calls."""

    def call(self, node: ast.Call, expected: Type | None) -> Value:
        """Lower a call by what its function is."""
        if isinstance(node.func, ast.Name) and not self.is_local(node.func.id):
            name = node.func.id
            match self.program.require(self.module, node.func, name):
                case Builtin(name=known):
                    return self._builtin(known, node, expected)
                case TypeName(type=kind):
                    return self._cast_call(kind, node)
                case Function() as function:
                    kind = self.program.function_type(function)
                    return self._invoke(kind, self.unit.function(function), node, name)
                case Variable():
                    pass
                case _:
                    self.fail(node.func, f"{name} cannot be called")
        value = self.lower(node.func)
        if isinstance(value.type, PoisonType):
            raise_poison()
        if not isinstance(value.type, FnType):
            self.fail(node.func, f"{value.type} cannot be called")
        return self._invoke(value.type, value.ir, node, ast.unparse(node.func))

    def arguments(self, node: ast.Call, low: int, high: int | None = None) -> list[ast.expr]:
        """The arguments of a call, which are from `low` to `high` (if None, `low`) positional ones."""
        name = ast.unparse(node.func)
        if node.keywords:
            self.fail(node, "arguments are given by position", "keywords name the fields of Struct(...) only")
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                self.fail(arg, "argument lists cannot be unpacked")
        high = low if high is None else high
        if not low <= len(node.args) <= high:
            wanted = str(low) if low == high else f"{low} to {high}"
            self.fail(node, f"{name} takes {wanted} argument{'s' * (wanted != '1')}, not {len(node.args)}")
        return node.args

    def _invoke(self, kind: FnType, target: str, node: ast.Call, name: str) -> Value:
        count = len(kind.params)
        args = self.arguments(node, count, 1 << 16 if kind.varargs else None)
        parts: list[str] = []
        extra: list[Value] = []
        for index, (arg, param) in enumerate(zip(args, kind.params, strict=False)):
            if kind.varargs and index == count - 1 and isinstance(arg, ast.JoinedStr):
                format_text, extra = self._format(arg)
                text = self.unit.string(format_text)
                parts.append(f"ptr {text}" if self.unit.optimize else f"{WORD_IR} ptrtoint (ptr {text} to {WORD_IR})")
                if len(args) > count:
                    self.fail(args[count], "an f-string is the last argument")
            else:
                parts.append(self.word(self.convert_from(arg, param)))
        extra += [self.settled(self.lower(arg), arg) for arg in args[count:]]
        parts += [self.word(value) for value in extra]
        self.at(node)
        signature = ""
        if kind.varargs:
            words = [part.split(" ", 1)[0] for part in parts[:count]]
            signature = f" ({', '.join([*words, '...'])})"
        result = kind.result
        text = f"{result.memory}{signature} {target}({', '.join(parts)})"
        if isinstance(result, VoidType):
            self.emit(f"call {text}")
            return Value(VOID, "")
        if isinstance(result, NoReturnType):
            self.emit(f"call {text}")
            self.trap()
            return Value(NORETURN, "")
        value = self.temp(f"call {text}")
        if isinstance(result, BoolType):
            value = self.temp(f"icmp ne i8 {value}, 0")
        return Value(result, value)

    def word(self, value: Value) -> str:
        """An argument as it goes onto the stack, extended to a word."""
        number = as_int(value.type)
        if isinstance(value.type, BoolType):
            value = self.resize(value, USIZE)
        elif number is not None and number.bits < USIZE.bits:
            value = self.resize(value, IntType(USIZE.bits, number.signed))
        elif number is None and not is_pointer(value.type):
            raise_poison()
        if is_pointer(value.type) and not self.unit.optimize:
            # As a number: with `ptr` the call's type could equal the callee's, and LLVM would honour its byval here.
            return f"{WORD_IR} {self.temp(f'ptrtoint ptr {value.ir} to {WORD_IR}')}"
        return f"{word_type(value.type)} {value.ir}"

    # -- f-strings ---------------------------------------------------------------------------------------------------

    def _format(self, node: ast.JoinedStr) -> tuple[bytes, list[Value]]:
        text = ""
        values: list[Value] = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value).replace("%", "%%")
            elif isinstance(part, ast.FormattedValue):
                spec = ""
                if part.format_spec is not None:
                    known = part.format_spec.values if isinstance(part.format_spec, ast.JoinedStr) else []
                    if not all(isinstance(k, ast.Constant) for k in known):
                        self.fail(part, "a format specification is constant")
                    spec = "".join(str(k.value) for k in known if isinstance(k, ast.Constant))
                if part.conversion != -1:
                    self.fail(part, "!r, !s and !a do not exist in guest code", "{x:s} prints a cstr")
                conversion, value = self._conversion(part, spec)
                text += conversion
                values.append(value)
        return text.encode(), values

    def _conversion(self, part: ast.FormattedValue, spec: str) -> tuple[str, Value]:
        value = self.lower(part.value)
        value = self.settled(self.decayed(value) if spec.endswith("p") else value, part.value)
        match = _SPEC.fullmatch(spec)
        if match is None:
            self.fail(part, f"format {spec!r} is not known to printk", "08x, 5d, s, c, p, ...")
        kind, flags, width = match["kind"], match["flags"], match["width"]
        precision = match["precision"] or ""
        if isinstance(value.type, PoisonType):
            raise_poison()
        if kind in ("s", "p"):
            if not is_pointer(value.type) and not (kind == "p" and value.type == USIZE):
                self.fail(part.value, f"{value.type} is not printed by {{:{kind}}}", "integers: {x}, {x:08x}")
            if kind == "s" and value.type != CSTR:
                self.fail(part.value, f"{value.type} is not a string", "cast(cstr, p)")
        elif is_pointer(value.type):
            self.fail(part.value, f"how is a {value.type} to be printed?", "{p:p}, or {s:s} for a string")
        if match["align"] == "<" or (kind == "s" and width and match["align"] != ">"):
            flags += "-"  # as in Python: strings stand left unless told otherwise
        if kind in ("s", "p", "c"):
            if kind == "c":
                value = self.resize(value, U32)
            return f"%{flags}{width}{precision}{kind}", value
        number = IntType(8, False) if isinstance(value.type, BoolType) else as_int(value.type)
        if number is None:
            self.fail(part.value, f"{value.type} cannot be printed")
        if kind not in ("", "d", "u", "x", "X"):
            self.fail(part, f"format {spec!r} is not known to printk", "d, x, X, s, c, p")
        if kind in ("", "d", "u"):
            kind = "d" if number.signed else "u"
        elif number.signed and number.bits < 32:
            value = self.resize(value, IntType(number.bits, False))
        return f"%{flags}{width}{precision}{'ll' if number.bits == 64 else ''}{kind}", value

    # -- casts -------------------------------------------------------------------------------------------------------

    def _cast_call(self, kind: Type, node: ast.Call) -> Value:
        if isinstance(kind, StructType):
            self.fail(node, f"{kind}(...) stands only where a variable of it is made", f"x: {kind} = {kind}()")
        (arg,) = self.arguments(node, 1)
        value = self.lower(arg, kind)
        if isinstance(value.type, PoisonType):
            raise_poison()
        if isinstance(kind, IntType):
            value = self.decayed(value)
        if isinstance(kind, BoolType):
            truth = self.truth(value, arg)
            return self.constant(BOOL, int(truth == "true")) if value.const is not None else Value(BOOL, truth)
        number = as_int(kind)
        if number is None:
            self.fail(node, f"{kind} is no cast", f"cast({kind}, x)")
        if is_pointer(value.type):
            if number.bits < USIZE.bits:
                self.fail(node, f"{number} does not hold an address", f"{number}(usize(p))")
            return Value(number, self.temp(f"ptrtoint ptr {value.ir} to {number.ir}"))
        if as_int(value.type) is None and not isinstance(value.type, BoolType | ConstType):
            self.fail(arg, f"{value.type} cannot become {kind}")
        resized = self.resize(value, number)
        return Value(kind, resized.ir, resized.const, resized.limit)

    def cast(self, node: ast.Call) -> Value:
        """cast(kind, value)."""
        wanted, arg = self.arguments(node, 2)
        kind = self.program.annotation(self.module, wanted)
        if isinstance(kind, IntType | EnumType | BoolType):
            return self._cast_call(kind, ast.copy_location(ast.Call(func=node.func, args=[arg], keywords=[]), node))
        if not is_pointer(kind):
            self.fail(wanted, f"nothing can be cast to {kind}", "ptr[T]")
        value = self.decayed(self.lower(arg, USIZE))
        if is_pointer(value.type):
            return Value(kind, value.ir)
        if value.const is not None and value.type not in (BOOL,):
            value = self.constant(USIZE, USIZE.wrap(value.const))
        number = as_int(value.type)
        if number is None or number.bits != USIZE.bits:
            self.fail(arg, f"{value.type} is no address", "cast(ptr[T], usize(x))")
        return Value(kind, self.temp(f"inttoptr {WORD_IR} {value.ir} to ptr"))

    # -- the language's functions ------------------------------------------------------------------------------------

    def _builtin(self, name: str, node: ast.Call, expected: Type | None) -> Value:
        if name in LANG_TYPES and name != "void":
            return self._cast_call(LANG_TYPES[name], node)
        handlers: dict[str, Callable[[ast.Call], Value]] = {
            "addr": self._addr, "cast": self.cast, "container_of": self._container_of, "cmpxchg": self._cmpxchg,
            "load_volatile": self._load_volatile, "store_volatile": self._store_volatile, "asm": self._asm,
            "asm_value": self._asm_value, "barrier": self._barrier, "unreachable": self._unreachable, "BUG": self._bug,
            "frame_address": lambda n: self._frame(n, "frameaddress.p0"), "len": self._len, "sizeof": self._sizeof,
            "return_address": lambda n: self._frame(n, "returnaddress"),
        }  # fmt: skip
        if name in handlers:
            return handlers[name](node)
        if name in _RMW:
            return self._atomic(node, _RMW[name])
        if name in ("min", "max"):
            return self._extreme(name, node, expected)
        if name == "abs":
            return self._abs(node)
        if name in ("offsetof", "ord", "config"):
            value = self.program.try_constant(self.module, node)
            if isinstance(value, Const):
                return self.from_const(value)
            self.fail(node, f"{name} needs constants")
        hints = {"length": "x: array[T] = length(n)", "print": "use printk"}
        loops = ("range", "section", "list_for_each_entry", "list_for_each_entry_safe")
        hints |= {loop: f"for x in {loop}(...)" for loop in loops}
        self.fail(node, f"{name}() cannot stand here", hints.get(name, ""))

    def _addr(self, node: ast.Call) -> Value:
        (arg,) = self.arguments(node, 1)
        if isinstance(arg, ast.Name) and not self.is_local(arg.id):
            symbol = self.program.require(self.module, arg, arg.id)
            if isinstance(symbol, Function):
                return Value(self.program.function_type(symbol), self.unit.function(symbol))
        if isinstance(arg, ast.Name) and arg.id in self.loop_variables:
            self.fail(arg, "the address of a running loop's variable cannot be taken", "copy it first")
        place = self.place(arg)
        if isinstance(place.type, PoisonType):
            raise_poison()
        if place.bits:
            self.fail(arg, "a bit-field has no address")
        kind = place.type.of if isinstance(place.type, ArrayType) else place.type
        return Value(PtrType(kind), place.ir)

    loop_variables: set[str]

    def _container_of(self, node: ast.Call) -> Value:
        member, wanted, path = self.arguments(node, 3)
        kind = self.program.annotation(self.module, wanted)
        name = self.program.try_constant(self.module, path)
        if not isinstance(name, Text):
            self.fail(path, "the field is named by a string")
        offset, field = self.program.field_path(self.module, node, kind, name.data.decode())
        value = self.decayed(self.lower(member))
        target = field.of if isinstance(field, ArrayType) else field
        if value.type not in (PtrType(target), VOID_PTR):
            self.fail(member, f"{value.type} does not point to {kind}.{name.data.decode()}", f"it is a {field}")
        return Value(PtrType(kind), self.offset(value.ir, -offset))

    def _len(self, node: ast.Call) -> Value:
        (arg,) = self.arguments(node, 1)
        kind = self.place(arg).type
        if not isinstance(kind, ArrayType) or kind.count is None:
            self.fail(node, f"len() of {kind} is not known", "arrays only")
        return self.constant(CONST, kind.count)

    def _sizeof(self, node: ast.Call) -> Value:
        (arg,) = self.arguments(node, 1)
        variable = isinstance(arg, ast.Attribute) or (isinstance(arg, ast.Name) and self.is_local(arg.id))
        value = None if variable else self.program.try_constant(self.module, node)
        if isinstance(value, Const):
            return self.from_const(value)
        kind = self.place(arg).type
        if isinstance(kind, ArrayType) and kind.count is None:
            self.fail(arg, "the size of an external array is not known here")
        return self.constant(CONST, kind.size)

    def _pointed(self, node: ast.Call, count: int) -> tuple[Place, list[ast.expr]]:
        args = self.arguments(node, count)
        pointer = self.lower(args[0])
        if isinstance(pointer.type, PoisonType):
            raise_poison()
        if not isinstance(pointer.type, PtrType):
            self.fail(args[0], f"a pointer is needed, not {pointer.type}", "addr(x)")
        kind = pointer.type.to
        if not (as_int(kind) or isinstance(kind, BoolType) or is_pointer(kind)):
            self.fail(args[0], f"{pointer.type} does not point to an integer or pointer")
        return Place(kind, pointer.ir, kind.align), args[1:]

    def _load_volatile(self, node: ast.Call) -> Value:
        place, _ = self._pointed(node, 1)
        return self.load(place, node, volatile=True)

    def _store_volatile(self, node: ast.Call) -> Value:
        place, (arg,) = self._pointed(node, 2)
        self.store(place, self.convert_from(arg, place.type), node, volatile=True)
        return Value(VOID, "")

    def _operand(self, value: Value) -> str:
        """A value as an integer of its width in memory, for the atomic instructions."""
        if isinstance(value.type, BoolType):
            return self.memory_bool(value)
        if is_pointer(value.type) and value.ir != "null":
            return self.temp(f"ptrtoint ptr {value.ir} to {WORD_IR}")
        return "0" if value.ir == "null" else value.ir

    def _result(self, kind: Type, text: str) -> Value:
        if isinstance(kind, BoolType):
            return Value(BOOL, self.temp(f"icmp ne i8 {text}, 0"))
        if is_pointer(kind):
            return Value(kind, self.temp(f"inttoptr {WORD_IR} {text} to ptr"))
        return Value(kind, text)

    def _atomic(self, node: ast.Call, operation: str) -> Value:
        place, (arg,) = self._pointed(node, 2)
        kind = place.type
        if operation in ("add", "sub") and as_int(kind) is None:
            self.fail(node, f"{kind} has no atomic arithmetic")
        ir = f"i{kind.size * 8}"
        operand = self.lower(arg, kind)
        operand = self.as_mask(operand, kind) if operation == "and" else operand
        value = self._operand(self.convert(operand, kind, arg))
        old = self.temp(f"atomicrmw volatile {operation} ptr {place.ir}, {ir} {value} seq_cst, align {kind.size}")
        return self._result(kind, old)

    def _cmpxchg(self, node: ast.Call) -> Value:
        place, (old_node, new_node) = self._pointed(node, 3)
        kind = place.type
        ir = f"i{kind.size * 8}"
        old = self._operand(self.convert_from(old_node, kind))
        new = self._operand(self.convert_from(new_node, kind))
        pair = self.temp(f"cmpxchg volatile ptr {place.ir}, {ir} {old}, {ir} {new} seq_cst seq_cst, align {kind.size}")
        return self._result(kind, self.temp(f"extractvalue {{ {ir}, i1 }} {pair}, 0"))

    def _barrier(self, node: ast.Call) -> Value:
        self.arguments(node, 0)
        self.emit('call void asm sideeffect "", "~{memory}"()')
        return Value(VOID, "")

    def _unreachable(self, node: ast.Call) -> Value:
        self.arguments(node, 0)
        self.trap()
        return Value(NORETURN, "")

    def _bug(self, node: ast.Call) -> Value:
        self.arguments(node, 0)
        self.at(node)
        self.emit(bug_call(self.unit.string(self.module.source.shown.encode()), node.lineno))
        return self._unreachable(node)

    def _frame(self, node: ast.Call, which: str) -> Value:
        self.arguments(node, 0)
        self.unit.declare(f"llvm.{which}", f"declare ptr @llvm.{which}(i32)")
        pointer = self.temp(f"call ptr @llvm.{which}(i32 0)")
        return Value(USIZE, self.temp(f"ptrtoint ptr {pointer} to {WORD_IR}"))

    def _extreme(self, name: str, node: ast.Call, expected: Type | None) -> Value:
        args = self.arguments(node, 2, 1 << 10)
        best = self.lower(args[0], expected)
        for arg in args[1:]:
            other = self.lower(arg, best.type)
            if best.const is not None and other.const is not None:
                best = best if (best.const <= other.const) == (name == "min") else other
                continue
            kind, a, b = self.meet(best, other, node)
            word = ("s" if kind.signed else "u") + ("lt" if name == "min" else "gt")
            first = self.temp(f"icmp {word} {kind.ir} {a.ir}, {b.ir}")
            best = Value(kind, self.temp(f"select i1 {first}, {kind.ir} {a.ir}, {kind.ir} {b.ir}"))
        return best

    def _abs(self, node: ast.Call) -> Value:
        (arg,) = self.arguments(node, 1)
        value = self.lower(arg)
        if value.const is not None:
            return self.constant(value.type, abs(value.const))
        kind = as_int(value.type)
        if kind is None or not kind.signed:
            self.fail(node, f"abs() is for signed integers, not {value.type}")
        minus = self.temp(f"sub {kind.ir} 0, {value.ir}")
        below = self.temp(f"icmp slt {kind.ir} {value.ir}, 0")
        return Value(kind, self.temp(f"select i1 {below}, {kind.ir} {minus}, {kind.ir} {value.ir}"))

    # -- assembly ----------------------------------------------------------------------------------------------------

    def _asm(self, node: ast.Call) -> Value:
        return self._inline(node, VOID, node.args)

    def _asm_value(self, node: ast.Call) -> Value:
        if len(node.args) < 3:
            self.fail(node, "asm_value(type, text, constraints, operands...)")
        kind = self.program.value_type(self.module, node.args[0])
        return self._inline(node, kind, node.args[1:])

    def _inline(self, node: ast.Call, result: Type, args: list[ast.expr]) -> Value:
        if node.keywords or not args:
            self.fail(node, "asm(text, constraints, operands...)")
        text = self.program.evaluate(self.module, args[0]) if not isinstance(args[0], ast.JoinedStr) else None
        constraints = self.program.evaluate(self.module, args[1]) if len(args) > 1 else Text(b"")
        if not isinstance(text, Text) or not isinstance(constraints, Text):
            self.fail(node, "the text and the constraints of asm are strings")
        source = marked(text.data.decode(), args[0], self.module.source)
        operands: list[tuple[str, str]] = []
        values = [self.decayed(self.lower(arg)) for arg in args[2:]]
        for value, arg in zip(values, args[2:], strict=True):
            if isinstance(value.type, ConstType):
                operands.append(("const", str(value.const)))
            elif isinstance(value.type, BoolType):
                operands.append(("i8", self.memory_bool(value)))
            elif as_int(value.type) or is_pointer(value.type):
                memory = value.type.to.memory if isinstance(value.type, PtrType) else "i8"
                operands.append((f"ptr:{memory}" if is_pointer(value.type) else value.type.ir, value.ir))
            elif isinstance(value.type, PoisonType):
                raise_poison()
            else:
                self.fail(arg, f"{value.type} is no operand")
        ir = "i8" if isinstance(result, BoolType) else result.ir
        try:
            call = inline_call(ir, source, constraints.data.decode(), operands)
        except AsmError as error:
            self.fail(node, str(error))
        self.at(node)
        if isinstance(result, VoidType):
            self.emit(call)
            return Value(VOID, "")
        answer = self.temp(call)
        if isinstance(result, BoolType):
            answer = self.temp(f"icmp ne i8 {answer}, 0")
        return Value(result, answer)
