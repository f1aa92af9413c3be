# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's `pc` with the face of our machine, as far as a session and the oracle look at one (`machines.pc.Pc`).

Time is how long the PC has run, in ns of the host's clock: it stands while the PC is stopped at a breakpoint, while a
picture is taken say, and while the host has no CPU for QEMU.  There is no seed to make it repeat.  Watches are
breakpoints of QEMU's gdbstub.  RAM is a file that both processes map, so it is looked at without asking QEMU.

The PC is QEMU's own affair (docs/qemu.md says where it differs from ours); of its devices only these are touched: two
serial lines, the keyboard, and what the disks' files hold.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from typing import Any

from kdumpsim.board.disk import SECTOR, Disk
from kdumpsim.board.machine import StopReason
from kdumpsim.board.memory import nonzero_pages
from kdumpsim.cpu import Activity, Registers
from kdumpsim.errors import QemuLost
from kdumpsim.machines.qemu_gdb import TRAP, GdbStub, Stop
from kdumpsim.machines.qemu_process import PcConfig, QemuProcess

NS = 1_000_000_000
LOOK_NS = 20_000_000
"""How often the disks' lights are looked at, and whoever may want to end the run is asked."""
FIRMWARE_NS = 60 * NS
"""What firmware and loader are given; they take a tenth of a second."""
KEYS = {"leftalt": "alt", "sysrq": "sysrq"}
"""QEMU's names of keys, where they are not ours."""
PAGING = 1 << 31
"""CR0.PG."""
MULTIBOOT_MAP = (44, 48)
"""Where a Multiboot information structure has the length and the address of the firmware's memory map."""
_ENTRY = 24
"""Where an ELF file's header has the entry point."""
_SAME_RING_FRAME = 12
"""Bytes an NMI pushes when the CPU was in ring 0: EIP, CS, EFLAGS."""


@dataclass(frozen=True)
class E820:
    """An entry of the firmware's memory map; kind 1 is RAM."""

    base: int
    size: int
    kind: int


class QemuClock:
    """How long the PC has run, in ns: what passed by the host's clock, less what QEMU waited for one of its CPUs."""

    def __init__(self) -> None:
        self.waited: Callable[[], int] = lambda: 0
        """For how long the PC, ready to run, has been kept waiting by the host, in ns."""
        self._before = 0
        self._since: int | None = None

    @property
    def now(self) -> int:
        if self._since is not None:  # never back: a wait is only known when it is over
            self._before = max(self._before, self._host_ns() - self._since)
        return self._before

    @property
    def runs(self) -> bool:
        """The PC is running."""
        return self._since is not None

    def go(self) -> None:
        """The PC runs."""
        if self._since is None:
            self._since = self._host_ns() - self._before

    def stand(self) -> None:
        """It stopped."""
        self._before, self._since = self.now, None

    def _host_ns(self) -> int:
        return time.monotonic_ns() - self.waited()


class QemuMemory:
    """The guest's RAM, mapped here too."""

    def __init__(self, size: int) -> None:
        self.file = FileIO(os.memfd_create("ram"), "r+")
        """For QEMU to map as well."""
        self.file.truncate(size)
        self.view = memoryview(mmap.mmap(self.file.fileno(), size))
        self.written: Callable[[int, int], None] = lambda begin, end: None
        self.read: Callable[[int, int], None] | None = None
        """Both never called: QEMU does not tell what its devices write and read."""
        self.e820: list[E820] = []
        """The firmware's map, as the loader handed it to the kernel; empty before."""

    def multiboot_map(self, information: int) -> list[E820]:
        """The firmware's memory map in the Multiboot information structure at a physical address."""
        size, at = (struct.unpack_from("<I", self.view, information + offset)[0] for offset in MULTIBOOT_MAP)
        entries, end = [], at + size
        while at < end:
            entry_size, base, length, kind = struct.unpack_from("<IQQI", self.view, at)
            entries.append(E820(base, length, kind))
            at += entry_size + 4
        return entries

    def pages(self) -> dict[int, bytes]:
        """The pages that are not all zero, by physical address."""
        return nonzero_pages(self.view)

    def dma_read(self, address: int, n: int) -> bytes:
        """As a device would read it."""
        return bytes(self.view[address : address + n])

    def dma_write(self, address: int, data: bytes) -> None:
        """As a stray device would write it; for memory from which nothing was executed yet, of which TCG keeps none."""
        self.view[address : address + len(data)] = data


class QemuUart:
    """The other end of a serial line."""

    def __init__(self) -> None:
        self.on_output: Callable[[bytes], None] = lambda data: None
        self._waiting = bytearray()
        self._wire: socket.socket | None = None

    def connect(self, wire: socket.socket) -> None:
        """The line is there."""
        wire.setblocking(False)
        self._wire = wire

    def fileno(self) -> int:
        """For select."""
        assert self._wire is not None
        return self._wire.fileno()

    @property
    def full(self) -> bool:
        """Something waits for the guest to read."""
        return bool(self._waiting)

    def feed(self, data: bytes) -> None:
        """Send to the guest; what it does not take yet waits here."""
        self._waiting += data
        self.push()

    def push(self) -> None:
        """Send what waits."""
        assert self._wire is not None
        try:
            while self._waiting:
                del self._waiting[: self._wire.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError as error:
            raise QemuLost(f"a serial line is gone: {error}") from None

    def flush(self) -> None:
        """Take what the guest has sent up to now."""
        assert self._wire is not None
        try:
            while data := self._wire.recv(65536):
                self.on_output(data)
        except BlockingIOError:
            pass
        except OSError as error:
            raise QemuLost(f"a serial line is gone: {error}") from None


class QemuKeyboard:
    """Keys, in place of the i8042 they arrive at; those pressed while the PC stands still arrive when it runs."""

    def __init__(self, machine: QemuMachine) -> None:
        self._machine = machine

    def press(self, key: str) -> None:
        """Press a key; QEMU lets go of it after 0.1 s."""
        self.chord(key)

    def chord(self, *keys: str) -> None:
        """Press keys in order; QEMU lets go of them after 0.1 s."""
        self._machine.send_keys([KEYS.get(key, key) for key in keys])


class QemuCpu:
    """A CPU, to be asked while the PC is stopped; `registers` stops it."""

    def __init__(self, index: int, machine: QemuMachine) -> None:
        self.index = index
        self.on_nmi: Callable[[QemuCpu], None] | None = None
        self.interrupted: Registers | None = None
        """What it held when it took the NMI whose handler it is about to run."""
        self._machine = machine

    def registers(self) -> Registers:
        """What it holds; in `on_nmi`, what it held when it was interrupted."""
        self._machine.hold()
        return self.interrupted or self._machine.gdb.registers(self.index)

    def read_linear(self, address: int, size: int) -> bytes | None:
        """Memory through its page tables."""
        return self._machine.gdb.read_linear(self.index, address, size)

    def record_activity(self) -> None:
        """Ignored: the gdbstub cannot tell what a CPU does."""

    def activity(self) -> Activity:
        """Nothing is known."""
        return Activity(0, ())


class QemuMachine:
    """One PC, powered on by `load_multiboot` and gone after `close`.  Any call may raise QemuLost."""

    copying = tracing = inspecting = striking = None
    """What the gdbstub and QMP are not asked for (`machines.pc`)."""

    def __init__(self, cpus: int, memory: int, disks: Mapping[int, Disk]) -> None:
        """`disks` by place on the two cables; their files (memfds) are QEMU's as well."""
        self.poll: Callable[[], None] | None = None
        self.reset_cause: str | None = None
        self.clock = QemuClock()
        self.memory = QemuMemory(memory)
        self.uarts = (QemuUart(), QemuUart())
        self.i8042 = QemuKeyboard(self)
        self.cpus = [QemuCpu(index, self) for index in range(cpus)]
        self._disks = disks
        self._size = memory
        self._keys: list[list[str]] = []
        self._watches: dict[int, list[Callable[[QemuCpu], None]]] = {}
        self._process: QemuProcess | None = None
        self.gdb: GdbStub

    def watch(self, address: int, callback: Callable[[QemuCpu], None]) -> None:
        """Call back before any CPU runs the instruction at a linear address.

        Where it runs without paging (the entries of a kernel and of purgatory), the first time only: TCG goes through
        the page of a breakpoint instruction by instruction, and purgatory would take seconds.
        """
        known = address in self._watches
        self._watches.setdefault(address, []).append(callback)
        if self._process is not None and not known:
            self._while_stopped(partial(self.gdb.insert, address))

    def watched(self, address: int) -> list[Callable[[QemuCpu], None]]:
        """Who is to be called at this address."""
        return list(self._watches.get(address, ()))

    def watch_nmi(self, handler: int) -> None:
        """From now on tell each CPU's `on_nmi` when it is about to run the NMI's handler, at this address."""
        if handler not in self._watches:
            self.watch(handler, self._nmi)

    def load_multiboot(self, image: bytes, cmdline: str) -> None:
        """Power on, and run firmware and loader up to the kernel's first instruction."""
        disks = {place: disk.fileno() for place, disk in self._disks.items()}
        self._process = process = QemuProcess(
            PcConfig(len(self.cpus), self._size, self.memory.file.fileno(), disks), image, cmdline
        )
        process.qmp.on_event = self._event
        self.clock.waited = process.waited_ns
        for uart, wire in zip(self.uarts, (process.console, process.agent), strict=True):
            uart.connect(wire)
        self.gdb = GdbStub(process.gdb)
        for address in self._watches:
            self.gdb.insert(address)
        (entry,) = struct.unpack_from("<I", image, _ENTRY)
        entered = False

        def enter(cpu: QemuCpu) -> None:
            nonlocal entered
            entered = True
            self.memory.e820 = self.memory.multiboot_map(cpu.registers().ebx)

        self.watch(entry, enter)
        if self.run(until=FIRMWARE_NS, stop=lambda: entered) is not StopReason.STOPPED:
            raise process.lost(QemuLost("its firmware does not get as far as the kernel"))

    def run(self, *, until: int | None = None, stop: Callable[[], bool] | None = None) -> StopReason:
        """Let it run until then (ns), until `stop()` holds, or until it resets.  It goes on running afterwards."""
        while True:
            if self.poll is not None:
                self.poll()
            if self.reset_cause is not None:
                return StopReason.RESET
            if stop is not None and stop():
                return StopReason.STOPPED
            now = self.clock.now
            if until is not None and now >= until:
                return StopReason.UNTIL
            try:
                self._turn(LOOK_NS if until is None else min(LOOK_NS, until - now))
            except QemuLost as error:
                assert self._process is not None
                raise self._process.lost(error) from None

    def send_keys(self, keys: list[str]) -> None:
        """Press them together, by QEMU's names."""
        self._keys.append(keys)

    def close(self) -> None:
        """Pull the plug.  Memory and disks can still be looked at."""
        if self._process is not None:
            self._process.close()
        self.memory.file.close()
        self.clock.stand()

    def _turn(self, ns: int) -> None:
        """Let it run for a while, and see to what happens."""
        process = self._process
        assert process is not None
        if not self.clock.runs:
            self.gdb.resume()
            self.clock.go()
        if self._keys and process.qmp.execute("query-status")["running"]:
            for keys in self._keys:
                process.qmp.execute("send-key", keys=[{"type": "qcode", "data": key} for key in keys])
            self._keys.clear()
        writers = [uart for uart in self.uarts if uart.full]
        readers: list[Any] = [self.gdb, process.qmp, *self.uarts]
        readable, writable, _ = select.select(readers, writers, [], ns / NS)
        for uart in writable:
            uart.push()
        for uart in self.uarts:
            if uart in readable:
                uart.flush()
        if (reason := self.gdb.stopped()) is not None:
            self._stopped(reason)
        process.qmp.events()  # some may have come with an answer
        for disk in self._disks.values():
            disk.written = os.fstat(disk.fileno()).st_blocks * SECTOR

    def _stopped(self, stop: Stop) -> None:
        """See to a breakpoint, if it was one, and step over it."""
        self.clock.stand()
        if stop.signal != TRAP:
            return
        cpu = self.cpus[stop.cpu]
        registers = self.gdb.registers(stop.cpu)
        address = registers.eip
        if address not in self._watches:
            return
        for callback in self.watched(address):
            callback(cpu)
        self.gdb.remove(address)
        if registers.cr0 & PAGING:
            self.gdb.step(stop.cpu)
            self.gdb.insert(address)
        else:
            del self._watches[address]

    def hold(self) -> None:
        """Stop it, if it runs, until the next `run`."""
        if self.clock.runs:
            self._stopped(self.gdb.interrupt())

    def _while_stopped(self, what: Callable[[], None]) -> None:
        """Stop it for this, if it runs."""
        self.hold()
        what()

    def _nmi(self, cpu: QemuCpu) -> None:
        """A CPU has pushed where it was and nothing else."""
        if cpu.on_nmi is None:
            return
        now = self.gdb.registers(cpu.index)
        frame = self.gdb.read_linear(cpu.index, now.esp, 2 * _SAME_RING_FRAME)
        if frame is None:
            return
        eip, cs, eflags, esp, ss, _ = struct.unpack("<6I", frame)
        if not cs & 3:
            esp, ss = now.esp + _SAME_RING_FRAME, now.ss
        cpu.interrupted = replace(now, eip=eip, cs=cs & 0xFFFF, eflags=eflags, esp=esp, ss=ss & 0xFFFF)
        try:
            cpu.on_nmi(cpu)
        finally:
            cpu.interrupted = None

    def _event(self, name: str, data: dict[str, Any]) -> None:
        if name == "SHUTDOWN" and self.reset_cause is None:
            fault = self._process is not None and self._process.triple_fault()
            self.reset_cause = "triple fault" if fault else str(data.get("reason", name))
            self.clock.stand()
