# SPDX-License-Identifier: GPL-2.0-or-later
"""One guest module as a module of LLVM IR text."""

from __future__ import annotations

import ast

from .asm import KERNEL_DS, interrupt_stub, marked
from .asmlines import note_lines, note_source
from .assembler import module_asm_ir
from .constants import Const, Text
from .diagnostics import Failure
from .frames import note_signal_frames
from .program import Program
from .statements import FunctionLowering
from .statics import StaticValues, byte_string
from .symbols import Constant, Function, TypeName, Variable
from .target import TARGET
from .types import EnumType, StructType
from .unit import Unit


class ModuleEmitter:
    """Lowers everything a module defines and writes it all down."""

    def __init__(self, program: Program, name: str, optimize: bool) -> None:
        self.unit = Unit(program, name, optimize)
        self.program, self.optimize = program, optimize
        self.scope, self.module = self.unit.scope, self.unit.module
        self.lowered: list[Function] = []
        self._globals: list[str] = []
        self._assembly: list[str] = []

    def lower(self) -> None:
        """Check and lower everything the module defines; errors go to the reporter."""
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
                        FunctionLowering(self.unit, symbol).run()
                        self.lowered.append(symbol)
                    case Constant():
                        value = self.program.constant(symbol)
                        if isinstance(value, Const):
                            self.unit.debug.constant(symbol.name, value, symbol.node.lineno)
                        if isinstance(value, TypeName):
                            self.unit.debug.typedef(symbol.name, value.type, symbol.node.lineno)
                    case TypeName(type=StructType() | EnumType() as kind):
                        kind.complete()
                        self.unit.debug.retain(kind)
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
            memory, text = StaticValues(self.unit).value(kind, symbol.initializer)
        node = self.unit.debug.variable(symbol.name, kind, symbol.node.lineno)
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
        stub = interrupt_stub(symbol.name, f"{symbol.name}.body", symbol.error_code, selector)
        self._assembly.append(note_lines(stub, symbol.node.lineno, each=0))

    def _assembly_text(self, node: ast.expr) -> str:
        source = self.module.source
        if not isinstance(node, ast.JoinedStr):
            value = self.program.evaluate(self.module, node)
            if not isinstance(value, Text):
                self.program.reporter.fail(source, node, "module_asm takes a string")
            return self._traceable(value.data.decode(), node)
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                number = self.program.evaluate(self.module, part.value)
                spec = ast.unparse(part.format_spec)[2:-1] if part.format_spec is not None else ""
                text += number.data.decode() if isinstance(number, Text) else format(number.value, spec)
        return self._traceable(text, node)

    def _traceable(self, text: str, node: ast.expr) -> str:
        """Assembly text whose instructions and errors lead back to their lines."""
        return marked(note_lines(text, node.lineno), node, self.module.source)

    def one_function(self, index: int) -> str:
        """The module with one function only: to find the one that LLVM refuses."""
        others = [f'declare void @"{symbol.name}"()\n' for symbol in self.lowered if symbol is not self.lowered[index]]
        whole, assembly = self.unit.functions, self._assembly
        self.unit.functions, self._assembly = [whole[index], *others], []
        try:
            return self.text()
        finally:
            self.unit.functions, self._assembly = whole, assembly

    def text(self) -> str:
        """The module as LLVM IR."""
        own = {s.name for s in self.scope.names.values() if isinstance(s, Function | Variable) and self.unit.defines(s)}
        own -= {s.name for s in self.scope.names.values() if isinstance(s, Function) and s.kind == "interrupt"}
        parts = [f'source_filename = "{self.module.source.shown}"\ntarget triple = "{TARGET.triple}"\n']
        if self._assembly:
            texts = note_source([*map(note_signal_frames, self._assembly)], self.module.source.shown)
            parts.append(module_asm_ir("\n".join([".cfi_sections .debug_frame", *texts])))
        parts += self._globals
        for data, name in self.unit.strings.items():
            size = len(data) + 1
            parts.append(
                f"{name} = private unnamed_addr constant [{size} x i8] {byte_string(data + bytes(1))}, align 1\n"
            )
        parts += self.unit.functions
        parts += [f"{text}\n" for name, text in self.unit.declared.items() if name not in own]
        parts.append(self.unit.debug.finish())
        return "\n".join(parts)
