# SPDX-License-Identifier: GPL-2.0-or-later
"""One guest module while it is compiled: what its functions and initialisers refer to."""

from __future__ import annotations

from .debuginfo import DebugInfo
from .program import Program
from .symbols import Function, Variable
from .types import word_type


class Unit:
    """Collects the strings, declarations, debug data and lowered functions of one module."""

    def __init__(self, program: Program, name: str, optimize: bool) -> None:
        self.program, self.optimize = program, optimize
        self.scope = program.scopes[name]
        self.module = self.scope.module
        self.debug = DebugInfo(self.module.source, optimize, lambda name: program.scopes[name].module.source.shown)
        self.functions: list[str] = []
        self.strings: dict[bytes, str] = {}
        self.declared: dict[str, str] = {
            "llvm.dbg.declare": "declare void @llvm.dbg.declare(metadata, metadata, metadata)"
        }

    def string(self, data: bytes) -> str:
        """The address of a NUL-terminated read-only string."""
        return self.strings.setdefault(data, f"@.str.{len(self.strings)}")

    def declare(self, name: str, text: str) -> None:
        """Declare an LLVM intrinsic."""
        self.declared[name] = text

    def defines(self, symbol: Function | Variable) -> bool:
        """Does this module hold the symbol, rather than refer to another's?"""
        if isinstance(symbol, Function) and symbol.kind == "extern":
            return False
        if isinstance(symbol, Variable) and symbol.external:
            return False
        return symbol.module.name == self.module.name

    def function(self, symbol: Function) -> str:
        """The address of a function."""
        if not self.defines(symbol) or symbol.kind == "interrupt":
            kind = self.program.function_type(symbol)
            params = [word_type(param) for param in kind.params] + ["..."] * kind.varargs
            self.declared[symbol.name] = f'declare {kind.result.memory} @"{symbol.name}"({", ".join(params)})'
        return f'@"{symbol.name}"'

    def variable(self, symbol: Variable) -> str:
        """The address of a global variable."""
        if not self.defines(symbol):
            self.declared[symbol.name] = f'@"{symbol.name}" = external global i8'
        return f'@"{symbol.name}"'
