# SPDX-License-Identifier: GPL-2.0-or-later
"""Loops: while, and for over ranges, lists and tables."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod

from .builder import Local, Place, Value, raise_poison
from .calls import Calls
from .constants import Const, Text
from .diagnostics import Failure
from .symbols import Builtin
from .types import (
    CONST,
    I32,
    POISON,
    U32,
    WORD,
    BoolType,
    ConstType,
    IntType,
    PoisonType,
    PtrType,
    StructType,
    Type,
    as_int,
    join,
)  # fmt: skip

_WALKS = ("list_for_each_entry", "list_for_each_entry_safe", "section")


class Loops(Calls, ABC):
    """Lowers loops; their bodies' statements are lowered by the subclass."""

    loops: list[tuple[str, str]]
    """Where `break` and `continue` lead, the innermost loop last."""

    @abstractmethod
    def statements(self, body: list[ast.stmt]) -> None:
        """Lower a block."""

    @abstractmethod
    def declare(self, name: str, kind: Type, line: int, slot: str, argument: int = 0) -> Place:
        """A new local."""

    def check_loop_variable(self, target: ast.Name) -> None:
        """Fail if a loop that runs owns the name."""
        if target.id in self.loop_variables:
            self.fail(target, f"{target.id} is the variable of the loop around", "use while, or another name")

    def while_loop(self, node: ast.While) -> None:
        """while."""
        if node.orelse:
            self.fail(node, "'while ... else' is not guest code")
        again, body, end = self.label(), self.label(), self.label()
        known = self._known(node.test)
        forever = isinstance(known, Const) and bool(known.value)
        reachable = self.reachable
        self.jump(again)
        self.start(again, reachable)
        self.at(node)
        try:
            self.condition(node.test, body, end)
        except Failure:
            self.jump(body)
        self.start(body, reachable)
        self._loop_body(node.body, end, again)
        self.at(node)
        self.jump(again)
        self.start(end, reachable and (not forever or _breaks(node.body)))

    def _loop_body(self, body: list[ast.stmt], end: str, again: str) -> None:
        self.loops.append((end, again))
        try:
            self.statements(body)
        finally:
            self.loops.pop()

    def for_loop(self, node: ast.For) -> None:
        """for."""
        if node.orelse:
            self.fail(node, "'for ... else' is not guest code")
        if not isinstance(node.target, ast.Name):
            self.fail(node.target, "a loop has one variable")
        name = node.target.id
        self.check_loop_variable(node.target)
        try:
            if name in self.globals:
                self.fail(node.target, "a loop's variable is local")
            match node.iter:
                case ast.Call(func=ast.Name(id="range"), args=[_, *_] as args, keywords=[]) if len(args) <= 3:
                    self._counted(node, node.iter, name)
                case ast.Call(func=ast.Name(id=walk)) if self._is_walk(walk):
                    self._walk(node, node.iter, name, walk)
                case _:
                    self.fail(node.iter, "loops run over range(...) only", "for i in range(len(a)): ... a[i]")
        except Failure:  # of the loop's head; what fails in a body ends only that statement
            self.locals.setdefault(name, Local(Place(POISON, "null", 4), node.lineno))
            self._loop_body(node.body, "entry", "entry")  # never emitted: an error was recorded
            raise

    def _variable(self, node: ast.For, name: str, kind: Type) -> Place:
        """The place of a loop's variable of a type."""
        known = self.locals.get(name)
        if known is None:
            return self.declare(name, kind, node.lineno, self.alloca(kind, name))
        if known.place.type != kind:
            if isinstance(known.place.type, PoisonType):
                raise Failure("poison")
            self.fail(node.target, f"{name} is already a {known.place.type} (line {known.line})", "another name")
        return known.place

    def _owned_body(self, node: ast.For, name: str, end: str, again: str) -> None:
        """The body of a loop whose variable it must not assign; leads to `again`."""
        self.loop_variables.add(name)
        self._loop_body(node.body, end, again)
        self.loop_variables.discard(name)
        self.at(node)
        self.jump(again)

    # -- lists and tables --------------------------------------------------------------------------------------------

    def _is_walk(self, name: str) -> bool:
        symbol = None if self.is_local(name) else self.program.lookup(self.module, name)
        return isinstance(symbol, Builtin) and symbol.name in _WALKS

    def _walk(self, node: ast.For, call: ast.Call, name: str, which: str) -> None:
        """A loop whose variable points to one structure after the other, and to the last afterwards."""
        if which == "section":
            first, stop, kind = self._table(call)
            before, condition, link = 0, "ult", None
        else:
            first, stop, kind, before, link = self._list(call)
            condition = "ne"
        place = self._variable(node, name, PtrType(kind))
        again, enter, following, end = self.label(), self.label(), self.label(), self.label()
        reachable = self.reachable
        came_from = self.block
        self.jump(again)
        self.start(again, reachable)
        # The operand of the edge back is known when the body is done: a phi's line is written last.
        mark = len(self.lines)
        cursor = self.temp("")
        self.branch(self.temp(f"icmp {condition} ptr {cursor}, {stop}"), enter, end)
        self.start(enter, reachable)
        self.store(place, Value(place.type, self.offset(cursor, -before)), node)
        safe = which == "list_for_each_entry_safe"
        if safe and link is not None:
            after = self.temp(f"load ptr, ptr {self.offset(cursor, link)}, align {WORD}")
        self._owned_body(node, name, end, following)
        self.start(following, reachable)
        if not safe:
            now = self.temp(f"load ptr, ptr {place.ir}, align {WORD}")
            if link is None:
                after = self.offset(now, kind.size)
            else:
                after = self.temp(f"load ptr, ptr {self.offset(now, before + link)}, align {WORD}")
        self.jump(again)
        self.lines[mark] = self.lines[mark].replace(
            f"{cursor} = ", f"{cursor} = phi ptr [ {first}, %{came_from} ], [ {after}, %{following} ]", 1
        )
        self.start(end, reachable)

    def _table(self, call: ast.Call) -> tuple[str, str, Type]:
        """Start, end and element type of section(name, T)."""
        name_node, kind_node = self.arguments(call, 2)
        name = self.program.try_constant(self.module, name_node)
        if not isinstance(name, Text):
            self.fail(name_node, "a section is named by a string")
        kind = self.program.annotation(self.module, kind_node)
        self.program.require_object(self.module, kind_node, kind)
        first, stop = (f"__{end}_{name.data.decode()}" for end in ("start", "stop"))
        for symbol in (first, stop):
            self.unit.declared[symbol] = f'@"{symbol}" = external global i8'
        return f'@"{first}"', f'@"{stop}"', kind

    def _list(self, call: ast.Call) -> tuple[str, str, Type, int, int]:
        """First link, head, type of the structures, and where in them the link and in a link `next` is."""
        head_node, kind_node, path_node = self.arguments(call, 3)
        head = self.decayed(self.lower(head_node))
        if isinstance(head.type, PoisonType):
            raise_poison()
        kind = self.program.annotation(self.module, kind_node)
        path = self.program.try_constant(self.module, path_node)
        if not isinstance(path, Text):
            self.fail(path_node, "the field is named by a string")
        before, hook = self.program.field_path(self.module, path_node, kind, path.data.decode())
        if head.type != PtrType(hook):
            self.fail(head_node, f"{head.type} is no head of a list through {kind}.{path.data.decode()}", f"a {hook}")
        link = hook.fields.get("next") if isinstance(hook, StructType) else None
        if link is None or link.type != head.type:
            self.fail(path_node, f"{kind}.{path.data.decode()} is no link of a list", "its field 'next' points on")
        first = self.temp(f"load ptr, ptr {self.offset(head.ir, link.offset)}, align {WORD}")
        return first, head.ir, kind, before, link.offset

    # -- ranges ------------------------------------------------------------------------------------------------------

    def _counted(self, node: ast.For, call: ast.Call, name: str) -> None:
        wanted = self.locals[name].place.type if name in self.locals else None
        kind, start, stop, step = self._range(call, wanted)
        place = self._variable(node, name, wanted or kind)
        # The variable is its own counter (one store a turn), and keeps the last value after the loop, as in Python.
        body, again, following, end = self.label(), self.label(), self.label(), self.label()
        reachable = self.reachable
        sign = "s" if kind.signed else "u"
        self.branch(
            self.temp(f"icmp {sign}{'lt' if step > 0 else 'gt'} {kind.ir} {start.ir}, {stop.ir}"), following, end
        )
        self.start(following, reachable)
        self.store(place, start, node)
        self.jump(body)
        self.start(body, reachable)
        self._owned_body(node, name, end, again)
        self.start(again, reachable)
        now = self.temp(f"load {kind.ir}, ptr {place.ir}, align {place.align}")
        # What is left, counted unsigned, cannot overflow; the next value might.
        ends = (stop.ir, now) if step > 0 else (now, stop.ir)
        left = self.temp(f"sub {kind.ir} {ends[0]}, {ends[1]}")
        more = self.temp(f"icmp ugt {kind.ir} {left}, {abs(step)}")
        advance = self.label()
        self.branch(more, advance, end)
        self.start(advance, reachable)
        following_value = self.temp(f"add {kind.ir} {now}, {step}")
        self.store(place, Value(kind, following_value), node)
        self.jump(body)
        self.start(end, reachable)

    def _range(self, call: ast.Call, wanted: Type | None) -> tuple[IntType, Value, Value, int]:
        step = self.program.integer(self.module, call.args[2]) if len(call.args) == 3 else 1
        if step == 0:
            self.fail(call, "the step cannot be zero")
        hint = wanted
        values = [self.lower(arg, hint) for arg in call.args[:2]]
        if len(values) == 1:
            values.insert(0, self.constant(CONST, 0))
        nodes = [call.args[0], call.args[0]] if len(call.args) == 1 else call.args[:2]
        kind = as_int(wanted) if wanted is not None else None
        if isinstance(wanted, PoisonType):
            raise Failure("poison")
        if kind is None:
            kinds = [as_int(value.type) for value in values if not isinstance(value.type, ConstType | BoolType)]
            if not kinds:
                low = min(value.const or 0 for value in values)
                kind = I32 if low < 0 or (step < 0 and (values[1].const or 0) < 0) else U32
            elif len(kinds) == 2 and kinds[0] and kinds[1]:
                kind = join(kinds[0], kinds[1])
            else:
                kind = kinds[0]
            if kind is None:
                self.fail(call, f"bounds of types {values[0].type} and {values[1].type} do not mix", "cast one of them")
        if abs(step) > kind.high:
            self.fail(call, f"the step does not fit {kind}")
        start, stop = (self.convert(value, kind, node) for value, node in zip(values, nodes, strict=True))
        return kind, start, stop, step


def _breaks(body: list[ast.stmt]) -> bool:
    """Is there a break that leaves the loop with this body?"""
    for node in body:
        match node:
            case ast.Break():
                return True
            case ast.If(body=yes, orelse=no):
                if _breaks(yes) or _breaks(no):
                    return True
    return False
