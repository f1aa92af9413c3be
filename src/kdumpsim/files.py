# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of a run that appear whole or not at all, what dead runs left of them, and the host's failures."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kdumpsim.errors import KdumpsimError
from kdumpsim.signals import HeldSignals

_SCRATCH = "kdumpsim-scratch-"
_PARTIAL = re.compile(r"\..+\.\d+\.partial")
STANDARD_OUTPUT = "write to standard output"
_HINTS = {
    errno.ENOSPC: "free some space there, or choose another directory",
    errno.EDQUOT: "free some space there, or choose another directory",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or choose a smaller --memory",
    errno.EACCES: "choose another directory",
    errno.EROFS: "choose another directory",
}


class HostFailure(KdumpsimError):
    """What a run needs and the host does not give.  It says nothing of the guest, so it is no outcome."""


def host_failure(error: Exception, what: str | None = None) -> HostFailure:
    """An OSError or MemoryError as a sentence.  `what` could not be done; without it, what the error itself names."""
    if isinstance(error, HostFailure):
        return error
    if isinstance(error, MemoryError):
        return HostFailure("out of memory; choose a smaller --memory, or fewer --jobs")
    assert isinstance(error, OSError)
    name = error.filename if isinstance(error.filename, str) else None
    begin = f"cannot {what}: " if what else f"{name}: " if name else ""
    hint = _HINTS.get(error.errno or 0) if what and what != STANDARD_OUTPUT else None
    return HostFailure(f"{begin}{error.strerror or error}" + (f"; {hint}" if hint else ""))


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to be written beside `path`, which takes its name at the end; after an exception nothing is left of it.

    What a symbolic link points to is written, and the link stays.  HostFailure if it cannot be written, and for what is
    there and is no regular file: root could replace /dev/null.
    """
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise HostFailure(f"cannot write {path}: it is a directory; give a file")
    if place.exists() and not place.is_file():
        raise HostFailure(f"cannot write {path}: it is not a regular file; choose another")
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb", opener=_locked_file) as file:
            yield file
        os.replace(partial, place)
    except OSError as error:
        raise host_failure(error, f"write {path}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def writable_directory(path: Path) -> None:
    """Make a directory for output and clear what killed processes left in it.  HostFailure if it takes no files."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".kdumpsim-probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise host_failure(error, f"write to output directory '{path}'") from error
    clear_partial_files(path)


def clear_partial_files(directory: Path) -> None:
    """Remove what processes that were killed left of an `atomic_file` in a directory.  OSError if it cannot be read."""
    _clear(file for file in directory.iterdir() if _PARTIAL.fullmatch(file.name))


@contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """A directory in `parent` (default: the host's temporary one) for as long as the context lasts.

    A process that is killed leaves its own behind; the next one that makes one there clears it.
    """
    with HeldSignals(lambda: None):  # the first call of gettempdir() tries the place with a file
        place = Path(tempfile.gettempdir()) if parent is None else parent
    _clear(place.glob(f"{_SCRATCH}*"))  # their own user's only

    def make() -> tuple[int, Path]:
        while True:
            made = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=place))
            with suppress(FileNotFoundError):  # another process took it for one that was left behind
                return os.open(made, os.O_RDONLY | os.O_DIRECTORY), made

    made: list[tuple[int, Path]] = []
    try:
        with HeldSignals(lambda: None):
            made.append(_locked(make))
        yield made[0][1]
    finally:
        for lock, directory in made:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)


def _locked_file(path: str, flags: int) -> int:
    """For `open`."""
    return _locked(lambda: (os.open(path, flags, 0o666), Path(path)))[0]


def _locked(make: Callable[[], tuple[int, Path]]) -> tuple[int, Path]:
    """What `make` opens (descriptor, path), locked as long as it is open in this process or one forked from it.

    The lock tells `_clear` that it is in use.  A process number would not: every container has its own numbers.
    """
    while True:
        fd, path = make()
        with suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd, path
        os.close(fd)  # another process cleared it before it was locked


def _clear(left: Iterable[Path]) -> None:
    """Remove files and directories of ours that no living process has locked."""
    for path in left:
        with suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if os.fstat(fd).st_uid != os.geteuid():
                    continue
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                os.close(fd)
