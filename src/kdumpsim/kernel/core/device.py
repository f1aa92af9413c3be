# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that must be stopped before another kernel is started in order (device_shutdown() of drivers/base/power).

A driver whose device writes to memory by itself joins in by `placed("device_shutdowns", shutdown_function)`.  A crash
does without: nobody can trust a dying kernel's drivers.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import fn, guest, section

shutdown_t = fn[[], None]


@guest
def device_shutdown() -> None:
    """Stop them all."""
    for shutdown in section("device_shutdowns", shutdown_t):
        shutdown[0]()
