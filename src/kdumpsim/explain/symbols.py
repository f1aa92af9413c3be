# SPDX-License-Identifier: GPL-2.0-or-later
"""One kernel's functions, source lines and calls, as facts have them."""

from __future__ import annotations

import linecache
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdumpsim.explain.facts import Frame, Line
from kdumpsim.vmcore import unwind
from kdumpsim.vmcore.debuginfo import DebugInfo

AROUND = 3
"""Lines of source shown before and after the one that matters."""
Read = unwind.Read


class Symbols:
    """What a kernel's file says of addresses in it."""

    def __init__(self, elf: bytes, folders: Sequence[Path] = ()) -> None:
        """`folders`: where sources may lie, beside kdumpsim's own."""
        self._info = DebugInfo.of(elf)
        self._unwinder = unwind.Unwinder.of(elf)
        self._folders = [Path(__file__).parents[2], *folders]

    def calls(self, registers: Mapping[str, int], read: Read) -> list[unwind.Frame]:
        """The calls that a CPU is in, innermost first."""
        return self._unwinder.backtrace(registers, read)

    def frames(self, calls: Sequence[unwind.Frame]) -> tuple[Frame, ...]:
        """Calls with the lines of source."""
        return tuple(
            Frame(call.address, call.function, call.file, call.line, self.text(call.file, call.line)) for call in calls
        )

    def frame(self, address: int) -> Frame:
        """The instruction at an address."""
        function, where = self._info.function(address), self._info.line(address)
        file, line = where or (None, None)
        return Frame(address, function.name if function else None, file, line, self.text(file, line))

    def text(self, file: str | None, line: int | None) -> str:
        """A line of source; empty where its file is not at hand."""
        if file is None or line is None:
            return ""
        for folder in self._folders:
            if text := linecache.getline(str(folder / file), line):
                return text.strip()
        return ""

    def neighbours(self, file: str | None, line: int | None) -> tuple[Line, ...]:
        """A line of source and those around it."""
        if file is None or line is None:
            return ()
        path = next((str(folder / file) for folder in self._folders if (folder / file).is_file()), None)
        if path is None:
            return ()
        around = range(max(line - AROUND, 1), line + AROUND + 1)
        return tuple(Line(number, text.rstrip("\n")) for number in around if (text := linecache.getline(path, number)))
