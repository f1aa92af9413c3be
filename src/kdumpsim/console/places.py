# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of the kernels by name, source line or number, and the way back from a number to these."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kdumpsim.choices import suggestion
from kdumpsim.cpu.registers import Registers
from kdumpsim.debugger.tools import PACKAGE
from kdumpsim.images import KernelImage
from kdumpsim.target import PROGRAM_COUNTER, hex_address
from kdumpsim.vmcore.debuginfo import DebugInfo
from kdumpsim.vmcore.unwind import Unwinder

CAPTURE = "capture:"
"""Before a name that is meant in the capture kernel only."""
_NUMBER = re.compile(r"(0x[0-9a-fA-F]{1,8}|[0-9a-f]{8})(?:\+(0x[0-9a-fA-F]{1,8}|[0-9]{1,9}))?")
_LINE = re.compile(r"([\w./-]+\.py):([0-9]{1,7})")
_NAME = re.compile(r"([A-Za-z_]\w*)(?:\+(0x[0-9a-fA-F]{1,8}|[0-9]{1,9}))?")
Loaded = tuple[KernelImage, int]
"""A kernel, and by how much it is loaded away from where it is linked."""


def program_counter(registers: Registers) -> int:
    """The address of a CPU's next instruction."""
    return int(getattr(registers, PROGRAM_COUNTER))


def check_place(text: str) -> None:
    """Raise ValueError for what can be no place in any kernel."""
    text = text.removeprefix(CAPTURE)
    if not (_NUMBER.fullmatch(text) or _LINE.fullmatch(text) or _NAME.fullmatch(text)):
        raise ValueError(
            f"'{text[:40]}' is no place: write a symbol, file.py:LINE or an address (0x…), perhaps with +OFFSET"
        )


class Kernels:
    """The kernels of a machine: the first one, and the capture kernel as far as it is known where it is loaded."""

    def __init__(self, first: KernelImage, others: Callable[[], Sequence[Loaded]], folders: Sequence[Path]) -> None:
        """`folders`: where the sources of guest modules of the user's own are."""
        self._first, self._others = first, others
        self._folders = [PACKAGE.parent, *folders]

    def _all(self) -> Iterator[Loaded]:
        yield self._first, 0
        yield from self._others()

    def names(self) -> list[str]:
        """The first kernel's symbols."""
        return sorted(self._first.symbols)

    def find(self, text: str) -> list[int]:
        """The addresses that a text means, the first kernel's first; ValueError if there are none."""
        capture, text = text.startswith(CAPTURE), text.removeprefix(CAPTURE)
        check_place(text)
        kernels = list(self._others()) if capture else list(self._all())
        if not kernels:
            raise ValueError("no capture kernel is loaded")
        if line := _LINE.fullmatch(text):
            return self._lines(kernels, line[1], int(line[2]))
        if name := _NAME.fullmatch(text):
            found = [kernel.symbols[name[1]] + moved for kernel, moved in kernels if name[1] in kernel.symbols]
            if found:
                return [address + int(name[2] or "0", 0) & 0xFFFFFFFF for address in found]
        if number := _NUMBER.fullmatch(text):
            return [int(number[1], 16) + int(number[2] or "0", 0) & 0xFFFFFFFF]
        meant = suggestion(text, self._first.symbols)
        raise ValueError(f"the kernel has no symbol '{text}'" + (f"; did you mean {meant}?" if meant else ""))

    def _lines(self, kernels: list[Loaded], file: str, line: int) -> list[int]:
        rows = [(kernel, moved, DebugInfo.of(kernel.elf).rows_of(file)) for kernel, moved in kernels]
        files = {row[1] for _, _, each in rows for row in each}
        if not files:
            raise ValueError(f"no code of the kernel comes from a file {file}")
        if len(files) > 1:
            raise ValueError(f"{file} may be {' or '.join(sorted(files))}: write more of the path")
        found = [at + moved for kernel, moved, each in rows for at in DebugInfo.of(kernel.elf).begins(each, line)]
        if not found:
            later = [row[2] for _, _, each in rows for row in each if row[2] > line]
            raise ValueError(
                f"{file}:{line} has no code" + (f"; the next line with code is {min(later)}" if later else "")
            )
        return found

    def at(self, address: int) -> tuple[str, str] | None:
        """The function at an address, with the offset, and its file and line; None if it is in no kernel's code."""
        for kernel, moved in self._all():
            info = DebugInfo.of(kernel.elf)
            function = info.function(address - moved)
            if function is not None:
                offset, where = address - moved - function.start, info.line(address - moved)
                name = function.name if kernel is self._first else f"{CAPTURE}{function.name}"
                name += f"+{offset:#x}" if offset else ""
                return name, f"{where[0]}:{where[1]}" if where else ""
        return None

    def text(self, address: int) -> str:
        """An address with its function, file and line."""
        found = self.at(address)
        if found is None:
            return f"{hex_address(address)} (in no kernel's code)"
        return f"{hex_address(address)} {found[0]:<28} {found[1]}".rstrip()

    def source(self, where: str) -> str:
        """The text of a line, `file:line`; empty if its file is not at hand."""
        file, _, line = where.rpartition(":")
        if not file:
            return ""
        texts = (linecache.getline(str(folder / file), int(line)).strip() for folder in self._folders)
        return next(filter(None, texts), "")

    def unwinder(self, address: int) -> Unwinder:
        """What unwinds the stack of a CPU that is there: the kernel's whose code it is, or else the first kernel's."""
        for kernel, moved in self._all():
            if not moved and DebugInfo.of(kernel.elf).function(address) is not None:
                return Unwinder.of(kernel.elf)
        return Unwinder.of(self._first.elf)
