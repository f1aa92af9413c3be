# SPDX-License-Identifier: GPL-2.0-or-later
"""Watchdogs, SysRq in hangs, stack overflows: what happens inside the machine."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from kdumpsim.agent.errors import AgentGone, AgentTimeout
from kdumpsim.cpu import Cpu
from kdumpsim.target import PAGE_OFFSET

THREAD_SIZE = 8192
FILLED = 0xFFFFFFFF
LVT_LINT0, DELIVERY_EXTINT = 0x350, 0x700
"""Of a local APIC: a register and a value (SDM vol. 3, 10.5.1)."""
Boot = Callable[..., Any]


def press(guest: Any, *keys: str) -> None:
    for key in keys:
        guest.machine.i8042.press(key)
        guest.run(0.05)
    for key in reversed(keys):
        guest.machine.i8042.release(key)
        guest.run(0.05)


def start_diskio(guest: Any) -> None:
    """The guest may die before its agent can say that the program runs."""
    guest.agent.timeout = 1
    with contextlib.suppress(AgentGone, AgentTimeout):
        guest.agent.start("diskio")


def counted(guest: Any, what: str) -> list[int]:
    """A line of /proc/interrupts: the count of each CPU."""
    (line,) = [line for line in guest.text("/proc/interrupts").splitlines() if line.strip().startswith(f"{what}:")]
    return [int(word) for word in line.split()[1:] if word.isdigit()]


def hang(boot: Boot, point: str, append: str) -> Any:
    guest = boot(append)
    guest.kexec_p()
    guest.dtt(f"set {point} loop 5")
    start_diskio(guest)
    guest.run(15)
    assert guest.dumped() is None
    return guest


@pytest.mark.parametrize("cpus", [1, 4])
def test_the_nmi_watchdog_ticks_on_every_cpu_of_a_healthy_machine(boot: Boot, cpus: int) -> None:
    guest = boot("nmi_watchdog=1", cpus=cpus)
    assert "activating NMI Watchdog ... done." in guest.console
    assert "testing NMI watchdog ... OK." in guest.console
    before = counted(guest, "NMI")
    guest.agent.start("diskio")
    guest.run(8)
    after = counted(guest, "NMI")
    assert len(after) == cpus
    assert all(790 < late - early < 830 for late, early in zip(after, before, strict=True))
    assert "LOCKUP" not in guest.console
    assert "soft lockup" not in guest.console


def test_a_tick_that_the_i8259_delivers_as_an_interrupt_is_not_counted_twice(boot: Boot) -> None:
    """LINT0 is to make an NMI of it, but there are boards that interrupt with the i8259's vector as well (QEMU)."""
    guest = boot("nmi_watchdog=1")
    guest.machine.lapics[1].write(LVT_LINT0, DELIVERY_EXTINT)
    before = counted(guest, "0") + counted(guest, "LOC")
    guest.run(3)
    after = counted(guest, "0") + counted(guest, "LOC")
    on_cpu0, on_cpu1, *local = (late - early for late, early in zip(after, before, strict=True))
    assert 299 <= on_cpu0 <= 303
    assert on_cpu1 == 0
    assert all(299 <= count <= 303 for count in local)


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_performance_counter_ticks_while_its_cpu_is_busy(boot: Boot, cpus: int) -> None:
    guest = boot("nmi_watchdog=2", cpus=cpus)
    assert re.search(r"Detected (999\.9|1000\.)\d+ MHz", guest.console)
    assert "testing NMI watchdog ... OK." in guest.console
    at_boot = counted(guest, "NMI")
    guest.run(5)
    idle = counted(guest, "NMI")
    assert all(late - early <= 1 for late, early in zip(idle, at_boot, strict=True))  # a halted CPU has no clocks
    guest.dtt("set INT_TASKLET_ENTRY loop 5")  # with interrupts on: the watchdog ticks, and finds nothing wrong
    start_diskio(guest)
    ticks = guest.first.symbols["nmi_count"]
    before = struct.unpack(f"<{cpus}I", guest.machine.cpus[0].read_linear(ticks, 4 * cpus))
    guest.run(4)
    after = struct.unpack(f"<{cpus}I", guest.machine.cpus[0].read_linear(ticks, 4 * cpus))
    assert max(late - early for late, early in zip(after, before, strict=True)) == 4
    assert "LOCKUP" not in guest.console


@pytest.mark.parametrize("clock", ["jiffies", "local"])
def test_the_soft_lockup_watchdog_is_content_with_a_healthy_machine(boot: Boot, clock: str) -> None:
    guest = boot(f"softlockup_clock={clock} watchdog_thresh=1", cpus=4)
    guest.run(4)  # idle
    guest.agent.start("diskio")
    guest.run(4)
    assert "soft lockup" not in guest.console


@pytest.mark.parametrize("value", ["off", "warn"])
def test_a_task_that_waits_for_one_that_hangs_is_found(boot: Boot, value: str) -> None:
    """The one that hangs can be preempted: neither of the other watchdogs has anything to say."""
    guest = boot(f"hung_task={value} watchdog_thresh=1 nmi_watchdog=1")
    guest.dtt("set FS_DEVRW loop 5")
    start_diskio(guest)
    guest.run(1)
    start_diskio(guest)  # the agent waits for the file system
    guest.run(6)
    found = re.findall(r"INFO: task (\w+):\d+ blocked for more than 2 seconds", guest.console)
    assert set(found) == ({"agent"} if value == "warn" else set())
    assert 1 <= len(found) <= 3 or value == "off"
    assert "LOCKUP" not in guest.console
    assert "soft lockup" not in guest.console


@pytest.mark.nightly
def test_the_hung_task_watchdog_is_content_with_a_busy_disk(boot: Boot) -> None:
    guest = boot("hung_task=panic watchdog_thresh=1")
    for name in ("/a", "/b", "/c"):
        guest.agent.start("diskio", name)
    guest.run(8)
    assert "blocked for more than" not in guest.console
    assert "panic" not in guest.console.partition("agent: listening")[2]


def test_a_hang_in_an_nmi_handler_is_seen_by_nobody(boot: Boot) -> None:
    """The paper's "one inevitable flaw" (5.2.3): interrupts are off, and no other NMI comes before the IRET."""
    guest = boot("nmi_watchdog=1 watchdog_thresh=1 softlockup=panic softlockup_clock=local")

    def nmis() -> tuple[int, int]:
        count: tuple[int, int] = struct.unpack_from("<2I", guest.machine.memory.view, at)
        return count

    at = guest.first.symbols["nmi_count"] - PAGE_OFFSET
    guest.agent.start("nmihold", "2")
    before = nmis()
    guest.run(8)
    on_cpu0, on_cpu1 = (late - early for late, early in zip(nmis(), before, strict=True))
    assert 790 < on_cpu0 < 810
    assert on_cpu1 <= 1
    assert "LOCKUP" not in guest.console
    assert "soft lockup" not in guest.console


@pytest.mark.parametrize("point", ["INT_TASKLET_ENTRY", "INT_HW_IRQ_EN", "FS_DEVRW"])
def test_sysrq_starts_the_dump_in_a_hang_with_interrupts_on(boot: Boot, point: str) -> None:
    guest = hang(boot, point, "nmi_watchdog=1")
    press(guest, "leftalt", "sysrq", "c")
    guest.run(10)
    assert "SysRq : Trigger a crashdump" in guest.console
    assert guest.dumped() is not None


def test_sysrq_can_be_switched_off(boot: Boot) -> None:
    guest = boot("sysrq=0")
    press(guest, "leftalt", "sysrq", "h")
    assert "SysRq" not in guest.console
    guest.agent.write_file("/proc/sysrq-trigger", b"h")
    guest.run(0.1)
    assert "SysRq : HELP" in guest.console


def test_an_overflow_that_fits_the_stack_is_survived(boot: Boot) -> None:
    guest = boot("dtt.rec_num=3")
    guest.dtt("set FS_DEVRW overflow 5")
    guest.agent.start("diskio")
    guest.run(2)
    assert "FS_DEVRW of type overflow survived" in guest.console
    assert guest.text("/proc/interrupts")
    (line,) = [line for line in guest.text("/proc/dtt/cpoints").splitlines() if "FS_DEVRW" in line]
    assert line.split() == ["3", "overflow", "FS_DEVRW", "0", "kern"]


def test_an_overflow_of_ten_levels_overwrites_thread_info_and_what_lies_below(boot: Boot) -> None:
    guest = boot()
    symbols, view = guest.first.symbols, guest.machine.memory.view
    stacks: list[int] = []
    seen: list[tuple[int, ...]] = []

    def begun(cpu: Cpu) -> None:
        stacks.append(cpu.registers().esp)

    def over(cpu: Cpu) -> None:
        if stacks and not seen:
            base = (stacks[0] & -THREAD_SIZE) - 0xC0000000
            seen.append(struct.unpack_from("<4I", view, base))
            seen.append(struct.unpack_from("<4I", view, base - 256))

    guest.machine.watch(symbols["dtt_overflow"], begun)
    guest.machine.watch(symbols["printk"], over)
    guest.dtt("set INT_HARDWARE_ENTRY overflow 5")
    start_diskio(guest)
    guest.run(2)
    assert len(stacks) == 10
    steps = {high - low for high, low in pairwise(stacks)}
    assert all(1024 < step < 1100 for step in steps)
    assert seen == [(FILLED,) * 4, (FILLED,) * 4]


def test_a_page_fault_that_trusts_an_overwritten_thread_info_faults_again_and_again(boot: Boot) -> None:
    """The paper's section 5.2.2 and listing 5: it goes on until the stack has run through what the CPU needs itself."""
    guest = boot()
    guest.kexec_p()
    faults: list[int] = []
    guest.machine.watch(guest.first.symbols["do_page_fault"], lambda cpu: faults.append(cpu.registers().esp))
    guest.dtt("set INT_HARDWARE_ENTRY overflow 5")

    def die() -> None:
        guest.agent.start("diskio")
        guest.agent.identify()

    with pytest.raises(AgentGone, match="reset"):
        die()
    assert len(faults) > 100
    assert all(later < earlier for earlier, later in pairwise(faults[:100]))
    assert guest.dumped() is None
