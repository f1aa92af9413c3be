# SPDX-License-Identifier: GPL-2.0-or-later
"""Crashes at instants and faults: drawn from the seed, replayed by the printed command, and told by what they did."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpsim.commands.run import run
from kdumpsim.commands.settings import fields_of
from kdumpsim.faults.strikes import MODELS
from kdumpsim.faults.survey import digest_of
from kdumpsim.lkdtt.effect import EffectClass
from kdumpsim.lkdtt.outcome import Seen
from kdumpsim.machines.own import OwnMachine
from kdumpsim.runs.forking import Booted
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import power_on
from kdumpsim.runs.session import Session
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.strikes import At, Fault
from kdumpsim.target import hex_address, virtual

OOPS = Scenario(crash=At("oops"))


@pytest.fixture(scope="module")
def booted() -> Booted:
    return Booted(OOPS)


def crash(booted: Booted, scenario: Scenario, directory: Path) -> Result:
    directory.mkdir(exist_ok=True)
    report = booted.crashed(scenario, directory)
    assert report.result is not None, report.died
    return report.result


def of_command(command: str) -> Scenario:
    """What a printed command runs."""
    with run.make_context("run", shlex.split(command)[2:]) as context:
        return Scenario(**fields_of(Scenario, context.params))


def copy(booted: Booted) -> tuple[Session, OwnMachine]:
    """A machine that was made the booted one, under the usual load, with nothing that strikes."""
    session = power_on(*booted.key)
    session.restore(booted.session.state())
    session.arm(Scenario(crash=Fault("text")).crash_part)
    assert isinstance(session.machine, OwnMachine)
    return session, session.machine


def test_an_instant_is_drawn_from_the_seed_and_its_command_is_the_same_run(booted: Booted, tmp_path: Path) -> None:
    one, again = crash(booted, OOPS, tmp_path / "1"), crash(booted, OOPS, tmp_path / "2")
    assert one.scenario == again.scenario
    assert one.asked == OOPS.command()
    command = json.loads((tmp_path / "1" / "result.json").read_text())["command"]
    assert "--at instant:" in command
    replayed = of_command(command)
    assert replayed == one.scenario
    third = crash(booted, replayed, tmp_path / "3")
    for name in ("vmcore", "console.log"):
        assert len({(tmp_path / number / name).read_bytes() for number in "123"}) == 1, name
    assert third.struck == one.struck
    assert Result.from_dict(one.as_dict()).as_dict() == one.as_dict()


def test_other_draws_strike_other_code_on_the_same_boot(booted: Booted, tmp_path: Path) -> None:
    results = [crash(booted, replace(OOPS, draw=draw), tmp_path / str(draw)) for draw in range(3)]
    assert len({result.struck[0].did for result in results}) > 1
    assert len({result.scenario.at for result in results}) == 3


def test_the_crash_is_the_kernels_own_and_its_call_chain_leads_on_to_what_was_struck(
    booted: Booted, tmp_path: Path
) -> None:
    result = crash(booted, OOPS, tmp_path)
    was_at = result.struck[0].did.split()[-1]
    console = (tmp_path / "console.log").read_text()
    assert "invalid opcode" in console
    trace = [line for line in console.splitlines() if line.startswith(" [<")]
    assert any(was_at in line for line in trace)
    assert any("dtt_strike" in line for line in trace)
    assert result.effect is not None
    assert result.effect.name in (EffectClass.CAPTURED, EffectClass.FAILED)


def test_a_kernel_that_survives_the_call_goes_on_as_if_there_had_been_none(booted: Booted) -> None:
    """Crash type none: every register of the struck code is what it was."""
    session, machine = copy(booted)
    cpu = next(cpu for cpu in machine.cpus if _run_to_kernel(session, cpu.index))
    before = cpu.registers()
    back: list[object] = []
    machine.watch(before.eip, lambda watched: back.append(watched.registers()) if watched is cpu else None)
    from kdumpsim.faults.instant import call_stub

    assert call_stub(machine, session.first, cpu.index) == f"CPU {cpu.index} was at {hex_address(before.eip)}"
    machine.run(until=machine.clock.now + 10_000_000, stop=lambda: bool(back))
    assert back[0] == before


def _run_to_kernel(session: Session, index: int) -> bool:
    """Run until that CPU is busy in the kernel."""
    from kdumpsim.faults.survey import busy_in_kernel

    machine = session.machine
    assert isinstance(machine, OwnMachine)
    machine.run(until=machine.clock.now + 100_000_000, stop=lambda: busy_in_kernel(machine.cpus[index]))
    return busy_in_kernel(machine.cpus[index])


def test_looking_at_a_machine_does_not_change_its_run(booted: Booted) -> None:
    """Neither how its run is cut, nor appointments at which nothing happens."""
    (one, watched), (other, left_alone) = copy(booted), copy(booted)
    assert one.now == other.now
    start, end = one.now, one.now + 200_000_000
    visits: list[int] = []
    for number in range(400):
        watched.appoint(start + number * 490_001, lambda: visits.append(watched.clock.now))
    for number in range(37):
        watched.run(until=start + number * 5_000_003)
    watched.run(until=end)
    left_alone.run(until=end)
    assert len(visits) == 400
    assert digest_of(watched) == digest_of(left_alone)


def test_a_fault_in_code_that_never_runs_is_not_activated(booted: Booted, tmp_path: Path) -> None:
    unused = booted.session.first.symbols["reserve_bootmem"]
    time = booted.session.now + 500_000_000
    result = crash(booted, Scenario(crash=Fault("text-nop", f"{unused:#x}", time)), tmp_path)
    assert result.effect is not None
    assert result.effect.name is EffectClass.NOT_ACTIVATED
    assert result.struck[0].activated_ns is None
    assert result.outcome.ok
    assert not result.outcome.captured
    assert str(result.outcome) == "O"


@pytest.mark.parametrize("after", [50_000_000, 500_000_000])
def test_a_fault_in_memory_that_is_not_looked_at_is_latent(booted: Booted, tmp_path: Path, after: int) -> None:
    """Whether it comes early or late in the window."""
    end = virtual(booted.session.pc.memory) - 4096
    time = booted.session.now + after
    result = crash(booted, Scenario(crash=Fault("store", f"{end:#x}=0x1", time)), tmp_path)
    assert result.effect is not None
    assert result.effect.name is EffectClass.LATENT
    assert result.struck[0].activated_ns == result.struck[0].at_ns


def test_a_fault_that_writes_what_is_there_has_converged(booted: Booted, tmp_path: Path) -> None:
    end = virtual(booted.session.pc.memory) - 4096
    time = booted.session.now + 500_000_000
    result = crash(booted, Scenario(crash=Fault("store", f"{end:#x}=0x0", time)), tmp_path)
    assert result.effect is not None
    assert result.effect.name is EffectClass.CONVERGED


def test_a_fault_in_code_that_always_runs_crashes_the_kernel_and_nobody_tells_the_operator(
    booted: Booted, tmp_path: Path
) -> None:
    tick = booted.session.first.symbols["do_timer"]
    time = booted.session.now + 500_000_000
    fault = Fault("text-nop", f"{tick:#x}", time)  # push ebp: it returns to its caller's frame
    result = crash(booted, Scenario(crash=fault), tmp_path)
    assert result.effect is not None
    assert result.effect.name not in (EffectClass.NOT_ACTIVATED, EffectClass.CONVERGED, EffectClass.LATENT)
    (struck,) = result.struck
    assert struck.at_ns is not None
    assert struck.activated_ns is not None
    assert struck.at_ns < struck.activated_ns < struck.at_ns + 20_000_000
    assert Seen.HIT not in {note.seen for note in result.outcome.timeline}


def test_several_faults_are_drawn_and_all_of_them_strike(booted: Booted, tmp_path: Path) -> None:
    scenario = Scenario(crash=Fault("store"), faults=5, patience=2)
    result = crash(booted, scenario, tmp_path)
    assert len(result.scenario.fault) == 5
    assert [struck.what for struck in result.struck] == list(result.scenario.fault)
    assert all(struck.did for struck in result.struck if struck.at_ns is not None)
    assert result.scenario.command().count("--fault store:0x") == 5


def test_what_is_varied_is_drawn_from_the_seed_and_printed(booted: Booted, tmp_path: Path) -> None:
    scenario = Scenario("FS_DEVRW", "panic", vary=("count", "phase", "load", "latency"))
    results = [crash(booted, replace(scenario, draw=draw), tmp_path / str(draw)) for draw in range(2)]
    assert len({result.scenario.command() for result in results}) == 2
    first = results[0].scenario
    assert not first.vary
    assert first.phase
    assert of_command(first.command()) == first
    again = crash(booted, first, tmp_path / "again")
    assert (tmp_path / "again" / "vmcore").read_bytes() == (tmp_path / "0" / "vmcore").read_bytes()
    assert again.asked is None


def test_a_disk_that_answers_no_command_holds_up_whoever_waits_for_it(booted: Booted) -> None:
    session = power_on(*booted.key)
    session.restore(booted.session.state())
    session.arm(Scenario(crash=Fault("text"), breaks=("disk",)).crash_part)
    assert isinstance(session.machine, OwnMachine)
    session.machine.run(until=session.now + 300_000_000)
    drive = session.machine.ide.channels[0].drives[0]
    before = drive.state()["status"]
    session.machine.run(until=session.now + 300_000_000)
    assert drive.state()["status"] == before
    assert before & 0x80 or session.machine.ide.channels[0].bus_master.active  # busy, for ever


@pytest.mark.parametrize("breaks", [(), ("timer",)])
def test_a_pit_that_has_stopped_interrupts_nobody(booted: Booted, breaks: tuple[str, ...]) -> None:
    session = power_on(*booted.key)
    session.restore(booted.session.state())
    session.arm(Scenario(crash=Fault("text"), breaks=breaks).crash_part)
    assert isinstance(session.machine, OwnMachine)
    session.machine.run(until=session.now + 50_000_000)
    levels: list[bool] = []
    session.machine.pit._irq0 = levels.append
    session.machine.run(until=session.now + 100_000_000)
    assert bool(levels) is not bool(breaks)


def test_a_strike_before_the_machine_was_armed_is_refused(booted: Booted, tmp_path: Path) -> None:
    report = booted.crashed(Scenario(crash=Fault("store", "0xc0300000=0x1", 1)), tmp_path)
    assert report.died is not None
    assert "is before the machine was armed" in report.died


def test_transfers_of_a_disk_fail_with_an_uncorrectable_error(booted: Booted) -> None:
    session, machine = copy(booted)
    drive = machine.ide.channels[0].drives[0]
    assert MODELS["disk"]("hda.2", session.first).strike(machine) == "the next 2 transfers of hda fail"
    machine.run(until=session.now + 500_000_000, stop=lambda: bool(drive.status & 1))
    assert drive.error == 0x40  # UNC
    assert drive.bad_transfers == 1


@pytest.mark.parametrize(("allocator", "function"), [("slab", "kmem_cache_alloc"), ("page", "__alloc_pages")])
def test_an_allocation_fails(booted: Booted, allocator: str, function: str) -> None:
    """The call that comes next gives NULL: a CPU is made to call the function, and to come back to a place of ours."""
    session, machine = copy(booted)
    cpu = next(cpu for cpu in machine.cpus if _run_to_kernel(session, cpu.index))
    MODELS["allocation"](f"{allocator}.1", session.first).strike(machine)
    back, stack = cpu.registers().eip, cpu.registers().esp - 12
    place = cpu.translate(stack)
    assert place is not None
    machine.memory.dma_write(place, back.to_bytes(4, "little"))
    cpu.set_registers(esp=stack, eip=session.first.symbols[function], eax=1)
    results: list[int] = []
    machine.watch(back, lambda watched: results.append(watched.registers().eax))
    machine.run(until=machine.clock.now + 10_000_000, stop=lambda: bool(results))
    assert results[0] == 0
