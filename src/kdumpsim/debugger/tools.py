# SPDX-License-Identifier: GPL-2.0-or-later
"""The debuggers of the trade, and how each is to be started on a dump of this kernel."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdumpsim.errors import KdumpsimError
from kdumpsim.files import atomic_file
from kdumpsim.target import TARGET
from kdumpsim.vmcore.formats.elf import ELFOSABI_LINUX, write_elf
from kdumpsim.vmcore.formats.kinds import Kind, kind_of
from kdumpsim.vmcore.reader import Vmcore

MAKEDUMPFILES = frozenset((Kind.ELF, Kind.COMPRESSED, Kind.FLATTENED))
HELPERS = Path(__file__).with_name("kd.py")
"""Commands for gdb."""
PACKAGE = Path(__file__).parent.parent
"""Whose folder the source lines are named from."""
I386_CRASH = "on Debian, `.ci/i386-tools /usr/local` in a checkout of kdumpsim unpacks its i386 build"
"""The amd64 build reads no dumps of i386."""


class ToolMissing(KdumpsimError):
    """The debugger is not installed, or not the build that can read the dump."""


class WrongFormat(KdumpsimError):
    """A dump in a format that the debugger does not read."""


@dataclass(frozen=True)
class Subject:
    """What is to be looked at."""

    kernel: Path
    """With debug information."""
    core: Path
    sources: Sequence[Path]
    """Folders that the source lines' names are relative to."""
    thread: int | None = None
    """gdb's number for the CPU that crashed, from 1, if it is known."""


@dataclass(frozen=True)
class Tool:
    """A debugger: how it is started, and what brings it."""

    name: str
    package: str
    """How to get it, as a clause."""
    words: Callable[[Subject, Sequence[str]], list[str]]
    """Its arguments, with those that the user adds."""
    kinds: frozenset[Kind] = frozenset((Kind.ELF,))
    """The formats it reads."""

    def check(self, core: Path) -> None:
        """WrongFormat for a dump that it does not read; OSError."""
        kind = kind_of(core)
        if kind not in self.kinds:
            others = [tool.name for tool in TOOLS.values() if kind in tool.kinds]
            if not others:
                raise WrongFormat(f"{core} is {kind}, so no debugger reads it")
            verb = "do" if len(others) > 1 else "does"
            raise WrongFormat(f"{core} is {kind}, which {self.name} does not read; {' and '.join(others)} {verb}")

    def path(self) -> str:
        """Where it is installed; ToolMissing."""
        path = shutil.which(self.name) or shutil.which(self.name, path=str(Path(sys.executable).parent))
        if path is None:
            raise ToolMissing(f"{self.name} is not installed; {self.package}")
        if self.name == "crash" and _is_of_other_class(path):
            raise ToolMissing(f"{path} is built for another architecture, and so reads no dump of i386; {I386_CRASH}")
        return path

    def command(self, subject: Subject, more: Sequence[str] = ()) -> list[str]:
        """The command to start it; ToolMissing."""
        return [self.path(), *self.words(subject, more)]


def _gdb(subject: Subject, more: Sequence[str]) -> list[str]:
    words = ["-q", "-iex", f"set architecture {TARGET.name}"]
    for folder in subject.sources:
        words += ["-d", str(folder)]
    words += ["-x", str(HELPERS)]
    if subject.thread is not None:
        words += ["-ex", f"thread {subject.thread}"]
    return [*words, *more, str(subject.kernel), str(subject.core)]


def _crash(subject: Subject, more: Sequence[str]) -> list[str]:
    return [*more, str(subject.kernel), str(subject.core)]


def _drgn(subject: Subject, more: Sequence[str]) -> list[str]:
    # Without VMCOREINFO drgn takes an ELF dump for a process's, and would look for its executables.
    linux = True
    if kind_of(subject.core) == Kind.ELF:
        with Vmcore(subject.core, cut_off=True) as core:
            linux = "OSRELEASE" in (core.vmcoreinfo or {})
    symbols = ["-s"] if linux else ["--no-default-symbols", "--extra-symbols"]
    return ["-c", str(subject.core), *symbols, str(subject.kernel), *more]


def _lldb(subject: Subject, more: Sequence[str]) -> list[str]:
    words = ["--core", str(_linux_core(subject.core)), str(subject.kernel)]
    for folder in subject.sources:
        words += ["-o", f"settings append target.source-map {PACKAGE.name} {folder / PACKAGE.name}"]
    words += ["-o", f"target modules load --file {subject.kernel.name} --slide 0"]
    if subject.thread is not None:
        words += ["-o", f"thread select {subject.thread}"]
    return [*words, *more]


def _linux_core(core: Path) -> Path:
    """The dump, if its header names Linux as the OS, or lldb would not open it; else a copy that does, made once."""
    with Vmcore(core, cut_off=True) as dump:
        if dump.abi == ELFOSABI_LINUX:
            return core
    copy = core.with_name(f"{core.name}.lldb")
    if not copy.exists() or copy.stat().st_mtime_ns < core.stat().st_mtime_ns:
        with Vmcore(core, cut_off=True) as dump, atomic_file(copy) as file:
            write_elf(dump, file, abi=ELFOSABI_LINUX)
    return copy


def _is_of_other_class(program: str) -> bool:
    with open(program, "rb") as file:
        head = file.read(5)
    return head[:4] == b"\x7fELF" and head[4] != TARGET.elf.number


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("gdb", "on Debian: sudo apt-get install gdb", _gdb),
        Tool("crash", I386_CRASH, _crash, MAKEDUMPFILES | {Kind.LKCD}),
        Tool("drgn", "pip install drgn", _drgn, MAKEDUMPFILES),
        Tool("lldb", "on Debian: sudo apt-get install lldb", _lldb),
    )
}
