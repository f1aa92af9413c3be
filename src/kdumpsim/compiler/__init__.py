# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest language: typed Python to relocatable i386 ELF with DWARF, and the linker."""

from .diagnostics import CompileError, Diagnostic, GuestError
from .driver import ObjectFile, compile_modules, data_object
from .modules import package_modules

__all__ = [
    "CompileError",
    "Diagnostic",
    "GuestError",
    "ObjectFile",
    "compile_modules",
    "data_object",
    "package_modules",
]
