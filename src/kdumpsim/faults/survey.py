# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine under its load, looked at beforehand: where CPUs are busy in the kernel, what code and data are in use.

It is a copy that is looked at, so the run that follows is the one without the survey.  What was seen is what instants
and targets are drawn from, and, kept as digests, the control that tells whether a fault has had any effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from kdumpsim import plaindata
from kdumpsim.faults.draw import Draw
from kdumpsim.target import FRAME_POINTER, PAGE_SIZE, PROGRAM_COUNTER, TARGET, physical, stack_pointer, words

if TYPE_CHECKING:
    from kdumpsim.cpu import Cpu
    from kdumpsim.images import KernelImage
    from kdumpsim.machines.pc import Striking

WINDOW_NS = 500_000_000
"""Instants are drawn from so much load."""
SAMPLES = 1000
"""Looks at the CPUs in the window, at times drawn uniformly."""
STEP_NS = 100_000_000
"""Between two digests of the control."""
COMPARED_NS = (100_000_000, 500_000_000, 1_000_000_000, 2_000_000_000)
"""How long after the last fault the state is compared with the control's, at the control's next digest."""
HORIZON_NS = COMPARED_NS[-1]
FRAMES = 8
"""Callers of a busy CPU's function whose code counts as in use."""
_DATA_LOOKS = 10


@dataclass(frozen=True)
class Sample:
    """A CPU that was busy in the kernel."""

    time: int
    """Virtual ns."""
    cpu: int
    code: int
    """What it was about to run."""
    stack: int
    """Its stack pointer."""
    callers: tuple[int, ...]
    """Return addresses, the innermost first."""


@dataclass(frozen=True)
class Digest:
    """A machine's state in brief: of each device, and of each page that is not all zero."""

    devices: dict[str, bytes]
    pages: dict[int, bytes]

    def differing_pages(self, other: Digest) -> set[int]:
        """Physical addresses of pages that are not the same."""
        mine, its = self.pages, other.pages
        return {at for at in mine.keys() | its.keys() if mine.get(at) != its.get(at)}

    def differing_devices(self, other: Digest) -> set[str]:
        """Names of devices that are not in the same state: CPUs, controllers, disks, the clock, the jitter."""
        return {name for name, value in self.devices.items() if other.devices.get(name) != value}


def digest_of(machine: Striking) -> Digest:
    """The state of a machine; between rounds."""
    state = dict(machine.snapshot())
    pages: dict[int, bytes] = state.pop("memory")["pages"]
    return Digest(
        {name: _digest(plaindata.dumps(value)) for name, value in state.items()},
        {at: _digest(page) for at, page in pages.items()},
    )


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()


@dataclass
class Survey:
    """What was seen of a machine under its load."""

    begin: int
    """Virtual ns of the first look."""
    samples: list[Sample] = field(default_factory=list)
    """CPUs that were busy in the kernel, in order."""
    touched: list[int] = field(default_factory=list)
    """Words of the kernel's data that were written meanwhile: their linear addresses."""
    used: list[int] = field(default_factory=list)
    """Pages that the page allocator had given away and that hold something: their physical addresses."""
    control: dict[int, Digest] = field(default_factory=dict)
    """The undisturbed machine at times after the window, virtual ns."""


def look(
    machine: Striking, kernel: KernelImage, reserved: range, seed: object, *, control: bool, lives: Callable[[], bool]
) -> Survey:
    """Run the machine through the window, and with `control` through the horizon after it.

    `reserved` are the physical addresses of the reserved region; `lives()`: the kernel has not come to harm by itself.
    """
    survey = Survey(machine.clock.now)
    draw = Draw("survey", seed)
    times = sorted({survey.begin + 1 + draw.below(WINDOW_NS) for _ in range(SAMPLES)})
    data = range(kernel.symbols["_sdata"], kernel.symbols["_end"])
    before = _read(machine, data)
    changed: set[int] = set()
    for number, time in enumerate(times):
        machine.run(until=time)
        if not lives():
            return survey
        survey.samples += [seen for cpu in machine.cpus if (seen := _sample(cpu, time)) is not None]
        if number % (len(times) // _DATA_LOOKS) == 0:
            now = _read(machine, data)
            changed.update(
                at
                for at in range(0, len(now), TARGET.word)
                if now[at : at + TARGET.word] != before[at : at + TARGET.word]
            )
    survey.touched = [data.start + at for at in sorted(changed)]
    end = kernel.physical_end
    survey.used = [at for at in sorted(machine.snapshot()["memory"]["pages"]) if at >= end and at not in reserved]
    if control:
        for time in _grid(survey.begin, survey.begin + WINDOW_NS + HORIZON_NS):
            machine.run(until=time)
            if not lives():
                break
            survey.control[time] = digest_of(machine)
    return survey


def checkpoints(last: int) -> list[int]:
    """When states are compared after the last fault, virtual ns."""
    return [-(-(last + after) // STEP_NS) * STEP_NS for after in COMPARED_NS]


def _grid(begin: int, end: int) -> range:
    """When the control is digested: from the end of the window on."""
    return range(-(-(begin + WINDOW_NS) // STEP_NS) * STEP_NS, end + STEP_NS, STEP_NS)


def busy_in_kernel(cpu: Cpu) -> bool:
    """Does the CPU run code of the kernel?"""
    return not (cpu.halted or cpu.waiting_for_sipi or cpu.shutdown) and cpu.cpl() == 0


def _sample(cpu: Cpu, time: int) -> Sample | None:
    if not busy_in_kernel(cpu):
        return None
    registers = cpu.registers()
    frame, callers = int(getattr(registers, FRAME_POINTER)), []
    for _ in range(FRAMES):
        both = cpu.read_linear(frame, 2 * TARGET.word)
        if both is None:
            break
        following, caller = words(both)
        callers.append(caller)
        if not frame < following < frame + PAGE_SIZE:
            break
        frame = following
    return Sample(time, cpu.index, int(getattr(registers, PROGRAM_COUNTER)), stack_pointer(registers), tuple(callers))


def _read(machine: Striking, linear: range) -> bytes:
    return bytes(machine.memory.view[physical(linear.start) : physical(linear.stop)])
