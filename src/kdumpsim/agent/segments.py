# SPDX-License-Identifier: GPL-2.0-or-later
"""A kexec segment as the agent is given it: bytes for memory of the guest, or a piece of one of the guest's files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FileData:
    """Contents that the guest reads from a file of its own, so that they need not go through the serial line."""

    path: str
    offset: int
    size: int


class LoadSegment(Protocol):
    """What kexec_load(2) puts at a physical address: `bufsz` bytes of data, zeros up to `memsz`."""

    @property
    def mem(self) -> int: ...
    @property
    def memsz(self) -> int: ...
    @property
    def bufsz(self) -> int: ...
    @property
    def data(self) -> bytes | FileData: ...
