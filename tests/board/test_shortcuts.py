# SPDX-License-Identifier: GPL-2.0-or-later
"""What machine code answers in place of the board: RDTSC, and what was written to the local APIC."""

from __future__ import annotations

import struct
from typing import NoReturn

import pytest

from kdumpsim.apic.lapic import STEADY, LocalApic
from kdumpsim.apic.messages import DeliveryMode, Message, Shorthand
from kdumpsim.board.clock import Clock
from kdumpsim.board.machine import Machine
from kdumpsim.cpu import native

from test_machine import machine, quiet  # isort: skip
from test_tsc import WARP  # isort: skip

# Both CPUs sum up what they read, and write registers now and then.
READS = (
    WARP[: WARP.index("warp:\n")]
    + """
warp:
    mov 0xFEE00020, %esi
    shr $24, %esi
    shl $6, %esi
1:  rdtsc
    add %eax, 0x70100(%esi)
    adc %edx, 0x70104(%esi)
    mov $registers, %ebx
2:  mov (%ebx), %eax
    mov (%eax), %ecx
    rorl $7, 0x70108(%esi)
    add %ecx, 0x70108(%esi)
    add $4, %ebx
    cmp $registers_end, %ebx
    jne 2b
    incl 0x7010C(%esi)
    mov 0x7010C(%esi), %eax
    test $31, %eax
    jnz 1b
    mov %eax, 0xFEE00080                # the task priority
    shl $24, %eax
    mov %eax, 0xFEE00310                # the destination of an IPI
    mov %eax, 0xFEE000D0                # the logical ID
    mov %eax, 0xFEE00380                # the timer
    orl $0x1FF, 0xFEE000F0
    movzwl 0xFEE000F0, %eax             # half a register
    add %eax, 0x70108(%esi)
    mov 0xFEE00390, %eax                # what counts
    add %eax, 0x70108(%esi)
    jmp 1b
registers:
"""
    + "".join(f"    .long {0xFEE00000 + offset:#x}\n" for offset in sorted(STEADY))
    + "registers_end:\n"
)


def seen(computer: Machine) -> tuple[bytes, dict[str, object]]:
    computer.run(until=8_000_000)
    state = computer.snapshot()
    for name in ("cpu0", "cpu1"):
        state[name]["context"] = [getattr(cpu.registers(), "eax") for cpu in computer.cpus]  # noqa: B009
    return bytes(computer.memory.view[0x70000:0x70200]), state


def test_the_run_is_the_one_in_which_the_board_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = seen(quiet(machine(READS, cpus=2)))
    assert all(struct.unpack_from("<I", fast[0], 0x10C + 64 * cpu)[0] > 300 for cpu in (0, 1))
    slow_hooks = native.portable_hooks()
    monkeypatch.setattr(native, "hooks", lambda: slow_hooks)
    assert seen(quiet(machine(READS, cpus=2))) == fast


@pytest.mark.skipif(not native.hooks().compiled, reason="no machine code here")
def test_the_board_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    main: mov $1000, %ecx
    1: rdtsc
    mov 0xFEE00020, %eax
    mov 0xFEE000F0, %eax
    loop 1b
    mov %edx, 0x70000
    cli
    hlt
    """
    computer = quiet(machine(text, cpus=1))

    def asked(*_arguments: object) -> NoReturn:
        raise AssertionError("the board was asked")

    monkeypatch.setattr(computer, "time", asked)
    for offset in (0x20, 0xF0):
        computer.lapics[0]._readers[offset] = asked
    computer.run(until=5_000_000)
    assert computer.cpus[0].halted


# Characters, and all that decides what becomes of them; rings are changed by an interrupt gate's way out, IRET.
TALKS = """
main:
    mov $0x3F8, %edx
    mov $9000, %ecx                     # more than two batches
1:  mov %cl, %al
    out %al, %dx
    loop 1b
    mov $200, %ecx
2:  mov $0x3FB, %edx                    # the divisor latch, and back
    mov $0x83, %al
    out %al, %dx
    mov $0x3F8, %edx
    mov $1, %al
    out %al, %dx
    mov $0x3FB, %edx
    mov $0x03, %al
    out %al, %dx
    mov $0x3F8, %edx
    mov %cl, %al
    out %al, %dx
    out %al, %dx
    out %ax, %dx
    mov $0x3FC, %edx                    # loop-back
    mov $0x1B, %al
    out %al, %dx
    mov $0x3F8, %edx
    out %al, %dx
    mov $0x3FC, %edx
    mov $0x0B, %al
    out %al, %dx
    mov $0x3F9, %edx                    # an interrupt for each
    mov $0x02, %al
    out %al, %dx
    mov $0x3FA, %edx
    in %dx, %al
    mov $0x3F8, %edx
    out %al, %dx
    mov $0x3FA, %edx
    in %dx, %al
    add %al, 0x70100
    mov $0x3F9, %edx
    xor %al, %al
    out %al, %dx
    mov $0x2F8, %edx
    mov %cl, %al
    out %al, %dx
    out %al, %dx
    loop 2b
    cli
    hlt
"""


def said(computer: Machine) -> tuple[list[tuple[int, int, bytes]], object, bytes]:
    """What the serial ports handed on, and when; half the time in the middle of a batch."""
    told: list[tuple[int, int, bytes]] = []
    for number, uart in enumerate(computer.uarts):
        uart.on_output = lambda data, number=number: told.append((number, computer.clock.now, data))  # type: ignore[misc]
    for until in range(500_000, 12_000_000, 2_600_001):
        computer.run(until=until)
        computer.restore(computer.snapshot())
    state = computer.snapshot()
    return told, [state["ttyS0"], state["ttyS1"], state["clock"]], bytes(computer.memory.view[0x70100:0x70104])


def test_what_is_transmitted_without_the_port_is_what_the_port_transmits(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = said(quiet(machine(TALKS, cpus=2)))
    assert sum(len(data) for _, _, data in fast[0]) == 9000 + 200 * 6
    slow_hooks = native.portable_hooks()
    monkeypatch.setattr(native, "hooks", lambda: slow_hooks)
    assert said(quiet(machine(TALKS, cpus=2))) == fast


@pytest.mark.skipif(not native.hooks().compiled, reason="no machine code here")
def test_the_port_is_hardly_told(monkeypatch: pytest.MonkeyPatch) -> None:
    computer = quiet(machine(TALKS, cpus=1))
    port, told = computer.uarts[0], 0

    def transmit(value: int) -> None:
        nonlocal told
        told += 1
        type(port)._transmit(port, value)

    monkeypatch.setattr(port, "_transmit", transmit)
    computer.run(until=1_300_000)
    assert 1 <= told < 10


def lapic() -> LocalApic:
    return LocalApic(3, Clock(), lambda message: None, bsp=True)


def readable(device: LocalApic) -> dict[int, int]:
    """The registers that are shown, by offset."""
    return {at << 4: value & 0xFFFFFFFF for at, value in enumerate(device.steady) if value >> 32}


def test_what_is_shown_is_what_a_read_would_give_whatever_happens() -> None:
    device = lapic()

    def check() -> None:
        assert readable(device) == {offset: device.read(offset) for offset in STEADY}

    check()
    for offset in sorted(STEADY):
        device.write(offset, 0x5A5A5A5A)
        check()
    assert readable(device)[0x80] == 0x5A
    other = lapic()
    other.restore(device.state())
    assert readable(other) == readable(device)
    device.accept(
        Message(
            DeliveryMode.INIT, 0, 0, logical=False, shorthand=Shorthand.ALL, level=True, trigger_level=False, source=0
        )
    )  # fmt: skip
    check()
    assert readable(device)[0x80] == 0
    other.reset()
    assert readable(other) == readable(lapic())


def test_a_local_apic_that_is_switched_off_shows_nothing() -> None:
    device = lapic()
    device.set_hardware_enabled(False)
    assert readable(device) == {}
    other = lapic()
    other.restore(device.state())
    assert readable(other) == {}
    device.set_hardware_enabled(True)
    assert readable(device)[0x20] == 3 << 24
