# SPDX-License-Identifier: GPL-2.0-or-later
"""Task switch through a task gate in the IDT (SDM vol. 3A, 8.3).

Jumps, calls and IRET between tasks are the engine's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from . import descriptors as x86
from .delivery import Delivery
from .descriptors import TSS16, TSS32, Fault
from .layout import (
    BASE,
    CR0,
    CR3,
    CS,
    EFLAGS,
    EIP,
    ESP,
    FLAGS,
    HFLAGS,
    LDTR,
    LIMIT,
    SELECTOR,
    SS,
    TR,
)

_HF_TS = 1 << 11


class TaskSwitcher:
    """Installed in a Delivery. `flush` is called when CR3 has changed."""

    def __init__(self, delivery: Delivery, flush: Callable[[], None]) -> None:
        self._delivery = delivery
        self._flush = flush
        delivery.task_switch = self.switch

    def switch(self, selector: int, ext: int, error: int | None, _reserved: int) -> None:
        """Enter the task behind a gate as a nested task; the error code goes on its stack."""
        delivery = self._delivery
        context, paging = delivery.context, delivery.paging
        q, d = context.q, context.d
        bad = selector & 0xFFFC | ext
        if selector & 4 or not selector & 0xFFFC:
            raise Fault(x86.GP, bad)
        low, high, at = delivery.descriptor(selector, x86.GP, ext)
        kind = x86.system_type(high)
        if kind not in (x86.TSS32_AVAILABLE, x86.TSS16_AVAILABLE):
            raise Fault(x86.GP, bad)
        if not high & x86.PRESENT:
            raise Fault(x86.NP, bad)
        wide = kind == x86.TSS32_AVAILABLE
        base, limit = x86.base(low, high), x86.limit(low, high)
        if limit < (TSS32.min_limit if wide else TSS16.min_limit):
            raise Fault(x86.TS, bad)
        # Touch everything that will be read before anything is changed.
        raw = paging.read(base, (TSS32.min_limit if wide else TSS16.min_limit) + 1)
        self._save()
        paging.write(base, struct.pack("<H", d[SELECTOR[TR]] & 0xFFFF))  # the link back
        paging.write32(at + 4, high | x86.TSS_BUSY_BIT)
        if wide:
            eip, eflags = struct.unpack_from("<2I", raw, TSS32.eip)
            general = struct.unpack_from("<8I", raw, TSS32.general)
            segments = [value & 0xFFFF for value in struct.unpack_from("<6I", raw, TSS32.segments)]
            (ldt,) = struct.unpack_from("<H", raw, TSS32.ldt)
            if q[CR0] & x86.CR0_PG:
                (q[CR3],) = struct.unpack_from("<I", raw, TSS32.cr3)
                paging.cr3 = q[CR3]
                self._flush()
        else:
            eip, eflags = struct.unpack_from("<2H", raw, TSS16.ip)
            general = struct.unpack_from("<8H", raw, TSS16.general)
            segments = [*struct.unpack_from("<4H", raw, TSS16.segments), 0, 0]
            (ldt,) = struct.unpack_from("<H", raw, TSS16.ldt)
        delivery.set_segment(TR, selector & 0xFFFC, base, limit, high | x86.TSS_BUSY_BIT)
        q[CR0] |= x86.CR0_TS
        d[HFLAGS] |= _HF_TS
        q[EIP] = eip
        q[EFLAGS] = eflags & 0x3F7FD5 | x86.EFLAGS_FIXED | x86.NT
        for index, value in enumerate(general):
            q[index] = value
        self._load_ldt(ldt)
        self._load_segments(segments)
        if error is not None:
            self._push(error, 4 if wide else 2)

    def _save(self) -> None:
        """The outgoing task's registers, into its TSS."""
        context, paging = self._delivery.context, self._delivery.paging
        q, d = context.q, context.d
        base = q[BASE[TR]]
        selectors = [d[SELECTOR[segment]] & 0xFFFF for segment in range(6)]
        if d[FLAGS[TR]] >> 8 & 8:
            if d[LIMIT[TR]] < TSS32.min_limit:
                raise Fault(x86.TS, d[SELECTOR[TR]] & 0xFFFC)
            paging.write(
                base + TSS32.eip,
                struct.pack("<16I", *(value & 0xFFFFFFFF for value in (q[EIP], q[EFLAGS], *q[:8], *selectors))),
            )
        else:
            if d[LIMIT[TR]] < TSS16.min_limit:
                raise Fault(x86.TS, d[SELECTOR[TR]] & 0xFFFC)
            values = [q[EIP], q[EFLAGS], *(q[i] for i in range(8)), *selectors[:4]]
            paging.write(base + TSS16.ip, struct.pack("<14H", *(value & 0xFFFF for value in values)))

    def _load_ldt(self, selector: int) -> None:
        delivery = self._delivery
        delivery.set_segment(LDTR, selector, 0, 0, 0)
        if selector & 0xFFFC:
            if selector & 4:
                raise Fault(x86.TS, selector & 0xFFFC)
            low, high, _ = delivery.descriptor(selector, x86.TS, 0)
            if x86.system_type(high) != x86.LDT or not high & x86.PRESENT:
                raise Fault(x86.TS, selector & 0xFFFC)
            delivery.set_segment(LDTR, selector, x86.base(low, high), x86.limit(low, high), high)

    def _load_segments(self, selectors: list[int]) -> None:
        """CS sets the new CPL; a selector that does not fit is an invalid TSS (8.3, table 8-1)."""
        delivery = self._delivery
        cpl = selectors[CS] & 3
        for segment, selector in enumerate(selectors):
            delivery.set_segment(segment, selector, 0, 0, 0)
        delivery.refresh_hflags(cpl)
        for segment in (CS, SS, *(s for s in range(6) if s not in (CS, SS))):
            selector = selectors[segment]
            if not selector & 0xFFFC:
                if segment in (CS, SS):
                    raise Fault(x86.TS, 0)
                continue
            low, high, _ = delivery.descriptor(selector, x86.TS, 0)
            code = high & x86.CODE
            fits = high & x86.SEGMENT and (
                code
                if segment == CS
                else not code and high & x86.WRITABLE and x86.dpl(high) == cpl == selector & 3
                if segment == SS
                else not code or high & x86.WRITABLE
            )
            if not fits:
                raise Fault(x86.TS, selector & 0xFFFC)
            if not high & x86.PRESENT:
                raise Fault(x86.SS_FAULT if segment == SS else x86.NP, selector & 0xFFFC)
            delivery.set_segment(segment, selector, x86.base(low, high), x86.limit(low, high), high)
        delivery.refresh_hflags(cpl)

    def _push(self, value: int, width: int) -> None:
        context, paging = self._delivery.context, self._delivery.paging
        q, d = context.q, context.d
        mask = 0xFFFFFFFF if d[FLAGS[SS]] & x86.BIG else 0xFFFF
        esp = q[ESP] - width & mask
        paging.write(q[BASE[SS]] + esp, (value & (1 << width * 8) - 1).to_bytes(width, "little"))
        q[ESP] = esp if mask == 0xFFFFFFFF else q[ESP] & 0xFFFF0000 | esp
