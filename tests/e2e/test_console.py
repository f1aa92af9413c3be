# SPDX-License-Identifier: GPL-2.0-or-later
"""`kdumpsim console` as a user has it: scripts, the paper's session, and a terminal with a person at it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import kdumpsim, works_for

TABLE_1 = """\
# modprobe dtt
# ./ttutils ls
id      crash type      crash point name      count  location
1       none             INT_HARDWARE_ENTRY    0      kern
3       none             FS_DEVRW              0      kern
# ./ttutils add -p IDE_CORE_CP -n 50
# ./ttutils ls
50      none             IDE_CORE_CP           0      dyn
# ./helper/memdrain
# ./ttutils set -p IDE_CORE_CP -t panic -c 10
# ./ttutils ls
# ./helper/diskio
# continue
"""


def console(tmp_path: Path, script: str, *options: str) -> tuple[int, str, str]:
    """Exit status, output and complaints of a console that replays a script."""
    path = tmp_path / "session.txt"
    path.write_text(script)
    process = kdumpsim("console", "--output", str(tmp_path / "dump"), *options, str(path))
    return process.returncode, process.stdout, process.stderr


def answers(output: str) -> dict[str, list[str]]:
    """What came after each command of a script: its output, and the kernel's messages of that time."""
    found: dict[str, list[str]] = {}
    command = ""
    for line in output.splitlines():
        if line.startswith("# "):
            command = line[2:]
            found[command] = []
        elif command:
            found[command].append(line)
    return found


def listing(output: str, which: int) -> dict[str, list[str]]:
    """The `which`-th listing of ttutils: id, crash type, count and location by name."""
    listings = re.findall(r"(?m)^# \./ttutils ls\n((?:(?!# ).*\n)+)", output)
    rows = [line.split() for line in listings[which].splitlines() if re.match(r"\d+ ", line)]
    return {row[2]: [row[0], row[1], *row[3:]] for row in rows}


def test_table_1_of_the_paper_runs_line_by_line_and_its_crash_is_dumped(tmp_path: Path) -> None:
    status, output, complaints = console(tmp_path, TABLE_1, "--kernel-option", "combined_mode=ide")
    assert (status, complaints) == (0, "")
    assert "# modprobe dtt\ndtt is built into this kernel" in output
    head = r"id +crash type +crash point name +count +location"
    assert re.search(r"(?m)^# \./ttutils ls\n" + head, output)
    before, after, armed = (listing(output, which) for which in range(3))
    assert before["INT_HARDWARE_ENTRY"] == ["1", "none", "0", "kern"]
    assert before["FS_DEVRW"] == ["3", "none", "0", "kern"]
    assert before["TASKLET"] == ["5", "none", "0", "kern"]
    assert "IDE_CORE_CP" not in before
    assert after == before | {"IDE_CORE_CP": ["50", "none", "0", "dyn"]}
    assert armed["IDE_CORE_CP"] == ["50", "panic", "10", "dyn"]
    assert "memdrain: started, pid" in output
    assert "Kernel panic - not syncing: LKDTT: crash point IDE_CORE_CP" in output
    assert "IDE_CORE_CP / panic" in output
    assert re.search("outcome +O", output)
    assert f"kdumpsim open {tmp_path}/dump" in output
    assert (tmp_path / "dump" / "vmcore").exists()


def test_files_tasks_and_log_of_the_guest(tmp_path: Path) -> None:
    script = """\
    ls /
    ls /proc/dtt
    cat /sys/kernel/kexec_crash_loaded
    echo hello   world > /greeting
    cat /greeting
    ps
    dmesg
    step 20ms
    echo good bye
    """
    status, output, complaints = console(tmp_path, script)
    assert (status, complaints) == (0, "")
    said = answers(output)
    assert {"boot/", "proc/", "sys/"} <= set(said["ls /"])
    assert {"cpoints", "ctrl"} <= set(said["ls /proc/dtt"])
    assert "1" in said["cat /sys/kernel/kexec_crash_loaded"]
    assert "hello world" in said["cat /greeting"]
    assert any(line.split()[-1] == "init" for line in said["ps"])
    assert "Total of 2 processors activated." in said["dmesg"]
    assert "good bye" in said["echo good bye"]
    assert not (tmp_path / "dump" / "vmcore").exists()


@pytest.mark.parametrize("way", ["echo c > /proc/sysrq-trigger", "sysrq c"])
def test_sysrq_c_brings_a_dump_home(tmp_path: Path, way: str) -> None:
    status, output, complaints = console(tmp_path, f"{way}\n")
    assert (status, complaints) == (0, ""), output
    assert "SysRq : Trigger a crashdump" in output
    assert "crash_kexec() on CPU" in output
    assert re.search("outcome +O", output)
    assert re.search("accuracy +100 %", output)


def test_a_crash_that_found_no_capture_kernel_is_not_the_one_that_is_judged(tmp_path: Path) -> None:
    """SysRq C, which comes back; then a capture kernel is loaded, and the kernel panics."""
    before = "kexec -p -u\nsysrq c\nstep 1s\n"
    after = "kexec -p\nttutils set -p TIMERADD -t panic -c 5\ndiskio\ncontinue\n"
    status, output, complaints = console(tmp_path, before + after)
    assert (status, complaints) == (0, ""), output
    assert "SysRq : Trigger a crashdump" in output
    assert "─ TIMERADD / panic ─" in output
    assert re.search("registers +2 of 2 CPUs", output)
    (later,) = re.findall(r"TIMERADD / panic on CPU \d at [\d.]+ s, purgatory ([\d.]+) ms later", output)
    assert float(later) < 100


def test_a_dump_is_of_the_crash_that_led_to_it_and_not_of_one_that_was_survived(tmp_path: Path) -> None:
    """A bug kills diskio; two seconds later a person has a dump taken of the kernel that goes on."""
    script = "ttutils set -p FS_DEVRW -t bug -c 3\ndiskio\nstep 2s\nsysrq c\n"
    status, output, complaints = console(tmp_path, script, "--kernel-option", "panic_on_oops=0")
    assert (status, complaints) == (0, ""), output
    assert "kernel BUG at" in output.partition("# sysrq c")[0]
    assert "FS_DEVRW / oops on CPU" not in output
    (later,) = re.findall(r"crash_kexec\(\) on CPU \d at [\d.]+ s, purgatory ([\d.]+) ms later", output)
    assert float(later) < 100
    assert re.search("registers +2 of 2 CPUs", output)


def test_a_key_that_found_no_capture_kernel_is_no_crash(tmp_path: Path) -> None:
    status, output, complaints = console(tmp_path, "kexec -p -u\nsysrq c\nstep 1s\nps\n")
    assert (status, complaints) == (0, "")
    assert "outcome" not in output
    assert not (tmp_path / "dump" / "vmlinux").exists()


def test_the_same_commands_give_the_same_vmcore(tmp_path: Path) -> None:
    script = "diskio\nstep 7ms\nps\necho c > /proc/sysrq-trigger\n"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert console(tmp_path / name, script, "--seed", "5")[0] == 0
    first, second = ((tmp_path / name / "dump" / "vmcore").read_bytes() for name in ("one", "two"))
    assert first == second


@pytest.mark.nightly
def test_a_hang_nobody_finds_is_ended_by_a_person_at_the_keyboard(tmp_path: Path) -> None:
    script = "ttutils set -p INT_TASKLET_ENTRY -t loop -c 3\ndiskio\ncontinue 2s\nsysrq c\n"
    status, output, _ = console(tmp_path, script, "--profile", "2.6.16", "--cpus", "1")
    assert "panic" not in output.partition("# sysrq c")[0]
    assert "SysRq : Trigger a crashdump" in output.partition("# sysrq c")[2]
    assert "INT_TASKLET_ENTRY / hang" in output
    assert status == 0


def test_a_machine_that_resets_ends_the_session(tmp_path: Path) -> None:
    status, output, complaints = console(tmp_path, "echo b > /proc/sysrq-trigger\nps\n")
    assert "the machine reset at" in output
    assert "session.txt:2: not run: the machine reset at" in complaints
    assert status == 6


def test_help_lists_every_command(tmp_path: Path) -> None:
    _, output, _ = console(tmp_path, "help\nquit\n")
    named = [line.split()[0] for line in answers(output)["help"]]
    for name in ("cat", "echo", "ls", "dmesg", "ps", "ttutils", "kexec", "diskio", "sysrq", "step", "continue", "quit"):
        assert name in named


def test_without_a_capture_kernel_a_crash_is_the_end(tmp_path: Path) -> None:
    script = "cat /sys/kernel/kexec_crash_loaded\nttutils set -p FS_DEVRW -t panic\ndiskio\ncontinue 2s\n"
    status, output, _ = console(tmp_path, script, "--no-kexec")
    assert "0" in answers(output)["cat /sys/kernel/kexec_crash_loaded"]
    assert status == 1
    assert "FS_DEVRW / panic" in output
    assert re.search("outcome +X +no dump was started", output)


def test_kexec_loads_starts_and_unloads(tmp_path: Path) -> None:
    script = """\
    cat /sys/kernel/kexec_crash_loaded
    kexec -p -u
    kexec -l
    cat /sys/kernel/kexec_loaded
    kexec -e
    kexec -p
    echo c > /proc/sysrq-trigger
    """
    status, output, complaints = console(tmp_path, script)
    assert (status, complaints) == (0, ""), output
    assert "1" in answers(output)["cat /sys/kernel/kexec_loaded"]
    assert any("2.6.16-toy" in line and "is up" in line for line in answers(output)["kexec -e"])
    assert re.search("outcome +O", output)


def test_a_line_that_fails_ends_the_script_and_is_named(tmp_path: Path) -> None:
    status, output, complaints = console(tmp_path, "ls /\n\ncat /nothing\nps\n")
    assert status == 6
    assert "session.txt:3: " in complaints
    assert "ENOENT" in complaints
    assert "# ps" not in output
    status, _, complaints = console(tmp_path, "ttutils rmv -p FS_DEVRW\n")
    assert status == 6
    assert "cannot be removed" in complaints
    status, _, complaints = console(tmp_path, "start no-such-program\n")
    assert status == 6
    assert "unknown program 'no-such-program'; choose from: diskio" in complaints


def test_a_crash_without_a_capture_kernel_and_an_unload_say_what_happened(tmp_path: Path) -> None:
    script = "kexec -p -u\nkexec -p -u\nkexec -u\nsysrq c\nps\necho c > /proc/sysrq-trigger\nps\n"
    _, output, complaints = console(tmp_path, script)
    assert complaints == ""
    assert "# kexec -p -u\nthe capture kernel was unloaded\n" in output
    assert "# kexec -p -u\nno capture kernel was loaded: nothing to unload\n" in output
    assert "# kexec -u\nno kernel was loaded: nothing to unload\n" in output
    hint = "no capture kernel is loaded, so the kernel went on; kexec -p loads one\n# ps\n"
    assert output.count(hint) == 2


def test_netload_without_a_card_is_refused_with_the_option_that_brings_one(tmp_path: Path) -> None:
    for line in ("netload", "start netload"):
        status, _, complaints = console(tmp_path, f"{line}\n")
        assert status == 6
        assert complaints.endswith("netload: this machine has no network card; start it with kdumpsim console --nic\n")


def test_the_console_leaves_the_dump_of_a_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "vmlinux").write_text("of a run")
    (tmp_path / "script").write_text("ls /\n")
    assert kdumpsim("console", "script").returncode == 0
    assert (tmp_path / "dump" / "vmlinux").read_text() == "of a run"


@pytest.mark.parametrize(
    ("script", "options", "complaint"),
    [
        ("ttutil ls\n", (), "unknown command 'ttutil'; did you mean ttutils?"),
        ("ttutils sett -p X -t panic\n", (), "unknown command 'sett'; did you mean set?"),
        ("ttutils set -p FS_DEVRW -t hnag\n", (), "unknown crash type 'hnag'; did you mean hang?"),
        ("ps\nfrobnicate\n", (), "session.txt:2: unknown command 'frobnicate'"),
        ("ttutils set -p FS_DEVRW\n", (), "usage: ttutils command [options]"),
        ("ps\n", ("--cpus", "9"), "1 to 8"),
        ("ps\n", ("--kernel-option", "nothing=1"), "nothing"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_boots(
    tmp_path: Path, script: str, options: tuple[str, ...], complaint: str
) -> None:
    status, output, complaints = console(tmp_path, script, *options)
    assert status == 2
    assert complaint in complaints
    assert "Traceback" not in complaints
    assert output == ""
    assert not (tmp_path / "dump").exists()


class Terminal:
    """A person's terminal with the console on it."""

    def __init__(self, state: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kdumpsim.cli", "console", *words],
            stdin=slave, stdout=slave, stderr=slave, close_fds=True,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "XDG_STATE_HOME": str(state)}, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def expect(self, words: str, seconds: float = 60) -> str:
        """Wait until `words` come; what came up to them."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, f"{words!r} did not come: {self.text[-2000:]}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode("utf-8", "replace")
                except OSError:
                    assert words in self.text, self.text[-2000:]
        before, _, self.text = self.text.partition(words)
        return before

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


def test_ctrl_c_interrupts_a_long_continue_and_ctrl_d_leaves(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "state", "--output", str(tmp_path / "dump"), "--timeout", "80000")
    terminal.expect("] # ")
    terminal.type("diskio\n")
    terminal.expect("started, pid")
    terminal.expect("] # ")
    terminal.type("continue\n")
    works_for(terminal.process.pid, 1)
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.expect("interrupted at")
    terminal.expect("] # ")
    terminal.type("frobnicate\n")
    terminal.expect("unknown command 'frobnicate'")
    terminal.expect("] # ")
    terminal.type("ttut\tver\n")
    terminal.expect("LKDTT of kdumpsim")
    terminal.expect("] # ")
    terminal.type("\x04")
    assert terminal.process.wait(600) == 0
    os.close(terminal.master)
    history = (tmp_path / "state" / "kdumpsim" / "console_history").read_text()
    assert "ttutils ver" in history.splitlines()


def test_ctrl_c_ends_a_script(tmp_path: Path) -> None:
    script = tmp_path / "session.txt"
    script.write_text("diskio\ncontinue\nps\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "kdumpsim.cli", "console", "--timeout", "80000", "--output", str(tmp_path / "dump"),
         str(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line == "# continue\n":
            break
    works_for(process.pid, 0.5)
    process.send_signal(signal.SIGINT)
    output, complaints = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "interrupted at" in output
    assert "# ps" not in output
    assert "Traceback" not in complaints


def test_at_a_terminal_the_past_is_shown_in_the_prompt_and_the_end_is_not_the_end(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "state", "--output", str(tmp_path / "dump"))
    terminal.expect("] # ")
    terminal.type("sysrq b\n")
    terminal.expect("the machine reset at")
    terminal.expect("back looks at how it came to that")
    terminal.expect("] # ")
    terminal.type("back 5\n")
    terminal.expect("5 instructions ago")
    terminal.expect(", past] # ")
    terminal.type("dmesg\n")
    terminal.expect("which cannot be changed; present returns from it")
    terminal.type("present\n")
    terminal.expect("this is the present")
    terminal.type("quit\n")
    assert terminal.process.wait(600) == 0
    os.close(terminal.master)
