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
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.commands.run import next_steps
from kdumpsim.images import PAGE_OFFSET
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import finish, power_on, start
from kdumpsim.scenario.scenario import Scenario

CPU_AT = 8
"""Of `cpu` in struct thread_info."""
CRASHER = 1


def crash(output: Path, number: int) -> Result:
    """A panic on CPU 1 of three, which from then on takes itself for CPU `number`."""
    with closing(power_on(Scenario("FS_DEVRW", "panic", cpus=3, crash_cpu=CRASHER))) as session:

        def forget() -> None:
            crash = session.oracle.crash
            assert crash is not None
            at = (crash.registers[crash.cpu].esp & -session.first.stack_size) - PAGE_OFFSET + CPU_AT
            assert bytes(session.machine.memory.view[at : at + 4]) == CRASHER.to_bytes(4, "little")
            session.machine.memory.dma_write(at, number.to_bytes(4, "little"))

        session.oracle.on_crash = forget
        return finish(session, output, start(session))


def checks(result: Result) -> list[tuple[str, int | None, list[str]]]:
    assert result.judgement is not None
    return [(check.role, check.thread, check.problems) for check in result.judgement.registers]


def gdb_eips(require_tool: Callable[[str], str], directory: Path) -> dict[int, int]:
    """EIP of each of gdb's threads."""
    words = [require_tool("gdb"), "-nx", "-batch", "-ex", 'thread apply all printf "eip %u\\n", $eip']
    words += [f"{directory}/vmlinux", f"{directory}/vmcore"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    return {int(thread): int(eip) for thread, eip in re.findall(r"Thread (\d+) .*\neip (\d+)", text)}


def test_a_crashing_cpu_without_a_note_shifts_nobody(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    result = crash(tmp_path, 0xFFFFFFFF)
    missing = "the dump has no registers of this CPU; it took itself for CPU 4294967295"
    assert checks(result) == [
        ("stopped by NMI", 1, []),
        ("crashing", None, [missing]),
        ("stopped by NMI", 2, []),
    ]
    assert result.judgement is not None
    eips = {check.thread: check.eip for check in result.judgement.registers if check.thread}
    assert gdb_eips(require_tool, tmp_path) == eips
    steps = "\n".join(next_steps(tmp_path, result.judgement, captured=True))
    assert "thread apply all bt" in steps
    assert not re.search(r"thread \d", steps)


def test_a_cpu_that_the_crashing_one_takes_itself_for_runs_on_and_is_named(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """crash_nmi_callback() lets the crashing CPU go on: here that is CPU 0, which is somebody else."""
    result = crash(tmp_path, 0)
    judgement = result.judgement
    assert judgement is not None
    assert checks(result) == [
        ("took the NMI and ran on", None, ["the dump has no registers of this CPU: those in its note are CPU 1's"]),
        ("crashing", 1, ["it took itself for CPU 0, in whose note its registers are"]),
        ("stopped by NMI", 2, []),
    ]
    assert gdb_eips(require_tool, tmp_path)[1] == judgement.registers[CRASHER].eip
    assert judgement.registers[CRASHER].where == "crash_kexec"
    assert "'thread 1'" in "\n".join(next_steps(tmp_path, judgement, captured=True))

    (ran,) = judgement.ran_on
    assert (ran.cpu, ran.code_bytes > 0) == (0, True)
    assert judgement.accuracy < 1
    assert {difference.cause for difference in judgement.differences} == {
        "CPU 0 ran on after the jump and wrote this page"
    }
    data: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
    assert data["ran_on"][0]["cpu"] == 0
    assert all(difference["cause"] for difference in data["differences"])
    assert any(line.startswith("CPU 0 (took the NMI and ran on) ran ") for line in data["evidence"])


@pytest.mark.parametrize(("options", "size"), [((), 8192), ((("stack", "4k"),), 4096)])
def test_the_size_of_stacks_is_the_kernels(options: tuple[tuple[str, str], ...], size: int) -> None:
    with closing(power_on(Scenario("FS_DEVRW", "panic", kernel_options=options))) as session:
        assert session.oracle.stack_size == size
