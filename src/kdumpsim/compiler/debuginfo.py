# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF 4 through LLVM's debug metadata, written as text.

A structure is described in full in the module that defines it, and where a value of it is embedded; elsewhere, behind
pointers, a declaration is enough: debuggers find the definition by name, as in C.  Paths are machine-independent
(``kdumpsim/kernel/...`` relative to ``.``), so that the same sources give the same bytes everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from . import framebase
from .constants import Const, settle
from .diagnostics import Source
from .target import TARGET
from .types import (
    USIZE,
    ArrayType,
    BoolType,
    ConstType,
    EnumType,
    Field,
    FnType,
    IntType,
    NoReturnType,
    NullType,
    PoisonType,
    PtrType,
    StructType,
    Type,
    VoidType,
    named,
)  # fmt: skip

COMP_DIR = "."
#: gdb skips prologues by line table only for a producer it knows.
PRODUCER = "clang version 22 (kdumpsim guest compiler)"

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def c_tag(name: str) -> str:
    """A class's name as the C tag a kernel engineer types: `TaskStruct` is ``struct task_struct``."""
    return _WORD_START.sub("_", name).lower()


def _tag(kind: StructType) -> str:
    return "DW_TAG_union_type" if kind.union else "DW_TAG_structure_type"


class DebugInfo:
    """The metadata nodes of one module."""

    def __init__(self, source: Source, optimized: bool, file_of: Callable[[str], str]) -> None:
        """`file_of` gives the file of another module by the module's name."""
        self.nodes: list[str] = []
        self._types: dict[tuple[Type, str], str] = {}
        self._locations: dict[tuple[str, int], str] = {}
        self._globals: list[str] = []
        self._retained: list[str] = []
        self.module = source.module
        self.unit = self.add("")
        self._file_of = file_of
        self._files: dict[str, str] = {}
        self.file = self._file(source.module)
        self.expression = self.add("!DIExpression()")
        self.place = self.expression if optimized else self.add(framebase.EXPRESSION)
        self._optimized = optimized
        self.flags = [
            self.add('!{i32 7, !"Dwarf Version", i32 4}'),
            self.add('!{i32 2, !"Debug Info Version", i32 3}'),
            # i386 kernels keep the stack aligned to words only; LLVM's default of 16 wastes it.
            self.add(f'!{{i32 1, !"override-stack-alignment", i32 {TARGET.stack_align}}}'),
        ]

    def add(self, text: str) -> str:
        """A new node; its reference."""
        self.nodes.append(text)
        return f"!{len(self.nodes) - 1}"

    def _file(self, module: str) -> str:
        if module not in self._files:
            self._files[module] = self.add(f'!DIFile(filename: "{self._file_of(module)}", directory: "{COMP_DIR}")')
        return self._files[module]

    def _list(self, items: Iterable[str]) -> str:
        return self.add("!{" + ", ".join(items) + "}")

    def location(self, line: int, scope: str) -> str:
        """A source line within a subprogram."""
        key = (scope, line)
        if key not in self._locations:
            self._locations[key] = self.add(f"!DILocation(line: {line}, column: 0, scope: {scope})")
        return self._locations[key]

    def subprogram(self, name: str, line: int, kind: FnType) -> str:
        """A function definition."""
        optimized = "|DISPFlagOptimized" if self._optimized else ""
        no_return = ", flags: DIFlagPrototyped" + ("|DIFlagNoReturn" if isinstance(kind.result, NoReturnType) else "")
        return self.add(
            f'distinct !DISubprogram(name: "{name}", scope: {self.file}, file: {self.file}, line: {line}, '
            f"type: {self._signature(kind)}, scopeLine: {line}{no_return}, "
            f"spFlags: DISPFlagDefinition{optimized}, unit: {self.unit})"
        )

    def local(self, name: str, kind: Type, line: int, scope: str, argument: int = 0) -> str:
        """A local variable, or the `argument`-th parameter."""
        arg = f"arg: {argument}, " if argument else ""
        return self.add(
            f'!DILocalVariable(name: "{name}", {arg}scope: {scope}, file: {self.file}, line: {line}, '
            f"type: {self.type(kind)})"
        )

    def variable(self, name: str, kind: Type, line: int) -> str:
        """A global variable defined here."""
        var = self.add(
            f'distinct !DIGlobalVariable(name: "{name}", scope: {self.unit}, file: {self.file}, line: {line}, '
            f"type: {self.type(kind)}, isLocal: false, isDefinition: true)"
        )
        node = self.add(f"!DIGlobalVariableExpression(var: {var}, expr: {self.expression})")
        self._globals.append(node)
        return node

    def constant(self, name: str, const: Const, line: int) -> None:
        """A constant defined here: a variable that has a value and no place (DWARF 4, section 4.1, item 10)."""
        kind = settle(const.value) if isinstance(const.type, ConstType) else const.type
        if kind is None:
            return  # wider than any integer
        number = const.value & 0xFFFFFFFFFFFFFFFF
        operator = "DW_OP_consts" if const.value < 0 else "DW_OP_constu"
        value = self.add(f"!DIExpression({operator}, {number}, DW_OP_stack_value)")
        var = self.add(
            f'distinct !DIGlobalVariable(name: "{name}", scope: {self.unit}, file: {self.file}, line: {line}, '
            f"type: {self._const(kind)}, isLocal: true, isDefinition: true)"
        )
        self._globals.append(self.add(f"!DIGlobalVariableExpression(var: {var}, expr: {value})"))

    def retain(self, kind: Type) -> None:
        """Describe a type defined here even if nothing here uses it."""
        self._retained.append(self.type(kind))

    def typedef(self, name: str, kind: Type, line: int) -> None:
        """An alias that a module gives a type."""
        base = self.type(named(kind, ""))
        node = self.add(
            f'!DIDerivedType(tag: DW_TAG_typedef, name: "{name}", file: {self.file}, line: {line}, baseType: {base})'
        )
        if str(kind) == name:
            self._types.setdefault((kind, name), node)
        self._retained.append(node)

    # -- types -------------------------------------------------------------------------------------------------------

    def type(self, kind: Type, *, behind_pointer: bool = False) -> str:
        """The node of a type, "null" for void."""
        if isinstance(kind, VoidType | NoReturnType):
            return "null"
        # By name, too: usize is equal to the integer of its width.
        key = (kind, str(kind))
        declared = behind_pointer and isinstance(kind, StructType) and kind.module != self.module
        if declared and key not in self._types:
            key = (kind, "declared")
        else:
            declared = False
        if key not in self._types:
            self._types[key] = node = self.add("")  # reserved first: structures point to themselves
            index = len(self.nodes) - 1
            if declared and isinstance(kind, StructType):
                self.nodes[index] = self._declaration(kind)
            else:
                self.nodes[index] = self._describe(kind, node)
        return self._types[key]

    @staticmethod
    def _declaration(kind: StructType) -> str:
        return f'!DICompositeType(tag: {_tag(kind)}, name: "{c_tag(kind.name)}", flags: DIFlagFwdDecl)'

    def _describe(self, kind: Type, node: str) -> str:
        match kind:
            case PtrType(name="cstr"):
                return self._pointer(self._const(kind.to))
            case IntType(name=name) | PtrType(name=name) | FnType(name=name) if name not in ("", "usize"):
                return f'!DIDerivedType(tag: DW_TAG_typedef, name: "{name}", baseType: {self.type(named(kind, ""))})'
            case IntType(bits=bits, signed=signed):
                # One-byte integers are characters to a debugger, so that it prints strings.
                encoding = f"DW_ATE_{'signed' if signed else 'unsigned'}{'_char' if bits == 8 else ''}"
                return f'!DIBasicType(name: "{kind}", size: {bits}, encoding: {encoding})'
            case BoolType():
                return '!DIBasicType(name: "bool", size: 8, encoding: DW_ATE_boolean)'
            case PtrType(to=to):
                return self._pointer(self.type(to, behind_pointer=True))
            case NullType():
                return self._pointer("null")
            case FnType():
                return self._pointer(self._signature(kind))
            case ArrayType(of=of, count=count):
                subrange = self.add(f"!DISubrange(count: {count})" if count is not None else "!DISubrange()")
                bounds = self._list([subrange])
                return (
                    f"!DICompositeType(tag: DW_TAG_array_type, baseType: {self.type(of)}, size: {kind.size * 8}, "
                    f"elements: {bounds})"
                )
            case EnumType():
                kind.complete()
                members = [
                    self.add(f'!DIEnumerator(name: "{name}", value: {value}, isUnsigned: true)')
                    for name, value in kind.members.items()
                ]
                base = self.type(IntType(32, False))
                return (
                    f'!DICompositeType(tag: DW_TAG_enumeration_type, name: "{c_tag(kind.name)}", '
                    f"file: {self._file(kind.module)}, line: {kind.line}, baseType: {base}, size: 32, "
                    f"elements: {self._list(members)})"
                )
            case StructType():
                kind.complete()
                elements = self._list(
                    [self._member(member, node, self._file(kind.module)) for member in kind.fields.values()]
                )
                return (
                    f'distinct !DICompositeType(tag: {_tag(kind)}, name: "{c_tag(kind.name)}", '
                    f"file: {self._file(kind.module)}, line: {kind.line}, size: {kind.size * 8}, elements: {elements})"
                )
            case ConstType() | PoisonType():
                return self._describe(IntType(32, True), node)
        raise TypeError(f"no debug type for {kind}")

    def _const(self, kind: Type) -> str:
        return self.add(f"!DIDerivedType(tag: DW_TAG_const_type, baseType: {self.type(kind)})")

    @staticmethod
    def _pointer(target: str) -> str:
        return f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {target}, size: {USIZE.bits})"

    def _member(self, member: Field, scope: str, file: str) -> str:
        size, offset, extra = member.type.size * 8, member.offset * 8, ""
        if member.bits:
            size, offset = member.bits, offset + member.bit
            extra = f", flags: DIFlagBitField, extraData: i64 {member.offset * 8}"
        return self.add(
            f'!DIDerivedType(tag: DW_TAG_member, name: "{member.name}", scope: {scope}, file: {file}, '
            f"line: {member.line}, baseType: {self.type(member.type)}, size: {size}, offset: {offset}{extra})"
        )

    def _signature(self, kind: FnType) -> str:
        parts = [self.type(kind.result), *(self.type(param) for param in kind.params)]
        if kind.varargs:
            parts.append("null")
        return self.add(f"!DISubroutineType(types: {self._list(parts)})")

    def finish(self) -> str:
        """All nodes as text, with the named metadata that LLVM looks for."""
        globals_, retained = self._list(self._globals), self._list(self._retained)
        self.nodes[0] = (
            f'distinct !DICompileUnit(language: DW_LANG_C99, file: {self.file}, producer: "{PRODUCER}", '
            f"isOptimized: {str(self._optimized).lower()}, runtimeVersion: 0, emissionKind: FullDebug, "
            f"globals: {globals_}, retainedTypes: {retained}, splitDebugInlining: false, nameTableKind: None)"
        )
        head = f"!llvm.dbg.cu = !{{{self.unit}}}\n!llvm.module.flags = !{{{', '.join(self.flags)}}}\n"
        return head + "".join(f"!{index} = {text}\n" for index, text in enumerate(self.nodes))
