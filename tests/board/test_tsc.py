# SPDX-License-Identifier: GPL-2.0-or-later
"""The time stamp counter: it never goes back, whichever CPU reads, and its rate is the clock's."""

from __future__ import annotations

import struct

import pytest

from kdumpsim.board.machine import Machine

from test_machine import SMP, machine, quiet, word  # isort: skip

# Both CPUs do what Linux does to find out whether counters are synchronous (check_tsc_warp).
WARP = (
    SMP.replace("movl $1, 0x7000C", "jmp warp").replace("    sti\n1:  hlt\n    jmp 1b\n", "    jmp warp\n")
    + """
warp:
1:  mov $1, %eax
2:  xchg %eax, 0x70020                # a spin lock
    test %eax, %eax
    jnz 2b
    READ
    mov 0x70018, %ebx                  # what was read last
    mov 0x7001C, %ecx
    mov %eax, 0x70018
    mov %edx, 0x7001C
    sub %ebx, %eax
    sbb %ecx, %edx
    js 3f
    or %eax, %edx
    jnz 4f
3:  incl 0x70014                       # not greater
4:  incl 0x70010
    movl $0, 0x70020
    jmp 1b
"""
).replace("    sti\n2:  hlt\n    cmpl $1, 0x70008                 # it has answered\n    jne 2b\n    cli\n", "")


@pytest.mark.parametrize("read", ["rdtsc", "mov $0x10, %ecx\nrdmsr"])
def test_no_reading_is_below_another_cpus(read: str) -> None:
    computer = quiet(machine(WARP.replace("READ", read), cpus=2))
    computer.run(until=50_000_000)
    assert word(computer, 0x70010) > 5000
    assert word(computer, 0x70014) == 0


# Each CPU notes the counter, runs code that takes 2 ms, and notes it again; CPU 1 also reads all the time meanwhile.
RATE = (
    WARP[: WARP.index("warp:\n")]
    + """
warp:
    mov 0xFEE00020, %esi
    shr $24, %esi
    shl $4, %esi
1:  rdtsc
    mov %eax, 0x70100(%esi)
    mov $20833, %ecx                   # of 3 bytes, 96 ns
2:  nop
    loop 2b
    rdtsc
    sub 0x70100(%esi), %eax
    mov %eax, 0x70104(%esi)
    incl 0x70108(%esi)
    test %esi, %esi
    jz 1b
    mov $1000, %ecx
3:  rdtsc
    loop 3b
    jmp 1b
"""
)


def test_its_rate_is_the_clocks_though_another_cpu_reads_too() -> None:
    computer = quiet(machine(RATE, cpus=2))
    intervals: dict[int, list[int]] = {0: [], 16: []}
    for until in range(5_000_000, 60_000_000, 1_000_000):
        computer.run(until=until)
        for cpu, seen in intervals.items():
            _, ns, times = struct.unpack_from("<3I", computer.memory.view, 0x70100 + cpu)
            if times > len(seen):
                seen.append(ns)
    for seen in intervals.values():
        assert len(seen) > 10
        assert all(abs(ns - 2_000_000) < 125_000 for ns in seen)  # a round
        assert sum(seen) / len(seen) == pytest.approx(2_000_000, rel=0.01)


def test_a_snapshot_remembers_what_was_read() -> None:
    computer = quiet(machine(WARP.replace("READ", "rdtsc"), cpus=2))
    computer.run(until=3_000_000)
    computer.time()
    computer._schedule.tsc += 50_000  # a CPU has read ahead of the clock
    copy = Machine(computer.config)
    copy.restore(computer.snapshot())
    assert copy.time() == computer.time() > computer.clock.now
