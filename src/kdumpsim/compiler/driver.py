# SPDX-License-Identifier: GPL-2.0-or-later
"""From module names to objects, through the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import cache
from .diagnostics import Reporter
from .modules import Module, load_program, module_path

if TYPE_CHECKING:
    from .emit import ModuleEmitter


@dataclass(frozen=True)
class ObjectFile:
    """A relocatable object for the target; `name` is the guest module's."""

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
    modules outside any package, which are compiled too.  Raises CompileError with every error found, over all modules;
    ModuleNotFoundError for an unknown name.
    """
    config, extra = config or {}, extra_sources or {}
    settings = (sorted(config.items()), sorted(optimize))
    # The files are part of the request: a module of the same name elsewhere must not be taken for this one.
    files = [
        (name, str(extra[name]) if name in extra else str(module_path(name))) for name in sorted({*modules, *extra})
    ]
    manifest = cache.Manifest([*settings, *files])
    if (keys := manifest.keys()) is not None:
        found = {name: cache.load(key) for name, key in keys.items()}
        known = [ObjectFile(name, data) for name, data in found.items() if data is not None]
        if len(known) == len(found):
            return known
    reporter = Reporter()
    loaded = load_program([*modules, *extra], extra, reporter)
    keys = _module_keys(loaded, settings)
    objects: dict[str, _Object] = {}
    if not reporter.diagnostics:
        for name, module_key in keys.items():
            if (known_as := cache.load(module_key)) and (data := cache.load(known_as.decode())) is not None:
                objects[name] = _Object(known_as.decode(), data)
    missing = [name for name in loaded if name not in objects]
    for name, made in _compile(loaded, missing, config, optimize, reporter).items():
        cache.store(keys[name], made.key.encode())
        objects[name] = made
    manifest.write(
        (name, module.source.path, hashlib.sha256(module.source.text.encode()).hexdigest(), objects[name].key)
        for name, module in loaded.items()
    )
    return [ObjectFile(name, objects[name].data) for name in loaded]


def data_object(name: str, section: str, data: bytes) -> ObjectFile:
    """An object that holds `data`, read-only, in a section, as ``ld --format=binary`` makes one.

    With a C identifier for `section` the linker defines `__start_section` and `__stop_section` around it.
    """
    from .elf import SHF_ALLOC, SHT_PROGBITS, SHT_STRTAB, StringTable
    from .relocatable import write_relocatable

    names = StringTable()
    headers = [(names.add(section), SHT_PROGBITS, SHF_ALLOC, len(data), 0, 0, 4)]
    own_name = names.add(".shstrtab")
    headers.append((own_name, SHT_STRTAB, 0, len(names.data), 0, 0, 1))
    return ObjectFile(name, write_relocatable(headers, [data, bytes(names.data)]))


class _Object(NamedTuple):
    """A module compiled, and the entry of the cache that has it: a key over its IR, which two builds may share."""

    key: str
    data: bytes


def _module_keys(loaded: Mapping[str, Module], settings: object) -> dict[str, str]:
    """An entry for each module that has its object's key: over its text, all it reaches by import, and the settings."""
    keys = {}
    for name in loaded:
        reached = {name}
        waiting = [name]
        while waiting:
            for target in loaded[waiting.pop()].imports:
                if target in loaded and target not in reached:
                    reached.add(target)
                    waiting.append(target)
        texts = [part for other in sorted(reached) for part in (other, loaded[other].source.text)]
        keys[name] = cache.digest(["module", cache.compiler_digest(), settings, name, *texts])
    return keys


def _compile(
    loaded: Mapping[str, Module],
    names: Sequence[str],
    config: Mapping[str, int],
    optimize: Collection[str],
    reporter: Reporter,
) -> dict[str, _Object]:
    """Compile some modules of a loaded program; LLVM sees those only whose IR the cache does not know."""
    if not names:
        reporter.finish()
        return {}
    from . import asm, backend
    from .emit import ModuleEmitter
    from .program import Program

    program = Program(loaded, config, reporter)
    emitters = [ModuleEmitter(program, name, name in optimize) for name in names]
    for emitter in emitters:
        emitter.lower()
    reporter.finish()
    jobs = {emitter: (emitter.text(), emitter.optimize) for emitter in emitters}
    keys = {emitter: cache.digest(["object", cache.compiler_digest(), *job]) for emitter, job in jobs.items()}
    known = {emitter.module.name: (key, cache.load(key)) for emitter, key in keys.items()}
    objects = {name: _Object(key, data) for name, (key, data) in known.items() if data is not None}
    new = [emitter for emitter in emitters if emitter.module.name not in objects]
    sources = {module.source.shown: module.source for module in loaded.values()}
    for emitter, result in zip(new, backend.emit_all([jobs[emitter] for emitter in new]), strict=True):
        if not isinstance(result, backend.BackendError):
            cache.store(keys[emitter], result)
            objects[emitter.module.name] = _Object(keys[emitter], result)
        elif not asm.report(str(result), sources, reporter):
            _blame(emitter, str(result), reporter)
    reporter.finish()
    return objects


def _blame(emitter: ModuleEmitter, message: str, reporter: Reporter) -> None:
    """Attribute a message that names no place (impossible constraints, mostly) to a function."""
    from . import backend

    jobs = [(emitter.one_function(index), emitter.optimize) for index in range(len(emitter.lowered))]
    culprits = [
        (symbol, result)
        for symbol, result in zip(emitter.lowered, backend.emit_all(jobs), strict=True)
        if isinstance(result, backend.BackendError)
    ]
    for symbol, result in culprits:
        said = str(result).strip().removeprefix("error: ")
        reporter.error(emitter.module.source, symbol.node.lineno, f"LLVM refuses {symbol.name}: {said}")
    if not culprits:
        reporter.error(emitter.module.source, 1, f"internal compiler error: {message}")
