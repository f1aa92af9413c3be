# SPDX-License-Identifier: GPL-2.0-or-later
"""kdump: the dying kernel jumps to a second one, loaded beforehand into a reserved region, which saves its memory.

(kdump paper; in the guest `kernel/core/kexec.py`, purgatory, `kernel/capture/` and savecore of `userland/`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdumpsim import images
from kdumpsim.disks.dumpdisk import DumpOnDisk, digest, extract, find_dump
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.load import CAPTURE_LOADED, kexec_load_panic
from kdumpsim.kexec.purgatory import MAX_REGIONS, Purgatory
from kdumpsim.kexec.segments import Range
from kdumpsim.lkdtt.outcome import Note, Seen
from kdumpsim.mechanisms.base import (
    Area,
    DumpHeader,
    Host,
    Landmark,
    Mechanism,
    MechanismError,
    Phase,
    Station,
    kernel_words,
)
from kdumpsim.mechanisms.loaded import Loaded
from kdumpsim.scenario.conditions import USUAL_DUMP_DISK
from kdumpsim.scenario.options import Kernel, config
from kdumpsim.scenario.scenario import check_kernel
from kdumpsim.scenario.values import Reservation, ScenarioError, format_size
from kdumpsim.target import PAGE_SIZE, TARGET, physical, words
from kdumpsim.vmcore.compare import Judgement, judge
from kdumpsim.vmcore.reader import Vmcore

CAPTURE_KERNEL_PATH = "/boot/vmlinux-kdump"
CAPTURE_DEFAULTS = ("maxcpus=1",)
CAPTURE_WORKING_MEMORY = 1 << 20
"""What a capture kernel needs beyond its image: headers, backup region (640 KiB), page tables, buffers."""
CORRUPT = "corrupt-capture-kernel"


State = tuple[int, tuple[int, int], tuple[tuple[int, int], ...], int]
"""Purgatory's entry, the reserved region, each CPU's note area: (start, end), and how far the capture kernel was
moved."""


class Kdump(Mechanism):
    """Its milestones are purgatory's first instruction, which kexec-tools place, and the capture kernel's."""

    name = "kdump"
    entry = "crash_kexec"
    save_cpu = "crash_save_cpu"
    savers = frozenset({"crash_setup_regs", "crash_save_self", "machine_crash_shutdown"})
    hand_over = "purgatory"
    paper = "kdump paper"
    preparation = "kexec -p: loading the capture kernel"
    injections = frozenset({CORRUPT})

    capture: images.KernelImage
    _state: State | None = None
    _started_ns: int | None = None

    def words(self) -> Sequence[str]:
        return (f"crashkernel={self.kernel.crashkernel}",)

    def build(self, first: images.KernelImage, constants: Mapping[str, int]) -> None:
        check_kernel(self.pc, self.kernel, first.physical_end)
        region = self.kernel.crashkernel
        own = config(self.kernel.options, Kernel.CAPTURE)
        # Where it is linked does not matter to a relocatable one.
        linked = images.FIRST_KERNEL_BASE if "RELOCATABLE" in own or region.base is None else region.base
        self.capture = images.kernel(linked, {**self.constants, **own}, self.kernel.guest_modules)
        needed = self.capture.physical_end - linked + CAPTURE_WORKING_MEMORY
        if needed > region.size_with(self.pc.memory):
            least = -(-needed // PAGE_SIZE) * PAGE_SIZE
            raise ScenarioError(
                f"crashkernel {region} is too small: the capture kernel needs at least {format_size(least)}"
            )

    def files(self) -> Mapping[str, bytes]:
        return {CAPTURE_KERNEL_PATH: self.capture.stripped}

    def command_line(self) -> str:
        """What the capture kernel is told."""
        disk = self.pc.dump_disk
        words = [*kernel_words(self.kernel, Kernel.CAPTURE), f"dumpdisk={disk}" if disk != USUAL_DUMP_DISK else ""]
        return " ".join(filter(None, words))

    def prepare(self, host: Host) -> str:
        """kexec -p through the agent; the capture kernel lies on the guest's own disk."""
        line = self.command_line()
        try:
            plan = kexec_load_panic(
                host.guest, self.capture.stripped, CAPTURE_KERNEL_PATH, line, defaults=CAPTURE_DEFAULTS
            )
        except KexecError as error:
            raise MechanismError(str(error)) from error
        assert plan.crash is not None
        notes = tuple((area.start, area.end) for area in plan.crash_notes)
        moved = plan.kernel.extent.start - self.capture.base
        self.restore((plan.entry, (plan.crash.start, plan.crash.end), notes, moved), host)
        if self.kernel.inject == CORRUPT:
            self._corrupt(host)
        region = Reservation(plan.crash.size, plan.crash.start)
        return f"capture kernel at {region}, {len(plan.segments)} segments"

    def unarmed(self, host: Host) -> str:
        if host.guest.read_file(CAPTURE_LOADED).strip() == b"1":
            return ""
        return "no capture kernel is loaded, so the kernel went on; kexec -p loads one"

    def parts(self) -> Iterable[bytes]:
        return (images.purgatory(),)

    def kernels(self) -> Sequence[tuple[images.KernelImage, int]]:
        moves = self.capture.base == images.FIRST_KERNEL_BASE
        if self._state is None:
            return () if moves else ((self.capture, 0),)
        return ((self.capture, self._state[3]),)

    def objects(self) -> Sequence[tuple[bytes, Mapping[str, int]]]:
        if self._state is None:
            return ()
        return images.purgatory_modules(self._state[0] - Purgatory(images.purgatory(), 0).entry)

    def landmarks(self, host: Host) -> Sequence[Landmark]:
        if self._state is None:
            return ()
        memory, moved = host.machine.memory.view, self._state[-1]
        obj = images.purgatory()
        between = Purgatory(obj, self._state[0] - Purgatory(obj, 0).entry).symbols
        capture = {name: address + moved for name, address in self.capture.symbols.items()}

        def variable(address: int, count: int = 1) -> tuple[int, ...]:
            return words(bytes(memory[address : address + count * TARGET.word]))

        def digest_checked(same: int) -> tuple[bool, str]:
            regions = variable(between["sha256_regions"], 2 * MAX_REGIONS)
            covered = f"{sum(regions[1::2])} bytes in {sum(map(bool, regions[1::2]))} pieces"
            if same & 0xFF:
                return True, f"the SHA-256 of {covered} is the one that kexec had computed"
            return False, f"the SHA-256 of {covered} is not the one that kexec had computed"

        def copied(_: int) -> tuple[None, str]:
            source, size, target = (
                variable(between[f"backup_{name}"])[0] for name in ("src_start", "src_size", "start")
            )
            return None, f"{size >> 10} KiB at {source:#x} are at {target:#x} as well"

        def headers_read(error: int) -> tuple[bool, str]:
            if error:
                return False, "/proc/vmcore cannot be made of them"
            low, high = variable(physical(capture["vmcore_size"]), 2)
            return True, f"/proc/vmcore has {high << 32 | low} bytes"

        return (
            Landmark("purgatory checks what was loaded", between["verify_sha256_digest"], digest_checked),
            Landmark("purgatory makes room for the capture kernel", between["copy_backup_region"], copied),
            Landmark("the capture kernel", capture["start_kernel"]),
            Landmark(
                "the capture kernel reads the ELF headers of the dead one's memory",
                capture["parse_crash_elf_headers"], headers_read,
            ),
        )  # fmt: skip

    def stations(self) -> Sequence[Station]:
        if self._state is None:
            return ()
        symbols, moved = self.capture.symbols, self._state[3]
        return (
            Station("backup done", "purgatory has saved low memory", physical(symbols[images.KERNEL_ENTRY]) + moved),
            Station("capture kernel up", "the capture kernel is up", symbols["init_post"] + moved),
        )

    def _loaded(self, host: Host) -> Loaded | None:
        if self._state is None:
            return None
        purgatory = Purgatory(images.purgatory(), 0)
        parameters = self._state[0] - purgatory.entry + purgatory.symbols["kernel_ebx"]
        return Loaded(host.machine.memory.view, host.first.symbols, self.capture, self._state[3], parameters)

    def areas(self, host: Host) -> Sequence[Area]:
        loaded = self._loaded(host)
        return loaded.areas() if loaded is not None else ()

    def headers(self, host: Host) -> Sequence[DumpHeader]:
        loaded = self._loaded(host)
        return loaded.headers() if loaded is not None else ()

    def state(self) -> State | None:
        return self._state

    def restore(self, state: Any, host: Host) -> None:
        self._state = state
        if state is None:
            return
        entry, crash, notes, moved = state
        host.oracle.watch_jump(entry, Range(*crash), [Range(*area) for area in notes], where=self.hand_over)

        def started(_cpu: Any) -> None:
            if self._started_ns is None:
                self._started_ns = host.now

        host.machine.watch(self.capture.symbols["start_kernel"] + moved, started)

    def _corrupt(self, host: Host) -> None:
        """Flip a bit in each page of the loaded capture kernel's text, as a stray DMA might."""
        assert self._state is not None
        memory, moved = host.machine.memory, self._state[-1]
        for page in range(self.capture.base, physical(self.capture.symbols["_etext"]), PAGE_SIZE):
            address = page + moved + PAGE_SIZE // 2
            memory.dma_write(address, bytes([memory.view[address] ^ 1]))

    def phases(self, host: Host) -> Sequence[Phase]:
        total = self.pc.memory - self.kernel.crashkernel.size_with(self.pc.memory)

        def who(_ending: str) -> str:
            cpu = host.oracle.jump.cpu if host.oracle.jump else 0
            return f"capture kernel on CPU {cpu}" if self._started_ns else "the capture kernel did not start"

        def saved(ending: str) -> str:
            header = find_dump(host.dump_disk)
            return f"{header.size / (1 << 20):.1f} MiB saved, {ending}" if header else ending

        return (
            Phase("capture", "purgatory checks, the capture kernel boots", lambda: host.dump_disk.written > 0, who),
            Phase(
                "save", "saving /proc/vmcore to the dump disk", lambda: False, saved,
                lambda: (min(host.dump_disk.written, total), total),
            ),
        )  # fmt: skip

    def activity(self, host: Host) -> object:
        return host.dump_disk.written

    def notes(self, host: Host) -> list[Note]:
        if self._started_ns is None:
            return []
        return [Note(self._started_ns, Seen.CAPTURE_STARTED, "the capture kernel was entered")]

    def captured(self, host: Host) -> bool:
        return find_dump(host.dump_disk) is not None

    def stage(self, host: Host) -> str:
        return "purgatory" if self._started_ns is None else "capture kernel"

    def failure(self, host: Host, ending: str) -> str:
        if self._started_ns is not None:
            return "the capture kernel was entered, but saved no dump"
        refusal = host.console.last_line("purgatory:")
        return refusal or f"purgatory was entered, the capture kernel was not; {ending}"

    def extract(self, host: Host, path: Path | None, *, sha256: bool = True) -> tuple[int, str | None] | None:
        header = find_dump(host.dump_disk)
        if header is None:
            return None
        if path is not None:
            extract(host.dump_disk, header, path)
        return header.size, digest(host.dump_disk, header) if sha256 else None

    def opened(self, host: Host) -> Vmcore | None:
        header = find_dump(host.dump_disk)
        if header is None:
            return None
        return Vmcore(f"dump on {self.pc.dump_disk}", storage=DumpOnDisk(host.dump_disk, header))

    def judge(self, host: Host) -> Judgement:
        core = self.opened(host)
        if core is None:
            raise ValueError("there is no dump on the disk")
        with core:
            return judge(core, host.oracle)
