# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle and its judgement, on a machine that is only memory."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.vmcore.compare import Judgement, judge, without
from kdumpsim.vmcore.oracle import FRAME, Oracle, Region
from kdumpsim.vmcore.picture import CHUNK, PAGE_SIZE, Picture
from kdumpsim.vmcore.reader import Vmcore

from .builders import (
    E820,
    FULL,
    MIB,
    RESERVED,
    SYMBOLS,
    FakeMachine,
    crashed,
    dump,
    good_notes,
    prstatus,
)

JUMP = 0x2F00000 // 16
Judge = Callable[..., Judgement]


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """Dump what a machine's memory holds now and judge it."""

    def run(machine: FakeMachine, oracle: Oracle, ranges: object = FULL, notes: bytes | None = None) -> Judgement:
        path = tmp_path / "vmcore"
        path.write_bytes(dump(machine.memory.view, ranges, good_notes(machine) if notes is None else notes))  # type: ignore[arg-type]
        with Vmcore(path) as core:
            return judge(core, oracle)

    return run


def test_a_perfect_dump(judged: Judge) -> None:
    machine = FakeMachine()
    machine.memory.view[MIB : MIB + 5] = b"hello"
    judgement = judged(machine, crashed(machine))
    assert (judgement.completeness, judgement.accuracy, judgement.differences) == (1, 1, [])
    assert judgement.ram_pages == 0xA0 + 512
    assert judgement.registers_ok
    assert [(c.cpu, c.role, c.where) for c in judgement.registers] == [
        (0, "crashing", "crash_kexec"),
        (1, "stopped by NMI", "cpu_idle"),
    ]


def test_what_a_device_writes_after_the_jump_is_no_inaccuracy_of_the_dump(judged: Judge) -> None:
    machine = FakeMachine()
    machine.memory.dma_write(MIB + 0x2000, b"before the crash")
    oracle = crashed(machine)
    machine.memory.dma_write(MIB + 0x2000, b"late frame")
    machine.memory.dma_write(RESERVED.start, b"the capture kernel's own")
    judgement = judged(machine, oracle)
    assert (judgement.accuracy, judgement.differences) == (1, [])
    assert [change.page for change in judgement.dma] == [MIB + 0x2000]
    assert [write.data for write in oracle.dma] == [b"late frame"]


def test_a_page_with_more_changes_than_the_devices_is_wrong(judged: Judge) -> None:
    machine = FakeMachine()
    oracle = crashed(machine)
    machine.memory.dma_write(MIB + 0x2000, b"late frame")
    machine.memory.view[MIB + 0x2800] = 1  # nobody's DMA
    machine.memory.dma_write(MIB + 0x3000, b"late frame")
    machine.memory.view[MIB + 0x3002] ^= 1  # not what the device wrote
    judgement = judged(machine, oracle)
    assert judgement.dma == []
    assert judgement.present_pages - judgement.equal_pages == 2


def test_instants() -> None:
    machine = FakeMachine()
    oracle = crashed(machine)
    assert oracle.crash is not None
    assert oracle.jump is not None
    assert (oracle.crash.time_ns, oracle.crash.cpu, oracle.crash.where) == (1000, 0, "dtt_induce")
    assert (oracle.jump.time_ns, oracle.jump.cpu) == (2000, 0)
    assert oracle.crash.registers[0].esp == 0xC0380F00


def test_a_crash_that_nobody_induced() -> None:
    machine = FakeMachine()
    oracle = Oracle(machine, {"panic": 0xC0100400})  # type: ignore[arg-type]
    machine.reach(1, 0xC0100400)
    machine.nmi(0, eip=5)
    assert oracle.crash is not None
    assert (oracle.crash.where, oracle.crash.cpu, oracle.nmi[0].eip) == ("panic", 1, 5)


def test_missing_pages_count_against_completeness(judged: Judge) -> None:
    machine = FakeMachine()
    judgement = judged(machine, crashed(machine), [(0, 0xA0000), (MIB, 2 * MIB - 4096), (3 * MIB + 8192, 4 * MIB)])
    assert judgement.present_pages == judgement.ram_pages - 3
    assert judgement.accuracy == 1
    assert [(d.kind, d.start, d.end) for d in judgement.differences] == [
        ("missing", 2 * MIB - 4096, 2 * MIB),
        ("missing", 3 * MIB, 3 * MIB + 8192),
    ]


def test_what_changes_after_the_jump_is_inaccurate_and_named(judged: Judge) -> None:
    machine = FakeMachine()
    oracle = crashed(machine)
    machine.memory.view[0x101010:0x101014] = b"late"
    machine.memory.view[0x105002] = 1
    machine.memory.view[0x105011] = 1
    machine.memory.view[3 * MIB + 0x3001] = 9
    judgement = judged(machine, oracle)
    assert judgement.completeness == 1
    assert judgement.equal_pages == judgement.present_pages - 3
    assert [(d.kind, d.start, d.end, d.owner) for d in judgement.differences] == [
        ("differs", 0x101010, 0x101014, "log_buf"),
        ("differs", 0x105000, 0x105004, "jiffies"),
        ("differs", 0x105010, 0x105014, "crash_notes"),
        ("differs", 3 * MIB + 0x3000, 3 * MIB + 0x3004, "memory of the page allocator"),
    ]
    assert judgement.differences[0].as_dict()["start"] == "0x101010"


def test_what_the_crash_path_changes_is_told_apart(judged: Judge) -> None:
    machine = FakeMachine()
    view = machine.memory.view

    def between() -> None:
        view[0x101000:0x101004] = b"Oops"
        view[0x105010:0x105020] = b"n" * 16
        view[0x380E00] = 1
        view[RESERVED.start + 5] = 1

    judgement = judged(machine, crashed(machine, between))
    assert (judgement.accuracy, judgement.completeness) == (1, 1)
    assert [(change.page, change.owners) for change in judgement.crash_path] == [
        (0x101000, ("log_buf",)),
        (0x105000, ("crash_notes",)),
        (0x380000, ("kernel stack in use on CPU 0",)),
    ]


def test_wrong_registers_are_named(judged: Judge) -> None:
    machine = FakeMachine()
    oracle = crashed(machine)
    notes = prstatus(7, {"eip": SYMBOLS["cpu_idle"], "esp": 0xC0380E40, "ebp": 0xC0990000})
    notes += prstatus(0, {"eip": SYMBOLS["cpu_idle"] + 8, "esp": 0xC0370F01, "eax": 99, "cs": 0x60})
    first, second = judged(machine, oracle, FULL, notes).registers
    assert first.problems == [
        "eip 0xc0100c00 lies in cpu_idle, not in crash_kexec",
        "ebp 0xc0990000 is not in the frame of crash_kexec, called at esp 0xc0380e80",
    ]
    assert second.problems == ["eax is 0x63 in the dump and was 0x1"]
    assert not second.ok


def test_registers_of_an_exception_come_from_its_frame(judged: Judge) -> None:
    machine = FakeMachine()
    oracle = Oracle(machine, SYMBOLS)  # type: ignore[arg-type]
    oracle.watch_jump(JUMP, RESERVED)
    machine.reach(0, SYMBOLS["dtt_induce"], esp=0xC0380F00)
    values = {name: 0x100 + i for i, name in enumerate(FRAME)} | {"cs": 0x60, "ds": 0x7B, "es": 0x7B}
    machine.memory.view[0x380E00:0x380E3C] = struct.pack("<15I", *(values[name] for name in FRAME))
    machine.memory.view[0x380D80:0x380D88] = struct.pack("<II", 0xC0100500, 0xC0380E00)
    machine.reach(0, SYMBOLS["crash_kexec"], esp=0xC0380D80)
    machine.nmi(1, eip=SYMBOLS["cpu_idle"])
    machine.reach(0, JUMP)
    registers = {**values, "esp": 0xC0380E00 + 52}
    checks = judged(machine, oracle, FULL, prstatus(7, registers) + prstatus(0, {"eip": SYMBOLS["cpu_idle"]})).registers
    assert [check.problems for check in checks] == [[], []]
    registers["ebx"] += 1
    checks = judged(machine, oracle, FULL, prstatus(7, registers)).registers
    assert checks[0].problems == ["ebx is 0x101 in the dump and was 0x100"]
    assert checks[1].problems == ["the dump has no registers of this CPU"]


def test_a_cpu_that_was_never_stopped(judged: Judge) -> None:
    machine = FakeMachine(cpus=3)
    oracle = crashed(machine)
    del oracle.nmi[1]
    notes = prstatus(7, {"eip": SYMBOLS["crash_kexec"], "esp": 0xC0380E40, "ebp": 0xC0380E7C})
    notes += prstatus(0, {"eip": SYMBOLS["cpu_idle"] + 8, "esp": 0xC0370F02, "eax": 2, "cs": 0x60})
    checks = judged(machine, oracle, FULL, notes).registers
    assert [(check.role, check.ok) for check in checks] == [
        ("crashing", True),
        ("not stopped", False),
        ("stopped by NMI", True),
    ]


def test_no_jump_no_truth(tmp_path: Path) -> None:
    machine = FakeMachine()
    oracle = Oracle(machine, SYMBOLS)  # type: ignore[arg-type]
    path = tmp_path / "vmcore"
    path.write_bytes(dump(machine.memory.view, FULL))
    with Vmcore(path) as core, pytest.raises(ValueError, match="no jump to purgatory"):
        judge(core, oracle)


def test_memory_with_holes(judged: Judge) -> None:
    ram = [E820(0, 0x9FC00), E820(MIB, MIB // 2), E820(3 * MIB, MIB - 0x800)]
    machine = FakeMachine(holes=ram)
    judgement = judged(machine, crashed(machine), [(0, 0xA0000), (MIB, MIB + MIB // 2), (3 * MIB, 4 * MIB - 0x800)])
    assert (judgement.ram_pages, judgement.completeness, judgement.accuracy) == (0xA0 + 128 + 256, 1, 1)


patches = st.lists(st.tuples(st.integers(0, 4 * MIB - 1), st.integers(0, 255)), max_size=12)


@given(patches, patches)
def test_pictures_see_every_change(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    memory = bytearray(4 * MIB)
    for address, value in first:
        memory[address] = value
    before = Picture(memoryview(memory))
    old = bytes(memory)
    for address, value in second:
        memory[address] = value
    after = Picture(memoryview(memory), before)
    pages = range(0, len(memory), PAGE_SIZE)
    assert list(before.changed_pages(after)) == [p for p in pages if old[p : p + 4096] != memory[p : p + 4096]]
    for address, _ in second:
        assert after.read(address, address + 1)[0] == memory[address]
    assert after.read(CHUNK - 100, 3 * CHUNK + 7) == memory[CHUNK - 100 : 3 * CHUNK + 7]


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=4)


@given(spans, spans)
def test_without(ram: list[tuple[int, int]], holes: list[tuple[int, int]]) -> None:
    left = without(ram, [Region(*hole) for hole in holes])
    for address in range(90):
        expected = sum(a <= address < b for a, b in ram) if not any(a <= address < b for a, b in holes) else 0
        assert sum(a <= address < b for a, b in left) == expected


def test_pictures_and_judgement_are_quick(judged: Judge, tmp_path: Path) -> None:
    machine = FakeMachine(size=64 * MIB)
    for address in range(MIB, 8 * MIB, PAGE_SIZE):
        machine.memory.view[address : address + 4] = address.to_bytes(4, "little")
    started = time.perf_counter()
    oracle = crashed(machine)
    pictures = time.perf_counter() - started
    path = tmp_path / "big"
    ranges = [(0, 0xA0000), (MIB, 2 * MIB), (3 * MIB, 64 * MIB)]
    path.write_bytes(dump(machine.memory.view, ranges, good_notes(machine)))
    with Vmcore(path) as core:
        started = time.perf_counter()
        judgement = judge(core, oracle)
        judging = time.perf_counter() - started
    assert (judgement.accuracy, judgement.completeness) == (1, 1)
    assert oracle.jump is not None
    assert oracle.jump.ram is not None
    assert oracle.jump.ram.bytes_held < 9 * MIB
    # Generous: the machine may be shared. Measured 12 ms and 25 ms.
    assert pictures < 0.3
    assert judging < 0.5
