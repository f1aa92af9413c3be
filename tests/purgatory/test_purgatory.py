# SPDX-License-Identifier: GPL-2.0-or-later
"""Purgatory as a whole: placed by kexec-tools, run on a bare CPU."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unicorn import x86_const as x86

from kdumpsim import images
from kdumpsim.kexec.elfcorehdr import BACKUP_SOURCE
from kdumpsim.kexec.purgatory import Purgatory
from kdumpsim.kexec.segments import Range
from properties import examples

from .machine import BareMachine

KERNEL, PARAMETERS, BACKUP = 0x1000000, 0x1300000, 0x1400000


@dataclass
class Loaded:
    machine: BareMachine
    purgatory: Purgatory

    def run(self) -> int:
        return self.machine.run(self.purgatory.entry, KERNEL)


def load(address: int = 0x1200000, *, backup: bool = True) -> Loaded:
    """A machine as machine_kexec leaves it: everything in place, registers rubbish, no stack."""
    machine = BareMachine()
    low = os.urandom(0x500) + bytes(0x10000) + os.urandom(0x8FB00)
    machine.write(0, low.ljust(BACKUP_SOURCE.size, b"\xaa"))
    kernel, parameters = os.urandom(10007), os.urandom(333)
    machine.write(KERNEL, kernel)
    machine.write(PARAMETERS, parameters)
    purgatory = Purgatory(images.purgatory(), address)
    purgatory.set_regions([(KERNEL, kernel), (PARAMETERS, parameters)])
    purgatory.set_kernel(KERNEL, 0x2BADB002, PARAMETERS)
    if backup:
        purgatory.set_backup(BACKUP_SOURCE, BACKUP)
    machine.write(address, purgatory.image)
    for register in ("EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "ESP"):
        machine.uc.reg_write(getattr(x86, f"UC_X86_REG_{register}"), 0xDEADBEEF)
    return Loaded(machine, purgatory)


def test_the_kernel_is_entered_as_multiboot_says() -> None:
    loaded = load()
    low = loaded.machine.read(0, BACKUP_SOURCE.size)
    assert loaded.run() == KERNEL
    uc = loaded.machine.uc
    assert uc.reg_read(x86.UC_X86_REG_EAX) == 0x2BADB002
    assert uc.reg_read(x86.UC_X86_REG_EBX) == PARAMETERS
    assert uc.reg_read(x86.UC_X86_REG_CR0) & 0x80000001 == 1
    assert not uc.reg_read(x86.UC_X86_REG_EFLAGS) & 0x20200
    assert [uc.reg_read(getattr(x86, f"UC_X86_REG_{s}")) for s in ("CS", "DS", "SS", "GS")] == [8, 16, 16, 16]
    assert loaded.machine.read(BACKUP, BACKUP_SOURCE.size) == low
    assert loaded.machine.read(0, BACKUP_SOURCE.size) == low
    assert loaded.machine.serial == b"I'm in purgatory\r\n"


def test_without_a_backup_nothing_is_copied() -> None:
    loaded = load(backup=False)
    assert loaded.run() == KERNEL
    assert loaded.machine.read(BACKUP, 4096) == bytes(4096)


@pytest.mark.parametrize("address", [KERNEL, KERNEL + 10006, PARAMETERS + 300])
def test_a_flipped_bit_stops_it(address: int) -> None:
    loaded = load()
    machine = loaded.machine
    machine.write(address, bytes([machine.read(address, 1)[0] ^ 0x10]))
    eip = loaded.run()
    assert eip != KERNEL
    assert machine.read(eip - 1, 1) == b"\xf4"
    assert not machine.uc.reg_read(x86.UC_X86_REG_EFLAGS) & 0x200
    assert b"purgatory: sha256 mismatch" in machine.serial
    assert loaded.purgatory.image.find(bytes.fromhex(machine.serial.split(b"expected ")[1][:64].decode())) > 0
    assert machine.read(BACKUP, 4096) == bytes(4096)


@given(st.integers(0x100, 0xFF0))
@examples(10)
def test_it_runs_at_any_address(page: int) -> None:
    loaded = load(page << 12)
    assert loaded.run() == KERNEL


@given(st.integers(0, 40), st.binary(max_size=600))
@examples(40)
def test_backup_copy(units: int, target: bytes) -> None:
    machine = BareMachine()
    purgatory = Purgatory(images.purgatory(), 0x100000)
    machine.write(0x100000, purgatory.image)
    source = os.urandom(units * 32)
    machine.write(0x200000, source)
    machine.write(0x300000, target)
    machine.call(purgatory.symbols["copy_backup_region"], 0x200000, 0x300000, len(source))
    assert machine.read(0x300000, max(len(source), len(target))) == source + target[len(source) :]


def test_it_is_small_and_needs_whole_units() -> None:
    purgatory = Purgatory(images.purgatory(), 0)
    assert len(purgatory.image) < 16384
    with pytest.raises(Exception, match="units of 32"):
        purgatory.set_backup(Range(0, 33), 0)
