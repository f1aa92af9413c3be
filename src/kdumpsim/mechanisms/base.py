# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dump mechanism tells the rest of kdumpsim of itself.

The guest's side of a mechanism is an entry of the table `dump_mechanisms` (`kernel/core/dump.py`); the host's side is a
class of this kind, whose instance goes with one machine through one crash.  The rooms above (runs, sweeps, commands)
ask it, and never which one it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

from kdumpsim.agent.client import AgentClient
from kdumpsim.board.disk import Disk
from kdumpsim.errors import KdumpsimError
from kdumpsim.images import KernelImage
from kdumpsim.lkdtt.outcome import Note
from kdumpsim.machines.pc import Pc
from kdumpsim.scenario.mechanisms import MECHANISMS, Row
from kdumpsim.scenario.options import Kernel, command_line
from kdumpsim.scenario.parts import KernelPart, PcPart
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import StructLayout
from kdumpsim.vmcore.compare import Judgement
from kdumpsim.vmcore.oracle import Oracle
from kdumpsim.vmcore.reader import Vmcore

CONSOLE = "console=ttyS0,115200"
CRASH_PLACES = 4
"""Where the kernel asks its mechanisms: `kernel/core/dump.py` has as many hooks."""
ROOT = {"libata": "/dev/sda", "ide": "/dev/hda"}
"""The system disk's name, by who drives it (kernel option combined_mode)."""
DUMP_MECHANISM = StructLayout(
    "dump_mechanism", {"name": "word"} | {f"hooks[{place}]": "word" for place in range(CRASH_PLACES)}
)
"""An entry of the guest's table; the hooks are for the kernel alone."""


class MechanismError(KdumpsimError):
    """The mechanism cannot be armed; the text says why, and what is allowed."""


class Console(Protocol):
    """What the guest said on its serial console."""

    @property
    def text(self) -> str: ...

    def last_line(self, containing: str = "") -> str:
        """The last line that has these words; empty without one."""


class Host(Protocol):
    """The machine that a mechanism is for, and what is known of it (`runs.session.Session`)."""

    @property
    def first(self) -> KernelImage: ...
    @property
    def machine(self) -> Pc: ...
    @property
    def oracle(self) -> Oracle: ...
    @property
    def guest(self) -> AgentClient: ...
    @property
    def console(self) -> Console: ...
    @property
    def dump_disk(self) -> Disk: ...
    @property
    def system_disk(self) -> Disk: ...
    @property
    def now(self) -> int: ...


@dataclass(frozen=True)
class Phase:
    """A part of the way from the hand-over to the end."""

    name: str
    title: str
    """What goes on in it, for those who wait."""
    over: Callable[[], bool]
    """Whether it has ended.  If it never does (the machine resets, or is given up), the later phases do not come."""
    story: Callable[[str], str]
    """What to say of it when it is over, from how it stands with the machine."""
    progress: Callable[[], tuple[int, int]] | None = None
    """Bytes of the dump saved so far, and of how many."""


@dataclass(frozen=True)
class Landmark:
    """A function on the way from the hand-over to the dump that tells something by what it returns."""

    what: str
    """What it does, for readers."""
    address: int
    """Its first instruction's, linear."""
    returned: Callable[[int], tuple[bool | None, str]] | None = None
    """Whether all is well, None if that is no question, and what came of it, from what the function has returned.
    None for one that never returns: a kernel, of which `what` is the name."""


@dataclass(frozen=True)
class Area:
    """A range of physical memory that a mechanism has taken for something."""

    name: str
    detail: str
    kind: str
    """``kernel``: one that is to run; ``copy``: room for a copy of other memory; ``data``: anything else."""
    start: int
    end: int


@dataclass(frozen=True)
class DumpHeader:
    """A program header of the dump: `size` bytes from physical address `paddr` on, found at `offset`.

    Of one that was prepared before the crash, `offset` is where in memory they will be; of a dump's, where in the file.
    """

    kind: str
    """``PT_LOAD`` or ``PT_NOTE``."""
    paddr: int
    offset: int
    size: int

    @property
    def moved(self) -> bool:
        """Whether it is memory that is found elsewhere than where it belongs."""
        return self.kind == "PT_LOAD" and self.offset != self.paddr


@dataclass(frozen=True)
class Station:
    """A place that the way to the dump comes past: the first time that a CPU is about to run an instruction."""

    name: str
    title: str
    """What has been done by then, in a few words."""
    address: int
    """Linear."""


class Mechanism(ABC):
    """A dump mechanism on one machine.  What a mechanism does not need, it leaves as it is here."""

    name: ClassVar[str]
    """As in the guest's table, and of ``--mechanism``."""
    entry: ClassVar[str]
    """The guest function that its hooks lead to, with a ``struct pt_regs`` or NULL; it may come back."""
    save_cpu: ClassVar[str] = ""
    """The guest function by which each CPU saves its registers in its notes, of ``struct pt_regs`` and the CPU's
    number."""
    savers: ClassVar[frozenset[str]] = frozenset()
    """Guest functions, beside the entry, in which the crashing CPU may take its own registers."""
    hand_over: ClassVar[str]
    """Where the dying kernel's own code ends, or begins to dump; for `Oracle.watch_jump`."""
    preparation: ClassVar[str]
    """What `prepare` does, for those who wait."""
    paper: ClassVar[str] = ""
    """The paper whose figures show it; empty for none."""
    place: ClassVar[str] = "the dump disk"
    """Where the dump is found."""
    constants: ClassVar[Mapping[str, int]] = {}
    """What its kernels are compiled with, beside the kernel options."""
    folders: ClassVar[tuple[str, ...]] = ()
    """Folders of `kernel/` that are its own: they are part of the first kernel only with it (`images.FOLDERS`)."""
    injections: ClassVar[frozenset[str]] = frozenset()
    """Faults of ``--inject`` that there is something to break for."""

    def __init__(self, pc: PcPart, kernel: KernelPart) -> None:
        self.pc, self.kernel = pc, kernel

    # Before the crash.

    def words(self) -> Sequence[str]:
        """Words for the first kernel's command line."""
        return ()

    def build(self, first: KernelImage, constants: Mapping[str, int]) -> None:  # noqa: B027
        """Build the images it needs beside the first kernel.  ScenarioError where one does not fit the machine.

        `constants` are what the first kernel was compiled with.
        """

    def files(self) -> Mapping[str, bytes]:
        """Files for the system disk."""
        return {}

    def partition(self) -> int:
        """Sectors that it needs on the system disk, behind the swap area."""
        return 0

    @abstractmethod
    def prepare(self, host: Host) -> str:
        """Arm the mechanism on the booted machine, and have the oracle watch its milestones; what to say of it.

        AgentFailure or MechanismError if the guest refuses.
        """

    def unarmed(self, host: Host) -> str:
        """Why a crash would not be dumped as it stands, and what would help; empty if it would.  AgentFailure."""
        return ""

    def parts(self) -> Iterable[bytes]:
        """What `prepare` uses beside the files and the words, so that another of them makes another machine."""
        return ()

    def kernels(self) -> Sequence[tuple[KernelImage, int]]:
        """Kernels beside the first that may run, and by how much each is loaded away from where it is linked.

        For debuggers; one that moves is there once `prepare` has loaded it.
        """
        return ()

    def objects(self) -> Sequence[tuple[bytes, Mapping[str, int]]]:
        """Relocatable objects that `prepare` has loaded, with debug data, and where the sections of each are."""
        return ()

    def landmarks(self, host: Host) -> Sequence[Landmark]:
        """What can be seen on the way to the dump, once `prepare` is done."""
        return ()

    def stations(self) -> Sequence[Station]:
        """Places between the hand-over and the dump, in order; known once `prepare` is done."""
        return ()

    def areas(self, host: Host) -> Sequence[Area]:
        """What it has in memory, in order of address, as the machine has it now."""
        return ()

    def headers(self, host: Host) -> Sequence[DumpHeader]:
        """The program headers that it has prepared for the dump, as the machine has them now."""
        return ()

    def state(self) -> Any:
        """What it knows since `prepare`, as plain data (`kdumpsim.plaindata`)."""
        return None

    @abstractmethod
    def restore(self, state: Any, host: Host) -> None:
        """Watch a machine that was made what the one of `state` was."""

    # After it.

    @abstractmethod
    def phases(self, host: Host) -> Sequence[Phase]:
        """The way from the hand-over to the end."""

    def activity(self, host: Host) -> object:
        """Something that changes while the dump goes on, beside the console: the operator waits as long as it does."""
        return None

    def notes(self, host: Host) -> list[Note]:
        """What could be seen of it between the hand-over and the dump."""
        return []

    def stage(self, host: Host) -> str:
        """How far the machine has come since the hand-over: where a run ended that has no dump."""
        return self.hand_over

    @abstractmethod
    def captured(self, host: Host) -> bool:
        """Whether a whole dump is where it belongs."""

    def failure(self, host: Host, ending: str) -> str:
        """Why there is none although the kernel handed over, in a sentence."""
        return f"{self.hand_over} was entered and no dump was brought home; {ending}"

    # The dump.

    def opened(self, host: Host) -> Vmcore | None:
        """The dump, where it was saved; None without one.  VmcoreError if it cannot be read."""
        return None

    def extract(self, host: Host, path: Path | None, *, sha256: bool = True) -> tuple[int, str | None] | None:
        """Copy the dump to a file, if one is given; its size in bytes and, if wanted, its SHA-256.

        None where there is none to copy.
        """
        return None

    def judge(self, host: Host) -> Judgement:
        """Hold the dump to the machine's own memory.  VmcoreError or ValueError where it cannot be judged."""
        raise ValueError(f"a dump by {self.name} is no file")


def kernel_words(kernel: KernelPart, which: Kernel) -> list[str]:
    """What a kernel is told in any case: its console, its disk, and the options that it would not take itself."""
    options = kernel.options
    return [CONSOLE, f"root={ROOT[options['combined_mode']]}", command_line(options, which)]


_registered: dict[str, type[Mechanism]] = {}


def register(mechanism: type[Mechanism], row: Row) -> None:
    """Make a mechanism of one's own known, so that a scenario can name it."""
    MECHANISMS[mechanism.name] = row
    _registered[mechanism.name] = mechanism


def mechanism_of(kernel: KernelPart) -> type[Mechanism]:
    """The mechanism that a scenario names."""
    name = kernel.mechanism
    if name not in _registered:
        (_registered[name],) = (
            each
            for each in vars(import_module(f"kdumpsim.mechanisms.{name}")).values()
            if isinstance(each, type) and issubclass(each, Mechanism) and vars(each).get("name") == name
        )
    return _registered[name]


def check_guest(mechanism: type[Mechanism], kernel: KernelPart, first: KernelImage) -> None:
    """ScenarioError if the kernel has no such mechanism, or the mechanism nothing that ``--inject`` could break."""
    start, stop = first.symbols["__start_dump_mechanisms"], first.symbols["__stop_dump_mechanisms"]
    names = [first.string(entry["name"]) for entry in DUMP_MECHANISM.entries(first.read(start, stop - start))]
    names = list(dict.fromkeys(names))  # one may have several entries
    if mechanism.name not in names:
        raise ScenarioError(
            f"mechanism {mechanism.name} is not in the kernel, which has {', '.join(names)}; "
            "add its guest module with --guest-module"
        )
    if kernel.inject is not None and kernel.inject not in mechanism.injections:
        raise ScenarioError(f"inject {kernel.inject} has nothing to break with mechanism {mechanism.name}")
