# SPDX-License-Identifier: GPL-2.0-or-later
"""One guest module as a module of LLVM IR text."""

from __future__ import annotations

import ast

from . import backend
from .asm import KERNEL_DS, interrupt_stub, marked
from .assembler import module_asm_ir
from .constants import Const, Text
from .debuginfo import DebugInfo
from .diagnostics import Failure
from .frames import note_signal_frames
from .program import Program
from .statements import FunctionLowering
from .statics import StaticValues, byte_string
from .symbols import Constant, Function, TypeName, Variable
from .types import EnumType, StructType


class ModuleEmitter:
    """Collects what a module's functions and globals need, and writes it all down."""

    def __init__(self, program: Program, name: str, optimize: bool) -> None:
        self.program, self.optimize = program, optimize
        self.scope = program.scopes[name]
        self.module = self.scope.module
        self.debug = DebugInfo(self.module.source, optimize)
        self.functions: list[str] = []
        self.lowered: list[Function] = []
        self._strings: dict[bytes, str] = {}
        self._declared: dict[str, str] = {
            "llvm.dbg.declare": "declare void @llvm.dbg.declare(metadata, metadata, metadata)"
        }

    # -- what functions and initialisers refer to --------------------------------------------------------------------

    def string(self, data: bytes) -> str:
        """The address of a NUL-terminated read-only string."""
        return self._strings.setdefault(data, f"@.str.{len(self._strings)}")

    def declare(self, name: str, text: str) -> None:
        """Declare an LLVM intrinsic."""
        self._declared[name] = text

    def _defines(self, symbol: Function | Variable) -> bool:
        if isinstance(symbol, Function) and symbol.kind == "extern":
            return False
        if isinstance(symbol, Variable) and symbol.external:
            return False
        return symbol.module.name == self.module.name

    def function(self, symbol: Function) -> str:
        """The address of a function."""
        if not self._defines(symbol) or symbol.kind == "interrupt":
            kind = self.program.function_type(symbol)
            params = [FunctionLowering.word_type(param) for param in kind.params] + ["..."] * kind.varargs
            self._declared[symbol.name] = f'declare {kind.result.memory} @"{symbol.name}"({", ".join(params)})'
        return f'@"{symbol.name}"'

    def variable(self, symbol: Variable) -> str:
        """The address of a global variable."""
        if not self._defines(symbol):
            self._declared[symbol.name] = f'@"{symbol.name}" = external global i8'
        return f'@"{symbol.name}"'

    # -- the parts of the module -------------------------------------------------------------------------------------

    def lower(self) -> None:
        """Check and lower everything the module defines; errors go to the reporter."""
        self._globals: list[str] = []
        self._assembly: list[str] = []
        for name, symbol in list(self.scope.names.items()):
            try:
                match symbol:
                    case Variable():
                        self._variable(symbol)
                    case Function(kind="extern"):
                        self._check_extern(symbol)
                    case Function():
                        if symbol.kind == "interrupt":
                            self._interrupt(symbol)
                        FunctionLowering(self, symbol).run()
                        self.lowered.append(symbol)
                    case Constant():
                        self.program.constant(symbol)
                    case TypeName(type=StructType() | EnumType() as kind):
                        kind.complete()
                        self.debug.retain(kind)
                    case _:
                        self.program.lookup(self.module, name)
            except Failure:
                continue
        for node in self.scope.assembly:
            try:
                self._assembly.append(self._assembly_text(node))
            except Failure:
                continue

    def _check_extern(self, symbol: Function) -> None:
        self.program.function_type(symbol)
        body = [s for s in symbol.node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        if body:
            self.program.reporter.error(self.module.source, body[0], "an extern function has no body", "write ...")

    def _variable(self, symbol: Variable) -> None:
        kind = self.program.variable_type(symbol)
        if symbol.external:
            return
        if symbol.initializer is None:
            memory, text = kind.memory, "zeroinitializer"
        else:
            memory, text = StaticValues(self).value(kind, symbol.initializer)
        node = self.debug.variable(symbol.name, kind, symbol.node.lineno)
        section = f', section "{symbol.section}"' if symbol.section else ""
        align = max(symbol.align, kind.align)
        self._globals.append(f'@"{symbol.name}" = global {memory} {text}{section}, align {align}, !dbg {node}\n')

    def _interrupt(self, symbol: Function) -> None:
        kind = self.program.function_type(symbol)
        if len(kind.params) != 1 or str(kind.result) != "void":
            message = "an interrupt handler takes the saved registers and returns nothing"
            self.program.reporter.fail(
                self.module.source, symbol.node.lineno, message, f"def {symbol.name}(regs: ptr[PtRegs]) -> None"
            )
        selector = KERNEL_DS
        chosen = self.program.lookup(self.module, "__KERNEL_DS")
        if isinstance(chosen, Constant):
            value = self.program.constant(chosen)
            selector = value.value if isinstance(value, Const) else KERNEL_DS
        self._assembly.append(interrupt_stub(symbol.name, f"{symbol.name}.body", symbol.error_code, selector))

    def _assembly_text(self, node: ast.expr) -> str:
        source = self.module.source
        if not isinstance(node, ast.JoinedStr):
            value = self.program.evaluate(self.module, node)
            if not isinstance(value, Text):
                self.program.reporter.fail(source, node, "module_asm takes a string")
            return marked(value.data.decode(), node, source)
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                number = self.program.evaluate(self.module, part.value)
                spec = ast.unparse(part.format_spec)[2:-1] if part.format_spec is not None else ""
                text += number.data.decode() if isinstance(number, Text) else format(number.value, spec)
        return marked(text, node, source)

    def one_function(self, index: int) -> str:
        """The module with one function only: to find the one that LLVM refuses."""
        others = [f'declare void @"{symbol.name}"()\n' for symbol in self.lowered if symbol is not self.lowered[index]]
        whole, assembly = self.functions, self._assembly
        self.functions, self._assembly = [whole[index], *others], []
        try:
            return self.text()
        finally:
            self.functions, self._assembly = whole, assembly

    def text(self) -> str:
        """The module as LLVM IR."""
        own = {s.name for s in self.scope.names.values() if isinstance(s, Function | Variable) and self._defines(s)}
        own -= {s.name for s in self.scope.names.values() if isinstance(s, Function) and s.kind == "interrupt"}
        parts = [f'source_filename = "{self.module.source.shown}"\ntarget triple = "{backend.TRIPLE}"\n']
        if self._assembly:
            parts.append(
                module_asm_ir("\n".join([".cfi_sections .debug_frame", *map(note_signal_frames, self._assembly)]))
            )
        parts += self._globals
        for data, name in self._strings.items():
            size = len(data) + 1
            parts.append(
                f"{name} = private unnamed_addr constant [{size} x i8] {byte_string(data + bytes(1))}, align 1\n"
            )
        parts += self.functions
        parts += [f"{text}\n" for name, text in self._declared.items() if name not in own]
        parts.append(self.debug.finish())
        return "\n".join(parts)
