# SPDX-License-Identifier: GPL-2.0-or-later
"""The PC that a scenario asks for: ours or QEMU's, with one face.

What only some PCs can do is a capability, an attribute of `Pc` that is None where it is missing.  Rooms above ask for
the capability, never for the class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kdumpsim.agent.transport import SerialMachine
from kdumpsim.board.clock import Clock
from kdumpsim.board.disk import Disk
from kdumpsim.board.firmware import Intr
from kdumpsim.board.idechannel import Channel
from kdumpsim.board.machine import MachineConfig, StopReason
from kdumpsim.board.memory import Memory as RealMemory
from kdumpsim.board.network import Network, NetworkConfig
from kdumpsim.board.rtl8139 import Rtl8139
from kdumpsim.cpu import Cpu
from kdumpsim.machines.own import OwnMachine
from kdumpsim.scenario.conditions import KDUMPSIM, NATIVE, QEMU
from kdumpsim.scenario.parts import PcPart
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.vmcore.oracle import WatchedMachine, WatchedMemory

PLACES = ("hda", "hdb", "hdc", "hdd")
"""Where a disk can be on the two cables, by the IDE driver's names."""
SATA_PLACES = ("sda", "sdb")
"""At the ports of a SATA controller in native mode, by libata's names if both are there."""
TRAFFIC_NS = 2_000_000
"""Mean time between the frames of `--dma net`: a kernel of this speed spends a tenth of its time on them."""
NMI_HANDLERS = ("nmi", "crash_nmi")
"""Where NMIs lead, and from the crash on in kernels that have the second."""


class Memory(WatchedMemory, Protocol):
    """RAM, as devices reach it too."""

    def dma_read(self, address: int, n: int, /) -> bytes:
        """Bytes at a physical address."""

    def dma_write(self, address: int, data: bytes, /) -> None:
        """Store them there."""


class Keyboard(Protocol):
    """Keys of the keyboard."""

    def press(self, key: str, /) -> None:
        """Press a key."""

    def chord(self, *keys: str) -> None:
        """Press keys together."""


class Copying(Protocol):
    """A machine that can be saved as plain data, and another be made what it was."""

    def snapshot(self) -> dict[str, Any]:
        """All there is to it."""

    def restore(self, snapshot: dict[str, Any], /) -> None:
        """Become what was saved."""

    def prepare_fork(self) -> None:
        """Make it cheaper to be a copy of it."""

    def forget_observers(self) -> None:
        """Drop all watches and callbacks."""


class TracedCpu(Protocol):
    """A CPU that can keep the basic blocks it ran last, and tells of events and halts."""

    index: int
    on_event: Callable[[int, bool], None] | None
    """Told of each interrupt and exception: its vector, before it is delivered and (True) after that."""
    on_halt: Callable[[], None] | None

    def stack_pointer(self) -> int:
        """ESP, between slices and from a watch."""

    def record_blocks(self, count: int, /) -> None:
        """Keep the last `count` from now on."""

    def recorded_blocks(self) -> list[tuple[int, int]]:
        """Linear address and bytes of each, oldest first."""

    def read_linear(self, address: int, size: int, /) -> bytes | None:
        """Memory through its page tables."""


class Tracing(Protocol):
    """A machine whose CPUs can be traced."""

    @property
    def cpus(self) -> Sequence[TracedCpu]: ...

    def vector_name(self, cpu: int, vector: int, /) -> str:
        """What an interrupt vector stands for on a CPU, as its controllers are programmed."""


class Devices(Protocol):
    """Devices that say what they are about."""

    @property
    def channels(self) -> Mapping[str, Channel]: ...
    @property
    def nic(self) -> Rtl8139 | None: ...
    @property
    def network(self) -> Network | None: ...


class Striking(Protocol):
    """A machine that whatever strikes it can change, between two instructions of every CPU."""

    @property
    def cpus(self) -> Sequence[Cpu]: ...
    @property
    def memory(self) -> RealMemory: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def channels(self) -> Mapping[str, Channel]: ...

    def machine_check(self, index: int, /) -> bool:
        """A machine check on a CPU; whether it was taken."""

    def system_error(self, *, parity: bool) -> bool:
        """An error of the PCI bus's parity, or of memory; whether it became an NMI."""

    def appoint(self, at_ns: int, callback: Callable[[], None], /) -> None:
        """Call back at a time, from between two rounds."""

    def watch(self, address: int, callback: Callable[[Cpu], None], /) -> None:
        """Call back before the instruction at a linear address."""

    def unwatch(self, address: int, /) -> None:
        """Forget every watch there."""

    def snapshot(self) -> dict[str, Any]:
        """All there is to it."""

    def run(self, *, until: int | None = None) -> StopReason:
        """Let it run."""


class Pc(WatchedMachine, SerialMachine, Protocol):
    """What a session does with a machine; `board.machine.Machine` tells what it means."""

    poll: Callable[[], None] | None

    @property
    def reset_cause(self) -> str | None: ...
    @property
    def memory(self) -> Memory: ...
    @property
    def i8042(self) -> Keyboard: ...
    @property
    def copying(self) -> Copying | None: ...
    @property
    def tracing(self) -> Tracing | None: ...
    @property
    def inspecting(self) -> Devices | None: ...
    @property
    def striking(self) -> Striking | None: ...

    def load_multiboot(self, image: bytes, cmdline: str) -> None:
        """Power on, up to the kernel's first instruction."""

    def run(self, *, until: int | None = None, stop: Callable[[], bool] | None = None) -> StopReason:
        """Let it run."""

    def close(self) -> None:
        """Shut it down."""


Capability = TypeVar("Capability")


def capable(capability: Capability | None, pc: PcPart, what: str) -> Capability:
    """The capability; ScenarioError if the PC does not have it, where `what` says what cannot be done to it."""
    if capability is None:
        raise ScenarioError(f"machine {pc.machine} cannot be {what}; {KDUMPSIM} can")
    return capability


def system_place(pc: PcPart) -> str:
    """Where the system disk is."""
    return SATA_PLACES[0] if pc.sata == NATIVE else PLACES[0]


def new_disk(pc: PcPart, sectors: int) -> Disk:
    """An empty disk for the PC."""
    return Disk.shared(sectors) if pc.machine == QEMU else Disk.memory(sectors)


def new_pc(pc: PcPart, disks: Mapping[str, Disk], symbols: Mapping[str, int], entry: str) -> Pc:
    """The PC, not yet started, with disks by place (PLACES); `symbols` are the first kernel's,
    `entry` is the one from which on a crash stops the other CPUs by NMI.

    ScenarioError where QEMU is to be run and is not there.
    """
    if pc.machine != QEMU:
        return OwnMachine(
            MachineConfig(
                cpus=pc.cpus,
                memory=pc.memory,
                holes=pc.memory_holes,
                disks=tuple(disks.get(place) for place in PLACES),
                sata=tuple(disks.get(place) for place in SATA_PLACES) if pc.sata == NATIVE else None,
                network=NetworkConfig(TRAFFIC_NS if pc.traffic else 0) if pc.nic else None,
                nic_slot=pc.nic_slot,
                intr=Intr(pc.i8259),
                seed=pc.seed,
            )
        )
    from kdumpsim.machines.qemu_machine import QemuMachine  # and its sockets and processes, only where they are used
    from kdumpsim.machines.qemu_process import QemuMissing, find_qemu

    try:
        find_qemu()
    except QemuMissing as error:
        raise ScenarioError(str(error)) from error
    machine = QemuMachine(pc.cpus, pc.memory, {PLACES.index(place): disk for place, disk in disks.items()})

    def handing_over(_cpu: Any) -> None:
        # Not before: the NMI watchdog comes a hundred times a second, and each stop takes a millisecond.
        for handler in NMI_HANDLERS:
            if handler in symbols:
                machine.watch_nmi(symbols[handler])

    machine.watch(symbols[entry], handing_over)
    return machine
