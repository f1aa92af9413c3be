# SPDX-License-Identifier: GPL-2.0-or-later
"""Statements and whole functions."""

from __future__ import annotations

import ast

from .builder import Local, Place
from .constants import Const
from .diagnostics import Failure
from .loops import Loops
from .resolve import call_of
from .symbols import TypeName, Variable
from .types import (
    NORETURN,
    POISON,
    USIZE,
    WORD,
    WORD_IR,
    ArrayType,
    BoolType,
    FnType,
    NoReturnType,
    NullType,
    PoisonType,
    PtrType,
    StructType,
    Type,
    VoidType,
    word_type,
)  # fmt: skip

_UNSUPPORTED: dict[type[ast.stmt], tuple[str, str]] = {
    ast.Try: ("there are no exceptions in guest code", "return an error number"),
    ast.Raise: ("there are no exceptions in guest code", "return an error number, or panic()"),
    ast.With: ("'with' is not guest code", "lock and unlock by calls"),
    ast.Match: ("'match' is not guest code", "if/elif"),
    ast.Delete: ("'del' is not guest code", ""),
    ast.FunctionDef: ("functions do not nest", "put it at module level"),
    ast.ClassDef: ("classes stand at module level", ""),
    ast.Import: ("imports stand at module level", ""),
    ast.ImportFrom: ("imports stand at module level", ""),
    ast.Assert: ("'assert' is not guest code", "if not ...: BUG() or panic()"),
}


def assigned_names(body: list[ast.stmt]) -> tuple[set[str], set[str]]:
    """The names a function assigns, and those it declares global."""
    assigned: set[str] = set()
    global_names: set[str] = set()
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                assigned.add(node.id)
            elif isinstance(node, ast.Global):
                global_names.update(node.names)
    return assigned, global_names


class FunctionLowering(Loops):
    """Lowers one function to LLVM text."""

    result: Type
    failed = False

    def run(self) -> None:
        """Lower the whole function and hand its text to the unit."""
        function, node = self.function, self.function.node
        kind = self.program.function_type(function)
        self.result = kind.result
        self.loops = []
        self.loop_variables = set()
        symbol = function.name + (".body" if function.kind == "interrupt" else "")
        self.scope = self.unit.debug.subprogram(function.name, node.lineno, kind)
        self.at(node)
        # optsize: no padding in front of loops, which a CPU without caches would only have to run through.
        attributes = "nounwind" if self.unit.optimize else "noinline nounwind optsize"
        if function.kind == "naked":
            params = ", ".join(word_type(param) for param in kind.params)
            self._naked(node.body)
            attributes = "naked " + attributes
        else:
            params = self._parameters(kind)
            self.assigned, self.globals = assigned_names(node.body)
            self.statements(node.body)
            self._finish(node)
        if kind.varargs:
            params = ", ".join([params, "..."]) if params else "..."
        head = f'define {kind.result.memory} @"{symbol}"({params}) {attributes} "frame-pointer"="all" "no-builtins"'
        body = "\n".join([*self.allocas, *self.lines])
        self.unit.functions.append(f"{head} !dbg {self.scope} {{\nentry:\n{body}\n}}\n")

    def _naked(self, body: list[ast.stmt]) -> None:
        for statement in body:
            match statement:
                case ast.Expr(value=ast.Constant(value=str())):
                    continue
                case ast.Expr(value=ast.Call(func=ast.Name(id="asm")) as call):
                    self.attempt(lambda call=call: self.lower(call))
                case _:
                    self.program.reporter.error(self.module.source, statement, "a naked function holds asm(...) only")
        self.emit("unreachable")

    def _parameters(self, kind: FnType) -> str:
        node = self.function.node
        texts = []
        for number, (arg, param) in enumerate(zip(node.args.args, kind.params, strict=True), 1):
            if arg.arg in self.locals:
                self.program.reporter.error(self.module.source, arg, f"parameter {arg.arg} appears twice")
            name = f"%p{number}"
            if self.unit.optimize:
                slot = self.alloca(param, arg.arg)
                texts.append(f"{word_type(param)} {name}")
                text = name
                if param.memory != word_type(param):
                    text = self.temp(f"trunc {word_type(param)} {name} to {param.memory}")
                self.emit(f"store {param.memory} {text}, ptr {slot}")
                name = slot
            else:
                # byval names the caller's stack slot itself: no copy, and a debugger finds it from the first byte on.
                # Callers pass plain values; on the stack that is the same.
                texts.append(f"ptr byval({param.memory}) align {WORD} {name}")
            self.declare(arg.arg, param, arg.lineno, name, number)
        if node.args.vararg is not None:
            # LLVM's va_list on i386 is just the pointer to the next word.
            slot = self.alloca(PtrType(USIZE), "args")
            self.declare(node.args.vararg.arg, PtrType(USIZE), node.lineno, slot)
            self.unit.declare("llvm.va_start", "declare void @llvm.va_start(ptr)")
            self.emit(f"call void @llvm.va_start(ptr {slot})")
        return ", ".join(texts)

    def declare(self, name: str, kind: Type, line: int, slot: str, argument: int = 0) -> Place:
        """A new local at `slot`, known to the debugger; `argument` counts parameters from 1."""
        place = Place(kind, slot, kind.align)
        self.locals[name] = Local(place, line)
        if not isinstance(kind, PoisonType):
            variable = self.unit.debug.local(name, kind, line, self.scope, argument)
            where = self.unit.debug.location(line, self.scope)
            # In the entry block, so that the variable is known in the whole function.
            self.allocas.append(
                f"  call void @llvm.dbg.declare(metadata ptr {slot}, metadata {variable}, "
                f"metadata {self.unit.debug.place}), !dbg {where}"
            )
        return place

    def _finish(self, node: ast.FunctionDef) -> None:
        if isinstance(self.result, VoidType):
            if self.reachable:
                self._dbg = ", !dbg " + self.unit.debug.location(node.end_lineno or node.lineno, self.scope)
            self.emit("ret void")
        else:
            if self.reachable and not self.failed:
                what = "returns" if isinstance(self.result, NoReturnType) else "ends without a value"
                error = self.program.reporter.error
                error(
                    self.module.source,
                    node.lineno,
                    f"function {node.name} {what} on some path",
                    "return, or unreachable()",
                )
            self.emit("unreachable")

    # -- statements --------------------------------------------------------------------------------------------------

    def attempt(self, action: object) -> None:
        """Run a lowering step; an error in it has been recorded and ends only this step."""
        try:
            action()  # type: ignore[operator]
        except Failure:
            self.failed = True

    def statements(self, body: list[ast.stmt]) -> None:
        """Lower a block; each statement fails by itself."""
        for statement in body:
            self.attempt(lambda: self.statement(statement))  # noqa: B023  (run at once)

    def statement(self, node: ast.stmt) -> None:
        """Lower one statement."""
        self.at(node)
        match node:
            case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call() as call):
                self.lower(call)
            case ast.Expr():
                self.fail(node, "this expression does nothing", "did you mean a call or an assignment?")
            case ast.AnnAssign():
                self._annotated(node)
            case ast.Assign():
                self._assign(node)
            case ast.AugAssign():
                self._augmented(node)
            case ast.If():
                self._if(node)
            case ast.While():
                self.while_loop(node)
            case ast.For():
                self.for_loop(node)
            case ast.Return():
                self._return(node)
            case ast.Break() | ast.Continue():
                if not self.loops:
                    self.fail(node, "there is no loop around this")
                end, again = self.loops[-1]
                self.jump(end if isinstance(node, ast.Break) else again)
                self.start(self.label(), reachable=False)
            case ast.Global():
                for name in node.names:
                    if not isinstance(self.program.require(self.module, node, name), Variable):
                        self.fail(node, f"{name} is not a global variable")
            case _:
                message, hint = _UNSUPPORTED.get(type(node), (f"{type(node).__name__} is not guest code", ""))
                self.fail(node, message, hint)

    def _annotated(self, node: ast.AnnAssign) -> None:
        if not isinstance(node.target, ast.Name):
            self.fail(node.target, "only names are declared")
        name = node.target.id
        if name in self.globals:
            self.fail(node, f"{name} is declared global")
        count: int | None = None
        zeroed = True
        call = call_of(node.value, "length")
        try:
            kind = self.program.annotation(self.module, node.annotation)
            if call is not None:
                count, zeroed = self._length(call)
            if isinstance(kind, ArrayType):
                if count is None:
                    self.fail(node, "a local array needs its length", "= length(n)")
                kind = ArrayType(kind.of, count)
            elif count is not None:
                self.fail(node, f"length() makes an array, not {kind}")
            self.program.require_object(self.module, node.annotation, kind)
        except Failure:
            self.locals.setdefault(name, Local(Place(POISON, "null", 4), node.lineno))
            raise
        known = self.locals.get(name)
        if known is not None:
            if known.place.type != kind and not isinstance(known.place.type, PoisonType):
                self.fail(node, f"{name} is already a {known.place.type} (line {known.line})", "one type for each name")
            place = known.place
        else:
            place = self.declare(name, kind, node.lineno, self.alloca(kind, name))
        if isinstance(kind, ArrayType):
            if zeroed:
                self._zero(place)
        elif isinstance(kind, StructType):
            if node.value is not None:
                self._fill(place, kind, node.value)
        elif node.value is not None:
            value = self.convert_from(node.value, kind)
            self.at(node)
            self.store(place, value, node.value)

    def _length(self, call: ast.Call) -> tuple[int, bool]:
        zeroed = True
        for keyword in call.keywords:
            if keyword.arg != "zeroed" or not isinstance(keyword.value, ast.Constant):
                self.fail(call, "a local's length takes zeroed=True or zeroed=False only")
            zeroed = bool(keyword.value.value)
        if len(call.args) != 1:
            self.fail(call, "length(count) takes one count")
        count = self.program.integer(self.module, call.args[0])
        if count < 1:
            self.fail(call, "a local array has at least one element")
        return count, zeroed

    def _zero(self, place: Place) -> None:
        name = f"llvm.memset.p0.{WORD_IR}"
        self.unit.declare(name, f"declare void @{name}(ptr, i8, {WORD_IR}, i1)")
        size = place.type.size
        if size:
            self.emit(f"call void @{name}(ptr align {place.align} {place.ir}, i8 0, {WORD_IR} {size}, i1 false)")

    def _fill(self, place: Place, kind: StructType, node: ast.expr) -> None:
        """`Struct(...)` into a place, or a copy of another structure."""
        makes = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not self.is_local(node.func.id)
        if makes and isinstance(node, ast.Call):
            symbol = self.program.require(self.module, node.func, ast.unparse(node.func))
            if isinstance(symbol, TypeName) and symbol.type is kind:
                if node.args:
                    self.fail(node, f"the fields of {kind}(...) are given by name")
                if kind.union and len(node.keywords) > 1:
                    self.fail(node, f"{kind} is a union: one field of it has a value")
                self._zero(place)
                for keyword in node.keywords:
                    member = kind.fields.get(keyword.arg or "")
                    if member is None:
                        self.fail(keyword, f"{kind} has no field {keyword.arg}", f"it has {', '.join(kind.fields)}")
                    if isinstance(member.type, StructType | ArrayType):
                        self.fail(keyword, "an embedded structure or array is filled by statements of its own")
                    value = self.convert_from(keyword.value, member.type)
                    align = 1 if kind.packed else member.type.align
                    slot = Place(member.type, self.offset(place.ir, member.offset), align, member.bits, member.bit)
                    self.store(slot, value, keyword.value)
                return
        source = self.place(node)
        if source.type is not kind:
            self.fail(node, f"{source.type} does not fit {kind}")
        name = f"llvm.memcpy.p0.p0.{WORD_IR}"
        self.unit.declare(name, f"declare void @{name}(ptr, ptr, {WORD_IR}, i1)")
        self.emit(
            f"call void @{name}(ptr align {place.align} {place.ir}, "
            f"ptr align {source.align} {source.ir}, {WORD_IR} {kind.size}, i1 false)"
        )

    def _assign(self, node: ast.Assign) -> None:
        if len(node.targets) != 1:
            self.fail(node, "one target for each assignment")
        target = node.targets[0]
        if isinstance(target, ast.Tuple | ast.List):
            self.fail(target, "there are no tuples in guest code", "one assignment for each name")
        if isinstance(target, ast.Name):
            self.check_loop_variable(target)
            if target.id not in self.globals and target.id not in self.locals:
                self._infer(node, target.id)
                return
        place = self.place(target)
        self._assign_place(place, node.value, target)

    def _assign_place(self, place: Place, value: ast.expr, target: ast.AST) -> None:
        if isinstance(place.type, StructType):
            self._fill(place, place.type, value)
            return
        if isinstance(place.type, ArrayType):
            self.fail(target, "an array cannot be assigned", "memcpy, or element by element")
        converted = self.convert_from(value, place.type)
        self.at(target)
        self.store(place, converted, target)

    def _infer(self, node: ast.Assign, name: str) -> None:
        symbol = self.program.lookup(self.module, name)
        if isinstance(symbol, Variable):
            self.locals[name] = Local(Place(POISON, "null", 4), node.lineno)
            self.fail(
                node.targets[0],
                f"{name} is a global variable",
                f"'global {name}' first, or declare the local: {name}: T = ...",
            )
        try:
            value = self.settled(self.lower(node.value), node.value)
            if isinstance(value.type, VoidType | NoReturnType):
                self.fail(node.value, "this call gives no value")
            if isinstance(value.type, NullType):
                self.fail(node.value, "NULL alone does not tell the pointer's type", f"{name}: ptr[T] = NULL")
            if isinstance(value.type, PoisonType):
                raise Failure(name)
        except Failure:
            self.locals[name] = Local(Place(POISON, "null", 4), node.lineno)
            raise
        place = self.declare(name, value.type, node.lineno, self.alloca(value.type, name))
        self.at(node)
        self.store(place, value, node)

    def _augmented(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.check_loop_variable(node.target)
        place = self.place(node.target)
        left = self.load(place, node.target)
        if isinstance(node.op, ast.LShift | ast.RShift):
            value = self.shift(node.op, left, self.lower(node.value), node, None)
        else:
            value = self.arithmetic(node.op, left, self.lower(node.value, place.type), node)
        self.at(node)
        self.store(place, self.convert(value, place.type, node), node)

    def _if(self, node: ast.If) -> None:
        known = self._known(node.test)
        yes, end = self.label(), self.label()
        no = self.label() if node.orelse else end
        reachable = self.reachable
        try:
            self.condition(node.test, yes, no)
        except Failure:
            # The branches are still checked for errors of their own.
            self.jump(yes)
        yes_possible = reachable and not (isinstance(known, Const) and not known.value)
        no_possible = reachable and not (isinstance(known, Const) and known.value)
        self.start(yes, yes_possible)
        self.statements(node.body)
        after = self.reachable
        self.jump(end)
        if node.orelse:
            self.start(no, no_possible)
            self.statements(node.orelse)
            after = after or self.reachable
            self.jump(end)
        else:
            after = after or no_possible
        self.start(end, after)

    def _return(self, node: ast.Return) -> None:
        result = self.result
        if result == NORETURN:
            self.fail(node, f"{self.function.name} never returns")
        if isinstance(result, VoidType):
            if node.value is not None:
                self.fail(node, f"{self.function.name} returns nothing", "-> T")
            self.emit("ret void")
        else:
            if node.value is None:
                self.fail(node, f"{self.function.name} returns {result}")
            value = self.convert_from(node.value, result)
            self.at(node)
            text = self.memory_bool(value) if isinstance(result, BoolType) else value.ir
            self.emit(f"ret {result.memory} {text}")
        self.start(self.label(), reachable=False)
