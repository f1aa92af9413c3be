# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest language: typed Python to relocatable i386 ELF with DWARF, and the linker."""

from typing import TYPE_CHECKING, Any

from .diagnostics import CompileError, Diagnostic, GuestError
from .modules import package_modules

if TYPE_CHECKING:
    from .driver import ObjectFile, compile_modules, data_object

__all__ = [
    "CompileError",
    "Diagnostic",
    "GuestError",
    "ObjectFile",
    "compile_modules",
    "data_object",
    "package_modules",
]


if not TYPE_CHECKING:  # to a type checker, a module with __getattr__ has every name

    def __getattr__(name: str) -> Any:
        """PEP 562: what compiles is imported when something is compiled, which no run does that finds its kernels."""
        if name not in __all__:
            raise AttributeError(f"module 'kdumpsim.compiler' has no attribute '{name}'")
        from . import driver

        return getattr(driver, name)
