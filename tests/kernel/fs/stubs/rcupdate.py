# SPDX-License-Identifier: GPL-2.0-or-later
"""In place of core.rcupdate: nobody reads, so nobody is waited for."""

from __future__ import annotations

from kdumpsim.compiler.lang import fn, guest, ptr
from kdumpsim.kernel.core.types import RcuHead


@guest
def call_rcu(head: ptr[RcuHead], func: fn[[ptr[RcuHead]], None]) -> None:
    func(head)
