# SPDX-License-Identifier: GPL-2.0-or-later
"""`import kdumpsim`: what the public face promises."""

from __future__ import annotations

import ast
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_type_hints

import pytest

import kdumpsim
from kdumpsim import Machine, MachineBusy, Result, Scenario, ScenarioError, api, boot, run
from kdumpsim.runs import forking
from kdumpsim.runs.forking import Booted, Worker
from kdumpsim.runs.session import Session
from kdumpsim.scenario.parts import CrashPart, KernelPart, PcPart

PANIC = Scenario(crash_point="FS_DEVRW", crash_type="panic")
ENDLESS = 'dict(count=10**6, patience=86_400, timeout=86_400), "FS_DEVRW", "none"'
needs_fork = pytest.mark.skipif(not forking.CAN_FORK, reason="this host has no fork")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The README's crash, kept in a directory."""
    return kdumpsim.run(PANIC, tmp_path_factory.mktemp("kept") / "dump")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine nobody has touched; tests only crash copies of it."""
    with kdumpsim.boot() as booted:
        yield booted


def content(result: Result) -> tuple[bytes, str]:
    with result.vmcore() as core:
        return b"".join(data for _, data in core.pages()), result.console


def jiffies(machine: Machine) -> int:
    address = machine.symbols["jiffies"] - 0xC0000000
    return int.from_bytes(machine.memory[address : address + 4], "little")


# The names.


def test_importing_imports_nothing_that_takes_time() -> None:
    slow = {"unicorn", "llvmlite", "capstone", "click", "rich", "kdumpsim.api", "kdumpsim.images"}
    code = f"import kdumpsim, sys; print(kdumpsim.__version__, *({slow!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [kdumpsim.__version__]


def test_a_run_imports_neither_compiler_nor_disassembler() -> None:
    slow = {"llvmlite", "capstone", "elftools"}
    code = f"import kdumpsim.runs.run, sys; print('slow:', *({slow!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["slow:"]


def test_help_imports_no_machine_and_nothing_that_draws() -> None:
    slow = {"unicorn", "llvmlite", "capstone", "elftools", "rich", "logging", "kdumpsim.runs.run"}
    code = (
        "import sys; from kdumpsim.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print('slow:', *({slow!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, "run", "--help"], capture_output=True, text=True, check=True)
    assert "FS_DEVRW" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["slow:"]


@pytest.mark.parametrize("command", ["open", "convert", "decode", "options", "help"])
def test_what_looks_at_files_imports_no_machine(command: str) -> None:
    code = (
        "import sys; from kdumpsim.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('slow:', *({'unicorn', 'llvmlite', 'kdumpsim.runs.run'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["slow:"]


def test_every_public_name_is_there_for_programs_and_for_type_checkers() -> None:
    for name in kdumpsim.__all__:
        assert getattr(kdumpsim, name) is not None
    assert set(kdumpsim.__all__) == {*api.__all__, "__version__"} <= set(dir(kdumpsim))
    tree = ast.parse(Path(kdumpsim.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    (imported,) = (node for node in block.body if isinstance(node, ast.ImportFrom))
    assert [name.name for name in imported.names] == sorted(api.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Booted'"):
        _ = kdumpsim.Booted  # type: ignore[attr-defined]


def test_every_public_name_says_what_it_is() -> None:
    silent = []
    for name in api.__all__:
        thing = getattr(api, name)
        members = vars(thing).items() if isinstance(thing, type) else ()
        for member, value in ((name, thing), *members):
            if not member.startswith("_") and (callable(value) or isinstance(value, property)) and not value.__doc__:
                silent.append(f"{name}.{member}")
    assert silent == []


def test_settings_are_the_fields_of_a_scenario() -> None:
    boot, crash = get_type_hints(api.BootSettings), get_type_hints(api.CrashSettings)
    parts = get_type_hints(PcPart) | get_type_hints(KernelPart)
    del parts["machine"]  # QEMU's cannot be copied
    del parts["guest_code"]
    assert boot.pop("modules")
    assert parts.pop("guest_modules")
    assert boot == parts
    parts = get_type_hints(CrashPart)
    for instead_of_a_point in ("at", "fault", "faults", "mce", "crash"):
        del parts[instead_of_a_point]
    assert crash | {"crash_point": str, "crash_type": str} == parts


def test_all_errors_have_one_base() -> None:
    errors = [thing for name in api.__all__ if isinstance(thing := getattr(api, name), type)]
    assert all(issubclass(error, kdumpsim.KdumpsimError) for error in errors if issubclass(error, Exception))


@pytest.mark.parametrize("words", [["--version"], ["help"]])
def test_the_package_is_the_command(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "kdumpsim", *words], capture_output=True, text=True, check=True)
    assert (f"kdumpsim, version {kdumpsim.__version__}" if words == ["--version"] else "\nconsole ") in done.stdout


# A run and its result.


def test_a_run_without_output_leaves_nothing_and_its_result_opens_the_dump(
    kept: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with kdumpsim.run(PANIC) as result:
        assert list(tmp_path.iterdir()) == []
        assert result.captured
        assert result.accuracy == result.completeness == 1
        assert str(result.outcome) == "O"
        assert "FS_DEVRW on CPU" in result.evidence[0]
        assert "Kernel panic - not syncing: LKDTT: crash point FS_DEVRW" in result.console
        assert content(result) == content(kept)
        assert content(result) == content(kept)  # it can be opened again
        with pytest.raises(TypeError, match="output directory"):
            pickle.dumps(result)
    assert result.captured
    with pytest.raises(kdumpsim.VmcoreError, match="closed"):
        result.vmcore()


def test_a_run_with_output_is_the_command_lines(kept: Result) -> None:
    assert kept.directory is not None
    assert sorted(path.name for path in kept.directory.iterdir()) == [
        "console.log", "result.json", "vmcore", "vmlinux",
    ]  # fmt: skip
    again = pickle.loads(pickle.dumps(kept))
    assert again.to_dict() == kept.to_dict()
    assert content(again) == content(kept)


def test_results_that_are_let_go_hold_no_descriptors(machine: Machine) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        machine.crash("FS_DEVRW", "panic")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_result_without_a_dump_says_so() -> None:
    result = kdumpsim.run(Scenario("FS_DEVRW", "panic", inject="corrupt-capture-kernel"))
    assert not result.captured
    assert result.accuracy is result.judgement is None
    with pytest.raises(kdumpsim.VmcoreError, match="no dump was captured: the outcome is X"):
        result.vmcore()


# A machine that is booted once.


@pytest.mark.parametrize("fork", [pytest.param(True, marks=needs_fork), False])
def test_a_copys_crash_is_that_of_a_run_byte_for_byte(
    machine: Machine, kept: Result, fork: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "CAN_FORK", fork)
    now = machine.now
    assert content(machine.crash("FS_DEVRW", "panic")) == content(kept)
    assert machine.now == now


def test_a_copys_files_can_be_kept(machine: Machine, tmp_path: Path) -> None:
    result = machine.crash("TIMERADD", "exception", count=3, output=tmp_path / "new" / "dump")
    assert result.directory == tmp_path / "new" / "dump"
    assert result.scenario == Scenario("TIMERADD", "exception", count=3)
    assert (result.directory / "vmlinux").exists()


def test_memory_and_symbols_are_the_guests(machine: Machine) -> None:
    text = machine.memory[0x100000:0x110000]
    assert text.startswith(b"\x02\xb0\xad\x1b")  # the Multiboot header
    assert machine.memory[0x100001] == 0xB0
    assert b"2.6.16-toy" in machine.memory[0x100000 : machine.symbols["_end"] - 0xC0000000]
    assert machine.memory[64 << 20 : (64 << 20) + 2] == b"\xff\xff"
    with pytest.raises(IndexError, match="no physical addresses"):
        _ = machine.memory[1 << 32]
    with pytest.raises(ValueError, match="both ends"):
        _ = machine.memory[0x1000:]


def test_the_shell_acts_on_the_machine_and_so_on_later_copies() -> None:
    with kdumpsim.boot(cpus=4) as machine:
        before = machine.now
        columns = machine.shell("cat /proc/interrupts").splitlines()[0].split()
        assert columns == ["CPU0", "CPU1", "CPU2", "CPU3"]
        ticks = jiffies(machine)
        machine.shell("step 100ms")
        assert 9 <= jiffies(machine) - ticks <= 11
        machine.shell("echo 'remember me' > /note")
        assert machine.now > before
        crashed = machine.crash("TIMERADD", "panic", count=2)
        with crashed.vmcore() as core:
            assert any(b"remember me" in data for _, data in core.pages())
        with pytest.raises(kdumpsim.CommandError, match="ENOENT"):
            machine.shell("cat /nowhere")
        with pytest.raises(kdumpsim.CommandError, match="did you mean cat"):
            machine.shell("catt /proc/cpuinfo")
        with pytest.raises(kdumpsim.MachineDead, match=r"on CPU \d at"):
            machine.shell("sysrq c")
    with pytest.raises(kdumpsim.MachineDead, match="closed"):
        machine.crash("TIMERADD", "panic")
    assert crashed.captured


def test_a_crash_that_needs_another_machine_is_refused(machine: Machine) -> None:
    with pytest.raises(kdumpsim.ScenarioError, match="booted with nic=True, traffic=True"):
        machine.crash("FS_DEVRW", "panic", dma=("net",))
    with pytest.raises(kdumpsim.ScenarioError, match=r"kernel_options=\(\('combined_mode', 'ide'\),\)"):
        machine.crash("IDE_CORE_CP", "panic")
    with pytest.raises(kdumpsim.ScenarioError, match="unknown load 'nope'"):
        machine.crash("FS_DEVRW", "panic", load=("nope",))


def test_a_file_that_cannot_be_a_module_is_a_scenario_error(tmp_path: Path) -> None:
    with pytest.raises(kdumpsim.ScenarioError, match="identifier"):
        kdumpsim.boot(modules=[tmp_path / "my-driver.py"])


def test_a_misspelt_setting_is_answered_with_the_likely_one() -> None:
    with pytest.raises(kdumpsim.ScenarioError, match="did you mean cpus"):
        kdumpsim.boot(cpu=4)  # type: ignore[call-arg]
    with pytest.raises(kdumpsim.ScenarioError, match="list of files"):
        kdumpsim.boot(modules="mine.py")
    with kdumpsim.boot() as machine, pytest.raises(kdumpsim.ScenarioError, match="did you mean count"):
        machine.crash("FS_DEVRW", "panic", cuont=4)  # type: ignore[call-arg]


def test_a_machine_with_traffic_takes_what_needs_it() -> None:
    with kdumpsim.boot(traffic=True) as machine:
        result = machine.crash("FS_DEVRW", "panic")
    assert any("network card at the hand-over" in line for line in result.evidence)


def test_a_kernel_that_does_not_come_up_is_an_error_with_its_console(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(session: Session) -> None:
        session.machine.load_multiboot(session.first.stripped, "maxcpus=wrong root=/dev/none")
        session.agent.hello(3)

    monkeypatch.setattr(Session, "boot", silent)
    with pytest.raises(kdumpsim.BootFailed) as failed:
        kdumpsim.boot()
    assert "No init found" in failed.value.console


@needs_fork
def test_a_copy_that_is_killed_is_no_result(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    fork = Booted.fork

    def doomed(booted: Booted, *rest: object) -> Worker:
        worker = fork(booted, *rest)  # type: ignore[arg-type]
        os.kill(worker.pid, signal.SIGKILL)
        return worker

    monkeypatch.setattr(Booted, "fork", doomed)
    with pytest.raises(kdumpsim.WorkerDied, match="killed by SIGKILL"):
        machine.crash("FS_DEVRW", "panic")


# Signals.


def started(code: str, tmp_path: Path) -> subprocess.Popen[str]:
    """A program with the face imported and `words`, keyword arguments of a crash that does not come."""
    before = f"import kdumpsim, time\nfrom kdumpsim import Scenario, boot, run\nwords, *crash = {ENDLESS}\n"
    return subprocess.Popen(
        [sys.executable, "-c", before + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ctrl_c_ends_a_run_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    with started("run(Scenario(*crash, **words))", tmp_path) as process:
        wait_for(lambda: list(tmp_path.iterdir()), process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
with boot() as machine:
    try:
        machine.crash(*crash, **words)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(machine.crash("FS_DEVRW", "panic").outcome)
"""


@needs_fork
def test_ctrl_c_ends_a_copys_process_and_the_machine_can_be_used_on(tmp_path: Path) -> None:
    with started(INTERRUPTED, tmp_path) as process:
        wait_for(lambda: children(process.pid), process)
        (copy,) = children(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    assert (output, errors) == ("interrupted\nO\n", "")
    assert not Path(f"/proc/{copy}").exists()
    assert list(tmp_path.iterdir()) == []


@needs_fork
def test_a_copy_does_not_outlive_the_program(tmp_path: Path) -> None:
    with started(INTERRUPTED, tmp_path) as process:
        wait_for(lambda: children(process.pid), process)
        (copy,) = children(process.pid)
        process.kill()
        process.wait()
        while Path(f"/proc/{copy}").exists() and " Z " not in Path(f"/proc/{copy}/stat").read_text():
            time.sleep(0.02)


def test_ctrl_c_ends_a_command_of_the_shell_and_the_machine_can_be_used_on(tmp_path: Path) -> None:
    code = """
with boot() as machine:
    before = machine.now
    try:
        print("ready", flush=True)
        machine.shell("step 86400s")
    except KeyboardInterrupt:
        print("interrupted")
    print(machine.shell("cat /proc/version"), machine.crash("FS_DEVRW", "panic").outcome)
"""
    with started(code, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    assert errors == ""
    assert output.startswith("interrupted\n")
    assert output.endswith(" O\n")


TWICE = """
import os, signal, threading, time
from pathlib import Path

def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

def interrupt_twice(gap):
    while not children():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(gap)
    os.kill(os.getpid(), signal.SIGINT)

with boot() as machine:
    for gap in (0, 0.0005, 0.001, 0.002):
        hand = threading.Thread(target=interrupt_twice, args=(gap,))
        try:
            hand.start()
            machine.crash(*crash, **words)
        except KeyboardInterrupt:
            pass
        while hand.is_alive():
            try:
                hand.join()
            except KeyboardInterrupt:
                pass
        print(children())
"""


@needs_fork
def test_two_interrupts_at_once_leave_no_process(tmp_path: Path) -> None:
    with started(TWICE, tmp_path) as process:
        output, errors = process.communicate()
    assert (output, errors) == ("[]\n" * 4, "")


def test_a_machine_is_for_one_thread_at_a_time(machine: Machine) -> None:
    refused: list[Exception] = []

    def use() -> None:
        for action in (lambda: machine.shell("ps"), lambda: machine.crash("FS_DEVRW", "panic"), machine.close):
            try:
                action()
            except MachineBusy as error:
                refused.append(error)

    with machine._alone():
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert [str(error) for error in refused] == [
        "this machine is in use by another thread; give each thread a machine of its own"
    ] * 3
    with machine._alone() as booted:
        assert booted.session.now == machine.now


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_host_timeout_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ScenarioError, match="give more than 0 seconds"):
        run(Scenario("FS_DEVRW", "panic"), host_timeout=seconds)
    with pytest.raises(ScenarioError, match="give more than 0 seconds"):
        boot(host_timeout=seconds)
