# SPDX-License-Identifier: GPL-2.0-or-later
"""Every attribute that can be reached from a machine, for tests that compare two of them.

`deep(machine)` walks attributes, slots, containers, and what functions have closed over, and gives what it finds by
path. An object that was seen before is the path it was seen at, so the wiring is compared, too. Only what HOST names is
left out; whoever adds a field to a device that a snapshot forgets finds it here.
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections import deque
from dataclasses import asdict
from typing import Any

from kdumpsim.board.clock import Clock, ClockTimer
from kdumpsim.board.disk import Disk
from kdumpsim.board.machine import Machine
from kdumpsim.board.memory import Memory
from kdumpsim.cpu import Cpu

HOST: dict[tuple[type, str], str] = {
    (Machine, "poll"): "a callback of the host's",
    (Machine, "_signals"): "signals of this process",
    (Machine, "_stop_requested"): "the host's wish; restore() forgets it",
    (Machine, "_round_end"): "set when a round begins or is taken up again",
    (Machine, "ram"): "addresses in this process; their contents are Memory.view's",
    (Memory, "_map"): "the mapping behind Memory.view",
    (Memory, "_host"): "its address in this process",
    (Memory, "_residency"): "what this process has touched of it",
    (Memory, "written"): "a wire to the CPUs, or to an observer of theirs",
    (Memory, "read"): "an observer of the host's",
    (Clock, "_queue"): "deadlines of armed and stale timers; deep() looks at the armed ones in their order",
    (Clock, "_order"): "counts on; only the order of those that are armed matters",
    (Clock, "_cpu"): "of a running slice",
    (Clock, "_zero"): "of a running slice",
    (ClockTimer, "order"): "see Clock._order",
    (Disk, "_fd"): "a file of this process's",
    (Cpu, "_memory"): "views of Memory.view",
    (Cpu, "_engine"): "Unicorn's; deep() looks at the registers",
    (Cpu, "_slice"): "shared with machine code: limits of the running slice, and `retired`, which deep() looks at",
    (Cpu, "_delivery"): "the context of the engine",
    (Cpu, "_instructions"): "the context of the engine",
    (Cpu, "_rest"): "means something while `cut` only",
    (Cpu, "_in_block"): "means something while `cut` only",
    (Cpu, "_watches"): "a debugger's",
    (Cpu, "_resume_at"): "a watch's",
    (Cpu, "_waiting"): "when to look for a loop that waits, which changes no run",
}
"""What is no state of the PC, with the reason."""

_PLAIN = (int, float, str, bytes, bool, type(None), enum.Enum, type, range)


def deep(machine: Machine) -> dict[str, Any]:
    """Path to plain value of all there is in a machine between two slices."""
    found: dict[str, Any] = {}
    seen: dict[int, str] = {}
    keep: list[Any] = []  # an id is an object's only while that lives

    def walk(path: str, value: Any) -> None:
        if isinstance(value, _PLAIN):
            found[path] = value
            return
        if isinstance(value, bytearray | memoryview):
            found[path] = bytes(value)
            return
        if id(value) in seen:
            found[path] = f"is {seen[id(value)]}"
            return
        seen[id(value)] = path
        keep.append(value)
        if isinstance(value, dict):
            found[path] = list(map(str, value))
            for key, item in value.items():
                walk(f"{path}[{key}]", item)
        elif isinstance(value, set | frozenset):
            found[path] = sorted(value)
        elif isinstance(value, list | tuple | deque):
            found[path] = len(value)
            for at, item in enumerate(value):
                walk(f"{path}[{at}]", item)
        elif isinstance(value, types.MethodType):
            walk(f"{path}.__self__", value.__self__)
        elif isinstance(value, types.FunctionType):
            for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
                walk(f"{path}<{name}>", cell.cell_contents)
        elif isinstance(value, types.BuiltinMethodType):
            found[path] = value.__name__
        else:
            assert not isinstance(value, ctypes.Structure | ctypes.Array), path
            for name, item in sorted(attributes(value).items()):
                if not any((kind, name) in HOST for kind in type(value).__mro__):
                    walk(f"{path}.{name}", item)
            look_at(path, value)

    def look_at(path: str, value: Any) -> None:
        if isinstance(value, Cpu):
            found[f"{path}: registers"] = asdict(value.registers()) | value.table_registers() | {"cpl": value.cpl()}
            found[f"{path}: retired"] = value.retired
            found[f"{path}: cut"] = value.state()["cut"]
        elif isinstance(value, Clock):
            found[f"{path}: armed"] = value.state()["armed"]

    walk("machine", machine)
    return found


def attributes(value: Any) -> dict[str, Any]:
    """An object's own attributes, in its dictionary or in slots."""
    slots = {
        name: getattr(value, name)
        for kind in type(value).__mro__
        for name in getattr(kind, "__slots__", ())
        if hasattr(value, name)
    }
    return slots | getattr(value, "__dict__", {})


def differences(one: Machine, other: Machine) -> dict[str, tuple[Any, Any]]:
    """By path, what differs between two machines."""
    left, right = deep(one), deep(other)
    return {
        path: (left.get(path, "nothing"), right.get(path, "nothing"))
        for path in left.keys() | right.keys()
        if left.get(path, "nothing") != right.get(path, "nothing")
    }
