# SPDX-License-Identifier: GPL-2.0-or-later
"""From module names to objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .diagnostics import Reporter
from .modules import load_program


@dataclass(frozen=True)
class ObjectFile:
    """A relocatable ELF32 i386 object; `name` is the guest module's."""

    name: str
    data: bytes


def compile_modules(
    modules: Sequence[str],
    *,
    config: Mapping[str, int] | None = None,
    optimize: Collection[str] = (),
    extra_sources: Mapping[str, Path] | None = None,
) -> list[ObjectFile]:
    """Compile guest modules, and all they reach by import, to objects in the order of their names.

    `config` sets the build's constants; `optimize` names modules for LLVM's O2; `extra_sources` gives the files of
    modules outside any package.  Raises CompileError with every error found, ModuleNotFoundError for an unknown name.
    """
    return compile_sources(modules, config or {}, frozenset(optimize), extra_sources or {})


def compile_sources(
    modules: Sequence[str], config: Mapping[str, int], optimize: Collection[str], extra: Mapping[str, Path]
) -> list[ObjectFile]:
    """Compile without looking into the cache."""
    from . import asm, backend
    from .emit import ModuleEmitter
    from .program import Program

    reporter = Reporter()
    loaded = load_program([*modules, *extra], extra, reporter)
    program = Program(loaded, config, reporter)
    emitters = [ModuleEmitter(program, name, name in optimize) for name in loaded]
    for emitter in emitters:
        emitter.lower()
    reporter.finish()
    results = backend.emit_all([(emitter.text(), emitter.optimize) for emitter in emitters])
    sources = {module.source.shown: module.source for module in loaded.values()}
    objects = []
    for emitter, result in zip(emitters, results, strict=True):
        if isinstance(result, backend.BackendError):
            if not asm.report(str(result), sources, reporter):
                reporter.error(emitter.module.source, 1, f"internal compiler error: {result}")
        else:
            objects.append(ObjectFile(emitter.module.name, result))
    reporter.finish()
    return objects
