# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb is the judge of a dump: backtraces, threads, locals and types at source level."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable

import pytest

from .conftest import Run

Crash = Callable[..., Run]
Gdb = Callable[..., str]


@pytest.fixture
def gdb(crash: Crash, require_tool: Callable[[str], str]) -> Gdb:
    """`gdb("bt")`: what gdb prints for these commands on the dump of FS_DEVRW/panic."""
    run = crash("FS_DEVRW", "panic")
    tool = require_tool("gdb")

    def ask(*commands: str, directory: str = str(run.directory)) -> str:
        words = [tool, "-nx", "-batch", "-ex", "set width 0"]
        for command in commands:
            words += ["-ex", command]
        words += [f"{directory}/vmlinux", f"{directory}/vmcore"]
        process = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
        assert "warning" not in (process.stdout + process.stderr).lower()
        return process.stdout

    return ask


def functions(backtrace: str) -> list[str]:
    """Function names of a backtrace, innermost first."""
    return re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+) \(", backtrace, re.MULTILINE)


def crashing_thread(gdb: Gdb, place: str = "crash_kexec", **where: str) -> str:
    """The gdb command that selects the CPU that crashed: the one whose backtrace holds `place`."""
    for block in gdb("thread apply all bt", **where).split("\nThread ")[1:]:
        if place in block:
            return f"thread {int(block.split()[0])}"
    raise AssertionError("no CPU crashed")


def test_the_crashing_cpus_backtrace_reads_from_the_crash_path_to_the_system_call(gdb: Gdb) -> None:
    text = gdb(crashing_thread(gdb), "bt")
    names = functions(text)
    for inner, outer in (("crash_kexec", "try_crashdump"), ("try_crashdump", "panic"), ("panic", "ll_rw_block")):
        assert names.index(inner) < names.index(outer), text
    assert names[-2:] == ["do_system_call", "system_call"], text
    assert "??" not in text
    assert re.search(r"ll_rw_block \(.*\) at .*kernel/block/.*\.py:\d+", text)


def test_the_printed_command_begins_at_the_crash(crash: Crash, require_tool: Callable[[str], str]) -> None:
    run = crash("FS_DEVRW", "panic")
    line = next(line for line in run.stdout.splitlines() if line.startswith("Where it crashed"))
    words = shlex.split(line.partition(": ")[2])
    assert words[0] == "gdb"
    command = [require_tool("gdb"), "-nx", "-batch", *words[1:]]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert functions(process.stdout.partition("Switching")[2])[:4] == [
        "crash_kexec", "crash_kexec", "try_crashdump", "panic"
    ]  # fmt: skip
    assert "crash_setup_regs(" in process.stdout, "the source line"


NO_NOTE = "INT_HARDWARE_ENTRY overflow --profile 2.6.16 --load memdrain"
RAN_ON = (
    "SCSI_DISPATCH_CMD overflow --count 3 --seed 2647240324501258258 --cpus 7 --patience 2 --crash-cpu 1 --dma disk,net"
)


@pytest.mark.parametrize("command", [NO_NOTE, RAN_ON], ids=["a CPU left no note", "a CPU ran on"])
def test_after_an_overflow_every_cpu_is_what_result_json_says(
    crash: Crash, require_tool: Callable[[str], str], command: str
) -> None:
    """What an overflow destroys depends on the build; whatever it was, the judgement is to say so."""
    run = crash(*command.split())
    checks, ran_on = run.result["registers"], {ran["cpu"] for ran in run.result["ran_on"]}
    eips: dict[int, str] = {}
    if run.result["vmcore"] is not None:
        words = [require_tool("gdb"), "-nx", "-batch", "-ex", 'thread apply all printf "eip 0x%x\\n", $eip']
        words += [f"{run.directory}/vmlinux", f"{run.directory}/vmcore"]
        text = subprocess.run(words, capture_output=True, text=True, timeout=600, check=True).stdout
        eips = {int(thread): eip for thread, eip in re.findall(r"Thread (\d+) .*\neip (0x[0-9a-f]+)", text)}
    assert {check["thread"]: check["eip"] for check in checks if check["thread"]}.items() <= eips.items()
    printed = re.search(r"-ex 'thread (\d+)'", run.stdout)
    crashing = [check["thread"] for check in checks if check["role"] == "crashing" and check["thread"]]
    assert crashing == ([int(printed[1])] if printed else [])
    assert all(difference["cause"] for difference in run.result["differences"])
    assert {check["cpu"] for check in checks if check["role"] == "took the NMI and ran on"} <= ran_on
    (story,) = re.findall(r"on CPU (\d) at", run.result["evidence"][0])
    if fault := re.search(r"triple fault on CPU (\d)", " ".join(run.result["evidence"])):
        assert int(fault[1]) in {*ran_on, int(story)}, "who takes the machine down later had run on"


def test_every_cpu_is_a_thread_and_can_be_unwound(gdb: Gdb) -> None:
    text = gdb("info threads", "thread apply all bt")
    assert len(re.findall(r"^Thread \d+ ", text, re.MULTILINE)) == 2, text
    assert "??" not in text
    assert "corrupt" not in text


def test_locals_arguments_and_types_are_there(gdb: Gdb) -> None:
    text = gdb(
        crashing_thread(gdb), "frame function ll_rw_block", "info args", "info locals", "ptype struct task_struct"
    )
    assert re.search(r"^rw = ", text, re.MULTILINE), text
    assert re.search(r"^nr = ", text, re.MULTILINE), text
    assert re.search(r"^ +.* comm\[16\];", text, re.MULTILINE), text


def test_kernel_structures_can_be_printed(gdb: Gdb) -> None:
    assert 'comm = "swapper' in gdb("print init_task")
    assert re.search(r'name = 0x[0-9a-f]+ "FS_DEVRW", .*kind = PANIC, count = 0', gdb("print FS_DEVRW"))


def test_an_interrupts_backtrace_goes_on_into_what_was_interrupted(crash: Crash, gdb: Gdb) -> None:
    run = crash("INT_HARDWARE_ENTRY", "panic")
    where = {"directory": str(run.directory)}
    text = gdb(crashing_thread(gdb, **where), "bt", **where)
    names = functions(text)
    assert names.index("panic") < names.index("__do_IRQ") < len(names) - 2, text
    assert "??" not in text


def test_an_oopss_backtrace_begins_where_it_happened(crash: Crash, gdb: Gdb) -> None:
    run = crash("FS_DEVRW", "exception")
    where = {"directory": str(run.directory)}
    text = gdb(crashing_thread(gdb, "dtt_induce", **where), "bt", **where)
    names = functions(text[text.index("\n#0 ", text.index("[Switching to thread")) :])
    assert names[0] == "dtt_induce"
    assert names.index("ll_rw_block") < len(names) - 1, text
    assert "??" not in text


def test_an_oops_in_an_interrupt_is_unwound_through_its_entry(crash: Crash, gdb: Gdb) -> None:
    run = crash("INT_HARDWARE_ENTRY", "exception")
    where = {"directory": str(run.directory)}
    text = gdb(crashing_thread(gdb, "dtt_induce", **where), "bt", **where)
    text = text[text.index("\n#0 ", text.index("[Switching to thread")) :]
    names = functions(text)
    assert names[0] == "dtt_induce"
    assert names.index("__do_IRQ") < len(names) - 2, text
    assert "??" not in text


def test_gdb_has_no_complaints_about_the_kernel(crash: Crash, require_tool: Callable[[str], str]) -> None:
    words = [
        require_tool("gdb"),
        "-nx",
        "-batch",
        "-ex",
        "set complaints 10",
        "-ex",
        f"file {crash('FS_DEVRW', 'panic').directory}/vmlinux",
    ]
    words += ["-ex", "maint expand-symtabs", "-ex", "maint check-symtabs"]
    process = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert (process.returncode, process.stdout.strip(), process.stderr) == (0, "", "")


def test_readelf_finds_nothing_to_complain_about(crash: Crash, require_tool: Callable[[str], str]) -> None:
    run = crash("FS_DEVRW", "panic")
    outputs = []
    for name in ("vmlinux", "vmcore"):
        process = subprocess.run(
            [require_tool("readelf"), "-a", str(run.directory / name)], capture_output=True, text=True, check=False
        )
        assert process.stderr == ""
        assert "Warning" not in process.stdout
        outputs.append(process.stdout)
    assert "CORE (Core file)" in outputs[1]
    assert outputs[1].count("NT_PRSTATUS") == 2
