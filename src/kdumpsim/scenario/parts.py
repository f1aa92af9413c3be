# SPDX-License-Identifier: GPL-2.0-or-later
"""The three parts of a scenario: the PC, the kernel, and the crash.

PC and kernel decide everything up to the moment at which a crash point is armed, so scenarios that have both in common
can share a boot.  Each part checks itself; `scenario.scenario` checks what they ask of each other.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from hashlib import sha256

from kdumpsim.images import ModuleError, module_files
from kdumpsim.scenario.conditions import (
    BREAKS,
    DMA,
    DUMP_DISKS,
    I8259,
    INJECTIONS,
    KDUMPSIM,
    LEGACY,
    MACHINES,
    MAX_CPUS,
    MIB,
    OTHER_CPUS,
    SATA,
    USUAL_DUMP_DISK,
    VARIED,
)
from kdumpsim.scenario.mechanisms import DEFAULT_MECHANISM, MECHANISMS
from kdumpsim.scenario.options import checked, parse
from kdumpsim.scenario.points import DEFAULT_COUNT, Modules
from kdumpsim.scenario.profiles import DEFAULT_PROFILE, PROFILES, effective
from kdumpsim.scenario.settings import check_values, integer, setting
from kdumpsim.scenario.strikes import FAULTS, INSTANT, MACHINE_CHECK, TEXT, At, Fault
from kdumpsim.scenario.values import (
    NO_LOAD,
    Reservation,
    ScenarioError,
    format_holes,
    format_load,
    format_size,
    parse_crashkernel,
    parse_holes,
    parse_load,
    parse_size,
    size_words,
    words_of,
)
from kdumpsim.target import PAGE_SIZE

MIN_RESERVED = 4 * MIB
"""Below this the capture kernel has no room for its image, the headers and its own page tables."""
USUAL_LOAD = ("usual",)
"""The default of `--load`: the program that makes the kernel cross its crash point."""


@dataclass(frozen=True, kw_only=True)
class PcPart:
    """The machine.  `memory` and holes in bytes."""

    machine: str = field(default=KDUMPSIM, metadata=setting("The PC to run on", metavar="NAME", choices=MACHINES))
    seed: int = field(
        default=0,
        metadata=setting(
            "Same seed, same vmcore, byte for byte.", metavar="N", parse=integer("seed"), bounds=(0, 2**64 - 1)
        ),
    )
    cpus: int = field(
        default=2,
        metadata=setting(
            f"CPUs of the machine, 1 to {MAX_CPUS}.", metavar="N", parse=integer("cpus"), bounds=(1, MAX_CPUS)
        ),
    )
    memory: int = field(
        default=64 * MIB,
        metadata=setting(
            "RAM, with K, M or G.",
            metavar="SIZE",
            parse=parse_size,
            show=format_size,
            complain=size_words,
            bounds=(16 * MIB, 512 * MIB),
        ),
    )
    memory_holes: tuple[tuple[int, int], ...] = field(
        default=(),
        metadata=setting(
            "Ranges of physical memory without RAM.", metavar="BASE:SIZE,…", parse=parse_holes, show=format_holes
        ),
    )
    dump_disk: str = field(
        default=USUAL_DUMP_DISK, metadata=setting("Where the dump disk is", metavar="NAME", choices=DUMP_DISKS)
    )
    nic: bool = field(default=False, metadata=setting("Add a network card; --dma net and --load netload imply it."))
    nic_slot: int = field(
        default=3,
        metadata=setting(
            "The card's slot: 3 (PIRQC#), 4 (PIRQD#), 5 (PIRQA#) or 6 (PIRQB#). Native-mode SATA uses PIRQC#, too.",
            metavar="N",
            parse=integer("nic-slot"),
            bounds=(3, 6),
        ),
    )
    sata: str = field(default=LEGACY, metadata=setting("Where the system disk is", metavar="MODE", choices=SATA))
    i8259: str = field(
        default="lint0", metadata=setting("Where the i8259s' interrupts arrive", metavar="WHERE", choices=I8259)
    )
    traffic: bool = False
    """The station at the other end of the network sends all the time, as with `--dma net`."""

    def __post_init__(self) -> None:
        check_values(PcPart, self)
        if self.memory % PAGE_SIZE:
            raise ScenarioError("memory and crashkernel sizes must be multiples of 4K")
        object.__setattr__(self, "memory_holes", tuple(sorted(self.memory_holes)))


@dataclass(frozen=True, kw_only=True)
class KernelPart:
    """The two kernels: how they are built, their options, and where the second one is loaded."""

    crashkernel: Reservation = field(
        default=Reservation(16 * MIB, 16 * MIB),
        metadata=setting(
            "The region reserved for the capture kernel. Without @START the kernel chooses a place, which needs kernel "
            "option relocatable=1. SIZE can depend on the machine's RAM: START-[END]:SIZE,…",
            metavar="SIZE[@START]",
            parse=parse_crashkernel,
        ),
    )
    mechanism: str = field(
        default=DEFAULT_MECHANISM, metadata=setting("How the dump is taken", metavar="NAME", choices=MECHANISMS)
    )
    profile: str = field(
        default=DEFAULT_PROFILE,
        metadata=setting(
            f"A named set of kernel options: {', '.join(PROFILES)}. `kdumpsim options` shows them.", metavar="NAME"
        ),
    )
    kernel_options: tuple[tuple[str, str], ...] = field(
        default=(),
        metadata=setting(
            "Change one option of the profile; repeatable. `kdumpsim options` shows them all.",
            metavar="NAME=VALUE",
            option="kernel-option",
            each=True,
            parse=lambda text: next(iter(parse([text]).items())),
            show="=".join,
        ),
    )
    """The options that change the profile, as (name, value)."""
    guest_modules: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Guest code of your own to link into the kernel; repeatable. See `kdumpsim help guest-modules`.",
            metavar="FILE.py",
            option="guest-module",
            each=True,
        ),
    )
    inject: str | None = field(
        default=None, metadata=setting("Break something on purpose", metavar="FAULT", choices=INJECTIONS)
    )
    guest_code: tuple[str, ...] = field(default=(), init=False, repr=False)
    """SHA-256 of each guest module: a changed text is a different kernel."""

    def __post_init__(self) -> None:
        check_values(KernelPart, self)
        if self.reserved is not None:
            _check_region(self.reserved)
        object.__setattr__(self, "kernel_options", tuple(checked(parse_pairs(self.kernel_options)).items()))
        object.__setattr__(self, "guest_code", _guest_code(self.guest_modules))

    @property
    def reserved(self) -> Reservation | None:
        """The region that the first kernel does not use; None for a mechanism that needs none."""
        return self.crashkernel if MECHANISMS[self.mechanism].reserves else None

    @property
    def modules(self) -> Modules:
        """The guest modules as they were when this was made."""
        return tuple(zip(self.guest_modules, self.guest_code, strict=True))

    @property
    def options(self) -> dict[str, str]:
        """The value of every kernel option.  ScenarioError for values that contradict each other."""
        return effective(self.profile, dict(self.kernel_options))


def _check_region(region: Reservation) -> None:
    """ScenarioError for a region that could not be reserved on any machine."""
    if region.base is not None and max(region.base, *region.sizes) < PAGE_SIZE and not region.ranges:
        raise ScenarioError(f"crashkernel {region} is in bytes: did you mean {region.size}M@{region.base}M?")
    if any(value % PAGE_SIZE for value in (region.base or 0, *region.sizes)):
        raise ScenarioError("memory and crashkernel sizes must be multiples of 4K")
    if min(region.sizes) < MIN_RESERVED:
        raise ScenarioError(
            f"crashkernel {region} is too small: the capture kernel needs at least {format_size(MIN_RESERVED)}"
        )
    if region.base is not None and region.base < MIB:
        raise ScenarioError(
            f"crashkernel {region} begins below 1M, where the firmware and the trampoline are; start it at 1M or above"
        )


def _guest_code(modules: tuple[str, ...]) -> tuple[str, ...]:
    """SHA-256 of each guest module.  ScenarioError for a file that cannot be one."""
    try:
        return tuple(sha256(path.read_bytes()).hexdigest() for path in module_files(modules).values())
    except ModuleError as error:
        raise ScenarioError(str(error)) from error
    except OSError as error:
        raise ScenarioError(f"guest module '{error.filename}': {error.strerror}") from error


@dataclass(frozen=True, kw_only=True)
class CrashPart:
    """Where and how the kernel crashes, and under which conditions.  `timeout` and `patience` in virtual seconds."""

    crash_point: str = field(
        default="",
        kw_only=False,
        metadata=setting("The crash point.", metavar="NAME", option="crashpoint"),
    )
    crash_type: str = field(
        default="",
        kw_only=False,
        metadata=setting("The crash type.", metavar="TYPE", option="type"),
    )
    count: int = field(
        default=DEFAULT_COUNT,
        metadata=setting(
            "Crossings of the point before the crash.", metavar="N", parse=integer("count"), bounds=(1, 1_000_000)
        ),
    )
    at: str | None = field(
        default=None,
        metadata=setting(
            f"Instead of a crash point: {INSTANT}, a random instant at which a CPU is busy in the kernel, drawn from "
            f"the seed; or {INSTANT}:CPU@TIME, one that was drawn before.",
            metavar="WHEN",
        ),
    )
    fault: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Instead of a crash: a fault; repeatable. MODEL:TARGET is drawn from the seed, MODEL:TARGET@TIME is one "
            f"that was drawn before. Models: {TEXT} (one of the text models); "
            + "; ".join(f"{name} ({row.help}; {'|'.join(row.drawn)})" for name, row in FAULTS.items())
            + ". See `kdumpsim help faults`.",
            metavar="FAULT",
            each=True,
        ),
    )
    faults: int = field(
        default=1,
        metadata=setting(
            "How many faults to draw for each --fault.",
            metavar="N",
            parse=integer("faults"),
            bounds=(1, 1000),
        ),
    )
    draw: int = field(
        default=0,
        metadata=setting(
            "Number of the draw: another number gives another instant, fault or variation on the same booted machine.",
            metavar="N",
            parse=integer("draw"),
            bounds=(0, 2**64 - 1),
        ),
    )
    crash_cpu: int | None = field(
        default=None,
        metadata=setting(
            "Crash on this CPU: only crossings there count, and the load and all interrupts are bound to it.",
            metavar="N",
            parse=integer("crash-cpu"),
        ),
    )
    other_cpus: str | None = field(
        default=None, metadata=setting("What the other CPUs do", metavar="STATE", choices=OTHER_CPUS)
    )
    dma: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Devices that are busy with DMA", metavar="DEVICE,…", parse=words_of, show=",".join, choices=DMA
        ),
    )
    pending_irq: bool = field(default=False, metadata=setting("Let a key and a serial byte arrive at the hand-over."))
    load: tuple[str, ...] = field(
        default=USUAL_LOAD,
        metadata=setting(
            "Programs to start in the guest; usual: the one that crosses the point (diskio, memdrain); netload: UDP "
            f"traffic; {NO_LOAD}: no program.",
            metavar="NAME,…",
            parse=parse_load,
            show=format_load,
        ),
    )
    patience: int = field(
        default=15,
        metadata=setting(
            "How long the operator waits for an ailing machine before pressing SysRq, in virtual seconds.",
            metavar="N",
            parse=integer("patience"),
            bounds=(1, 86_400),
        ),
    )
    timeout: int = field(
        default=120,
        metadata=setting(
            "Give up after this much virtual time, in seconds.",
            metavar="N",
            parse=integer("timeout"),
            bounds=(1, 86_400),
        ),
    )

    vary: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Draw these from the seed, for a crash point",
            metavar="WHAT,…",
            parse=words_of,
            show=",".join,
            choices=VARIED,
        ),
    )
    phase: int = field(
        default=0,
        metadata=setting(
            "How long the load runs before the crash point is armed, in virtual microseconds.",
            metavar="N",
            parse=integer("phase"),
            bounds=(0, 10_000_000),
        ),
    )
    latency: int = field(
        default=100,
        metadata=setting(
            "Seek time of the disks from the arming on, in percent of the usual.",
            metavar="N",
            parse=integer("latency"),
            bounds=(1, 10_000),
        ),
    )
    breaks: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Devices that fail for good when the crash is armed, or later",
            metavar="DEVICE,…",
            option="break",
            parse=words_of,
            show=",".join,
            choices=BREAKS,
            word="device of --break:",
        ),
    )
    mce: bool = field(default=False, metadata=setting("Instead of a crash: a machine check, like --fault mce."))
    crash: InitVar[At | Fault | None] = None
    """What strikes; replaces crash point and type, `at` and `fault`."""

    def __post_init__(self, crash: At | Fault | None) -> None:
        if isinstance(crash, At):
            object.__setattr__(self, "at", str(crash))
            object.__setattr__(self, "crash_type", crash.type)
        elif isinstance(crash, Fault):
            object.__setattr__(self, "fault", (str(crash),))
        check_values(CrashPart, self)
        if self.mce:
            object.__setattr__(self, "fault", (*self.fault, MACHINE_CHECK))
            object.__setattr__(self, "mce", False)
        if self.at is not None:
            object.__setattr__(self, "at", str(At.parse(self.at)))
        object.__setattr__(self, "fault", tuple(str(Fault.parse(text)) for text in self.fault))
        if sum(map(bool, (self.crash_point, self.at, self.fault))) != 1:
            raise ScenarioError(f"choose exactly one of: a crash point (--crashpoint), --at {INSTANT}, --fault")
        if self.vary and not self.crash_point:
            raise ScenarioError(f"vary {','.join(self.vary)} needs a crash point; {self.title} is drawn anyway")
        if self.fault and self.crash_type:
            raise ScenarioError(f"a fault has no crash type: leave out --type {self.crash_type}")
        if self.draw and self.crash_point and not self.vary:
            raise ScenarioError(
                f"draw {self.draw} has no effect: nothing is drawn for a crash at a point; add --vary, or choose --at "
                "or --fault"
            )
        if self.faults != 1 and not self.fault:
            raise ScenarioError(f"faults {self.faults} is the number to draw for each --fault: add a --fault")
        for name, usual in (("count", DEFAULT_COUNT), ("phase", 0), ("latency", 100)):
            if name in self.vary and getattr(self, name) != usual:
                raise ScenarioError(
                    f"{name} {getattr(self, name)} contradicts vary {name}, which draws it: leave out one of them"
                )

    @property
    def title(self) -> str:
        """A short description of what strikes."""
        if self.fault:
            return f"fault {', '.join(self.fault)}"
        return f"{self.crash_point or self.at} / {self.crash_type}"

    @property
    def strikes(self) -> tuple[At | Fault, ...]:
        """Strikes other than a crash point."""
        if self.at is not None:
            return (At.parse(self.at, self.crash_type),)
        return tuple(map(Fault.parse, self.fault))


def parse_pairs(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return options by name; raise ScenarioError for one that is given two values."""
    return parse(f"{name}={value}" for name, value in pairs)
