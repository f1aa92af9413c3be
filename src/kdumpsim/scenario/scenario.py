# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario: everything that decides how a run goes, checked before anything is built or written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from kdumpsim.choices import unknown
from kdumpsim.scenario.conditions import (
    DMA,
    DUMP_DISKS,
    KDUMPSIM,
    MACHINES,
    OTHER_CPUS,
    QEMU,
    USUAL_DUMP_DISK,
    ConditionError,
    check_cpus,
    check_dump_disk,
    check_holes,
    check_qemu,
)
from kdumpsim.scenario.options import OptionError, checked
from kdumpsim.scenario.points import (
    CRASH_POINTS,
    CRASH_TYPES,
    DEFAULT_COUNT,
    POINT_ALIASES,
    POINT_OPTIONS,
    TYPE_ALIASES,
)
from kdumpsim.scenario.profiles import DEFAULT_PROFILE, effective

MIB = 1 << 20
PAGE_SIZE = 4096
MAX_CPUS = 8
MIN_MEMORY, MAX_MEMORY = 16 * MIB, 512 * MIB
MIN_RESERVED = 4 * MIB
"""Below this the capture kernel has no room for its image, the headers and its own page tables."""
MIN_LEFT = 2 * MIB
PAGE_DESCRIPTION = 32
"""What the first kernel needs beside its image and the reserved region: memory, and bytes for each page of RAM."""
USUAL_LOAD = ("usual",)
"""What `--load` is by default: the program that brings a kernel to its crash point."""
DISK_LOAD = ("diskio",)
POINT_LOADS: dict[str, tuple[str, ...]] = {"MEM_SWAPOUT": ("memdrain",)}
"""Where disk input and output does not cross a point (LKDTT paper, section 3.4)."""
NETWORK_LOAD = "netload"
NO_LOAD = "none"
"""What `--load` is given for no load at all."""
INJECTIONS: dict[str, str] = {
    "corrupt-capture-kernel": "flip bits of the capture kernel in the reserved region, after it was loaded",
}


class ScenarioError(ValueError):
    """A scenario that cannot be: the message says what is allowed."""


@dataclass(frozen=True)
class Reservation:
    """The reserved region of ``crashkernel=X@Y``, in bytes."""

    size: int
    base: int

    @property
    def end(self) -> int:
        """First byte behind the region."""
        return self.base + self.size

    def __str__(self) -> str:
        return f"{format_size(self.size)}@{format_size(self.base)}"


_SIZE = re.compile(r"^(0x[0-9a-fA-F]+|\d+)([kKmMgG]?)$")
_SHIFT = {"": 0, "k": 10, "m": 20, "g": 30}


def parse_size(text: str) -> int:
    """Bytes of `64M`, `0x1000000`, `640K` …; ScenarioError otherwise."""
    match = _SIZE.match(text.strip())
    if not match:
        raise ScenarioError(f"'{text}' is no size: write a number of bytes, or one with K, M or G, such as 64M")
    return int(match[1], 0) << _SHIFT[match[2].lower()]


def format_size(size: int) -> str:
    """The shortest exact way to write a size: `16M`, `640K`, `4097`."""
    for suffix, shift in (("G", 30), ("M", 20), ("K", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{suffix}"
    return str(size)


def size_words(size: int) -> str:
    """A size for a complaint about it: with its unit where it has none, since `64` is easily written for `64M`."""
    text = format_size(size)
    return f"{text} bytes (did you mean {text}M?)" if text.isdigit() and size < PAGE_SIZE else text


def parse_crashkernel(text: str) -> Reservation:
    """`crashkernel=` syntax of 2.6.16, SIZE@START; ScenarioError otherwise."""
    size, at, base = text.partition("@")
    if not at:
        raise ScenarioError(f"crashkernel '{text}' has no start: write SIZE@START, such as 16M@16M")
    return Reservation(parse_size(size), parse_size(base))


def parse_holes(text: str) -> tuple[tuple[int, int], ...]:
    """Memory holes from `BASE:SIZE,…`; ScenarioError otherwise."""
    holes = []
    for part in words_of(text):
        base, colon, size = part.partition(":")
        if not colon:
            raise ScenarioError(f"memory hole '{part}' has no size: write BASE:SIZE, such as 40M:1M")
        holes.append((parse_size(base), parse_size(size)))
    return tuple(holes)


def parse_load(text: str) -> tuple[str, ...]:
    """Programs to start, from `NAME,…` or `none`; ScenarioError for an empty list."""
    if not words_of(text):
        raise ScenarioError(f"load '{text}' names no program: write NAME,… or {NO_LOAD}")
    return () if text.strip() == NO_LOAD else words_of(text)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _one_of(what: str, given: str, allowed: dict[str, str], aliases: Iterable[str] = ()) -> None:
    if given not in allowed:
        raise ScenarioError(unknown(what, given, allowed, others=aliases))


@dataclass(frozen=True)
class Scenario:
    """One run: where to crash, how, on what machine, with which kernels and under which conditions.

    Sizes in bytes, `timeout` and `patience` in virtual seconds.
    """

    crash_point: str
    crash_type: str
    count: int = DEFAULT_COUNT
    seed: int = 0
    cpus: int = 2
    memory: int = 64 * MIB
    crashkernel: Reservation = Reservation(16 * MIB, 16 * MIB)
    timeout: int = 120
    inject: str | None = None
    profile: str = DEFAULT_PROFILE
    kernel_options: tuple[tuple[str, str], ...] = ()
    """What was asked for beyond the profile, as (name, value)."""
    load: tuple[str, ...] = USUAL_LOAD
    """Programs that are started in the guest before the crash point is armed."""
    patience: int = 15
    """How long the operator waits for a machine that no longer answers before he acts."""
    crash_cpu: int | None = None
    """Only crossings on this CPU count; the load and the interrupts are bound to it."""
    other_cpus: str | None = None
    memory_holes: tuple[tuple[int, int], ...] = ()
    pending_irq: bool = False
    """Keyboard and serial input arrive at the hand-over."""
    dma: tuple[str, ...] = ()
    dump_disk: str = USUAL_DUMP_DISK
    nic: bool = False
    """A network card, with a station at the other end of its cable; `dma` net and `load` netload bring one along."""
    machine: str = KDUMPSIM

    def __post_init__(self) -> None:
        object.__setattr__(self, "crash_point", POINT_ALIASES.get(self.crash_point, self.crash_point))
        object.__setattr__(self, "crash_type", TYPE_ALIASES.get(self.crash_type, self.crash_type))
        if self.load == USUAL_LOAD:
            object.__setattr__(self, "load", POINT_LOADS.get(self.crash_point, DISK_LOAD))
        _one_of("crash point", self.crash_point, CRASH_POINTS, POINT_ALIASES)
        _one_of("crash type", self.crash_type, CRASH_TYPES, TYPE_ALIASES)
        if self.inject is not None:
            _one_of("injection", self.inject, INJECTIONS)
        if self.other_cpus is not None:
            _one_of("state of other CPUs", self.other_cpus, OTHER_CPUS)
        for device in self.dma:
            _one_of("DMA device", device, DMA)
        _one_of("place of the dump disk", self.dump_disk, DUMP_DISKS)
        _one_of("machine", self.machine, MACHINES)
        for what, value, low, high in (
            ("count", self.count, 1, 1_000_000),
            ("seed", self.seed, 0, 2**64 - 1),
            ("cpus", self.cpus, 1, MAX_CPUS),
            ("timeout", self.timeout, 1, 86_400),
            ("patience", self.patience, 1, 86_400),
        ):
            if not low <= value <= high:
                raise ScenarioError(f"{what} {value} is out of range: choose {low} to {high}")
        self._check_memory()
        region = self.crashkernel
        try:
            self._check_point_options(dict(self.kernel_options))
            check_dump_disk(self.dump_disk, self.options["combined_mode"])
            object.__setattr__(self, "kernel_options", tuple(checked(dict(self.kernel_options)).items()))
            object.__setattr__(self, "memory_holes", tuple(sorted(self.memory_holes)))
            check_cpus(self.cpus, self.crash_cpu, self.other_cpus)
            check_holes(self.memory_holes, self.memory, (region.base, region.end))
            if self.machine == QEMU:
                check_qemu(
                    seed=self.seed,
                    memory=self.memory,
                    reserved_end=region.end,
                    holes=self.memory_holes,
                    dma=self.dma,
                    nic=self.has_nic,
                )
        except (OptionError, ConditionError) as error:
            raise ScenarioError(str(error)) from error

    @property
    def options(self) -> dict[str, str]:
        """The value of every kernel option: the profile's, changed by what the point needs and what was asked for."""
        return effective(self.profile, POINT_OPTIONS.get(self.crash_point, {}) | dict(self.kernel_options))

    @property
    def has_nic(self) -> bool:
        """Is there a network card in the machine?"""
        return self.nic or "net" in self.dma or NETWORK_LOAD in self.load

    def _check_point_options(self, asked: dict[str, str]) -> None:
        for name, needed in POINT_OPTIONS.get(self.crash_point, {}).items():
            if asked.get(name, needed) != needed:
                raise ScenarioError(
                    f"{self.crash_point} is never crossed with kernel option {name}={asked[name]}; it takes {needed}"
                )

    def boot_key(self) -> tuple[Any, ...]:
        """What decides the machine up to the arming of the crash point: scenarios with equal keys boot alike."""
        options = tuple(self.options.items())
        network = (self.has_nic, "net" in self.dma)
        hardware = (self.machine, self.cpus, self.memory, self.memory_holes, self.dump_disk, *network)
        return (self.seed, *hardware, str(self.crashkernel), self.inject, options)

    def _check_memory(self) -> None:
        if not MIN_MEMORY <= self.memory <= MAX_MEMORY:
            raise ScenarioError(
                f"memory {size_words(self.memory)} is out of range: "
                f"choose {format_size(MIN_MEMORY)} to {format_size(MAX_MEMORY)}"
            )
        region = self.crashkernel
        if max(region.base, region.size) < PAGE_SIZE:
            raise ScenarioError(f"crashkernel {region} is in bytes: did you mean {region.size}M@{region.base}M?")
        if self.memory % PAGE_SIZE or region.base % PAGE_SIZE or region.size % PAGE_SIZE:
            raise ScenarioError("memory and crashkernel sizes must be multiples of 4K")
        if region.size < MIN_RESERVED:
            raise ScenarioError(
                f"crashkernel {region} is too small: the capture kernel needs at least {format_size(MIN_RESERVED)}"
            )
        if region.base < MIB:
            raise ScenarioError(f"crashkernel {region} begins below 1M, where the firmware and the trampoline live")
        if region.end > self.memory:
            raise ScenarioError(
                f"crashkernel {region} ends at {format_size(region.end)}, outside the {format_size(self.memory)} of RAM"
            )

    def check_kernel(self, kernel_end: int) -> None:
        """ScenarioError if the reserved region overlaps the first kernel (physical 1 MiB to `kernel_end`), or leaves it
        too little memory."""
        if self.crashkernel.base < kernel_end:
            first = -(-kernel_end // MIB)
            raise ScenarioError(
                f"crashkernel {self.crashkernel} overlaps the first kernel, which ends at {kernel_end:#x}; "
                f"start it at {first}M or above"
            )
        needed = kernel_end + MIN_LEFT + self.memory // PAGE_SIZE * PAGE_DESCRIPTION
        left = self.memory - self.crashkernel.size - sum(size for _, size in self.memory_holes)
        if left < needed:
            raise ScenarioError(
                f"crashkernel {self.crashkernel} leaves the first kernel {left >> 10}K of {format_size(self.memory)}: "
                f"it needs at least {-(-needed >> 10)}K"
            )
        for base, size in self.memory_holes:
            if base < kernel_end:
                raise ScenarioError(
                    f"memory hole {base:#x}:{size:#x} lies in the first kernel, which ends at {kernel_end:#x}; "
                    f"start it at or above that"
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain data for result.json."""
        data = asdict(self)
        data["crashkernel"] = str(self.crashkernel)
        data["kernel_options"] = self.options
        data["asked_kernel_options"] = dict(self.kernel_options)
        data["memory_holes"] = [list(hole) for hole in self.memory_holes]
        data["load"], data["dma"] = list(self.load), list(self.dma)
        return data

    def command(self) -> str:
        """The command line that runs this scenario again."""
        words = ["kdumpsim run", f"--crashpoint {self.crash_point}", f"--type {self.crash_type}"]
        default = Scenario(self.crash_point, self.crash_type)
        for name in (
            "machine",
            "count",
            "seed",
            "cpus",
            "timeout",
            "inject",
            "profile",
            "patience",
            "crash_cpu",
            "other_cpus",
        ):
            if getattr(self, name) != getattr(default, name):
                words.append(f"--{name.replace('_', '-')} {getattr(self, name)}")
        words += [f"--kernel-option {name}={value}" for name, value in self.kernel_options]
        if self.memory != default.memory:
            words.append(f"--memory {format_size(self.memory)}")
        if self.crashkernel != default.crashkernel:
            words.append(f"--crashkernel {self.crashkernel}")
        if self.load != default.load:
            words.append(f"--load {shlex.quote(','.join(self.load) or NO_LOAD)}")
        if self.memory_holes:
            holes = ",".join(f"{format_size(base)}:{format_size(size)}" for base, size in self.memory_holes)
            words.append(f"--memory-holes {holes}")
        if self.dma:
            words.append(f"--dma {','.join(self.dma)}")
        if self.dump_disk != default.dump_disk:
            words.append(f"--dump-disk {self.dump_disk}")
        if self.pending_irq:
            words.append("--pending-irq")
        if self.nic:
            words.append("--nic")
        return " ".join(words)
