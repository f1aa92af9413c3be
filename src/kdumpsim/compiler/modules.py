# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding, reading and parsing guest modules; nothing here imports (runs) them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .diagnostics import Reporter, Source
from .guestpart import guest_part, is_test_file

#: Modules whose names the compiler knows by itself: they exist for CPython and type checkers only.
KNOWN = {"kdumpsim.compiler.lang", "typing", "enum", "__future__", "collections.abc"}


@dataclass
class Module:
    """A parsed guest module; `imports` are the guest modules it names."""

    source: Source
    tree: ast.Module
    imports: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its dotted name."""
        return self.source.module


_OWN_ROOT = Path(__file__).resolve().parents[2]


def _roots() -> Iterator[Path]:
    """Where modules are sought; most are found in the first place, and a run looks for a thousand."""
    yield _OWN_ROOT
    yield from (Path(entry or ".") for entry in sys.path)


def module_path(name: str) -> Path | None:
    """The file of a module, sought below this package's own root and then sys.path."""
    relative = Path(*name.split("."))
    for root in _roots():
        for candidate in (root / relative.with_suffix(".py"), root / relative / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def package_modules(package: str) -> list[str]:
    """All module names below a package (or the one module of that name), sorted.

    Modules that hold nothing (empty ``__init__``) are included.  ModuleNotFoundError when there is none.
    """
    relative = Path(*package.split("."))
    for root in _roots():
        folder = root / relative
        if folder.is_dir():
            names = set()
            for path in folder.rglob("*.py"):
                parts = path.relative_to(root).with_suffix("").parts
                names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
            if names:
                return sorted(names)
    if module_path(package) is not None:
        return [package]
    raise ModuleNotFoundError(f"no guest module or package named {package!r}", name=package)


def read_source(name: str, extra: Mapping[str, Path]) -> Source | None:
    """The text of a module, from `extra` if it is there; None when no file is found."""
    path = Path(extra[name]) if name in extra else module_path(name)
    if path is None:
        return None
    shown = name.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py")
    return Source(name, path, shown, path.read_bytes().decode("utf-8-sig", errors="replace").replace("\r\n", "\n"))


def _imports(tree: ast.Module) -> Iterable[ast.ImportFrom]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            yield from (child for child in node.body if isinstance(child, ast.ImportFrom))


def import_target(module: str, node: ast.ImportFrom, is_package: bool) -> str:
    """The absolute name of the module an import statement means."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    keep = len(parts) - node.level + is_package
    return ".".join(parts[:keep] + ([node.module] if node.module else []))


def _is_guest(module: str, extra: Mapping[str, Path], node: ast.ImportFrom) -> bool:
    """Is an import in a test file, `module`, one of guest code?"""
    target = import_target(module, node, False)
    return target in KNOWN or target in extra or target.startswith("kdumpsim.kernel.")


def load_program(names: Iterable[str], extra: Mapping[str, Path], reporter: Reporter) -> dict[str, Module]:
    """Read and parse the named modules and all guest modules they reach by import, in sorted order."""
    found: dict[str, Module] = {}
    waiting: list[tuple[str, Module | None, ast.AST | None]] = [(name, None, None) for name in names]
    missing: set[str] = set()
    while waiting:
        name, importer, node = waiting.pop()
        if name in found or name in KNOWN:
            continue
        source = None if name in missing else read_source(name, extra)
        if source is None:
            missing.add(name)
            if importer is None or node is None:
                raise ModuleNotFoundError(f"no guest module named {name!r}", name=name)
            reporter.error(importer.source, node, f"no guest module named {name!r}")
            continue
        for number, line in enumerate(source.lines, 1):
            if "\ufffd" in line:
                reporter.error(source, number, "this is not UTF-8", "save the file as UTF-8")
        try:
            tree = ast.parse(source.text, filename=str(source.path))
        except SyntaxError as error:
            where = ast.Pass(lineno=error.lineno or 1, col_offset=max((error.offset or 1) - 1, 0))
            reporter.error(source, where, f"syntax error: {error.msg}")
            tree = ast.Module(body=[], type_ignores=[])
        if name in extra and is_test_file(tree):
            tree = guest_part(tree, partial(_is_guest, name, extra))
        module = found[name] = Module(source, tree)
        is_package = source.path.name == "__init__.py"
        for child in _imports(tree):
            target = import_target(name, child, is_package)
            if target not in KNOWN:
                module.imports.append(target)
                waiting.append((target, module, child))
    return dict(sorted(found.items()))
