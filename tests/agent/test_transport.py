# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for the agent by running a machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kdumpsim.agent.client import AgentClient, Frame, Op
from kdumpsim.agent.errors import AgentGone, AgentTimeout
from kdumpsim.agent.transport import MachineTransport
from kdumpsim.board.machine import Machine, StopReason
from kdumpsim.compiler.assembler import assemble
from kexec.builders import FakeGuest, vmlinux

NS = 1_000_000_000


class Port:
    def __init__(self, guest: FakeGuest) -> None:
        self.guest = guest
        self.on_output: Callable[[bytes], None] = lambda data: None

    def feed(self, data: bytes) -> None:
        self.guest.send(data)


class StubMachine:
    """Time passes in steps of 1 ms, and with each the guest sends three bytes."""

    def __init__(self, guest: FakeGuest, ending: StopReason | None = None) -> None:
        self.guest = guest
        self.uarts = [None, Port(guest)]
        self.now = 0
        self.ending = ending
        self.runs = 0

    @property
    def clock(self) -> StubMachine:
        return self

    def run(self, *, until: int, stop: Callable[[], bool]) -> StopReason:
        self.runs += 1
        port = self.uarts[1]
        assert port is not None
        while not stop():
            if self.now >= until:
                return StopReason.UNTIL
            if self.ending is not None and not self.guest.incoming:
                return self.ending
            self.now += 1_000_000
            port.on_output(bytes(self.guest.incoming[:3]))
            del self.guest.incoming[:3]
        return StopReason.STOPPED


def test_requests_run_the_machine_until_the_answer_is_complete() -> None:
    machine = StubMachine(FakeGuest({"/a": b"x" * 1000}))
    agent = AgentClient(MachineTransport(machine))  # type: ignore[arg-type]
    assert agent.read_file("/a") == b"x" * 1000
    assert machine.runs <= 2 * 4  # header, then the rest, for open, two reads and close
    assert 0.3 < machine.now / NS < 0.4


def test_a_silent_guest_costs_virtual_time_only() -> None:
    guest = FakeGuest()
    guest.mute = True
    machine = StubMachine(guest)
    with pytest.raises(AgentTimeout):
        AgentClient(MachineTransport(machine), timeout=2.5).identify()  # type: ignore[arg-type]
    assert machine.now == 2.5 * NS


@given(st.integers(0, 10**12), st.floats(0.001, 100))
@example(3_064_770_488, 1.0)  # in seconds, as a float, its deadline lies between two nanoseconds
def test_a_silent_guest_is_given_up_whenever_it_was_asked(now: int, timeout: float) -> None:
    class Impatient(StubMachine):
        def run(self, *, until: int, stop: Callable[[], bool]) -> StopReason:
            self.runs += 1
            assert self.runs < 10
            self.now = max(self.now, until)
            return StopReason.UNTIL

    guest = FakeGuest()
    guest.mute = True
    machine = Impatient(guest)
    machine.now = now
    with pytest.raises(AgentTimeout):
        AgentClient(MachineTransport(machine, 60 * NS), timeout).identify()  # type: ignore[arg-type]
    assert machine.now == now + round(timeout * NS)


def test_a_machine_that_resets_is_gone() -> None:
    guest = FakeGuest()
    guest.mute = True
    machine = StubMachine(guest, StopReason.RESET)
    with pytest.raises(AgentGone, match="before its agent answered: reset"):
        AgentClient(MachineTransport(machine)).identify()  # type: ignore[arg-type]


def test_a_real_machine_says_hello() -> None:
    """A guest of a few instructions that sends one greeting on COM2 and sleeps."""
    greeting = Frame(Op.HELLO, 0, b"\0\0\0\0toy").encode()
    code = assemble(
        f"""
        cli
        movl $data, %esi
        movl ${len(greeting)}, %ecx
        movw $0x2f8, %dx
    1:  lodsb
        outb %al, %dx
        loop 1b
        hlt
    data: .byte {", ".join(map(str, greeting))}
        """,
        0x100020,
    )
    header = b"\x02\xb0\xad\x1b" + bytes(4) + (0x100000000 - 0x1BADB002).to_bytes(4, "little")
    image = vmlinux([(0x100000, header.ljust(32, b"\0") + code, 4096)], entry=0x100020, virtual=0)
    machine = Machine()
    agent = AgentClient(MachineTransport(machine), timeout=5)
    machine.load_multiboot(image, "")
    assert agent.hello() == "toy"
    with pytest.raises((AgentGone, AgentTimeout)):
        agent.identify(timeout=0.5)
