# SPDX-License-Identifier: GPL-2.0-or-later
"""Complaints about guest sources: gathered over all modules, shown with the source line, a caret and a hint."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kdumpsim.errors import KdumpsimError


@dataclass(frozen=True)
class Diagnostic:
    """One error.  `line` counts from 1, `column` from 1; `text` is the source line."""

    path: str
    line: int
    column: int
    message: str
    hint: str = ""
    text: str = ""
    width: int = 1

    def __str__(self) -> str:
        shown = f"{self.path}:{self.line}:{self.column}: error: {self.message}"
        if self.text:
            # Tabs are kept so that the caret stands below the right character.
            lead = "".join("\t" if c == "\t" else " " for c in self.text[: self.column - 1])
            shown += f"\n    {self.text}\n    {lead}^{'~' * (self.width - 1)}"
        if self.hint:
            shown += f"\n  hint: {self.hint}"
        return shown


class GuestError(KdumpsimError):
    """Guest sources cannot be made into a program; the text names every place."""


class CompileError(GuestError):
    """The guest program is wrong; `diagnostics` holds every error found."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = diagnostics
        super().__init__(diagnostics)

    def __str__(self) -> str:
        count = len(self.diagnostics)
        return "\n".join(map(str, self.diagnostics)) + f"\n{count} error{'s' * (count != 1)}"


class Failure(Exception):
    """Raised after an error was recorded, to leave the expression it stands in."""


@dataclass(frozen=True)
class Source:
    """The text of one module.  `shown` is its machine-independent path, used in DWARF."""

    module: str
    path: Path
    shown: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The text's lines, without their ends."""
        return self.text.split("\n")


class Reporter:
    """Collects the errors of one compilation."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._seen: set[tuple[str, int, int, str]] = set()

    def error(self, source: Source, node: ast.AST | int, message: str, hint: str = "") -> None:
        """Record an error at a node or line, once."""
        if isinstance(node, int):
            line, offset, end = node, 0, None
        else:
            line = getattr(node, "lineno", 1)
            offset = getattr(node, "col_offset", 0)
            end = getattr(node, "end_col_offset", None) if getattr(node, "end_lineno", line) == line else None
        lines = source.lines
        text = lines[line - 1] if 0 < line <= len(lines) else ""
        raw = text.encode()
        column = len(raw[:offset].decode(errors="replace"))
        stop = len(raw[:end].decode(errors="replace")) if end is not None else len(text.rstrip())
        key = (str(source.path), line, column, message)
        if key not in self._seen:
            self._seen.add(key)
            width = max(1, stop - column)
            self.diagnostics.append(Diagnostic(str(source.path), line, column + 1, message, hint, text, width))

    def fail(self, source: Source, node: ast.AST | int, message: str, hint: str = "") -> NoReturn:
        """Record an error and leave the construct by Failure."""
        self.error(source, node, message, hint)
        raise Failure(message)

    def finish(self) -> None:
        """Raise CompileError if anything was recorded."""
        if self.diagnostics:
            raise CompileError(sorted(self.diagnostics, key=lambda d: (d.path, d.line, d.column)))
