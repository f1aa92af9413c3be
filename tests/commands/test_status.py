# SPDX-License-Identifier: GPL-2.0-or-later
"""Exit status 1 means outcome X and nothing else: what the host fails at has a status and a message of its own."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from kdumpsim.cli import main
from kdumpsim.commands.status import Status
from kdumpsim.compiler.assembler import assemble

REPOSITORY = Path(__file__).parent.parent.parent
CLI = (sys.executable, "-m", "kdumpsim.cli")
RUN = ("run", "--crashpoint", "FS_DEVRW", "--type", "panic")
COMMANDS = ("run", "table2", "console", "boot", "kexec", "decode", "options")
Process = subprocess.Popen[bytes]
PLAIN_ASCII = {"PYTHONIOENCODING": "ascii"}


def start(*words: str, limit: int | None = None, environment: dict[str, str] | None = None, **pipes: Any) -> Process:
    """A command, with files of at most `limit` bytes."""
    command = CLI
    if limit is not None:
        command = ("bash", "-c", f'ulimit -f {limit >> 10}; exec "$@"', "-", *CLI)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes}
    return subprocess.Popen([*command, *words], env={**os.environ, **(environment or {})}, **pipes)


def ended(process: Process) -> tuple[int, str]:
    """Status and complaints."""
    _, complaints = process.communicate(timeout=600)
    return process.returncode, complaints.decode()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's directory, with a kernel to boot and a log to explain."""
    directory = tmp_path_factory.mktemp("run") / "dump"
    process = start("run", "--crashpoint", "FS_DEVRW", "--type", "exception", "--output", str(directory))
    assert ended(process) == (Status.SUCCESS, "")
    return directory


def example(command: str, kernel: Path, tmp_path: Path) -> tuple[str, ...]:
    """A call of each command that prints something and would succeed."""
    iomem = tmp_path / "iomem"
    iomem.write_text("00000000-0009ffff : System RAM\n00100000-03ffffff : System RAM\n")
    return {
        "run": (*RUN, "--output", str(tmp_path / "dump")),
        "table2": ("table2", "--point", "FS_DEVRW", "--type", "panic"),
        "console": ("console", "--output", str(tmp_path / "dump"), str(tmp_path / "script")),
        "boot": ("boot", str(kernel / "vmlinux"), "--timeout", "1", "--append", "console=ttyS0"),
        "kexec": ("kexec", "-l", str(kernel / "vmlinux"), "--dry-run", "--iomem", str(iomem)),
        "decode": ("decode", str(kernel)),
        "options": ("options",),
    }[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_cannot_be_written_is_a_failure_of_the_host(command: str, kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("ls /\n")
    with open("/dev/full", "w") as full:
        status, complaints = ended(start(*example(command, kernel, tmp_path), stdout=full.fileno()))
    assert complaints == "Error: cannot write to standard output: No space left on device\n"
    assert status == Status.HOST_FAILURE


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_goes_away_ends_a_command_quietly(command: str, kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("ls /\n")
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*example(command, kernel, tmp_path), stdout=writer)
    os.close(writer)
    assert ended(process) == (Status.CLOSED_PIPE, "")


def test_help_and_errors_into_a_closed_pipe_are_quiet_too() -> None:
    for words in (("--help",), ("run", "--help"), ("options", "--no-such-option")):
        reader, writer = os.pipe()
        os.close(reader)
        process = start(*words, stdout=writer, stderr=writer)
        os.close(writer)
        process.communicate(timeout=600)
        assert process.returncode == Status.CLOSED_PIPE, words


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "boot"])  # boot prints bytes
def test_an_encoding_without_our_signs_gets_others(command: str, kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("ls /\n")
    process = start(*example(command, kernel, tmp_path), environment=PLAIN_ASCII)
    output, complaints = process.communicate(timeout=600)
    assert (process.returncode, complaints) == (Status.SUCCESS, b"")
    assert output.isascii()
    assert b"?" not in output


@pytest.mark.parametrize("way", ["script", "-"])
def test_a_script_is_utf_8_whatever_the_locale(way: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo \N{LATIN SMALL LETTER E WITH ACUTE}\n", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    words = ("console", "--no-kexec", "--output", str(tmp_path / "dump"), str(script) if way == "script" else "-")
    with open(script, "rb") as file:
        output, complaints = start(*words, environment=plain, stdin=file.fileno()).communicate(timeout=600)
    assert complaints == b""
    assert output.endswith(b"# echo ?\n?\n")


def test_help_speaks_latin_1() -> None:
    process = start("run", "--help", environment={"PYTHONIOENCODING": "latin-1"})
    output, complaints = process.communicate(timeout=600)
    assert (process.returncode, complaints) == (Status.SUCCESS, b"")
    assert b"--dma DEVICE,..." in output


@pytest.mark.parametrize(("limit", "name"), [(4096, "vmlinux"), (4 << 20, "vmcore")])
def test_a_file_that_may_not_grow_is_named_and_nothing_is_left(limit: int, name: str, tmp_path: Path) -> None:
    directory = tmp_path / "dump"
    status, complaints = ended(start(*RUN, "--output", str(directory), limit=limit))
    assert status == Status.HOST_FAILURE
    assert complaints.startswith(f"Error: cannot write {directory}/{name}: File too large; raise the limit")
    assert complaints.count("\n") == 1
    assert list(directory.iterdir()) == []


def test_a_console_whose_dump_does_not_fit_says_so(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("echo c > /proc/sysrq-trigger\n")
    words = ("console", "--output", str(tmp_path / "dump"), str(tmp_path / "script"))
    status, complaints = ended(start(*words, limit=4 << 20))
    assert status == Status.HOST_FAILURE
    assert "vmcore: File too large" in complaints
    assert "Traceback" not in complaints
    assert list((tmp_path / "dump").iterdir()) == []


def test_workers_of_table2_whose_files_do_not_fit_are_named_without_a_traceback(tmp_path: Path) -> None:
    """A table keeps no dump, but the machine's own memory where that is asked for."""
    directory = tmp_path / "kept"
    words = ("table2", "--point", "FS_DEVRW", "--type", "panic", "--truth", "--keep", str(directory))
    process = start(*words, limit=4 << 20)
    output, complaints = process.communicate(timeout=600)
    assert process.returncode == Status.HOST_FAILURE
    assert b"truth.core: File too large" in complaints
    assert b"Traceback" not in complaints
    assert b"Kept in" not in output
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("words", [RUN, ("table2", "--point", "FS_DEVRW"), ("console",)])
def test_an_output_directory_that_cannot_be_is_a_failure_of_the_host(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    status, complaints = ended(start(*words, "--output", str(tmp_path / "file" / "dump")))
    assert status == Status.HOST_FAILURE
    assert complaints == (f"Error: cannot write to output directory '{tmp_path}/file/dump': Not a directory\n")


def test_too_little_memory_is_a_failure_of_the_host(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*CLI, *RUN, "--memory", "512M", "--output", str(tmp_path / "dump")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20)),
    )  # fmt: skip
    status, complaints = ended(process)
    assert status == Status.HOST_FAILURE, complaints
    assert "Traceback" not in complaints


def test_a_bug_of_ours_has_a_status_and_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import kdumpsim.commands.options as options\n\ndef broken():\n    raise RuntimeError('a bug')\n\n"
        "options.as_dict = broken\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    status, complaints = ended(start("options", "--json", environment={"PYTHONPATH": path}))
    assert status == Status.INTERNAL_ERROR
    assert complaints.startswith("Traceback")
    assert complaints.endswith("RuntimeError: a bug\n")


def test_closed_standard_output_does_not_hand_its_number_to_a_disk(kernel: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk"
    image.write_bytes(bytes(1 << 20))
    words = ("boot", str(kernel / "vmlinux"), "--disk", str(image), "--timeout", "1")
    done = subprocess.run(["bash", "-c", '"$@" >&-', "-", *CLI, *words], stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == Status.TIMEOUT
    assert image.read_bytes() == bytes(1 << 20)


def test_signals_have_their_usual_statuses() -> None:
    assert Status.CLOSED_PIPE == 128 + signal.SIGPIPE
    assert Status.INTERRUPTED == 128 + signal.SIGINT
    assert Status.TERMINATED == 128 + signal.SIGTERM
    assert Status.HANGUP == 128 + signal.SIGHUP


def test_the_documentation_and_the_help_have_the_table() -> None:
    documented = (REPOSITORY / "docs" / "exit-status.md").read_text()
    rows = re.findall(r"(?m)^\| (\d+) \| (.+?) \|$", documented)
    assert rows == [(str(status.value), status.meaning) for status in Status]
    output, _ = start("--help").communicate(timeout=600)
    for status in Status:
        assert f"  {status:<5d}{status.meaning}" in output.decode()


# A Multiboot kernel that writes one sector of the primary master after the other.
WRITES = """
.code32
    .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
    .long 0x100000, 0x100000, 0, 0, start
start:
    movl $0xFFF, %ebx                   # sectors from 2 MiB on
1:  incl %ebx
    movw $0x1F6, %dx                    # LBA
    movb $0xE0, %al
    outb %al, %dx
    movw $0x1F2, %dx                    # one sector
    movb $1, %al
    outb %al, %dx
    movw $0x1F3, %dx
    movb %bl, %al
    outb %al, %dx
    movw $0x1F4, %dx
    movb %bh, %al
    outb %al, %dx
    movw $0x1F7, %dx                    # WRITE SECTORS
    movb $0x30, %al
    outb %al, %dx
2:  inb %dx, %al
    testb $8, %al                       # DRQ
    jz 2b
    movw $0x1F0, %dx
    movl $256, %ecx
    movl $0x100000, %esi
    rep outsw
    jmp 1b
"""


def test_a_disk_image_that_may_not_grow_is_named(tmp_path: Path) -> None:
    kernel, image = tmp_path / "writes", tmp_path / "disk"
    kernel.write_bytes(assemble(WRITES, 0x100000))
    with open(image, "wb") as file:
        file.truncate(4 << 20)
    words = ("boot", str(kernel), "--disk", str(image), "--timeout", "20")
    status, complaints = ended(start(*words, limit=1 << 20))
    assert complaints == f"Error: {image}: File too large\n"
    assert status == Status.HOST_FAILURE


@pytest.mark.parametrize("command", [RUN, ("table2", "--point", "FS_DEVRW", "--type", "panic")], ids=["run", "table2"])
def test_a_host_time_out_is_a_result_of_its_own(command: tuple[str, ...], tmp_path: Path) -> None:
    status, complaints = ended(start(*command, "--output", str(tmp_path / "dump"), "--host-timeout", "0.000001"))
    assert status == Status.HOST_TIMEOUT
    assert "the host's time" in complaints
    assert "worker died" not in complaints
    assert not (tmp_path / "dump" / "result.json").exists()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_host_time_that_makes_no_sense(seconds: str) -> None:
    status, complaints = ended(start(*RUN, "--host-timeout", seconds))
    assert status == Status.BAD_INPUT
    assert "--host-timeout" in complaints


@pytest.mark.parametrize(("command", "seconds"), [("run", None), ("table2", 600)])
def test_the_hosts_time_is_limited_in_tables_and_not_in_a_single_run(command: str, seconds: float | None) -> None:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    (option,) = (one for one in found.params if one.name == "host_timeout")
    assert option.default == seconds


EARLY = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "kdumpsim.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["kdumpsim", "--help"]
from kdumpsim.__main__ import main
main()
"""


def test_ctrl_c_during_the_imports_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (Status.INTERRUPTED, "")
    assert done.stderr == "Interrupted; nothing half-written was left behind.\n"
