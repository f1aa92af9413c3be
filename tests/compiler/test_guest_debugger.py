# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb as the judge of the debug information: a program is stopped in Unicorn and written out as a core."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import unicorn
from guest_machine import PRELUDE_LINES, STACK, Machine, build
from unicorn import x86_const as x86

TEXT = """
LIMIT: Final = 8
LOWEST: Final = -5
LARGE: Final = LIMIT << 40
MASK: Final[u16] = 0xfff0
QUIET: Final = LIMIT == 7
callback_t = fn[[u32, ptr[void]], i32]


class State(IntEnum):
    RUNNING = 0
    DEAD = 8


pid_t: TypeAlias = u32
state_t: TypeAlias = State


class Payload(Union):
    word: u32
    bytes: array[u8] = length(6)
    low: u32 = bits(4)
    link: ptr[TaskStruct]


class TaskStruct(Struct):
    pid: pid_t
    state: State
    comm: array[u8] = length(8)
    name: cstr
    low: u32 = bits(3)
    high: u32 = bits(7)
    op: callback_t
    next: ptr[TaskStruct]
    stamps: array[u64] = length(2)
    alive: bool
    stack: usize
    tasks: ListHead


class ListHead(Struct):
    next: ptr[ListHead]


class PtRegs(Struct):
    ebx: u32
    ecx: u32
    edx: u32
    esi: u32
    edi: u32
    ebp: u32
    eax: u32
    xds: u32
    xes: u32
    orig_eax: u32
    eip: u32
    xcs: u32
    eflags: u32


payload: Payload = Payload(word=0x41424344)
init_task: TaskStruct = TaskStruct(pid=1, comm=b"swapper", low=5, high=77, op=nothing, next=init_task, alive=True,
                                   name="the first", tasks=ListHead(next=tasks))
tasks: ListHead = ListHead(next=init_task.tasks)


@guest
def nothing(a: u32, p: ptr[void]) -> i32:
    return 0


@guest
def stop(code: u32) -> NoReturn:
    while True:
        asm("hlt")


@interrupt()
def timer_interrupt(regs: ptr[PtRegs]) -> None:
    seen: u32 = regs.orig_eax
    stop(seen + 3)


@guest
def wait_for_it(task: ptr[TaskStruct], limit: u64, small: u8) -> u32:
    state: State = State.DEAD
    values: array[u32] = length(3)
    for index in range(2):
        values[index] = 10 + index
    other: TaskStruct = TaskStruct(pid=2)
    minus: i16 = -5
    name: cstr = "a name"
    task.state = state
    # As the CPU does for an interrupt in the same ring: EFLAGS, CS, EIP.
    asm("pushfl; pushl %cs; call timer_interrupt")
    return values[1] + other.pid + u32(minus == 3) + name[0]


@guest
def outermost(n: u32) -> u32:
    for task in list_for_each_entry(tasks, TaskStruct, "tasks"):
        return wait_for_it(task, 1 << 40, u8(n)) + 1
    return 0


@guest
def dead_end(n: u32) -> u32:
    if n:
        stop(n)
    return n


module_asm('''
.cfi_sections .debug_frame
.globl start
.type start, @function
start:
.cfi_startproc
.cfi_undefined eip
    pushl $7
    .cfi_adjust_cfa_offset 4
    call outermost
    hlt
.cfi_endproc
.size start, .-start

.macro PROCEDURE name
.balign 64
.globl \\\\name
.type \\\\name, @function
\\\\name:
    addl %eax, %eax
    ret
.size \\\\name, .-\\\\name
.endm
PROCEDURE twice

.section .head.text, "ax"  # so that _text is no other name of the first function
hlt
''')
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Machine]:
    folder = tmp_path_factory.mktemp("debugger")
    image = build(folder, TEXT, "start")
    (folder / "program").write_bytes(image.elf)
    machine = Machine(image)
    machine.use_segments()
    machine.uc.reg_write(x86.UC_X86_REG_ESP, STACK)
    machine.uc.emu_start(image.symbols["start"], 0, count=100_000)
    (folder / "core").write_bytes(machine.core())
    return folder, machine


@pytest.fixture
def gdb(stopped: tuple[Path, Machine], require_tool: Callable[[str], str]) -> Callable[..., str]:
    folder = stopped[0]

    def run(*commands: str) -> str:
        options = [option for command in commands for option in ("-ex", command)]
        start = ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", f"directory {folder}"]
        result = subprocess.run(
            [require_tool("gdb"), *start, *options, folder / "program", folder / "core"],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert "Traceback" not in result.stderr
        return result.stdout

    return run


def line_of(text: str) -> int:
    return PRELUDE_LINES + 1 + TEXT[: TEXT.index(text)].count("\n")


def test_backtrace_through_an_interrupt_to_the_start(gdb: Callable[..., str]) -> None:
    lines = [line for line in gdb("bt").splitlines() if line.startswith("#")]
    frames = lines[1:]  # gdb shows the innermost frame once by itself
    assert "#0  stop (code=3) at m.py:" in frames[0]
    assert "timer_interrupt (regs=" in frames[1]
    assert f"m.py:{line_of('stop(seen')}" in frames[1]
    assert "<signal handler called>" in frames[2]
    assert "wait_for_it (task=" in frames[3]
    # An interrupted frame is shown at the very instruction to go on with.
    assert f"limit=1099511627776, small=7 '\\a') at m.py:{line_of('return values')}" in frames[3]
    assert f"outermost (n=7) at m.py:{line_of('return wait_for_it')}" in frames[4]
    assert f"start () at m.py:{line_of('call outermost')}" in frames[5]
    assert len(frames) == 6


def test_lldb_finds_the_way_through_the_stub(stopped: tuple[Path, Machine], require_tool: Callable[[str], str]) -> None:
    folder = stopped[0]
    for name in ("program", "core"):  # lldb takes no core file whose EI_OSABI is not Linux's
        image = bytearray((folder / name).read_bytes())
        image[7] = 3
        (folder / f"{name}.linux").write_bytes(image)
    commands = ["target create program.linux --core core.linux", "target modules load --file program.linux --slide 0"]
    options = [option for command in (*commands, "bt") for option in ("-o", command)]
    result = subprocess.run(
        [require_tool("lldb"), "-b", *options], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert "unable to find CIE" not in result.stdout + result.stderr
    functions = re.findall(r"frame #\d+: 0x\w+ \S+`(\w+)", result.stdout)
    assert functions == ["stop", "timer_interrupt", "timer_interrupt", "wait_for_it", "outermost", "start"]


def test_locals_and_arguments(gdb: Callable[..., str]) -> None:
    shown = gdb("frame 3", "info locals", "info args", "print other.comm", "print *task", "print name")
    for text in (
        "state = DEAD",
        "values = {10, 11, 0}",
        "index = 1",
        "minus = -5",
        '"a name"',
        "other = {pid = 2, state = RUNNING",
        "small = 7",
        'pid = 1, state = DEAD, comm = "swapper", name = 0x',
        '"the first", low = 5, high = 77, op = 0x',
        "<nothing>",
        "<init_task>, stamps = {0, 0}, alive = true, stack = 0, tasks = {next = 0x",
    ):
        assert text in shown, (text, shown)


def test_saved_registers(gdb: Callable[..., str], stopped: tuple[Path, Machine]) -> None:
    shown = gdb(
        "frame 1", "print regs->eip == (unsigned) $pc", "frame 3", "print/x $pc", "frame 1", "print/x regs->eip"
    )
    values = [line.split(" = ")[1] for line in shown.splitlines() if line.startswith("$")]
    assert values[1] == values[2]


def test_arguments_are_right_at_every_instruction(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """Before the frame is made, and after it is gone, too: an interrupt may come there."""
    image = build(tmp_path, TEXT, "start")
    (tmp_path / "program").write_bytes(image.elf)
    machine = Machine(image)
    machine.use_segments()
    machine.uc.mem_write(STACK, struct.pack("<4I", image.symbols["stop"], 41, 42, 0))
    machine.uc.reg_write(x86.UC_X86_REG_ESP, STACK)
    machine.uc.reg_write(x86.UC_X86_REG_EBP, STACK - 512)
    at = image.symbols["nothing"]
    machine.uc.reg_write(x86.UC_X86_REG_EIP, at)
    commands = []
    while at != image.symbols["stop"]:
        (tmp_path / f"core{at:x}").write_bytes(machine.core())
        commands += ["-ex", f"core-file {tmp_path}/core{at:x}", "-ex", "info args"]
        machine.uc.emu_start(at, 0, count=1)
        at = int(machine.uc.reg_read(x86.UC_X86_REG_EIP))
    shown = subprocess.run(
        [require_tool("gdb"), "-nx", "-batch", "-iex", "set debuginfod enabled off", *commands, tmp_path / "program"],
        capture_output=True, text=True, timeout=600, check=False,
    ).stdout  # fmt: skip
    count = len(commands) // 4
    assert count > 4
    assert shown.count("a = 41\np = 0x2a\n") == count, shown


def test_types(gdb: Callable[..., str]) -> None:
    shown = gdb(
        "ptype struct task_struct",
        "ptype callback_t",
        "whatis init_task.op",
        "whatis (state_t)8",
        "ptype pid_t",
        "print sizeof(struct task_struct)",
        "print (enum state)8",
    )
    for text in (
        "pid_t pid;",
        "enum state state;",
        "u8 comm[8];",
        "u32 low : 3;",
        "u32 high : 7;",
        "callback_t op;",
        "const u8 *name;",
        "type = i32 (*)(u32, void *)",
        "struct task_struct *next;",
        "u64 stamps[2];",
        "bool alive;",
        "usize stack;",
        "= 60",
        "= DEAD",
        "type = callback_t",
        "type = state_t",
        "type = u32",
    ):
        assert text in shown, (text, shown)


def test_unions(gdb: Callable[..., str]) -> None:
    shown = gdb(
        "ptype union payload",
        "print sizeof(payload)",
        "print/x payload.word",
        "print payload.low",
        "print payload.bytes",
    )
    for text in (
        "type = union payload {",
        "u8 bytes[6];",
        "u32 low : 4;",
        "$1 = 8\n",
        "= 0x41424344\n",
        "= 4\n",
        '"DCBA',
    ):
        assert text in shown, (text, shown)


def test_constants(gdb: Callable[..., str]) -> None:
    shown = gdb("print LIMIT", "print LOWEST", "print LARGE", "print/x MASK", "print QUIET", "ptype MASK", "list LIMIT")
    for text in ("$1 = 8\n", "$2 = -5\n", "$3 = 8796093022208\n", "$4 = 0xfff0\n", "$5 = false\n", "= const u16\n"):
        assert text in shown, (text, shown)
    assert "LOWEST: Final = -5" in shown


def test_source_lines(gdb: Callable[..., str]) -> None:
    shown = gdb("list outermost", "info line dead_end")
    assert "return wait_for_it(task, " in shown
    assert f'Line {line_of("def dead_end")} of "m.py"' in shown


def test_lines_of_assembly(gdb: Callable[..., str]) -> None:
    """Each instruction has its own; a macro's have the line of its use, and a stub's the handler's."""
    shown = gdb("info line start", "info line *(char *) &start + 2", "info line twice", "info line timer_interrupt")
    uses = [line_of(text) for text in ("pushl $7", "call outermost", "PROCEDURE twice", "def timer_interrupt")]
    # The last is two functions: the stub, and what it calls.
    assert [int(number) for number in re.findall(r'^Line (\d+) of "m.py"', shown, re.MULTILINE)] == [*uses, uses[-1]]
    assert "PROCEDURE twice" in gdb("list twice")
    assert "Breakpoint 1 at" in gdb(f"break m.py:{line_of('call outermost')}")


def test_a_call_that_never_returns_keeps_its_function(stopped: tuple[Path, Machine], gdb: Callable[..., str]) -> None:
    """The return address of stop() must lie inside dead_end, not in whatever follows."""
    shown = gdb("disassemble dead_end")
    calls = [i for i, line in enumerate(shown.splitlines()) if "call" in line]
    assert "ud2" in "".join(shown.splitlines()[calls[0] + 1 : calls[0] + 3])


def test_an_interrupted_user_mode_stack_is_found(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """From another ring the CPU pushes SS and ESP too; the saved CS tells the debugger so."""
    frame = "pushl $$0x23; pushl $$0x5678; pushfl; pushl $$0x1b; call timer_interrupt"
    image = build(tmp_path, TEXT.replace("pushfl; pushl %cs; call timer_interrupt", frame), "start")
    machine = Machine(image)
    machine.use_segments()
    machine.uc.reg_write(x86.UC_X86_REG_ESP, STACK)
    machine.uc.emu_start(image.symbols["start"], 0, count=100_000)
    (tmp_path / "program").write_bytes(image.elf)
    (tmp_path / "core").write_bytes(machine.core())
    files = [tmp_path / "program", tmp_path / "core"]
    shown = subprocess.run(
        [require_tool("gdb"), "-nx", "-batch", "-ex", "frame 3", "-ex", "print $esp", *files],
        capture_output=True, text=True, timeout=600, check=False,
    ).stdout  # fmt: skip
    assert "$1 = (void *) 0x5678" in shown


def test_interrupts_return(tmp_path: Path) -> None:
    text = TEXT.replace("    stop(seen + 3)\n", "    regs.ebx += seen\n")
    machine = Machine(build(tmp_path, text, "start"))
    machine.use_segments()
    machine.uc.reg_write(x86.UC_X86_REG_EBX, 0x1234)
    machine.uc.reg_write(x86.UC_X86_REG_ESI, 0x77)
    assert machine.call("outermost", 7) == 11 + 2 + ord("a") + 1
    assert machine.uc.reg_read(x86.UC_X86_REG_EBX) == 0x1234
    assert machine.uc.reg_read(x86.UC_X86_REG_ESI) == 0x77
    assert isinstance(machine.uc, unicorn.Uc)


def test_a_loops_entry_is_a_local(gdb: Callable[..., str]) -> None:
    shown = gdb("frame 4", "info locals", "print task->comm")
    assert "task = 0x" in shown
    assert '"swapper"' in shown
