# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle and its judgement, on a machine that is only memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.board.memory import nonzero_pages
from kdumpsim.target import PAGE_SIZE
from kdumpsim.vmcore.compare import Judgement, judge, without
from kdumpsim.vmcore.oracle import Oracle, Region
from kdumpsim.vmcore.owners import OwnerMap
from kdumpsim.vmcore.picture import Picture
from kdumpsim.vmcore.reader import Vmcore

from .builders import (
    CRASHING,
    E820,
    FULL,
    MIB,
    RESERVED,
    STACK_SIZE,
    FakeMachine,
    crashed,
    dump,
    watching,
)

Judge = Callable[..., Judgement]


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """Dump what a machine's memory holds now and judge it."""

    def run(machine: FakeMachine, oracle: Oracle, ranges: Sequence[tuple[int, int]] = FULL) -> Judgement:
        path = tmp_path / "vmcore"
        path.write_bytes(dump(machine.memory.view, ranges, machine.merged))
        with Vmcore(path) as core:
            return judge(core, oracle)

    return run


def test_a_perfect_dump(judged: Judge) -> None:
    machine = FakeMachine()
    machine.memory.view[MIB : MIB + 5] = b"hello"
    judgement = judged(machine, crashed(machine))
    assert (judgement.completeness, judgement.accuracy, judgement.differences) == (1, 1, [])
    assert judgement.pages.ram == 0xA0 + 512
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
    assert judgement.pages.present - judgement.pages.equal == 2


def test_who_ran_on_after_the_jump_is_the_cause_of_what_it_wrote(judged: Judge) -> None:
    machine = FakeMachine()
    machine.run_on(1, 300, {MIB + 0x1000: b"before the jump"})

    def saves() -> None:
        machine.save(0, CRASHING)

    oracle = crashed(machine, saves=saves)
    late = {MIB + 0x2000: b"late", MIB + 0x3000: b"late", RESERVED.start: b"scratch", 0xB8000: b"screen"}
    machine.run_on(1, 3000, late)
    machine.memory.dma_write(MIB + 0x3100, b"a frame")
    machine.memory.view[MIB + 0x4000] = 1  # nobody was seen
    judgement = judged(machine, oracle)
    wrote = "CPU 1 ran on after the jump and wrote this page"
    assert [(difference.start, difference.cause) for difference in judgement.differences] == [
        (MIB + 0x2000, wrote),
        (MIB + 0x3000, f"{wrote}; a device wrote to this page after the jump"),
        (MIB + 0x4000, None),
    ]
    assert judgement.differences[0].as_dict()["cause"] == wrote
    (ran,) = oracle.ran_on()
    assert ran.as_dict() == {
        "cpu": 1, "role": "took the NMI and ran on", "code_bytes": 3000,
        "wrote": [{"start": "0x102000", "end": "0x104000"}],
    }  # fmt: skip
    assert str(ran) == "CPU 1 (took the NMI and ran on) ran 3000 bytes of code after the jump and wrote to 2 pages"
    assert judgement.registers[1].role == "took the NMI and ran on"


def test_a_cpu_on_its_way_to_its_last_halt_has_not_run_on(judged: Judge) -> None:
    machine = FakeMachine()
    oracle = crashed(machine)
    machine.run_on(1, 3)
    judgement = judged(machine, oracle)
    assert (oracle.ran_on(), judgement.registers[1].role) == ([], "stopped by NMI")
    machine.run_on(1, 3, {MIB + 0x2000: b"late"})
    assert [(ran.cpu, ran.role) for ran in oracle.ran_on()] == [(1, "stopped by NMI")]


@pytest.mark.parametrize("size", [4096, 8192])
def test_a_stack_is_as_large_as_the_kernel_has_it(size: int) -> None:
    oracle = Oracle(FakeMachine(), {"panic": 0xC0100400}, size, "entry")  # type: ignore[arg-type]
    machine = oracle.machine
    machine.reach(0, 0xC0100400, esp=0xC0383F00)  # type: ignore[attr-defined]
    owners = OwnerMap.of(oracle)
    stack = "kernel stack in use on CPU 0"
    assert [owners.owner(address) == stack for address in (0x381FFF, 0x382000, 0x383000, 0x383FFF, 0x384000)] == [
        False, size == 8192, True, True, False,
    ]  # fmt: skip


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
    oracle = Oracle(machine, {"panic": 0xC0100400}, STACK_SIZE, "entry")  # type: ignore[arg-type]
    machine.reach(1, 0xC0100400)
    machine.nmi(0, eip=5)
    assert oracle.crash is not None
    assert (oracle.crash.where, oracle.crash.cpu, oracle.nmi[0].eip) == ("panic", 1, 5)


def test_missing_pages_count_against_completeness(judged: Judge) -> None:
    machine = FakeMachine()
    judgement = judged(machine, crashed(machine), [(0, 0xA0000), (MIB, 2 * MIB - 4096), (3 * MIB + 8192, 4 * MIB)])
    assert judgement.pages.present == judgement.pages.ram - 3
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
    assert judgement.pages.equal == judgement.pages.present - 3
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
        view[0x380E00] = 1
        view[RESERVED.start + 5] = 1

    judgement = judged(machine, crashed(machine, between))
    assert (judgement.accuracy, judgement.completeness) == (1, 1)
    assert [(change.page, change.owners) for change in judgement.crash_path] == [
        (0x101000, ("log_buf",)),
        (0x105000, ("crash_notes",)),
        (0x380000, ("kernel stack in use on CPU 0",)),
    ]


def test_no_jump_no_truth(tmp_path: Path) -> None:
    machine = FakeMachine()
    oracle = watching(machine)
    path = tmp_path / "vmcore"
    path.write_bytes(dump(machine.memory.view, FULL))
    with Vmcore(path) as core, pytest.raises(ValueError, match="no hand-over"):
        judge(core, oracle)


def test_memory_with_holes(judged: Judge) -> None:
    ram = [E820(0, 0x9FC00), E820(MIB, MIB // 2), E820(3 * MIB, MIB - 0x800)]
    machine = FakeMachine(holes=ram)
    judgement = judged(machine, crashed(machine), [(0, 0xA0000), (MIB, MIB + MIB // 2), (3 * MIB, 4 * MIB - 0x800)])
    assert (judgement.pages.ram, judgement.completeness, judgement.accuracy) == (0xA0 + 128 + 256, 1, 1)


patches = st.lists(st.tuples(st.integers(0, 4 * MIB - 1), st.integers(0, 255)), max_size=12)


@given(patches, patches)
def test_pictures_see_every_change(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    memory = bytearray(4 * MIB)
    for address, value in first:
        memory[address] = value
    before = Picture(nonzero_pages(memoryview(memory)))
    old = bytes(memory)
    for address, value in second:
        memory[address] = value
    after = Picture(nonzero_pages(memoryview(memory)), before)
    pages = range(0, len(memory), PAGE_SIZE)
    assert list(before.changed_pages(after)) == [p for p in pages if old[p : p + 4096] != memory[p : p + 4096]]
    for address, _ in second:
        assert after.read(address, address + 1)[0] == memory[address]
    assert after.read(PAGE_SIZE - 100, 3 * PAGE_SIZE + 7) == memory[PAGE_SIZE - 100 : 3 * PAGE_SIZE + 7]
    held = [p for p in pages if any(memory[p : p + PAGE_SIZE])]
    assert list(after.held(0, len(memory))) == held
    assert list(after.held(PAGE_SIZE + 1, MIB + 1)) == [p for p in held if PAGE_SIZE <= p <= MIB]


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=4)


@given(spans, spans)
def test_without(ram: list[tuple[int, int]], holes: list[tuple[int, int]]) -> None:
    left = without(ram, [Region(*hole) for hole in holes])
    for address in range(90):
        expected = sum(a <= address < b for a, b in ram) if not any(a <= address < b for a, b in holes) else 0
        assert sum(a <= address < b for a, b in left) == expected


def test_pictures_and_judgement_of_a_large_machine(judged: Judge, tmp_path: Path) -> None:
    machine = FakeMachine(size=64 * MIB)
    for address in range(MIB, 8 * MIB, PAGE_SIZE):
        machine.memory.view[address : address + 4] = address.to_bytes(4, "little")
    oracle = crashed(machine)
    path = tmp_path / "big"
    ranges = [(0, 0xA0000), (MIB, 2 * MIB), (3 * MIB, 64 * MIB)]
    path.write_bytes(dump(machine.memory.view, ranges, machine.merged))
    with Vmcore(path) as core:
        judgement = judge(core, oracle)
    assert (judgement.accuracy, judgement.completeness) == (1, 1)
    assert oracle.jump is not None
    assert oracle.jump.ram is not None
    assert oracle.jump.ram.bytes_held < 9 * MIB
