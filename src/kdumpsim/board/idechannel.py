# SPDX-License-Identifier: GPL-2.0-or-later
"""One IDE channel: the ATA protocols over virtual time, for the two drives on a cable. `ide.py` tells the whole story.

Follows ATA/ATAPI-6 (T13/1410D) chapter 9: PIO in, PIO out, non-data and DMA protocols, software reset, diagnostics.
What it does not model stands in `ide.py`, `ata.py` and `busmaster.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kdumpsim.apic.timers import Timers
from kdumpsim.board.ata import (
    ABRT,
    BSY,
    COMMANDS,
    DEVICE,
    DRDY,
    DRQ,
    DSC,
    ERR,
    ERROR,
    HOB,
    IDNF,
    NIEN,
    READY,
    SRST,
    STATUS,
    UNC,
    Command,
    Device,
    DeviceControl,
    Drive,
)
from kdumpsim.board.busmaster import INTERRUPT, BusMaster, DmaMemory
from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.board.pci import PciFunction

COMMAND_NS = 5_000  # a command that moves no data
SEEK_NS = 100_000  # to the first sector
SECTOR_NS = 8_533  # 512 bytes at 60 MB/s
FLUSH_NS = 200_000
RESET_NS = 2_000_000  # software reset and diagnostics
DMA_CHUNKS = {"dma_in": 64, "dma_out": 512}  # sectors that move in one event: what arrives in memory can be watched

_DIAGNOSTIC = 0x90
_BUSY = BSY | DRDY | DSC


@dataclass
class Transfer:
    """A data command under way: what is left of it."""

    lba: int
    left: int  # sectors
    block: int  # sectors between interrupts (PIO), or at a time (DMA)
    ready_at: int  # when the heads are there


class Channel:
    """Two drives, one cable, one interrupt, one bus master engine."""

    def __init__(
        self,
        name: str,
        timers: Timers,
        memory: DmaMemory,
        irq: Callable[[bool], None],
        drives: tuple[Drive, Drive],
        pci: PciFunction,
    ) -> None:
        self.drives = drives
        self.seek_ns: Callable[[], int] = lambda: SEEK_NS
        """How long until the first sector is there; the board may have it vary."""
        self.bus_master = BusMaster(memory)
        self._timers = timers
        self._timer = timers.timer(name, self._expired)
        self._irq = irq
        self._pci = pci
        self._steps: dict[str, Callable[[], None]] = {
            "done": self._done,
            "reset": self._reset_done,
            "pio_in": self._pio_in,
            "pio_out": self._pio_out,
            "pio_written": self._pio_written,
            "dma_in": self._dma_in,
            "dma_out": self._dma_out,
        }
        self._clear()

    def _clear(self) -> None:
        self._timer.cancel()
        self.selected = self.drives[0]
        self.control = DeviceControl()
        self._line = False
        self._step = ""  # what the timer does next
        self._dma = ""  # the step of a DMA command under way
        self._result = 0  # error register of a command that is about to end
        self._transfer: Transfer | None = None
        self._buffer = bytearray()
        self._at = 0
        self._wanted = 0  # bytes of the PIO block the host may move now; 0 while it may not

    def reset(self) -> None:
        self._clear()
        self._irq(False)
        self.bus_master.reset()
        for drive in self.drives:
            drive.power_on()

    # Registers.

    def read(self, register: int) -> int:
        """ERROR to STATUS; absent drives: see the module's text."""
        drive = self.selected
        if register == STATUS:
            if drive.interrupt:
                drive.interrupt = False
                self._update_irq()
            return drive.status
        if drive.disk is None:
            return 0 if register == ERROR or self.drives[0].disk is None else drive.read(register, self._hob())
        return drive.error if register == ERROR else drive.read(register, self._hob())

    def alternate_status(self) -> int:
        return self.selected.status

    def _hob(self) -> bool:
        return bool(self.control.value & HOB)

    def write(self, register: int, value: int) -> None:
        if register == STATUS:
            self._command(value)
            return
        if self.selected.status & (BSY | DRQ):
            return
        self.control.value &= ~HOB
        for drive in self.drives:
            drive.write(register, value)
        if register == DEVICE:
            self.selected = self.drives[bool(value & Device.drive.mask)]
            self._update_irq()

    def write_control(self, value: int) -> None:
        before = self.control.software_reset
        self.control.write(value)
        if self.control.software_reset and not before:
            self._abandon()
            for drive in self.drives:
                drive.interrupt = False
                if drive.disk:
                    drive.status = BSY
        elif before and not self.control.software_reset:
            self._after(RESET_NS, "reset")
        self._update_irq()

    def _abandon(self) -> None:
        """Forget the command under way: nothing more moves."""
        self._timer.cancel()
        self._step = self._dma = ""
        self._transfer = None
        self._buffer = bytearray()
        self._at = self._wanted = 0

    # The interrupt line: the selected drive's, unless nIEN.

    def _update_irq(self) -> None:
        level = self.selected.interrupt and not self.control.value & NIEN
        if level != self._line:
            self._line = level
            if level:
                self.bus_master.status.value |= INTERRUPT
            self._irq(level)

    def _interrupt(self) -> None:
        self.selected.interrupt = True
        self._update_irq()

    # Commands.

    def _after(self, delay: int, step: str) -> None:
        self._step = step
        self._timer.arm(self._timers.now + delay)

    def _after_medium(self, step: str) -> None:
        """Do `step` when the next block's sectors have passed under the heads."""
        transfer, now = self._transfer, self._timers.now
        assert transfer is not None
        # A descriptor table that was too short may have left part of a DMA block behind.
        done = self._at // SECTOR if self._dma else 0
        sectors = min(transfer.left, transfer.block) - done
        self._after(max(transfer.ready_at - now, 0) + sectors * SECTOR_NS, step)

    def _expired(self) -> None:
        step, self._step = self._step, ""
        if step:
            self._steps[step]()

    def _command(self, code: int) -> None:
        drive = self.selected
        if drive.status & (BSY | DRQ) or self.control.value & SRST:
            return
        if code == _DIAGNOSTIC and self.drives[0].disk:
            for each in self.drives:
                each.interrupt = False
                each.status = BSY if each.disk else 0
            self._update_irq()
            self._transfer = Transfer(0, 0, 0, 0)  # an interrupt is due at the end
            self._after(RESET_NS, "reset")
            return
        if drive.disk is None:
            return
        drive.interrupt = False
        self._update_irq()
        drive.error = 0
        drive.status = _BUSY
        self._abandon()
        command = COMMANDS.get(code)
        if command is None:
            self._end(ABRT)
        else:
            self._begin(command, drive, drive.disk)

    def _begin(self, command: Command, drive: Drive, disk: Disk) -> None:
        action = command.action
        if action in ("read", "write", "read_dma", "write_dma", "verify", "seek"):
            lba = drive.address(command.ext)
            ready_at = self._timers.now + self.seek_ns()
            count = 1 if action == "seek" else drive.sector_count(command.ext)
            if drive.bad_transfers and action != "seek":
                drive.bad_transfers -= 1
                self._end(UNC, SEEK_NS)
            elif command.multiple and not drive.multiple:
                self._end(ABRT)
            elif lba is None or lba + count > disk.sectors:
                self._end(IDNF, SEEK_NS)
            elif action in ("verify", "seek"):
                self._end(0, SEEK_NS + (count - 1) * SECTOR_NS)
            elif action == "read":
                self._transfer = Transfer(lba, count, drive.multiple if command.multiple else 1, ready_at)
                self._after_medium("pio_in")
            elif action == "write":
                self._transfer = Transfer(lba, count, drive.multiple if command.multiple else 1, ready_at)
                self._pio_out()  # at once: there are drivers that do not wait for DRQ
            else:
                self._dma = "dma_in" if action == "read_dma" else "dma_out"
                self._transfer = Transfer(lba, count, DMA_CHUNKS[self._dma], ready_at)
                self._dma_go()
        elif action == "identify":
            self._buffer = bytearray(drive.identify())
            self._transfer = Transfer(0, 0, 1, 0)
            self._after(COMMAND_NS, "pio_in")
        elif action == "set_multiple":
            self._end(0 if drive.set_multiple() else ABRT)
        elif action == "set_features":
            self._end(0 if drive.set_features() else ABRT)
        elif action == "parameters":
            self._end(0 if drive.set_parameters() else ABRT)
        elif action == "native_max":
            drive.set_address(disk.sectors - 1 if command.ext else min(disk.sectors, 0x0FFFFFFF) - 1, command.ext)
            self._end(0)
        elif action == "power_mode":
            drive.count = 0xFF  # active or idle
            self._end(0)
        elif action == "flush":
            disk.flush()
            self._end(0, FLUSH_NS)
        else:
            self._end(0)

    def _end(self, error: int, delay: int = COMMAND_NS) -> None:
        self._result = error
        self._after(delay, "done")

    def _done(self) -> None:
        drive = self.selected
        drive.error = self._result
        drive.status = READY | ERR if self._result else READY
        self._transfer = None
        self._dma = ""
        self._interrupt()

    def _reset_done(self) -> None:
        interrupt = self._transfer is not None
        self._abandon()
        self.selected = self.drives[0]
        for drive in self.drives:
            drive.signature()
        if interrupt:
            self._interrupt()
        else:
            self._update_irq()

    # PIO: the drive fills or wants a block, then says so with DRQ.

    def _offer(self, size: int) -> None:
        self._at, self._wanted = 0, size
        self.selected.status = READY | DRQ

    def _pio_in(self) -> None:
        transfer, disk = self._transfer, self.selected.disk
        assert transfer is not None
        assert disk is not None
        if transfer.left:
            count = min(transfer.left, transfer.block)
            self._buffer = bytearray(disk.read(transfer.lba, count))
            transfer.lba += count
            transfer.left -= count
        self._offer(len(self._buffer))
        self._interrupt()

    def _pio_out(self) -> None:
        transfer = self._transfer
        assert transfer is not None
        size = min(transfer.left, transfer.block) * SECTOR
        self._buffer = bytearray(size)
        self._offer(size)

    def _pio_written(self) -> None:
        transfer, disk = self._transfer, self.selected.disk
        assert transfer is not None
        assert disk is not None
        disk.write(transfer.lba, self._buffer)
        count = len(self._buffer) // SECTOR
        transfer.lba += count
        transfer.left -= count
        if transfer.left:
            self._pio_out()
            self._interrupt()
        else:
            self._finish_data()

    def _finish_data(self) -> None:
        self.selected.count = 0
        self._result = 0
        self._done()

    def data_read(self, size: int) -> int:
        at, wanted = self._at, self._wanted
        if at >= wanted:
            return 0
        self._at = end = at + size
        value = int.from_bytes(self._buffer[at:end], "little")
        if end >= wanted:
            self._block_moved("pio_in")
        return value

    def data_write(self, size: int, value: int) -> None:
        at = self._at
        if at >= self._wanted:
            return
        self._buffer[at : at + size] = value.to_bytes(size, "little")
        at += size
        self._at = at
        if at >= self._wanted:
            del self._buffer[self._wanted :]
            self._block_moved("pio_written")

    def _block_moved(self, step: str) -> None:
        """The host has taken or given a whole block."""
        transfer = self._transfer
        assert transfer is not None
        self._at = self._wanted = 0
        if step == "pio_in" and not transfer.left:
            # The last block of a read ends the command without another interrupt.
            self.selected.status = READY
            self.selected.count = 0
            self._abandon()
            return
        self.selected.status = _BUSY
        self._after_medium(step)

    # DMA: chunk by chunk, while the bus master lets it.

    def _dma_go(self) -> None:
        """Go on with a DMA command if the drive and the bus master both can."""
        transfer, master = self._transfer, self.bus_master
        if not self._dma or transfer is None or self._step:
            return
        if master.active and self._pci.may_master and master.to_memory == (self._dma == "dma_in"):
            self.selected.status = _BUSY
            self._after_medium(self._dma)
        else:
            self.selected.status = READY | DRQ

    def bus_master_changed(self) -> None:
        """The guest started or stopped the engine, or took the bus away."""
        if self._dma and self._step == self._dma and not (self.bus_master.active and self._pci.may_master):
            self._timer.cancel()
            self._step = ""
        self._dma_go()

    def _dma_in(self) -> None:
        transfer, disk = self._transfer, self.selected.disk
        assert transfer is not None
        assert disk is not None
        count = min(transfer.left, transfer.block)
        data = memoryview(disk.read(transfer.lba, count))
        self._at += self.bus_master.scatter(data[self._at :])
        self._dma_moved(count, self._at == len(data))

    def _dma_out(self) -> None:
        transfer, disk = self._transfer, self.selected.disk
        assert transfer is not None
        assert disk is not None
        count = min(transfer.left, transfer.block)
        data = self.bus_master.gather(count * SECTOR - self._at)
        if self._at or len(data) != count * SECTOR:
            self._buffer += data
            data = bytes(self._buffer)
        self._at = len(data)
        whole = self._at == count * SECTOR
        if whole:
            disk.write(transfer.lba, data)
            self._buffer = bytearray()
        self._dma_moved(count, whole)

    def _dma_moved(self, count: int, whole: bool) -> None:
        transfer = self._transfer
        assert transfer is not None
        if whole:
            self._at = 0
            transfer.lba += count
            transfer.left -= count
            if not transfer.left:
                self._dma = ""
                self._finish_data()
                return
        self._dma_go()

    def state(self) -> dict[str, Any]:
        return {
            "drives": [drive.state() for drive in self.drives],
            "bus_master": self.bus_master.state(),
            "selected": self.drives.index(self.selected),
            "control": self.control.value,
            "line": self._line,
            "step": self._step,
            "dma": self._dma,
            "result": self._result,
            "transfer": asdict(self._transfer) if self._transfer else None,
            "buffer": bytes(self._buffer),
            "at": self._at,
            "wanted": self._wanted,
        }

    def restore(self, state: dict[str, Any]) -> None:
        for drive, saved in zip(self.drives, state["drives"], strict=True):
            drive.restore(saved)
        self.bus_master.restore(state["bus_master"])
        self.selected = self.drives[state["selected"]]
        self.control.value = state["control"]
        self._line = state["line"]
        self._step = state["step"]
        self._dma = state["dma"]
        self._result = state["result"]
        self._transfer = Transfer(**state["transfer"]) if state["transfer"] else None
        self._buffer = bytearray(state["buffer"])
        self._at, self._wanted = state["at"], state["wanted"]
