# SPDX-License-Identifier: GPL-2.0-or-later
"""crash, makedumpfile and vmcore-dmesg open a dump, and say what the machine, its console and its headers say.

They must be i386 programs (.ci/i386-tools): Debian's for amd64 read no dumps of an i386 kernel.  One session of crash
answers all questions about a dump.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpsim.target import PAGE_OFFSET, PAGE_SIZE
from kdumpsim.vmcore.reader import Vmcore

from .conftest import Run, ask_crash, kdumpsim

QUESTIONS = (
    "sys", "log", "bt -a", "bt -o", "ps", "task -R pid,comm,tgid", "struct page", "struct rq", "kmem -i",
    "kmem -s", "kmem -f", "kmem -v", "irq", "irq -a", "mod", "files", "vm", "sig", "p -d nr_threads",
    "sym crash_kexec", "search -k -c crashkernel=16M@16M", "list task_struct.tasks -s task_struct.pid -h {init}",
    "vtop {init}", "rd -a {banner} 24", "p tainted", "runq", "timer", "p -d jiffies",
)  # fmt: skip
TASKS = ["init", "[ksoftirqd/0]", "[ksoftirqd/1]", "agent", "diskio", "[kswapd0]", "[watchdog/0]", "[watchdog/1]"]


def symbols(directory: Path) -> dict[str, int]:
    """The kernel's symbols, as nm has them."""
    text = subprocess.run(["nm", str(directory / "vmlinux")], capture_output=True, text=True, check=True).stdout
    return {line.split()[2]: int(line.split()[0], 16) for line in text.splitlines() if len(line.split()) == 3}


@pytest.fixture(scope="session")
def run(crash: Callable[..., Run]) -> Run:
    """The run whose dump is looked at."""
    run = crash("FS_DEVRW", "panic")
    assert run.status == 0
    return run


@pytest.fixture(scope="session")
def said(run: Run, i386_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """crash's answers about the dump."""
    known = symbols(run.directory)
    questions = tuple(q.format(init=f"{known['init_task']:x}", banner=f"{known['linux_banner']:x}") for q in QUESTIONS)
    scratch = tmp_path_factory.mktemp("crash")
    answers = ask_crash(i386_tool("crash"), run.directory, run.directory / "vmcore", questions, scratch)
    return dict(zip(QUESTIONS, answers.values(), strict=True))


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if line.strip()]


def test_sys_tells_of_the_machine(said: dict[str, str]) -> None:
    about = dict(line.strip().split(": ", 1) for line in said["sys"].splitlines() if ": " in line)
    assert about["CPUS"] == "2"
    assert about["RELEASE"] == "2.6.16-toy"
    assert about["MEMORY"] == "64 MB"
    assert about["DATE"] == "Mon Mar 20 00:00:00 UTC 2006"  # what the clock of this PC says at power-on
    assert "LKDTT: crash point FS_DEVRW" in about["PANIC"]
    assert int(about["TASKS"]) == len(rows(said["ps"])) - 1


def test_the_log_is_what_the_console_showed(said: dict[str, str], run: Run) -> None:
    log = [line.rstrip() for line in said["log"].splitlines() if line.strip()]
    shown = [line.rstrip() for line in run.console.splitlines()]
    start = shown.index(log[0])
    first_kernel = shown[start : shown.index("Kernel panic - not syncing: LKDTT: crash point FS_DEVRW", start) + 1]
    assert [line for line in first_kernel if line in log] == [line for line in log if line in first_kernel]
    assert log[-1] == first_kernel[-1]
    assert len(set(first_kernel) - set(log)) <= 5  # lines of programs are not in the kernel's log


def test_backtraces_lead_from_where_each_cpu_was(said: dict[str, str], run: Run) -> None:
    """`bt -a` begins at the notes' registers; `bt -o` reads the whole way of the crashing CPU, as gdb does."""
    idle, crashing = re.split(r"^PID: ", said["bt -a"], flags=re.MULTILINE)[1:]
    registers = {row["cpu"]: row for row in run.result["registers"]}
    assert registers[0]["where"] in idle
    assert f"EIP: {registers[0]['eip'].removeprefix('0x')}" in idle
    for name in ("crash_kexec", "dtt_crossed", "ll_rw_block", "sys_fsync", "do_system_call"):
        assert name in crashing
    names = re.findall(r"^ ?#\d+ +\[\w+\] (\w+)", said["bt -o"], re.MULTILINE)
    assert names[:4] == ["crash_kexec", "try_crashdump", "panic", "dtt_induce"]
    assert names[-2:] == ["do_system_call", "system_call"]
    assert "CS:  0073" in said["bt -o"]  # the program's own registers, at the end


def test_ps_lists_every_task_once(said: dict[str, str], run: Run) -> None:
    table = [row[1:] if row[0] == ">" else row for row in rows(said["ps"])[1:]]
    names = [row[-1] for row in table]
    assert names.count("[swapper]") == 2
    assert set(TASKS) <= set(names)
    assert len({row[3] for row in table}) == len(table)
    running = {row[2]: row for row in (line.split()[1:] for line in said["ps"].splitlines() if line.startswith(">"))}
    with Vmcore(run.directory / "vmcore") as core:
        assert int(running["1"][0]) == core.cpus[1].pid
    assert running["1"][-1] == "diskio"
    assert int(re.findall(r"= (\d+)", said["p -d nr_threads"])[0]) == len(table) - 2
    listed = [
        int(pid) for pid in re.findall(r"pid = (\d+)", said["list task_struct.tasks -s task_struct.pid -h {init}"])
    ]
    assert sorted(listed) == sorted({int(row[0]) for row in table})


def test_a_task_and_its_parts(said: dict[str, str]) -> None:
    assert 'comm = "diskio' in said["task -R pid,comm,tgid"]
    assert "SIZE: 28" in said["struct page"]
    assert re.search(r"\n +3 +\w+ +\w+ +\w+ +REG +/diskio", said["files"])
    assert "CHR   /dev/console" in said["files"]
    regions = [row for row in rows(said["vm"]) if row[-1] == "/bin/diskio"]
    assert [row[1] for row in regions] == ["8048000", "8049000", "804a000"]
    assert re.search(r"\[17\] +\w+ +SIG_IGN", said["sig"])
    assert "no modules installed" in said["mod"]
    assert re.search(r"tainted = \$\d+ = 0", said["p tainted"])
    assert "struct task_struct *curr;" in said["struct rq"]


def test_memory_adds_up(said: dict[str, str], run: Run) -> None:
    available = int(re.findall(r"^Memory: (\d+)k/65536k available", run.console, re.MULTILINE)[0])
    total = int(re.findall(r"TOTAL MEM +(\d+)", said["kmem -i"])[0])
    free = int(re.findall(r"FREE +(\d+)", said["kmem -i"])[0])
    assert total == available * 1024 // PAGE_SIZE
    assert f"nr_free_pages: {free}  (verified)" in said["kmem -f"]
    blocks = [row for row in rows(said["kmem -f"]) if re.fullmatch(r"\d+k", row[1] if len(row) > 1 else "")]
    assert sum(int(row[4]) for row in blocks) == free
    assert all(int(row[3]) << int(row[0]) == int(row[4]) for row in blocks)


def test_caches_hold_what_there_is(said: dict[str, str]) -> None:
    caches = {row[-1]: row for row in rows(said["kmem -s"])[1:]}
    assert {"size-32", "size-2048", "task_struct", "mm_struct", "vm_area_struct", "filp", "dentry_cache"} <= set(caches)
    tasks = len(rows(said["ps"])) - 1
    assert int(caches["task_struct"][2]) == tasks - 1  # all but the boot CPU's idle task
    assert int(caches["mm_struct"][2]) == len([row for row in rows(said["ps"])[1:] if not row[-1].startswith("[")])
    assert all(int(row[2]) <= int(row[3]) for row in caches.values())
    assert len(re.findall(r"^\w+ +c4800000", said["kmem -v"], re.MULTILINE)) == 1  # swap_map


def test_interrupt_lines(said: dict[str, str]) -> None:
    lines = {row[0]: row[1] for row in rows(said["irq -a"])[1:]}
    assert lines["0"] == "timer"
    assert lines["14"] == "libata"
    assert "<timer_interrupt>" in said["irq"]
    assert "typename: " in said["irq"]


def test_run_queues(said: dict[str, str], run: Run) -> None:
    """Nobody but diskio, which runs, is ready; each CPU's current task is what `ps` marks with >."""
    first, second = re.split(r"^CPU \d+ ", said["runq"], flags=re.MULTILINE)[1:]
    with Vmcore(run.directory / "vmcore") as core:
        pid = core.cpus[1].pid
    assert re.search(r'CURRENT: PID: 0 +TASK: \w+  COMMAND: "swapper"', first)
    assert re.search(rf'CURRENT: PID: {pid} +TASK: \w+  COMMAND: "diskio"', second)
    assert first.count("[no tasks queued]") == 2
    assert re.search(rf'ACTIVE PRIO_ARRAY: \w+\n +\[120\] PID: {pid} +TASK: \w+  COMMAND: "diskio"\n', second)
    assert re.search(r"EXPIRED PRIO_ARRAY: \w+\n +\[no tasks queued\]", second)


def test_pending_timers(said: dict[str, str]) -> None:
    """The soft-lockup watchdogs sleep for a second; nothing else of this load counts in jiffies."""
    jiffies = int(re.findall(r"= (\d+)", said["p -d jiffies"])[0])
    timers = re.findall(r"^ *(\d+) +(-?\d+) +\w+ +\w+ +<(\w+)>$", said["timer"], re.MULTILINE)
    assert [function for _, _, function in timers] == ["process_timeout"] * 2
    assert all(int(expires) - jiffies == int(left) <= 100 for expires, left, _ in timers)
    assert len(re.findall(r"^TVEC_BASES\[\d\]", said["timer"], re.MULTILINE)) == 2


def test_network_devices(crash: Callable[..., Run], i386_tool: Callable[[str], str], tmp_path: Path) -> None:
    run = crash("FS_DEVRW", "panic", "--dma", "disk,net")
    answer = ask_crash(i386_tool("crash"), run.directory, run.directory / "vmcore", ("net",), tmp_path)["net"]
    (address,) = re.findall(r"device=eth0, addr=([\d.]+)", run.console)
    assert rows(answer)[1:] == [[f"{symbols(run.directory)['rtl8139_card']:x}", "eth0", address]]


def test_addresses_and_memory(said: dict[str, str], run: Run) -> None:
    known = symbols(run.directory)
    assert f"{known['crash_kexec']:x} (T) crash_kexec" in said["sym crash_kexec"]
    init = known["init_task"]
    assert rows(said["vtop {init}"])[1] == [f"{init:x}", f"{init - PAGE_OFFSET:x}"]
    assert said["rd -a {banner} 24"].split(":", 1)[1].strip() == "Linux version 2.6.16-toy"
    found = [int(row[0].rstrip(":"), 16) for row in rows(said["search -k -c crashkernel=16M@16M"])]
    where = known["boot_command_line"]
    assert any(where <= address < where + 2048 for address in found)
    with Vmcore(run.directory / "vmcore") as core:
        assert all(core.read_virtual(address, 19) == b"crashkernel=16M@16M" for address in found)


@pytest.mark.parametrize("options", [("elf",), ("kdump-zlib", "--filter", "31"), ("elf", "--incomplete")])
def test_open_starts_crash(options: tuple[str, ...], run: Run, said: dict[str, str], tmp_path: Path) -> None:
    script, core = tmp_path / "questions", tmp_path / "vmcore"
    script.write_text("ps\nquit\n")
    (tmp_path / "vmlinux").symlink_to(run.directory / "vmlinux")
    assert kdumpsim("convert", str(run.directory), "--output", str(core), "--to", *options).returncode == 0
    process = kdumpsim("open", str(core), "crash", "--", "-s", "-i", str(script))
    assert process.returncode == 0, process.stdout + process.stderr
    assert said["ps"].rstrip() in process.stdout


FILTERS = {"-l": ("-d", "31", "-l"), "-E": ("-E", "-d", "31"), "-x": ("-d", "31", "-l", "-x")}


@pytest.fixture(scope="session")
def filtered(
    run: Run, i386_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """`filtered("-l")`: the dump as makedumpfile leaves it."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("filtered") / "vmcore"
            words = [*FILTERS[kind], *([str(run.directory / "vmlinux")] if kind == "-x" else [])]
            subprocess.run(
                [i386_tool("makedumpfile"), *words, str(run.directory / "vmcore"), str(made[kind])],
                check=True, capture_output=True, timeout=120,
            )  # fmt: skip
        return made[kind]

    return make


def test_makedumpfile_leaves_out_what_nobody_needs(filtered: Callable[[str], Path], run: Run) -> None:
    """What VMCOREINFO says and what the debug data says (-x) is the same."""
    whole = (run.directory / "vmcore").stat().st_size
    assert filtered("-l").stat().st_size < whole // 50
    assert filtered("-E").stat().st_size < whole // 10
    assert filtered("-l").read_bytes()[PAGE_SIZE:] == filtered("-x").read_bytes()[PAGE_SIZE:]


@pytest.mark.parametrize("kind", ["-l", "-E"])
def test_crash_opens_what_makedumpfile_has_left(
    filtered: Callable[[str], Path],
    said: dict[str, str],
    run: Run,
    i386_tool: Callable[[str], str],
    tmp_path: Path,
    kind: str,
) -> None:
    questions = ("bt -a", "ps", "kmem -s", "log")
    again = ask_crash(i386_tool("crash"), run.directory, filtered(kind), questions, tmp_path)
    assert again == {question: said[question] for question in questions}


@pytest.mark.parametrize("form", ["kdump-zlib", "kdump-lzo"])
def test_makedumpfile_reads_what_we_have_compressed(
    form: str, run: Run, said: dict[str, str], i386_tool: Callable[[str], str], tmp_path: Path
) -> None:
    """Debian's build knows neither Snappy nor Zstandard."""
    ours, log, again = tmp_path / "ours", tmp_path / "log", tmp_path / "again"
    assert kdumpsim("convert", str(run.directory), "--to", form, "--output", str(ours)).returncode == 0
    for words in (("--dump-dmesg", str(ours), str(log)), ("-c", "-d", "31", str(ours), str(again))):
        subprocess.run([i386_tool("makedumpfile"), *words], check=True, capture_output=True, timeout=60)
    lines = [re.sub(r"^<\d>", "", line).rstrip() for line in log.read_text().splitlines()]
    assert lines == [line.rstrip() for line in said["log"].rstrip("\n").splitlines()]
    assert again.stat().st_size < ours.stat().st_size


def test_the_log_alone(run: Run, said: dict[str, str], i386_tool: Callable[[str], str], tmp_path: Path) -> None:
    """vmcore-dmesg and makedumpfile --dump-dmesg find it by VMCOREINFO."""
    dump, text = str(run.directory / "vmcore"), tmp_path / "dmesg"
    subprocess.run(
        [i386_tool("makedumpfile"), "--dump-dmesg", dump, str(text)], check=True, capture_output=True, timeout=60
    )
    printed = subprocess.run(
        [i386_tool("vmcore-dmesg"), dump], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    lines = [re.sub(r"^<\d>", "", line).rstrip() for line in text.read_text().splitlines()]
    assert lines == [re.sub(r"^<\d>", "", line).rstrip() for line in printed.splitlines()]
    assert lines == [line.rstrip() for line in said["log"].rstrip("\n").splitlines()]
