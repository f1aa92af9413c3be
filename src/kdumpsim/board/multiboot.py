# SPDX-License-Identifier: GPL-2.0-or-later
"""Multiboot 0.6.96 loader (skeleton: signatures for the Machine; the body follows)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kdumpsim.board.firmware import E820


class BootError(Exception):
    """A file that cannot be booted; the text says why, in words for the person who named the file."""


class Module(NamedTuple):
    """A boot module: its bytes and its string."""

    data: bytes
    cmdline: str = ""


@dataclass(frozen=True)
class BootState:
    """The boot CPU at the hand-over: flat 32-bit protected mode, paging off, IF clear, A20 on.

    `gdtr` is (base, limit) of a GDT the loader left in memory with `cs` (code) and `ds` (data) in it;
    esp is scratch below 640 KiB.
    """

    eip: int
    eax: int
    ebx: int
    esp: int = 0x7C00
    eflags: int = 0x2
    cr0: int = 0x11
    cs: int = 0x08
    ds: int = 0x10
    gdtr: tuple[int, int] = (0, 0)


class BootMemory(Protocol):
    @property
    def view(self) -> memoryview: ...


def load(
    image: bytes,
    cmdline: str,
    modules: Sequence[Module | bytes],
    memory: BootMemory,
    e820: Sequence[E820],
) -> BootState:
    raise NotImplementedError
