# SPDX-License-Identifier: GPL-2.0-or-later
"""A content-addressed cache on disk for objects and linked images.

It lies in ``$XDG_CACHE_HOME/kdumpsim`` (or ``~/.cache/kdumpsim``).  Keys are SHA-256 over everything a result depends
on: sources, configuration, the compiler's own sources, llvmlite's version.  An entry is a file written aside and
renamed, so that readers never see half of one; it begins with the SHA-256 of its content, and a damaged entry counts
as absent.  A cache that cannot be written is no error: results are then made anew each time.  Nothing here imports
llvmlite.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from kdumpsim.notices import notice

from . import backend
from .modules import module_path, package_modules

_SUM = 32
_UNFINISHED = ".new"
_ABANDONED_S = 3600


def directory() -> Path:
    """Where the entries lie; a user without a home has them in the host's temporary directory."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "kdumpsim"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"kdumpsim-cache-{os.getuid()}"


def digest(parts: Iterable[object]) -> str:
    """A key from any values with a stable text; lengths are hashed too, so that parts do not run together."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


@lru_cache(maxsize=1)
def compiler_digest() -> str:
    """Stands for the compiler itself: its sources and llvmlite."""
    own = sorted(Path(__file__).parent.glob("*.py"))
    return digest([backend.version(), *(path.read_bytes() for path in own)])


def _path(key: str) -> Path:
    return directory() / key[:2] / key[2:]


def load(key: str) -> bytes | None:
    """An entry's content, or None."""
    try:
        data = _path(key).read_bytes()
    except OSError:
        return None
    content = data[_SUM:]
    return content if hashlib.sha256(content).digest() == data[:_SUM] else None


def store(key: str, content: bytes) -> None:
    """Write an entry; a failure to do so is said to those who ask (`kdumpsim.notices`), and ignored."""
    path = _path(key)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if not isinstance(error, OSError):
            raise
        _cannot_keep(directory(), error.strerror)


@lru_cache
def _cannot_keep(folder: Path, why: str) -> None:
    """Say so, once."""
    notice(f"compiled kernels: cannot be kept in {folder} ({why}), so that every run compiles them")


def _clear(folder: Path) -> None:
    """Remove what processes that were killed left unfinished; writing an entry takes no such time."""
    for unfinished in folder.glob(f"{_UNFINISHED}*"):
        if time.time() - unfinished.stat().st_mtime > _ABANDONED_S:
            unfinished.unlink(missing_ok=True)


def cached(key: str, producer: Callable[[], bytes]) -> bytes:
    """The entry of this key (see :func:`digest`), made by `producer` if it is not there."""
    content = load(key)
    if content is None:
        content = producer()
        store(key, content)
    return content


@lru_cache
def _package_digest(package: str) -> str:
    """Stands for all modules below a package: their names and texts."""
    paths = ((name, module_path(name)) for name in package_modules(package))
    return digest(part for name, path in paths for part in (name, path.read_bytes() if path else b""))


def sources_key(
    packages: Sequence[str],
    *,
    config: Mapping[str, int] | None = None,
    optimize: Collection[str] = (),
    extra_sources: Mapping[str, Path] | None = None,
    more: Iterable[object] = (),
) -> str:
    """A key for something made from all modules below some packages, without parsing or compiling any.

    `more` is what else the result depends on, such as the layout it is linked for.  A package's modules are read once
    in a process, and taken to stay as they are; those of `extra_sources` are read every time.
    """
    parts: list[object] = [compiler_digest(), sorted((config or {}).items()), sorted(optimize), *more]
    parts += [_package_digest(package) for package in packages]
    for name, path in sorted((extra_sources or {}).items()):
        parts += [name, Path(path).read_bytes()]
    return digest(parts)


class Manifest:
    """Remembers which files a request reached by import, so that a warm start need not parse them."""

    def __init__(self, request: Iterable[object]) -> None:
        self.key = digest(["manifest", compiler_digest(), *request])

    def keys(self) -> dict[str, str] | None:
        """The object keys of the request's modules if no file has changed since, else None."""
        data = load(self.key)
        if data is None:
            return None
        keys: dict[str, str] = {}
        for name, path, known, key in json.loads(data):
            try:
                now = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except OSError:
                return None
            if now != known:
                return None
            keys[name] = key
        return keys

    def write(self, entries: Iterable[tuple[str, Path, str, str]]) -> None:
        """Record ``(module, file, SHA-256 of its text, object key)`` for each module."""
        store(self.key, json.dumps([[n, str(p), s, k] for n, p, s, k in entries]).encode())
