# SPDX-License-Identifier: GPL-2.0-or-later
"""Which format a dump is in, by how it begins."""

from __future__ import annotations

import os
from enum import StrEnum

from .flattened import SIGNATURE as FLATTENED_SIGNATURE
from .makedumpfile import SIGNATURE as COMPRESSED_SIGNATURE

LKCD_SIGNATURE = (0xA8190173618F23ED).to_bytes(8, "little")


class Kind(StrEnum):
    """What readers tell apart; the values are for the user."""

    ELF = "an ELF file"
    COMPRESSED = "in makedumpfile's compressed format"
    FLATTENED = "in makedumpfile's flattened format"
    LKCD = "in LKCD's format"
    UNKNOWN = "neither an ELF file nor in a format of makedumpfile's"
    """Memory without headers is among these."""


_BEGINNINGS = {
    b"\x7fELF": Kind.ELF,
    COMPRESSED_SIGNATURE: Kind.COMPRESSED,
    FLATTENED_SIGNATURE: Kind.FLATTENED,
    LKCD_SIGNATURE: Kind.LKCD,
}


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """The format of a file; OSError if it cannot be read."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        head = file.read(max(map(len, _BEGINNINGS)))
    return next((kind for beginning, kind in _BEGINNINGS.items() if head.startswith(beginning)), Kind.UNKNOWN)
