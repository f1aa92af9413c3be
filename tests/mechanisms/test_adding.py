# SPDX-License-Identifier: GPL-2.0-or-later
"""CONTRIBUTING.md, "Add a dump mechanism", typed: a guest module, a host module, their rows, and nothing else.

Here both are a user's own; tests/test_contributing.py makes them part of a copy of kdumpsim.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from kdumpsim.cli import main
from kdumpsim.mechanisms import base
from kdumpsim.mechanisms.base import Mechanism, mechanism_of, register
from kdumpsim.runs.forking import Booted
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import finish, power_on, prepare, run_scenario, start
from kdumpsim.runs.session import Session
from kdumpsim.scenario.mechanisms import MECHANISMS, Row
from kdumpsim.scenario.parts import KernelPart
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.scenario.values import Reservation, ScenarioError
from pages import page, sources

FILES = sources(page("CONTRIBUTING.md"))
NAME = "printregs"


@pytest.fixture
def guest_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's guest module as a file; its mechanism is known for as long as the test runs."""
    (tmp_path / "printregs.py").write_text(FILES["src/kdumpsim/kernel/core/printregs.py"])
    (tmp_path / "host.py").write_text(FILES["src/kdumpsim/mechanisms/printregs.py"])
    spec = importlib.util.spec_from_file_location("host", tmp_path / "host.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(base, "_registered", dict(base._registered))
    register(module.PrintRegisters, Row("the registers of the CPU that crashed are printed on COM1"))
    yield str(tmp_path / "printregs.py")
    del MECHANISMS[NAME]


def crashed(session: Session, scenario: Scenario, output: Path) -> tuple[Result, dict[str, int]]:
    """The result, and the registers that were printed."""
    prepare(output)
    result = finish(session, scenario, output, start(session))
    (line,) = (text for text in session.console.text.splitlines() if text.lstrip().startswith("printregs: eip="))
    return result, {name: int(value, 16) for name, value in re.findall(r"(\w+)=([0-9a-f]{8})", line)}


def test_a_panic_ends_in_registers_on_the_console(guest_module: str, tmp_path: Path) -> None:
    scenario = Scenario("FS_DEVRW", "panic", mechanism=NAME, guest_modules=(guest_module,))
    with closing(power_on(scenario.pc, scenario.kernel)) as session:
        result, registers = crashed(session, scenario, tmp_path / "dump")
        entered = session.oracle.entry_call
        assert entered is not None
        symbols = session.first.symbols
    assert (str(result.outcome), result.outcome.reason, result.judgement) == ("O", "the dump was captured", None)
    assert symbols["printregs_dump"] < registers["eip"] < symbols["printregs_dump"] + 0x100
    assert entered.call.stack - 0x100 < registers["esp"] < entered.call.stack
    assert [phase.name for phase in result.phases] == ["boot", "load", "arm", "crash", "print", "judge"]
    assert "printregs was entered" in [note.text for note in result.outcome.timeline]
    written = json.loads((tmp_path / "dump/result.json").read_text())
    assert (written["options"]["mechanism"], written["vmcore"]) == (NAME, None)
    assert "--mechanism printregs" in written["command"]


def test_the_nmi_watchdog_hands_it_what_the_locked_up_cpu_held(guest_module: str, tmp_path: Path) -> None:
    scenario = Scenario("INT_HARDWARE_ENTRY", "loop", mechanism=NAME, guest_modules=(guest_module,))
    with closing(power_on(scenario.pc, scenario.kernel)) as session:
        result, registers = crashed(session, scenario, tmp_path / "dump")
        jump = session.oracle.jump
        assert jump is not None
        seen = session.oracle.nmi[jump.cpu]
    assert result.outcome.captured
    assert {name: registers[name] for name in ("eip", "esp", "ebp", "eax")} == {
        name: getattr(seen, name) for name in ("eip", "esp", "ebp", "eax")
    }


def test_the_page_runs_without_touching_kdumpsim(guest_module: str, tmp_path: Path) -> None:
    (tmp_path / "host.py").rename(tmp_path / "mechanism.py")
    (tmp_path / "outside.py").write_text(FILES["outside.py"])
    done = subprocess.run([sys.executable, "outside.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "O\n", done.stderr


def test_it_needs_no_region_and_so_none_is_checked(guest_module: str) -> None:
    nowhere = {"crashkernel": Reservation(4096, 1 << 40), "memory": 16 << 20, "memory_holes": ((4 << 20, 1 << 20),)}
    scenario = Scenario("FS_DEVRW", "panic", mechanism=NAME, guest_modules=(guest_module,), **nowhere)
    with closing(power_on(scenario.pc, scenario.kernel)) as session:
        assert start(session) is None
    with pytest.raises(ScenarioError, match="crashkernel"):
        Scenario("FS_DEVRW", "panic", **nowhere)


def test_forked_runs_are_what_cold_runs_are(guest_module: str, tmp_path: Path) -> None:
    scenario = Scenario("FS_DEVRW", "bug", mechanism=NAME, guest_modules=(guest_module,))
    booted = Booted(scenario)
    prepare(tmp_path / "again")
    again = booted.again(scenario, tmp_path / "again")
    cold = run_scenario(scenario, tmp_path / "cold")
    assert again.outcome.captured
    assert again.outcome.timeline == cold.outcome.timeline
    assert (tmp_path / "again/console.log").read_text() == (tmp_path / "cold/console.log").read_text()


def test_the_console_knows_nothing_of_it(guest_module: str, tmp_path: Path) -> None:
    words = ["console", "--mechanism", NAME, "--guest-module", guest_module, "--output", str(tmp_path)]
    done = CliRunner().invoke(main, words, input="cat /proc/cmdline\nsysrq c\n")
    assert done.exit_code == 0, done.output
    assert re.search(r"printregs: eip=c[0-9a-f]{7}", done.output)
    assert "the dump was captured" in done.output


def test_a_mechanism_that_is_not_in_the_kernel_is_refused(guest_module: str) -> None:
    scenario = Scenario("FS_DEVRW", "panic", mechanism=NAME)
    with pytest.raises(ScenarioError, match="printregs is not in the kernel, which has kdump; add its guest module"):
        power_on(scenario.pc, scenario.kernel)


def test_a_fault_that_the_mechanism_has_no_place_for_is_refused(guest_module: str) -> None:
    kernel = KernelPart(mechanism=NAME, guest_modules=(guest_module,), inject="corrupt-capture-kernel")
    with pytest.raises(ScenarioError, match="nothing to break with mechanism printregs"):
        power_on(Scenario("FS_DEVRW", "panic").pc, kernel)


def test_an_unknown_mechanism_is_none_of_the_choices() -> None:
    with pytest.raises(ScenarioError, match="did you mean kdump"):
        Scenario("FS_DEVRW", "panic", mechanism="kdum")


@pytest.mark.parametrize("name", list(MECHANISMS))
def test_every_name_has_its_module(name: str) -> None:
    found = mechanism_of(KernelPart(mechanism=name))
    assert issubclass(found, Mechanism)
    assert found.name == name
