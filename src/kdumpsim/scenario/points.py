# SPDX-License-Identifier: GPL-2.0-or-later
"""The crash points and crash types a kernel has, read from its ELF file.

A crash point is an entry of the section `cpoints`, which stands in the source beside the place where control crosses it
(`kernel/lkdtt/cpoint.py`, ``struct crash_point``); crash types are the table `crash_types` (`kernel/lkdtt/dtt.py`).
So nothing on the host has to agree with the kernel about names, and a user's own guest module brings its own points.
Names and meanings of those that come with kdumpsim are the LKDTT paper's, sections 3.2.1, 3.3 and 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from kdumpsim import images
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import StructLayout

MAX_ID = 63
"""The largest id of a crash point (section 3.3)."""
DEFAULT_COUNT = 10
"""Crossings before the crash: the default `pass_num` of ttutils (section 3.3)."""
CRASH_POINT = StructLayout(
    "crash_point",
    dict.fromkeys(("name", "help", "alias", "needs", "load"), "word")
    | dict.fromkeys(("dynamic", "which", "enabled", "state", "kind", "count", "cpu"), "u32"),
)
CRASH_TYPE = StructLayout("crash_type_info", dict.fromkeys(("name", "help", "alias"), "word"))
WORKLOAD = StructLayout("workload", dict.fromkeys(("name", "main"), "word"))


Modules = tuple[tuple[str, str], ...]
"""A user's guest modules: each one's file, and the SHA-256 of its text."""


@dataclass(frozen=True)
class CrashPoint:
    """A place in the kernel where it can be crashed."""

    name: str
    help: str
    """Which code crosses it."""
    alias: str = ""
    """Another name of the place (LKDTM's)."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Kernel options without which nothing would cross it."""
    load: str = ""
    """The program that makes the kernel cross it; empty where disk input and output does."""
    dynamic: int = 0
    """Not zero for a point that must be added at run time: the id the paper's Table 1 gives it."""


@dataclass(frozen=True)
class CrashType:
    """A way to crash."""

    name: str
    """What the paper's text and its Table 2 call it, and whatever we print."""
    help: str
    ttutils: str
    """What ttutils, and with it /proc/dtt of the guest, calls it (section 3.3)."""

    @property
    def alias(self) -> str:
        """Another name that is accepted; empty for none."""
        return self.ttutils if self.ttutils != self.name else ""


def points_of(kernel: images.KernelImage) -> dict[str, CrashPoint]:
    """The crash points of a kernel image by name: the paper's in the order of their ids, then a user's own.

    ScenarioError if two have a name in common, or if there are more than the kernel has ids for.
    """
    start, stop = kernel.symbols["__start_cpoints"], kernel.symbols["__stop_cpoints"]
    entries = list(CRASH_POINT.entries(kernel.read(start, stop - start)))
    _check_points(kernel, entries, start)
    points = {}
    for entry in sorted(entries, key=_id):
        name, text, alias, needs, load = (
            kernel.string(entry[field]) for field in ("name", "help", "alias", "needs", "load")
        )
        points[name] = CrashPoint(name, text, alias, _options(needs), load, entry["dynamic"])
    return points


def _check_points(kernel: images.KernelImage, entries: Sequence[Mapping[str, int]], start: int) -> None:
    places = [start + number * CRASH_POINT.form.size for number in range(len(entries))]
    if len(entries) > MAX_ID:
        raise ScenarioError(
            f"{kernel.place(places[MAX_ID])}: the kernel would have {len(entries)} crash points; "
            f"it has ids for {MAX_ID}: take {len(entries) - MAX_ID} out"
        )
    first: dict[str, int] = {}
    for place, entry in zip(places, entries, strict=True):
        for name in filter(None, (kernel.string(entry["name"]), kernel.string(entry["alias"]))):
            if first.setdefault(name, place) != place:
                raise ScenarioError(
                    f"{kernel.place(place)}: {name} is a crash point already, of {kernel.place(first[name])}; rename it"
                )


def _id(entry: Mapping[str, int]) -> tuple[bool, int]:
    """For sorting: points with an id of their own come first."""
    number = entry["which"] or entry["dynamic"]
    return not number, number


def types_of(kernel: images.KernelImage) -> dict[str, CrashType]:
    """The crash types of a kernel image by name; their order is the kernel's numbering."""
    start = kernel.symbols["crash_types"]
    table = kernel.read(start, images.symbol_size(kernel.elf, "crash_types"))
    types = {}
    for entry in CRASH_TYPE.entries(table):
        ttutils, text, paper = (kernel.string(entry[field]) for field in ("name", "help", "alias"))
        types[paper or ttutils] = CrashType(paper or ttutils, text, ttutils)
    return types


def programs_of(kernel: images.KernelImage) -> list[str]:
    """What can be started by name on a machine with this kernel: programs in /bin, and threads of the kernel."""
    start, stop = kernel.symbols["__start_workloads"], kernel.symbols["__stop_workloads"]
    threads = [kernel.string(entry["name"]) for entry in WORKLOAD.entries(kernel.read(start, stop - start))]
    return [path.removeprefix("/bin/") for path in images.USER_PROGRAMS if path.startswith("/bin/")] + threads


def _options(text: str) -> dict[str, str]:
    """NAME=VALUE, or nothing."""
    name, equals, value = text.partition("=")
    return {name: value} if equals else {}


def crash_points(modules: Modules = ()) -> Mapping[str, CrashPoint]:
    """The crash points of a kernel by name: kdumpsim's own, and those of a user's guest modules.

    GuestError where the kernel cannot be built.
    """
    return _known(modules).points


def programs(modules: Modules = ()) -> Sequence[str]:
    """What `--load` can name, with a user's guest modules.  Errors as `crash_points`."""
    return _known(modules).programs


def crash_types() -> Mapping[str, CrashType]:
    """The crash types, by name.  GuestError where the kernel cannot be built."""
    return _known(()).types


class _Known(NamedTuple):
    """What a kernel has to offer."""

    points: Mapping[str, CrashPoint]
    types: Mapping[str, CrashType]
    programs: Sequence[str]


@cache
def _known(modules: Modules) -> _Known:
    """Built once for these texts: the files may change or go later on."""
    kernel = images.kernel(modules=[path for path, _ in modules])
    return _Known(points_of(kernel), types_of(kernel), programs_of(kernel))


def aliases(entries: Mapping[str, CrashPoint] | Mapping[str, CrashType]) -> dict[str, str]:
    """Other names that are understood, each with the name it stands for."""
    return {entry.alias: name for name, entry in entries.items() if entry.alias}
