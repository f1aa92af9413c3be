# SPDX-License-Identifier: GPL-2.0-or-later
"""Who could have noticed a hang: watchdogs, by the kernel's variables and the local APICs' registers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from kdumpsim.apic.lapic import LocalApic
from kdumpsim.apic.messages import DeliveryMode
from kdumpsim.explain.facts import Fact, Moment, Watchdog
from kdumpsim.explain.guest import Guest

NMI_WATCHDOG, SOFT_LOCKUP, HUNG_TASK = "NMI watchdog", "soft-lockup watchdog", "hung-task watchdog"
OFF, IO_APIC = 0, 1
"""The variable nmi_watchdog; 2 is the local APIC mode."""
SOURCES: Final = {IO_APIC: ("LINT0", 3), 2: ("its performance counter", 4)}
"""Where its NMIs come in, and that entry of the local vector table."""
_MASKED: Final = 1 << 16


def watchdogs(guest: Guest, lapics: Sequence[LocalApic], when: str, at: Moment) -> Iterator[Fact]:
    """How each CPU's watchdogs stand; a kernel without one of them says nothing of it."""
    for cpu in guest.cpus:
        moment = replace(at, cpu=cpu.index, address=None)
        yield from _nmi(guest, lapics[cpu.index], when, moment)
        yield from _soft_lockup(guest, when, moment, cpu.index)
    if (panics := guest.variable("hung_task_panic")) is not None:
        does = "panics" if panics else "prints"
        on = guest.variable("hung_task_on")
        at = replace(at, cpu=None, address=None)
        yield Watchdog(at, when, HUNG_TASK, bool(on), f"hung_task_on is {on}, and it {does}")


def _nmi(guest: Guest, lapic: LocalApic, when: str, at: Moment) -> Iterator[Fact]:
    mode = guest.variable("nmi_watchdog")
    if mode is None:
        return
    if mode not in SOURCES:
        yield Watchdog(at, when, NMI_WATCHDOG, False, f"nmi_watchdog is {mode}")
        return
    name, index = SOURCES[mode]
    entry = int(lapic.state()["registers"][f"lvt{index}"])
    nmi = entry >> 8 & 7 == DeliveryMode.NMI
    what = "an NMI" if nmi else "no NMI"
    masked = ", masked" if entry & _MASKED else ""
    yield Watchdog(
        at, when, NMI_WATCHDOG, nmi and not masked,
        f"nmi_watchdog is {mode}, and {name} makes {what} of what arrives (local vector table {entry:#x}{masked})",
    )  # fmt: skip


def _soft_lockup(guest: Guest, when: str, at: Moment, cpu: int) -> Iterator[Fact]:
    off, thread = guest.variable("softlockup_off"), guest.variable("watchdog_task", cpu)
    if off is None or thread is None:
        return
    does = "panics" if guest.variable("softlockup_panic") else "prints"
    if not thread:
        why = f"this CPU has no thread watchdog/{cpu} (softlockup_off is {off})"
        yield Watchdog(at, when, SOFT_LOCKUP, False, why)
        return
    local = guest.variable("softlockup_local")
    now = guest.variable("local_ticks", cpu) if local else guest.variable("jiffies")
    ran = guest.variable("touch_timestamp", cpu)
    ago = None if now is None or ran is None else now - ran & 0xFFFFFFFF
    clock = "the CPU's own ticks" if local else "jiffies"
    yield Watchdog(at, when, SOFT_LOCKUP, True, f"watchdog/{cpu} is there, by {clock}, and softlockup {does}", ago)
