# SPDX-License-Identifier: GPL-2.0-or-later
"""The pytest plugin, in sessions of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from kdumpsim import Machine, MachineDead, boot
from kdumpsim.compiler import cache
from kdumpsim.pytest_plugin import fixture, machines

pytest_plugins = ["pytester"]

INSTALLED = bool(entry_points(group="pytest11", name="kdumpsim"))
BROKEN = 'inject="corrupt-capture-kernel"'
CACHE = cache.directory().parent

Session = pytest.Pytester


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Inner sessions have the plugin, and the cache of the outer one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    if not INSTALLED:
        monkeypatch.setenv("PYTEST_PLUGINS", "kdumpsim.pytest_plugin")
    return pytester


def test_importing_the_plugin_imports_nothing_else_of_kdumpsim() -> None:
    code = (
        "import sys, pytest, kdumpsim.pytest_plugin; print(*sorted(n for n in sys.modules if n.startswith('kdumpsim')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["kdumpsim", "kdumpsim._version", "kdumpsim.pytest_plugin"]


def test_a_machine_is_booted_once_a_session_and_option_set(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    booted: list[Machine] = []

    def counted(**settings: Any) -> Machine:
        booted.append(boot(**settings))
        return booted[-1]

    monkeypatch.setattr(machines, "boot", counted)
    session.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.kdump(cpus=4, patience=20)

        def test_my_driver_can_be_dumped(kdump):
            result = kdump.crash("FS_DEVRW", "panic")
            assert result.captured, result.explain()
            assert (result.scenario.cpus, result.scenario.patience) == (4, 20)
            assert result.explain().splitlines()[0] == "FS_DEVRW / panic: O"
            assert result.explain().splitlines()[-1] == "run it again: " + result.scenario.command()

        @pytest.mark.kdump(count=3)
        def test_another_crash_of_it(kdump):
            assert kdump.crash("FS_DEVRW", "panic").scenario.count == 3

        @pytest.mark.parametrize("kdump", [{"cpus": 1}], indirect=True)
        def test_a_parameter_is_closer_than_a_mark(kdump):
            assert kdump.crash("FS_DEVRW", "panic").scenario.cpus == 1
            assert kdump.crash("FS_DEVRW", "panic", cpus=4).scenario.cpus == 4
        """
    )
    session.runpytest_inprocess().assert_outcomes(passed=3)
    assert len(booted) == 2
    for machine in booted:
        with pytest.raises(MachineDead):
            print(machine.now)


def test_a_failure_shows_console_evidence_and_command_and_keeps_files(session: Session) -> None:
    session.makepyfile(
        f"""
        import pytest

        def test_bare(kdump):
            kdump.crash("FS_DEVRW", "panic")
            assert kdump.crash("FS_DEVRW", "panic", {BROKEN}).captured

        def test_explained(kdump):
            result = kdump.crash("FS_DEVRW", "panic", {BROKEN})
            assert result.captured, result.explain()

        def test_rate(kdump):
            rates = kdump.sweep("FS_DEVRW", "panic", counts=range(2, 4), seeds=5, {BROKEN})
            rates.assert_at_least(0.95, confidence=0.95)

        def test_inaccurate(kdump):
            assert kdump.crash("FS_DEVRW", "panic").accuracy == 0

        def test_good(kdump):
            assert kdump.crash("FS_DEVRW", "panic").captured

        @pytest.mark.kdump(cpuz=4)
        def test_misspelt(kdump):
            pass
        """
    )
    done = session.runpytest_inprocess("--kdump-keep", "kept", "--kdump-seeds", "7-8", "--kdump-jobs", "2")
    done.assert_outcomes(passed=1, failed=4, errors=1)
    text = done.stdout.str()
    bare, explained, rate, inaccurate = (
        text.partition(f"_ {name} _")[2].partition("\n____")[0]
        for name in ("test_bare", "test_explained", "test_rate", "test_inaccurate")
    )
    command = "kdumpsim run --crashpoint FS_DEVRW --type panic --inject corrupt-capture-kernel"
    for report in (bare, explained):
        assert report.count(f"run it again: {command}\n") == 1
        assert "evidence: FS_DEVRW on CPU" in report
        assert "  I'm in purgatory" in report
        assert "reason: purgatory: sha256 mismatch" in report
    assert "0 of 4 runs ended in O: 0 %, 95 % interval [0.0, 49.0]: not at least 95 %" in rate
    assert "failing seeds: 7, 8\n" in rate
    assert f"{command.replace(' --inject', ' --seed 7 --inject')} --count 2  # X\n" in rate
    assert "dump: completeness 1.000000, accuracy 1.000000" in inaccurate
    assert "unknown setting of the mark kdump 'cpuz'; did you mean cpus?" in text

    kept = {path.name: path for path in (session.path / "kept").iterdir()}
    module = "test_a_failure_shows_console_evidence_and_command_and_keeps_files.py"
    assert sorted(kept) == [
        f"{module}-{name}" for name in ("test_bare", "test_explained", "test_inaccurate", "test_rate")
    ]
    assert len(list(kept[f"{module}-test_rate"].iterdir())) == 4
    (failed,) = kept[f"{module}-test_bare"].iterdir()
    assert {"console.log", "result.json", "truth.core"} <= {path.name for path in failed.iterdir()}
    assert json.loads((failed / "result.json").read_text())["command"] == command
    (dumped,) = kept[f"{module}-test_inaccurate"].iterdir()
    assert (dumped / "vmcore").exists()


GUEST_TEST = """
from __future__ import annotations

from pathlib import Path

import pytest

from kdumpsim.compiler.lang import fn, guest, i32, placed
from kdumpsim.kernel.core.printk import printk

HERE = Path(__file__).name


@guest
def say_hello() -> i32:
    printk("hello from a test\\n")
    return {result}


_init: fn[[], i32] = placed("initcall6", say_hello)


@pytest.mark.parametrize("modules", [[], [__file__]])
def test_it_is_in_the_kernel(kdump, modules):
    result = kdump.crash("FS_DEVRW", "panic", modules=modules)
    assert "hello from a test" in result.console
    assert result.scenario.guest_modules[-1:] == (HERE,)
    assert len(result.scenario.guest_modules) == 1
"""


def test_guest_functions_of_a_test_file_are_in_the_kernel(session: Session) -> None:
    """By themselves, and where the file is named."""
    (session.path / "test_hello.py").write_text(GUEST_TEST.format(result=0))
    session.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_mistake_in_guest_code_is_shown_where_it_is(session: Session) -> None:
    (session.path / "test_hello.py").write_text(GUEST_TEST.format(result="HERE + 1"))
    done = session.runpytest_inprocess("-x")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["E *CompileError: test_hello.py:11:8: error: *", "E *HERE = Path(__file__).name"])
    assert "api.py" not in done.stdout.str()


def test_workers_of_xdist_have_machines_and_directories_of_their_own(session: Session) -> None:
    session.makepyfile(
        f"""
        import pytest

        @pytest.mark.parametrize("count", [2, 3])
        def test_it(kdump, count):
            assert kdump.crash("FS_DEVRW", "panic", count=count, {BROKEN}).captured
        """
    )
    done = session.runpytest_subprocess("-n", "2", "--kdump-keep", "kept")
    done.assert_outcomes(failed=2)
    counts = [json.loads(path.read_text())["options"]["count"] for path in session.path.glob("kept/*/*/result.json")]
    assert sorted(counts) == [2, 3]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--kdump-seeds=9-3", "'9-3' has no seed in it: give how many, as in 5, or which, as in 10-19"),
        ("--kdump-seeds=some", "'some' says no seeds: give how many"),
        ("--kdump-jobs=0", "'0' is not a number of parallel runs: give 1 or more"),
    ],
)
def test_a_bad_option_is_a_usage_error(session: Session, option: str, said: str) -> None:
    done = session.runpytest_inprocess(option)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert said in done.stderr.str()


def test_modules_are_sought_beside_the_test_file(session: Session) -> None:
    made = fixture.Kdump(machines.Machines(), session.path / "tests/test_it.py", [], {}, seeds=None, keep=None, jobs=1)
    (session.path / "tests").mkdir()
    (session.path / "tests/test_it.py").write_text("")
    for file in ("tests/beside.py", "here.py"):
        Path(session.path / file).write_text("")
    assert made._modules(["beside.py", "here.py"]) == ["tests/beside.py", "here.py"]
