# SPDX-License-Identifier: GPL-2.0-or-later
"""LKCD: the dying kernel writes its memory to a dump partition, by its own block layer and driver, and restarts.

(LKDTT paper, sections 2.2 and 5.1; in the guest `kernel/lkcd/`.)  The partition is the end of the system disk, as on a
machine with one disk, or all of the disk that ``--dump-disk`` names.  What LKCD's `lkcd save` does after the next boot
is done by the host here: the machine's run ends with the reset.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdumpsim.agent.errors import AgentError
from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.disks.dumpdisk import DumpHeader, DumpOnDisk, digest, extract
from kdumpsim.lkdtt.outcome import Note, Seen
from kdumpsim.mechanisms.base import ROOT, Host, Mechanism, MechanismError, Phase
from kdumpsim.scenario.conditions import USUAL_DUMP_DISK
from kdumpsim.target import PAGE_SIZE, PT_REGS, physical
from kdumpsim.vmcore.compare import Judgement, judge
from kdumpsim.vmcore.lkcd import FIRST_PAGE, LkcdCore, LkcdHeader, read_header, smp_registers
from kdumpsim.vmcore.oracle import Region

DEVICE = "/proc/sys/dump/device"
HEADER_OFFSET = 4096
"""Bytes at the beginning of a partition that LKCD leaves alone."""
RESTART_SECONDS = 5
"""kernel.panic: LKCD restarts the machine only if it is told when."""
WHY = {"ENODEV": "there is no such disk", "ENOSPC": "the dump partition is too small", "EINVAL": "it cannot be used"}


class Lkcd(Mechanism):
    """Its hand-over is the first write to the dump device."""

    name = "lkcd"
    entry = "dump_execute"
    save_cpu = "dump_save_context"
    hand_over = "dump_update_header"
    preparation = "lkcd config: the dump device is opened"
    place = "the dump partition"
    folders = ("lkcd",)

    _saved_ns: int | None = None
    _watchdog_ns: int | None = None

    def words(self) -> Sequence[str]:
        return (f"panic={RESTART_SECONDS}",)

    def partition(self) -> int:
        if self.pc.dump_disk != USUAL_DUMP_DISK:
            return 0
        pages = self.pc.memory // PAGE_SIZE
        return -(-(HEADER_OFFSET + FIRST_PAGE + (pages + 1) * (PAGE_SIZE + 16)) // SECTOR) + 8

    def device(self, host: Host) -> tuple[str, Disk, int]:
        """The dump partition: the disk's name in the guest, the disk, and its first sector."""
        if self.pc.dump_disk != USUAL_DUMP_DISK:
            return self.pc.dump_disk, host.dump_disk, 0
        disk = host.system_disk
        name = ROOT[self.kernel.options["combined_mode"]].removeprefix("/dev/")
        return name, disk, disk.sectors - self.partition()

    def prepare(self, host: Host) -> str:
        name, disk, start = self.device(host)
        sectors = disk.sectors - start
        try:
            host.guest.write_file(DEVICE, f"{name} {start} {sectors}\n".encode())
        except AgentError as error:
            why = WHY.get(error.name, str(error))
            raise MechanismError(
                f"lkcd cannot dump to sectors {start} to {disk.sectors} of {name}: {why} "
                f"({host.console.last_line('LKCD:') or error.name})"
            ) from error
        self.restore(None, host)
        return f"dump partition: sectors {start} to {disk.sectors} of {name}"

    def unarmed(self, host: Host) -> str:
        if host.guest.read_file(DEVICE).strip() != b"none":
            return ""
        return f"no dump device is configured, so the kernel went on; write 'DISK START SECTORS' to {DEVICE}"

    def restore(self, state: Any, host: Host) -> None:
        symbols = host.first.symbols
        header = physical(symbols["dump_header_asm"])
        places = [header + smp_registers(cpu) for cpu in range(self.pc.cpus)]
        areas = [Region(place, place + PT_REGS.size) for place in places]
        host.oracle.watch_jump(symbols[self.hand_over], None, areas, where=self.hand_over, keep_handed=True)

        def restarts(_cpu: Any) -> None:
            if self._saved_ns is None and self.captured(host):
                self._saved_ns = host.now

        def locked_up(_cpu: Any) -> None:
            if self._saved_ns is not None and self._watchdog_ns is None:
                self._watchdog_ns = host.now

        host.machine.watch(symbols["dump_restart"], restarts)
        host.machine.watch(symbols["die_nmi"], locked_up)

    def phases(self, host: Host) -> Sequence[Phase]:
        total = self.pc.memory
        _, disk, _ = self.device(host)
        before = disk.written

        def saved(ending: str) -> str:
            header = self._header(host)
            return f"{header.size / (1 << 20):.1f} MiB saved, {ending}" if header else ending

        return (
            Phase(
                "save", "saving memory to the dump partition", lambda: self._saved_ns is not None, saved,
                lambda: (min(disk.written - before, total), total),
            ),
            Phase("restart", "restarting the machine", lambda: False, lambda ending: ending),
        )  # fmt: skip

    def activity(self, host: Host) -> object:
        return self.device(host)[1].written

    def notes(self, host: Host) -> list[Note]:
        if self._watchdog_ns is None:
            return []
        text = "the dump was taken, and the NMI watchdog found the machine hung on reboot"
        return [Note(self._watchdog_ns, seen, text) for seen in (Seen.REBOOT_HANGS, Seen.NMI_WATCHDOG)]

    def stage(self, host: Host) -> str:
        return "restart" if self._saved_ns is not None else "dump"

    def captured(self, host: Host) -> bool:
        return self._header(host) is not None

    def failure(self, host: Host, ending: str) -> str:
        said = host.console.last_line("LKCD:")
        return f"the kernel began to write the dump and did not come to its end; {ending} ({said})"

    def extract(self, host: Host, path: Path | None, *, sha256: bool = True) -> tuple[int, str | None] | None:
        header = self._header(host)
        if header is None:
            return None
        _, disk, start = self.device(host)
        place = DumpHeader(header.size, start + HEADER_OFFSET // SECTOR)
        if path is not None:
            extract(disk, place, path)
        return header.size, digest(disk, place) if sha256 else None

    def judge(self, host: Host) -> Judgement:
        with LkcdCore(f"dump on {self.place}", self._file(host)) as core:
            return judge(core, host.oracle)

    def _file(self, host: Host) -> DumpOnDisk:
        """The partition from the dump's header on."""
        _, disk, start = self.device(host)
        first = start + HEADER_OFFSET // SECTOR
        return DumpOnDisk(disk, DumpHeader((disk.sectors - first) * SECTOR, first))

    def _header(self, host: Host) -> LkcdHeader | None:
        """The header of a whole dump; None without one."""
        header = read_header(self._file(host))
        return header if header is not None and header.pages else None
