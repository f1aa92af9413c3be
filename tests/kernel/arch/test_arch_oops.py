# SPDX-License-Identifier: GPL-2.0-or-later
"""What the console says when a CPU goes astray, with nobody to take a dump."""

from __future__ import annotations

import re

import pytest
from arch_machine import BOOTED, Guest

from kdumpsim.board.machine import MachineConfig, StopReason


@pytest.mark.parametrize("cpu", [0, 1])
def test_oops_text(cpu: int) -> None:
    guest = Guest()
    guest.until(BOOTED)
    guest.crash(cpu)
    guest.until("Call Trace:\n")
    guest.run(0.2)
    text = guest.console
    assert "Unable to handle kernel NULL pointer dereference at virtual address 00000010" in text
    assert " printing eip:\n00000010\n*pde = 00000000\nOops: 0000 [#1]\nPREEMPT SMP \n" in text
    assert f"CPU:    {cpu}\nEIP:    0060:[<00000010>]    Not tainted VLI" in text
    assert re.search(r"Process swapper \(pid: 0, threadinfo=[0-9a-f]{8} task=[0-9a-f]{8}\)", text)
    assert re.search(r" \[<[0-9a-f]{8}>\] default_idle\+0x[0-9a-f]+/0x[0-9a-f]+\n", text)
    assert re.search(r" \[<[0-9a-f]{8}>\] cpu_idle\+0x[0-9a-f]+/0x[0-9a-f]+\n", text)
    assert "ds: 007b   es: 007b   ss: 0068" in text


def test_panic_restarts_after_its_timeout() -> None:
    guest = Guest(cmdline="console=ttyS0 panic=1 oops=panic")
    guest.until(BOOTED)
    guest.crash(1)
    assert guest.run(30) is StopReason.RESET
    assert guest.machine.reset_cause == "i8042"


def test_double_fault_runs_in_its_own_task() -> None:
    guest = Guest(MachineConfig(cpus=1))
    guest.until(BOOTED)
    guest.run(1, lambda: guest.machine.cpus[0].halted)
    guest.machine.cpus[0].set_registers(eip=0x10, esp=0x1000)
    guest.until("edi = ")
    assert "eip = 00000010, esp = 00001000" in guest.console
