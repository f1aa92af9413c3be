# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware conditions at the crash, as a user asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.apic.messages import DeliveryMode, Message
from kdumpsim.board.machine import Machine
from kdumpsim.runs.run import finish, power_on, start
from kdumpsim.scenario.scenario import Scenario

from .conftest import Run, kdumpsim

Crash = Callable[..., Run]


@pytest.mark.parametrize("cpu", [1, 2])
def test_the_crash_happens_on_the_cpu_asked_for(crash: Crash, cpu: int) -> None:
    result = crash("FS_DEVRW", "panic", "--cpus", "3", "--crash-cpu", str(cpu)).result
    assert result["outcome"] == "O"
    assert result["evidence"][0].startswith(f"FS_DEVRW on CPU {cpu} ")
    assert f"--crash-cpu {cpu}" in result["command"]
    assert result["options"]["crash_cpu"] == cpu


@pytest.mark.parametrize("state", ["halted", "spinning"])
def test_cpus_that_do_nothing_or_spin_with_interrupts_off_are_stopped_and_in_the_dump(crash: Crash, state: str) -> None:
    result = crash("FS_DEVRW", "panic", "--cpus", "4", "--other-cpus", state).result
    assert result["outcome"] == "O"
    assert [check["ok"] for check in result["registers"]] == [True] * 4
    assert result["accuracy"] == 1


def test_a_cpu_inside_an_nmi_handler_cannot_be_stopped(crash: Crash) -> None:
    run = crash("FS_DEVRW", "panic", "--other-cpus", "nmi")
    crash_ns, jump_ns = (phase["virtual_end_ns"] for phase in run.result["phases"] if phase["name"] in ("arm", "crash"))
    assert jump_ns - crash_ns > 1_000_000_000  # the crashing CPU waits a second for it
    # Whether the capture kernel takes its stack meanwhile, and what it does then, is a matter of the build.
    (left,) = run.result["ran_on"]
    assert (left["cpu"], left["role"]) == (1, "not stopped")
    assert left["code_bytes"] > 0
    if run.result["outcome"] == "O":
        problems = [check["problems"] for check in run.result["registers"]]
        assert problems[1] == ["the dump has no registers of this CPU"]


def test_a_disk_that_goes_on_writing_to_memory_does_not_hurt_the_capture_kernel(crash: Crash) -> None:
    result = crash("FS_DEVRW", "panic", "--dma", "disk").result
    assert "DMA in flight at the hand-over: ide0" in result["evidence"]
    assert result["outcome"] == "O"
    assert result["options"]["dma"] == ["disk"]


def test_interrupts_that_wait_for_the_capture_kernel_do_not_hurt_it(crash: Crash) -> None:
    result = crash("FS_DEVRW", "panic", "--pending-irq").result
    assert "a key and a byte on the serial line arrived at the hand-over" in result["evidence"]
    assert result["outcome"] == "O"
    assert result["accuracy"] == 1


def test_a_call_for_the_dead_kernel_does_not_hurt_the_capture_kernel(tmp_path: Path) -> None:
    scenario = Scenario("INT_HARDWARE_ENTRY", "panic")
    session = power_on(scenario.pc, scenario.kernel)
    machine = session.machine
    assert isinstance(machine, Machine)
    failed = start(session)

    def call_function() -> None:
        """Another CPU wants its TLB entries flushed while this one dies with interrupts off."""
        assert session.oracle.crash is not None
        lapic = machine.lapics[session.oracle.crash.cpu]
        lapic.accept(Message(DeliveryMode.FIXED, 0xFB, destination=lapic.apic_id))

    session.oracle.on_crash = call_function
    result = finish(session, scenario, tmp_path, failed)
    assert str(result.outcome) == "O", session.console.text


def test_a_machine_with_holes_in_its_memory_is_dumped_around_them(crash: Crash) -> None:
    result = crash("FS_DEVRW", "panic", "--memory-holes", "40M:1M,50M:64K").result
    assert result["outcome"] == "O"
    assert (result["completeness"], result["accuracy"]) == (1, 1)
    whole = crash("FS_DEVRW", "panic").result
    assert result["vmcore"]["bytes"] < whole["vmcore"]["bytes"]


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (("--crash-cpu", "2"), "choose 0 to 1"),
        (("--cpus", "1", "--other-cpus", "halted"), "choose --cpus 2 to 8"),
        (("--other-cpus", "asleep"), "halted, spinning, nmi"),
        (("--dma", "floppy"), "disk"),
        (("--memory-holes", "40M"), "BASE:SIZE"),
        (("--kernel-option", "stack=16k"), "4k, 8k"),
        (("--kernel-option", "hz=100"), "stack, preempt"),
        (("--profile", "2.4"), "default, 2.6.16"),
        (("--load", ","), "NAME"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_allowed(words: tuple[str, ...], allowed: str) -> None:
    refused = kdumpsim("run", "--crashpoint", "FS_DEVRW", "--type", "panic", *words)
    assert refused.returncode == 2
    assert allowed in refused.stderr.replace("\n", " ")
