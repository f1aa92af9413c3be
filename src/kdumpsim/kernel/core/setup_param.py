# SPDX-License-Identifier: GPL-2.0-or-later
"""An option of the kernel's command line (include/linux/init.h)."""

from __future__ import annotations

from kdumpsim.compiler.lang import Struct, cstr, fn, i32


class ObsKernelParam(Struct):
    """One option and the function that takes its value."""

    str: cstr
    setup_func: fn[[cstr], i32]
