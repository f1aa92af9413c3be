# SPDX-License-Identifier: GPL-2.0-or-later
"""Booted machines kept in the cache, so that a run can begin where the last one of the same PC and kernel was armed.

An entry is a `Session.state` under a key of everything that decides it: the kernel and the other images, the system
disk, the command line, the PC with its seed, the engine, and the sources of the rooms that make up the machine and move
it up to there.  Virtual time is part of the state and the host's is not, so a run from an entry is the run from
power-on, byte for byte.

Entries are plain data (`kdumpsim.plaindata`) below a checksum over key and content.  One that is damaged, or of another
machine, counts as absent and is written again.  They are written beside and renamed; those that were not used for the
longest time go when there are more than `LIMIT` bytes of them.  A cache that cannot be written costs time only.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from kdumpsim import plaindata
from kdumpsim.compiler.cache import digest, directory
from kdumpsim.cpu import ENGINE
from kdumpsim.files import HostFailure, atomic_file, clear_partial_files
from kdumpsim.notices import notice
from kdumpsim.runs.session import Session, kernel_command_line

FOLDER = "boots"
LIMIT = 64 << 20
"""Bytes of all entries together; one takes 2 MB."""
_HEAD = b"kdumpsim booted machine 1\n"
_SUM = hashlib.sha256().digest_size
_OTHER_ROOMS = frozenset({"commands", "compiler", "console", "debugger", "explain", "sweeps"})
"""Rooms with no say in what a booted machine is, or only through the images, as the guest's subfolders have."""


def usable(session: Session) -> bool:
    """Whether its boot can be kept at all: a machine that can be copied, and a mechanism whose code is in the key."""
    return session.machine.copying is not None and type(session.mechanism).__module__.startswith("kdumpsim.")


def begin(
    session: Session, make: Callable[[], Session], boot: Callable[[Session], str | None]
) -> tuple[Session, str | None]:
    """Take a session that was just made to the prompt, its mechanism armed: by an entry, else by `boot`, whose machine
    becomes one.

    Returns the session to go on with and what `boot` said.  If an entry was no good, that is another one from `make`,
    and the first is closed.
    """
    key = _key(session)
    path = directory() / FOLDER / key
    content = _find(path, key)
    if content is not None:
        try:
            if _restore(session, content):
                notice(f"booted machine: from {path}")
                return session, None
            notice("booted machine: not used, since the run's time may end before it is armed")
        except Exception as error:  # whatever there is in it: the machine may be half of it by now
            notice(f"booted machine: {path} is not usable ({error!r}); booting, and replacing it")
            session.close()
            session = make()
    failed = boot(session)
    if failed is None and not session.crashed and not session.gone:
        _keep(session, path, key)
    return session, failed


def _restore(session: Session, content: bytes) -> bool:
    """False, with the session as it was, for one whose time ends before the machine was armed."""
    began = time.perf_counter()
    state = plaindata.loads(content)
    phases = state["phases"]
    if phases[-1]["virtual_end_ns"] >= session.deadline:
        return False
    phases[0]["host_s"] = time.perf_counter() - began
    session.restore(state)
    session.clock.retell(session.console.text)
    return True


def _find(path: Path, key: str) -> bytes | None:
    """An entry's content, if there is one and it is whole and this key's."""
    try:
        data = _read(path)
    except FileNotFoundError:
        notice("booted machine: none of this kind is kept yet; booting")
        return None
    except OSError as error:
        notice(f"booted machine: {path} cannot be read ({error.strerror}); booting")
        return None
    content = data[len(_HEAD) + _SUM :]
    if data[: len(_HEAD) + _SUM] != _HEAD + _sum(key, content):
        notice(f"booted machine: {path} is damaged or another machine's; booting, and writing it again")
        return None
    with suppress(OSError):
        os.utime(path)  # it was used
    return content


def _keep(session: Session, path: Path, key: str) -> None:
    """Make an entry of a session that is booted and armed; what its phases cost is not part of it."""
    state = session.state()
    state["phases"] = [{**phase, "host_s": 0.0} for phase in state["phases"]]
    content = plaindata.dumps(state)
    data = b"".join([_HEAD, _sum(key, content), content])
    if len(data) > LIMIT:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_partial_files(path.parent)
        if not path.is_file():
            path.unlink(missing_ok=True)  # a pipe, which `atomic_file` would write to
        with atomic_file(path) as file:
            file.write(data)
        _make_room(path.parent)
    except (HostFailure, OSError) as error:
        cause = error.__cause__ if isinstance(error, HostFailure) else error
        reason = cause.strerror if isinstance(cause, OSError) else error
        notice(f"booted machine: cannot be kept in {path.parent} ({reason}): every run boots")


def _sum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _read(path: Path) -> bytes:
    """An entry's bytes, but not those of a pipe, which would wait for a writer, nor more than there can be."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read(LIMIT) if stat.S_ISREG(os.fstat(fd).st_mode) else b""


def _make_room(folder: Path) -> None:
    """Remove the entries that were not used for the longest time, until the rest is within LIMIT."""
    entries = sorted(_entries(folder), reverse=True)
    total = 0
    for _, size, path in entries:
        total += size
        if total > LIMIT:
            path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """(time of last use, size, path) of each; other processes may remove them meanwhile."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            about = path.stat()
            if stat.S_ISREG(about.st_mode):
                yield about.st_mtime_ns, about.st_size, path


def _key(session: Session) -> str:
    pc, kernel = session.pc, session.kernel
    disks = [plaindata.dumps(disk.state()) for disk in (session.system_disk, session.dump_disk)]
    return digest(
        [
            _sources(),
            ENGINE,
            repr(pc),
            repr(kernel),
            kernel_command_line(pc, kernel),
            session.first.stripped,
            *session.mechanism.parts(),
            *disks,
        ]
    )


@cache
def _sources() -> str:
    """Stands for the code of all other rooms."""
    root = Path(__file__).parents[1]
    rooms = [path for path in root.iterdir() if path.is_dir() and path.name not in _OTHER_ROOMS]
    paths = sorted(path for folder in (root, *rooms) for path in folder.glob("*.py"))
    return digest(part for path in paths for part in (path.relative_to(root), path.read_bytes()))
