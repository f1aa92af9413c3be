# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs that do not know who they are: what became of their registers, and of who was not stopped for it.

After a stack overflow ``thread_info`` says anything.  Which wrong CPU it names then changes with every build,
so these tests change the one word in memory at the crash; all that follows is the kernel's own doing.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpsim.commands.run import next_steps
from kdumpsim.lkdtt.operator import Operator
from kdumpsim.lkdtt.outcome import NS
from kdumpsim.runs.account import outcome_of
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import finish, power_on, start
from kdumpsim.runs.session import Session
from kdumpsim.scenario.parts import KernelPart, PcPart
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.target import PAGE_OFFSET
from kdumpsim.vmcore.compare import Judgement, judge, without
from kdumpsim.vmcore.reader import Vmcore
from vmcore.builders import dump

CPU_AT = 8
"""Of `cpu` in struct thread_info."""
CRASHER = 1
NOTE_BYTES = 12 + 8 + 144
"""Header, name and descriptor of an NT_PRSTATUS note."""


SCENARIO = Scenario("FS_DEVRW", "panic", cpus=3, crash_cpu=CRASHER)


def thread_info(session: Session, cpu: int) -> int:
    """Physical address of a CPU's thread_info at the crash."""
    crash = session.oracle.crash
    assert crash is not None
    return (crash.registers[cpu].esp & -session.first.stack_size) - PAGE_OFFSET


def panics(number: int, scenario: Scenario = SCENARIO, *, cpu: int = CRASHER) -> Session:
    """Armed: a panic on CPU 1 of three; from then on `cpu` takes itself for CPU `number`."""
    session = power_on(scenario.pc, scenario.kernel)

    def forget() -> None:
        at = thread_info(session, cpu) + CPU_AT
        assert bytes(session.machine.memory.view[at : at + 4]) == cpu.to_bytes(4, "little")
        session.machine.memory.dma_write(at, number.to_bytes(4, "little"))

    if cpu == CRASHER:
        session.oracle.on_crash = forget
    else:  # in the last moment: a tick must not find it so
        session.machine.watch(session.first.symbols["nmi_shootdown_cpus"], lambda _: forget())
    assert start(session) is None
    return session


def checks(judgement: Judgement) -> list[tuple[str, int | None, list[str]]]:
    return [(check.role, check.thread, check.problems) for check in judgement.registers]


def gdb_eips(require_tool: Callable[[str], str], directory: Path) -> dict[int, int]:
    """EIP of each of gdb's threads."""
    words = [require_tool("gdb"), "-nx", "-batch", "-ex", 'thread apply all printf "eip %u\\n", $eip']
    words += [f"{directory}/vmlinux", f"{directory}/vmcore"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=600, check=True).stdout
    return {int(thread): int(eip) for thread, eip in re.findall(r"Thread (\d+) .*\neip (\d+)", text)}


def test_a_crashing_cpu_without_a_note_shifts_nobody(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    with closing(panics(0xFFFFFFFF)) as session:
        judgement = finish(session, SCENARIO, tmp_path, None).judgement
    assert judgement is not None
    missing = "the dump has no registers of this CPU; it took itself for CPU 4294967295"
    assert checks(judgement) == [
        ("stopped by NMI", 1, []),
        ("crashing", None, [missing]),
        ("stopped by NMI", 2, []),
    ]
    eips = {check.thread: check.eip for check in judgement.registers if check.thread}
    assert gdb_eips(require_tool, tmp_path) == eips
    steps = "\n".join(next_steps(tmp_path, judgement, captured=True))
    assert "thread apply all bt" in steps
    assert not re.search(r"thread \d", steps)


def dump_now(session: Session, output: Path) -> Judgement:
    """A dump taken by magic, while purgatory still computes its digests and has overwritten nothing."""
    machine, reserved = session.machine, session.oracle.reserved
    assert reserved is not None
    ram = without(session.oracle.ram, [reserved])
    notes = b""
    for area in session.oracle.notes:
        data = bytes(machine.memory.view[area.start : area.end])
        notes += data[:NOTE_BYTES] if data[0] else b""
    (output / "vmlinux").write_bytes(session.first.elf)
    (output / "vmcore").write_bytes(dump(machine.memory.view, ram, notes))
    with Vmcore(output / "vmcore") as core:
        return judge(core, session.oracle)


def test_a_cpu_that_the_crashing_one_takes_itself_for_runs_on_and_is_named(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """crash_nmi_callback() lets the crashing CPU go on: here that is CPU 0, which is somebody else."""
    with closing(panics(0)) as session:
        session.arm(SCENARIO.crash_part)
        session.crash(Operator(15 * NS))
        assert session.jumped
        session.machine.run(until=session.machine.clock.now + 50_000_000)
        judgement = dump_now(session, tmp_path)
        (ran,) = session.oracle.ran_on()
        assert checks(judgement) == [
            ("took the NMI and ran on", None, ["the dump has no registers of this CPU: those in its note are CPU 1's"]),
            ("crashing", 1, ["it took itself for CPU 0, in whose note its registers are"]),
            ("stopped by NMI", 2, []),
        ]
        assert (ran.cpu, ran.role) == (0, "took the NMI and ran on")
        assert ran.code_bytes > 0
        assert judgement.accuracy < 1
        assert {difference.cause for difference in judgement.differences} == {
            "CPU 0 ran on after the jump and wrote this page"
        }
        assert "apic_timer_irqs" in {difference.owner for difference in judgement.differences}, "it serves its timer"
        assert str(ran) in outcome_of(session).evidence
        assert Result(SCENARIO, outcome_of(session), ran_on=[ran]).as_dict()["ran_on"] == [ran.as_dict()]
    assert gdb_eips(require_tool, tmp_path)[1] == judgement.registers[CRASHER].eip
    assert judgement.registers[CRASHER].where == "crash_kexec"
    (tmp_path / "console.log").write_text(session.console.text)
    assert "'thread 1'" in "\n".join(next_steps(tmp_path, judgement, captured=True))


def test_a_cpu_that_runs_on_is_named_where_there_is_no_dump_too(tmp_path: Path) -> None:
    """What became of the capture kernel is up to what the CPU ran into: its memory below 640 KiB is taken away."""
    with closing(panics(0)) as session:
        finish(session, SCENARIO, tmp_path, None)
    data = json.loads((tmp_path / "result.json").read_text())
    assert [(ran["cpu"], ran["role"]) for ran in data["ran_on"]] == [(0, "took the NMI and ran on")]
    assert any(line.startswith("CPU 0 (took the NMI and ran on) ran ") for line in data["evidence"])
    assert all(difference["cause"] for difference in data["differences"])


def perfect(session: Session, scenario: Scenario, output: Path) -> None:
    """The dump is whole, every CPU stopped and its registers true."""
    with closing(session):
        judgement = finish(session, scenario, output, None).judgement
    assert judgement is not None
    assert checks(judgement) == [("stopped by NMI", 1, []), ("crashing", 2, []), ("stopped by NMI", 3, [])]
    assert (judgement.accuracy, judgement.completeness) == (1, 1)


STACKLESS = replace(
    SCENARIO, kernel_options=(("safe_smp_processor_id", "1"), ("crash_nmi", "1"), ("crash_stacks", "1"))
)


@pytest.mark.parametrize("number", [0, 0xFFFFFFFF])
def test_a_cpu_that_asks_its_apic_is_not_led_astray_by_its_stack(number: int, tmp_path: Path) -> None:
    """safe_smp_processor_id; without it these are the two tests above."""
    perfect(panics(number, STACKLESS), STACKLESS, tmp_path)


def test_a_cpu_without_a_thread_info_can_be_stopped_from_the_crash_on(tmp_path: Path) -> None:
    """crash_nmi; do_nmi() would count the NMI where this number leads, which is nowhere."""
    perfect(panics(0x20000000, STACKLESS, cpu=0), STACKLESS, tmp_path)


@pytest.mark.parametrize(("options", "size"), [((), 8192), ((("stack", "4k"),), 4096)])
def test_the_size_of_stacks_is_the_kernels(options: tuple[tuple[str, str], ...], size: int) -> None:
    with closing(power_on(PcPart(), KernelPart(kernel_options=options))) as session:
        assert session.oracle.stack_size == size
