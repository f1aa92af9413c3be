# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario: everything that determines a run, checked before anything is built or written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from kdumpsim.scenario.conditions import (
    KDUMPSIM,
    MIB,
    NETWORK_DMA,
    QEMU,
    check_cpus,
    check_dump_disk,
    check_holes,
    check_qemu,
    check_qemu_dma,
)
from kdumpsim.scenario.parts import USUAL_LOAD, CrashPart, KernelPart, PcPart
from kdumpsim.scenario.points import CrashPoint, aliases, crash_points, crash_types, programs
from kdumpsim.scenario.profiles import changes
from kdumpsim.scenario.settings import check_word, from_plain, settings_of, to_plain
from kdumpsim.scenario.strikes import At, Fault, check_strikes
from kdumpsim.scenario.values import Reservation, ScenarioError, format_size, parse_load
from kdumpsim.target import PAGE_SIZE

DISK_LOAD = ("diskio",)
"""What crosses a crash point that names no program of its own (LKDTT paper, section 3.4)."""
NETWORK_LOAD = "netload"
MIN_LEFT = 2 * MIB
PAGE_DESCRIPTION = 32
"""What the first kernel needs besides its image and the reserved region: memory, and bytes for each page of RAM."""
Part = TypeVar("Part", PcPart, KernelPart, CrashPart)


class BootKey(NamedTuple):
    """What determines a machine up to the moment at which a crash point is armed."""

    pc: PcPart
    kernel: KernelPart


@dataclass(frozen=True)
class Scenario(CrashPart, KernelPart, PcPart):
    """One run: where to crash, how, on what machine, with which kernels and under which conditions.

    Fields are those of its three parts; the crash point and the crash type are positional.
    """

    def __post_init__(self, crash: At | Fault | None) -> None:
        PcPart.__post_init__(self)
        KernelPart.__post_init__(self)
        CrashPart.__post_init__(self, crash)
        self._names()
        for name, needed in self.needs.items():
            if (asked := dict(self.kernel_options).get(name, needed)) != needed:
                raise ScenarioError(
                    f"{self.crash_point} is never crossed with kernel option {name}={asked}; use {name}={needed}"
                )
        if self.traffic and NETWORK_DMA not in self.dma:
            raise ScenarioError("to have network traffic in a run, set dma=('net',)")
        object.__setattr__(self, "traffic", NETWORK_DMA in self.dma)
        if "nic" in self.breaks and not self.has_nic:
            raise ScenarioError("break nic: the machine has no network card; add --nic")
        if self.machine == QEMU:
            check_qemu_dma(self.dma)
            if self.breaks or self.latency != 100 or "latency" in self.vary:
                raise ScenarioError(f"machine {QEMU} does not support break and latency; choose machine {KDUMPSIM}")
            if self.strikes:
                raise ScenarioError(f"machine {QEMU} does not support {self.title}; choose machine {KDUMPSIM}")
        check_together(self.pc, self.kernel)
        check_cpus(self.cpus, self.crash_cpu, self.other_cpus)
        check_strikes(self.strikes, self.cpus, self.timeout)

    def _names(self) -> None:
        """Give point and type the names the kernel has for them, and the load that crosses the point."""
        points, types = crash_points(self.modules), crash_types()
        object.__setattr__(self, "crash_point", aliases(points).get(self.crash_point, self.crash_point))
        object.__setattr__(self, "crash_type", aliases(types).get(self.crash_type, self.crash_type))
        if self.crash_point:
            check_word("crash point", self.crash_point, points, aliases(points))
        if not self.fault:
            if not self.crash_type:
                raise ScenarioError(f"the crash type is missing: add --type; choose from: {', '.join(types)}")
            check_word("crash type", self.crash_type, types, aliases(types))
        if self.load == USUAL_LOAD:
            crosses = self.point.load if self.crash_point else ""
            object.__setattr__(self, "load", parse_load(crosses) if crosses else DISK_LOAD)
        for name in self.load:
            check_word("load", name, programs(self.modules))

    @cached_property
    def pc(self) -> PcPart:
        """The machine, with what the crash needs of it."""
        return _part(PcPart, self, nic=self.has_nic, traffic=self.traffic)

    @cached_property
    def kernel(self) -> KernelPart:
        """The kernels, with the options without which nothing would cross the crash point.

        Made with the scenario and kept, so that it does not read the guest modules again.
        """
        asked = dict(self.needs) | dict(self.kernel_options)
        return _part(KernelPart, self, kernel_options=changes(self.profile, asked))

    @cached_property
    def crash_part(self) -> CrashPart:
        """The crash, with the load that crosses its point."""
        return _part(CrashPart, self)

    def boot_key(self) -> BootKey:
        """What determines the machine up to the arming of the crash point: scenarios with equal keys boot alike."""
        return BootKey(self.pc, self.kernel)

    @property
    def point(self) -> CrashPoint:
        """The crash point, as the kernel describes it; KeyError where something else strikes."""
        return crash_points(self.modules)[self.crash_point]

    @property
    def needs(self) -> Mapping[str, str]:
        """Kernel options without which nothing would cross the crash point."""
        return self.point.needs if self.crash_point else {}

    @property
    def options(self) -> dict[str, str]:
        """The value of every kernel option: the profile's, changed by what the point needs and what was asked for."""
        return self.kernel.options

    @property
    def has_nic(self) -> bool:
        """Whether the machine has a network card."""
        return self.nic or NETWORK_DMA in self.dma or NETWORK_LOAD in self.load

    def to_dict(self) -> dict[str, Any]:
        """Plain data for result.json: `kernel_options` are all of them, `asked_kernel_options` those given."""
        data = {named.name: to_plain(getattr(self, named.name)) for named in settings_of(Scenario)}
        return data | {"kernel_options": self.options, "asked_kernel_options": dict(self.kernel_options)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scenario:
        """The scenario of `to_dict`.  ScenarioError for data that describe none, or that have fields unknown here."""
        data = {**data, "kernel_options": [list(pair) for pair in data.get("asked_kernel_options", {}).items()]}
        known = {named.name: named for named in settings_of(Scenario)}
        if unknown := data.keys() - known.keys() - {"asked_kernel_options"}:
            raise ScenarioError(f"this is not a scenario of this version: unknown {', '.join(sorted(unknown))}")
        given = {
            name: from_plain(data[name], known[name].setting, known[name].default) for name in known if name in data
        }
        try:
            return cls(**given)
        except TypeError as error:
            raise ScenarioError(f"this is not a scenario: {error}") from error

    def command(self) -> str:
        """The shortest command that runs this scenario again."""
        words = ["kdumpsim run"]
        for named in settings_of(Scenario):
            value = getattr(self, named.name)
            if named.default is not MISSING and (value == named.default or self._follows(named.name, named.default)):
                continue
            words += [f"{option} {shlex.quote(text)}" if text else option for option, text in named.words(value)]
        return " ".join(words)

    def _follows(self, name: str, default: Any) -> bool:
        """Whether a field has its value because of the others."""
        try:
            return replace(self, **{name: default}) == self
        except ScenarioError:
            return False


def check_together(pc: PcPart, kernel: KernelPart) -> None:
    """Raise ScenarioError if the machine and the kernels do not fit together."""
    reserved = _check_reserved(kernel.reserved, pc.memory, relocatable=kernel.options["relocatable"] == "1")
    check_dump_disk(pc.dump_disk, kernel.options["combined_mode"], pc.sata)
    if dict(kernel.kernel_options).get("failover") == "1" and not pc.nic:
        raise ScenarioError("failover=1 has no network card to send its notice with: add --nic")
    if pc.dump_disk == "sdb" and (way := dict(kernel.kernel_options).get("kernel_dump", "off")) != "off":
        raise ScenarioError(f"kernel_dump={way} cannot poll dump-disk sdb: it has a driver for hdb and hdc")
    check_holes(pc.memory_holes, pc.memory, reserved)
    if pc.machine == QEMU:
        check_qemu(
            seed=pc.seed,
            memory=pc.memory,
            reserved_end=reserved[1],
            holes=pc.memory_holes,
            nic=pc.nic,
            sata=pc.sata,
            i8259=pc.i8259,
        )


def _check_reserved(region: Reservation | None, memory: int, *, relocatable: bool) -> tuple[int, int]:
    """Where the reserved region begins and ends, (0, 0) if that is not known before the kernel runs.  ScenarioError for
    one that cannot be reserved, or not be used."""
    if region is None:
        return 0, 0
    size = region.size_with(memory)
    if not size:
        raise ScenarioError(
            f"crashkernel {region} reserves nothing: {format_size(memory)} of RAM is in none of its ranges"
        )
    if region.base is None:
        if not relocatable:
            raise ScenarioError(
                f"crashkernel {region} has no start, but the capture kernel is linked to a fixed one: add @START, "
                f"such as {region}@16M, or --kernel-option relocatable=1"
            )
        return 0, 0
    end = region.base + size
    if end > memory:
        raise ScenarioError(
            f"crashkernel {region} ends at {format_size(end)}, outside the {format_size(memory)} of RAM"
        )
    return region.base, end


def check_kernel(pc: PcPart, kernel: KernelPart, kernel_end: int) -> None:
    """ScenarioError if the reserved region overlaps the first kernel (physical 1 MiB to `kernel_end`), or leaves it
    too little memory."""
    region = kernel.crashkernel
    if region.base is not None and region.base < kernel_end:
        first = -(-kernel_end // MIB)
        raise ScenarioError(
            f"crashkernel {region} overlaps the first kernel, which ends at {kernel_end:#x}; start it at {first}M or "
            "above"
        )
    needed = kernel_end + MIN_LEFT + pc.memory // PAGE_SIZE * PAGE_DESCRIPTION
    left = pc.memory - region.size_with(pc.memory) - sum(size for _, size in pc.memory_holes)
    if left < needed:
        raise ScenarioError(
            f"crashkernel {region} leaves the first kernel {left >> 10}K of {format_size(pc.memory)}: "
            f"it needs at least {-(-needed >> 10)}K"
        )
    for base, size in pc.memory_holes:
        if base < kernel_end:
            raise ScenarioError(
                f"memory hole {base:#x}:{size:#x} is in the first kernel, which ends at {kernel_end:#x}; "
                f"start it at or above that"
            )


def _part(part: type[Part], whole: Part, **changes: Any) -> Part:
    """A part of a scenario on its own."""
    return part(**{item.name: getattr(whole, item.name) for item in fields(part) if item.init} | changes)
