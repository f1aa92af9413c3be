# SPDX-License-Identifier: GPL-2.0-or-later
"""What a reader of a dump should find in it, by the machine's own memory and registers: the object of truth.json.

Nothing here is read from the dump.  Memory is the picture at the hand-over (without a dump, at the crash); the
registers are those that the machine saw each CPU stop with.  Addresses and names come from debug information.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from kdumpsim.runs.session import Session
from kdumpsim.target import PAGE_OFFSET, PAGE_SIZE, physical, registers_at_exception
from kdumpsim.vmcore.dump import ZERO_PAGE, read_physical
from kdumpsim.vmcore.layout import Layout
from kdumpsim.vmcore.oracle import CRASHING, Instant, Oracle
from kdumpsim.vmcore.pagekinds import PageKind, page_kinds
from kdumpsim.vmcore.truth import TruthDump
from kdumpsim.vmcore.unwind import Read, Unwinder
from kdumpsim.vmcore.values import KernelMemory, NotThere, Value

STATES = {0: "running", 1: "interruptible", 2: "uninterruptible", 16: "zombie", 32: "dead"}
"""task_struct.state."""
KINDS = {
    PageKind.KERNEL: "kernel",
    PageKind.FREE: "free",
    PageKind.CACHE: "cache",
    PageKind.CACHE_PRIVATE: "cache_private",
    PageKind.USER: "user",
}
"""What a kind of page is called."""
MAX_LOG = 1 << 24
_LEVEL = re.compile(r"^<\d>", re.MULTILINE)


def facts(session: Session, *, captured: bool) -> dict[str, Any]:
    """Plain data for truth.json of a session whose kernel crashed; numbers that are addresses or registers are hex.

    They are of the hand-over if a dump was `captured`, else of the crash, as truth.core is.  ValueError where the
    machine saw no crash.
    """
    oracle = session.oracle
    crash = oracle.led_to_dump
    instant = oracle.jump if captured else crash
    if instant is None or crash is None:
        raise ValueError("the machine recorded no crash")
    layout, unwinder = Layout.of(session.first.elf), Unwinder.of(session.first.elf)
    memory = KernelMemory(TruthDump(instant, oracle.ram), layout)
    return {
        "crash": {"cpu": crash.cpu, "where": crash.where, "time_ns": crash.time_ns},
        "memory": {"of": instant.where, "time_ns": instant.time_ns},
        "cpus": [_cpu(cpu.index, oracle, instant, memory, unwinder) for cpu in oracle.machine.cpus],
        "tasks": _tasks(memory),
        "log": _log(memory).splitlines(),
        "pages": _pages(memory, oracle),
    }


def _cpu(index: int, oracle: Oracle, instant: Instant, memory: KernelMemory, unwinder: Unwinder) -> dict[str, Any]:
    at, registers = _registers(index, oracle, instant)
    return {
        "cpu": index,
        "role": oracle.role(index) if instant is oracle.jump else None,
        "at": at,
        "registers": {name: f"{value:#x}" for name, value in registers.items()},
        "backtrace": _backtrace(registers, memory, unwinder),
    }


def _registers(index: int, oracle: Oracle, instant: Instant) -> tuple[str, dict[str, int]]:
    """What a CPU held, and when: the crashing one at its exception or in the mechanism's entry, others at their NMI."""
    if instant is not oracle.jump:
        return instant.where, asdict(instant.registers[index])
    entered = oracle.entry_call
    if oracle.role(index) == CRASHING and entered is not None:
        if entered.frame is not None:
            return "its exception", registers_at_exception(entered.frame, entered.frame_address)
        return f"its call of {oracle.entry}, which saves its registers a little later", asdict(entered.registers)
    if index in oracle.nmi:
        return "the NMI that stopped it", asdict(oracle.nmi[index])
    return instant.where, asdict(instant.registers[index])


def _backtrace(registers: dict[str, int], memory: KernelMemory, unwinder: Unwinder) -> list[dict[str, Any]]:
    return [
        {"address": f"{frame.address:#x}", "function": frame.function, "file": frame.file, "line": frame.line}
        for frame in unwinder.backtrace(registers, _reader(memory))
    ]


def _reader(memory: KernelMemory) -> Read:
    def read(address: int, size: int) -> bytes | None:
        return read_physical(memory.dump, physical(address), size) if address >= PAGE_OFFSET else None

    return read


def _tasks(memory: KernelMemory) -> list[dict[str, Any]]:
    """The idle task of the boot CPU, and all on its list."""
    first = memory["init_task"]
    found = [_task(first)]
    try:
        found.extend(_task(task) for task in memory.entries(first["tasks"], first.shape.name, "tasks"))
    except NotThere:
        found.append({"task": None, "overwritten": True})  # the list leads nowhere from here on
    return found


def _task(task: Value) -> dict[str, Any]:
    state = int(task["state"])
    return {
        "task": f"{task.address:#x}",
        "pid": int(task["pid"]),
        "comm": task["comm"].text,
        "state": STATES.get(state, state),
        "cpu": int(task["thread_info.cpu"]),
        "on_cpu": bool(int(task["on_cpu"])),
    }


def _log(memory: KernelMemory) -> str:
    """The kernel's log, without loglevels."""
    buffer, end = memory["log_buf"], int(memory["log_end"])
    pointer = buffer.shape.is_pointer
    size, address = (int(memory["log_buf_len"]), int(buffer)) if pointer else (buffer.shape.size, buffer.address)
    count = int(memory["logged_chars"]) if "logged_chars" in memory else end - int(memory["log_start"])
    if not 0 < size <= MAX_LOG or not 0 <= count <= size:
        return ""  # overwritten
    ring, start = memory.read(address, size), (end - count) % size
    return _LEVEL.sub("", (ring + ring)[start : start + count].decode("ascii", "replace"))


def _pages(memory: KernelMemory, oracle: Oracle) -> dict[str, Any]:
    """Runs of RAM pages of one kind outside the reserved region, each with the SHA-256 of its contents."""
    dump, reserved = memory.dump, oracle.reserved
    try:
        kinds = page_kinds(dump, memory.layout, {})
    except NotThere:
        kinds = {}
    runs: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    digest = hashlib.sha256()
    for pfn, data in _ram(memory):
        if reserved is not None and pfn * PAGE_SIZE in reserved:
            continue
        kind = KINDS[kinds.get(pfn, PageKind.KERNEL)]
        zero = len(data) == PAGE_SIZE and data == ZERO_PAGE
        counts[kind] = counts.get(kind, 0) + 1
        counts["zero"] = counts.get("zero", 0) + zero
        if not runs or (runs[-1]["kind"], runs[-1]["zero"], runs[-1]["end"]) != (kind, zero, pfn):
            digest = hashlib.sha256()
            runs.append({"start": pfn, "end": pfn, "kind": kind, "zero": zero})
        digest.update(data)
        runs[-1] |= {"end": pfn + 1, "sha256": digest.hexdigest()}
    return {"size": PAGE_SIZE, "counts": counts, "runs": runs}


def _ram(memory: KernelMemory) -> Iterator[tuple[int, bytes]]:
    """(page number, contents) of RAM, in order; of a page that is RAM in part, that part."""
    for load in memory.dump.loads:
        at = 0
        while at < load.size:
            stop = min(load.size, (load.paddr + at & -PAGE_SIZE) + PAGE_SIZE - load.paddr)
            yield (load.paddr + at) // PAGE_SIZE, memory.dump.slice(load, at, stop)
            at = stop
