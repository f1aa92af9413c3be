# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that must be stopped before another kernel is started in order (device_shutdown() of drivers/base/power).

A driver whose device writes to memory by itself joins in by `placed("device_shutdowns", shutdown_function)`.  A crash
does without: nobody can trust a dying kernel's drivers.
"""

from __future__ import annotations

from kdumpsim.compiler.lang import array, external, fn, guest, ptr

__start_device_shutdowns: array[fn[[], None]] = external()
__stop_device_shutdowns: array[fn[[], None]] = external()


@guest
def device_shutdown() -> None:
    """Stop them all."""
    call: ptr[fn[[], None]] = __start_device_shutdowns
    while call < __stop_device_shutdowns:
        shutdown: fn[[], None] = call[0]
        shutdown()
        call += 1
