# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb commands for the toy kernel, a dump of it or a run: kd-ps, kd-dmesg, kd-irq, kd-cpu; kd-goto for a run.

gdb runs this file in a Python of its own (`gdb -x kd.py`, or `kdumpsim open`), so it imports gdb and the standard
library alone.  The commands read the kernel's variables by debug information, as one would by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import gdb

STATES = {0: "R", 1: "S", 2: "D", 16: "Z", 32: "X"}
"""task_struct.state as ps(1) shows it."""
MAX_TEXT = 1 << 10
"""Bytes of a string."""
LEVEL = re.compile(r"^<\d>", re.MULTILINE)
"""A message's loglevel."""


def variable(name: str) -> Any:
    """A global variable's value; gdb.GdbError where the kernel has none of that name."""
    symbol = gdb.lookup_global_symbol(name) or gdb.lookup_static_symbol(name)
    if symbol is None:
        raise gdb.GdbError(f"This kernel has no variable {name}; is the file it was built with loaded?")
    return symbol.value()


def has(name: str) -> bool:
    """Does the kernel have that variable?"""
    return (gdb.lookup_global_symbol(name) or gdb.lookup_static_symbol(name)) is not None


def text(value: Any) -> str:
    """The string in an array of bytes, or that a pointer points to."""
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_ARRAY:
        first, last = value.type.strip_typedefs().range()
        data = bytes(int(value[index]) & 0xFF for index in range(first, last + 1))
        return data.partition(b"\0")[0].decode("ascii", "replace")
    data, address = b"", int(value)
    while address and b"\0" not in data and len(data) < MAX_TEXT:
        data += gdb.selected_inferior().read_memory(address + len(data), 1).tobytes()
    return data.partition(b"\0")[0].decode("ascii", "replace")


def tasks() -> Iterator[Any]:
    """Every task_struct, the idle task of the boot CPU first."""
    first = variable("init_task")
    kind = first.type
    offset = next(field.bitpos // 8 for field in kind.fields() if field.name == "tasks")
    yield first
    head = int(first.address) + offset
    at = int(first["tasks"]["next"])
    for _ in range(1 << 16):
        if at == head:
            return
        task = gdb.Value(at - offset).reinterpret_cast(kind.pointer()).dereference()
        yield task
        at = int(task["tasks"]["next"])
    raise gdb.GdbError("The list of tasks does not end: it was overwritten.")


def thread_info() -> Any:
    """The thread_info below the selected thread's kernel stack; None where it is not on one."""
    size = variable("init_thread_union").type.sizeof
    try:
        stack = int(gdb.newest_frame().read_register("sp")) & 0xFFFFFFFF & -size
        info = gdb.parse_and_eval(f"*(struct thread_info *) {stack}")
        int(info["cpu"])
    except gdb.error:
        return None
    return info


def function() -> str:
    """Where the selected thread was; ? for what gdb calls a thread in a dump without registers."""
    try:
        return gdb.newest_frame().name() or hex(gdb.newest_frame().pc())
    except gdb.error:
        return "?"


def processors() -> list[tuple[int, int | None, Any, str]]:
    """(gdb's number, CPU or None, its task or None, function) of each thread; the selected one stays selected."""
    before, found = gdb.selected_thread(), []
    for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num):
        thread.switch()
        info = thread_info()
        task = None
        if info is not None:
            try:
                task = info["task"].dereference()
                int(task["pid"])
            except gdb.MemoryError:
                task = None
        found.append((thread.num, None if info is None else int(info["cpu"]), task, function()))
    if before is not None and before.is_valid():
        before.switch()
    return found


class Command(gdb.Command):
    """A command whose documentation is its class's, and that complains in one line."""

    name = ""

    def show(self, words: list[str]) -> None:
        """Do it; `words` are its arguments."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__(self.name, gdb.COMMAND_DATA)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Called by gdb."""
        self.dont_repeat()
        try:
            self.show(gdb.string_to_argv(argument))
        except (gdb.error, KeyError, ValueError) as error:
            raise gdb.GdbError(f"{self.name}: memory that the dump lacks, or that was overwritten: {error}") from None


class Ps(Command):
    """kd-ps: list all tasks.

    Columns: pid, state (R runs or is ready, S sleeps, D sleeps without signals, Z is a zombie), the CPU it was on last,
    the address of its task_struct, its name. A > stands before those that a CPU was running."""

    name = "kd-ps"

    def show(self, words: list[str]) -> None:
        """Print the table."""
        if words:
            raise gdb.GdbError("kd-ps takes no arguments")
        print("   PID S CPU TASK       COMMAND")
        for task in tasks():
            state = STATES.get(int(task["state"]), "?")
            cpu = int(task["thread_info"]["cpu"])
            mark = ">" if int(task["on_cpu"]) else " "
            print(f"{mark}{int(task['pid']):>5} {state} {cpu:>3} {int(task.address):#x} {text(task['comm'])}")


class Dmesg(Command):
    """kd-dmesg [TEXT]: print the kernel's log, or only its lines with TEXT."""

    name = "kd-dmesg"

    def show(self, words: list[str]) -> None:
        """Print the ring from its oldest byte."""
        buffer = variable("log_buf")
        pointer = buffer.type.strip_typedefs().code == gdb.TYPE_CODE_PTR
        size = int(variable("log_buf_len")) if pointer else buffer.type.sizeof
        address = int(buffer) if pointer else int(buffer.address)
        end = int(variable("log_end"))
        count = int(variable("logged_chars")) if has("logged_chars") else end - int(variable("log_start"))
        if not 0 < size <= 1 << 24 or not 0 <= count <= size:
            raise gdb.GdbError("kd-dmesg: the log's indexes were overwritten")
        ring = gdb.selected_inferior().read_memory(address, size).tobytes()
        start = (end - count) % size
        log = (ring[start:] + ring[:start])[:count].decode("ascii", "replace")
        for line in LEVEL.sub("", log).splitlines():
            if all(word in line for word in words):
                print(line)


class Irq(Command):
    """kd-irq: list the interrupt lines that have a handler.

    Columns: the line, how often each CPU took it, its controller, its handlers."""

    name = "kd-irq"

    def show(self, words: list[str]) -> None:
        """Print the table, as /proc/interrupts has it."""
        if words:
            raise gdb.GdbError("kd-irq takes no arguments")
        descriptors = variable("irq_desc")
        first, last = descriptors.type.strip_typedefs().range()
        cpus = max((cpu for _, cpu, _, _ in processors() if cpu is not None), default=0) + 1
        print("IRQ  " + "".join(f"{f'CPU{cpu}':>10}" for cpu in range(cpus)))
        for number in range(first, last + 1):
            descriptor = descriptors[number]
            names: list[str] = []
            action = descriptor["action"]
            while int(action) and len(names) < 16:
                names.append(text(action["name"]))
                action = action["next"]
            if names:
                counts = "".join(f"{int(descriptor['kstat_irqs'][cpu]):>10}" for cpu in range(cpus))
                print(f"{number:>3}: {counts}  {text(descriptor['handler']['typename'])}  {', '.join(names)}")


class Cpu(Command):
    """kd-cpu [N]: list the CPUs, or select the one with that number.

    gdb's threads are the dump's notes: a CPU that left none shifts the numbers. kd-cpu goes by the thread_info below
    each stack instead. Columns: CPU, gdb's thread, the task it was running, the function."""

    name = "kd-cpu"

    def show(self, words: list[str]) -> None:
        """Print the table, or switch."""
        found = processors()
        if len(words) > 1:
            raise gdb.GdbError("kd-cpu takes one CPU's number, or nothing")
        if words:
            wanted = int(words[0]) if words[0].isdigit() else -1
            threads = [thread for thread, cpu, _, _ in found if cpu == wanted]
            if not threads:
                known = ", ".join(str(cpu) for _, cpu, _, _ in found if cpu is not None)
                raise gdb.GdbError(f"the dump has no registers of CPU {words[0]}; choose from: {known}")
            gdb.execute(f"thread {threads[0]}")
            return
        selected = gdb.selected_thread()
        print(" CPU THREAD   PID COMMAND          FUNCTION")
        for thread, cpu, task, function in found:
            mark = "*" if selected is not None and selected.num == thread else " "
            pid, comm = ("?", "?") if task is None else (int(task["pid"]), text(task["comm"]))
            print(f"{mark}{'?' if cpu is None else cpu:>3} {thread:>6} {pid:>5} {comm:<16} {function}")


class Goto(Command):
    """kd-goto N | NAME: under `kdumpsim debug`, go to an instruction by its number, or to a milestone.

    monitor milestones lists those that were come past."""

    name = "kd-goto"

    def show(self, words: list[str]) -> None:
        """Go there, and have gdb look at everything anew."""
        if len(words) != 1:
            raise gdb.GdbError("kd-goto takes an instruction's number, or a milestone's name")
        try:
            gdb.execute(f"monitor goto {words[0]}")
        except gdb.error as error:
            raise gdb.GdbError(f"kd-goto is for a run under kdumpsim debug: {error}") from None
        gdb.execute("maintenance flush register-cache", to_string=True)
        cpu = re.search(r"QC([0-9a-f]+)", gdb.execute("maintenance packet qC", to_string=True))
        for thread in gdb.selected_inferior().threads():
            if cpu is not None and thread.ptid[1] == int(cpu[1], 16):
                thread.switch()
        gdb.execute("frame")


class Program(Command):
    """kd-program NAME: under `kdumpsim debug`, have the symbols of a user program, in place of another's.

    All programs have the same addresses, so breakpoints in one are met by others, too."""

    name = "kd-program"
    loaded: str | None = None

    def show(self, words: list[str]) -> None:
        """Load the file."""
        if len(words) != 1 or "/" in words[0]:
            raise gdb.GdbError("kd-program takes a program's name, as kd-ps shows it")
        folder = gdb.convenience_variable("kd_programs")
        if folder is None:
            raise gdb.GdbError("kd-program is for a run under kdumpsim debug")
        if Program.loaded is not None:
            gdb.execute(f'remove-symbol-file "{Program.loaded}"', to_string=True)
            Program.loaded = None
        path = f"{folder.string()}/{words[0]}"
        try:
            gdb.execute(f'add-symbol-file "{path}"', to_string=True)
        except gdb.error as error:
            raise gdb.GdbError(f"kd-program: no such program: {error}") from None
        Program.loaded = path


for command in (Ps, Dmesg, Irq, Cpu, Goto, Program):
    command()
print("kd-ps, kd-dmesg, kd-irq, kd-cpu: the kernel's tasks, log, interrupt lines and CPUs (help kd-ps)")
