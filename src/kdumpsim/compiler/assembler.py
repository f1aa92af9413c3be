# SPDX-License-Identifier: GPL-2.0-or-later
"""A small convenience over LLVM's assembler: AT&T text to bytes at an address."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from . import backend
from .elf import relocate_object
from .target import TARGET


class AssembleError(Exception):
    """The text does not assemble; the message is LLVM's."""


def module_asm_ir(text: str) -> str:
    """Assembly text as ``module asm`` lines of LLVM IR."""
    return "".join(f'module asm "{_escape(line)}"\n' for line in text.split("\n"))


def _escape(line: str) -> str:
    return "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:02x}" for b in line.encode())


@lru_cache(maxsize=1024)
def _object(text: str) -> bytes:
    try:
        return backend.shared_worker().emit(f'target triple = "{TARGET.triple}"\n' + module_asm_ir(text))
    except backend.BackendError as error:
        raise AssembleError(str(error)) from None


def assemble(text: str, origin: int = 0, symbols: Mapping[str, int] | None = None) -> bytes:
    """Assemble AT&T `text` (``.code16`` and ``.code32`` allowed) as if loaded at address `origin`.

    `symbols` gives addresses of names the text does not define.  Sections follow one another, .text first.
    Errors: AssembleError for a bad text, ElfError for an undefined symbol or a value that does not fit.
    """
    return relocate_object(_object(text), origin, symbols)[0]


def assemble_with_symbols(
    text: str, origin: int = 0, symbols: Mapping[str, int] | None = None
) -> tuple[bytes, dict[str, int]]:
    """Like :func:`assemble`, and the addresses of the text's labels."""
    return relocate_object(_object(text), origin, symbols)
