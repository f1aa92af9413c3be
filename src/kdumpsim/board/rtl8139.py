# SPDX-License-Identifier: GPL-2.0-or-later
"""Realtek RTL8139C, a PCI network card: a ring in memory for what arrives, four descriptors for what is sent.

Follows the RTL8139C(L) data sheet and the RTL8139(A/B) Programming Guide. A frame that arrives and passes RCR's filter
waits in the 2 KiB FIFO until DMA has brought it to the ring at RBSTART: a header (16 bits status, 16 bits length with
the CRC), the frame, its CRC, up to the next doubleword. CBR is where the chip writes, CAPR + 16 where the driver reads;
a frame that does not fit between them is missed. Each transmit descriptor is fetched from memory by DMA (then OWN is
set) and sent (then TOK is). All this takes virtual time and goes on whatever the CPUs do, until CR says otherwise.

Registers: `rtl8139_registers.py`; EEPROM: `eeprom93c46.py`; what is at the other end: `network.py`.

Choices where the texts leave one: ISR bits are cleared by writing ones, as every driver does it (an early text has
them cleared by reading). An access narrower than a register touches its part of it; TSD wants 32 bits. Without the
bus master bit frames stay in the FIFO until it overflows.

Not modelled: the memory BAR (this board wires the I/O one), early receive and transmit thresholds (a frame moves in
whole), errors of the medium, flow control, the timers TCTR and TimerInt, wake-up and power management, the PHY's
test registers, the boot ROM, an effect of CONFIG0 to 4.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Any

from kdumpsim.apic.messages import Line
from kdumpsim.apic.registers import Register, RegisterFile
from kdumpsim.apic.timers import Timers
from kdumpsim.board import pci_registers as pci
from kdumpsim.board import rtl8139_registers as regs
from kdumpsim.board.busmaster import DmaMemory
from kdumpsim.board.eeprom93c46 import Eeprom93c46
from kdumpsim.board.pci import PciFunction

VENDOR, DEVICE = 0x10EC, 0x8139
PORTS = 256
DMA_SETUP_NS = 500  # bus arbitration and the header
DMA_NS_PER_BYTE = 8  # 32 bits at 33 MHz
WIRE_NS_PER_BYTE = 80  # 100 Mb/s
WIRE_OVERHEAD = 24  # preamble, CRC, gap: bytes on the wire beside a frame's own
RESET_NS = 10_000
FIFO_BYTES = 2048
MAX_TRANSMIT = 1792
DESCRIPTORS = 4

_BROADCAST = b"\xff" * 6
_RECEIVED, _BROADCAST_FRAME, _MY_FRAME, _MULTICAST_FRAME = 0x0001, 0x2000, 0x4000, 0x8000
_LOCKED = (regs.IDR0, regs.IDR0 + 4, regs.CONFIG0, regs.CONFIG1, regs.CONFIG3, regs.CONFIG4)
_EEPROM_SIGNATURE = 0x8129
_EEPROM_ID_WORD = 7


def _function() -> PciFunction:
    """Its configuration space, as a BIOS leaves it."""
    base = pci.IoBase256()
    base.base = 0xC100 >> pci.IoBase256.base.low
    return PciFunction(
        VENDOR,
        DEVICE,
        0x020000,
        {
            pci.COMMAND: (2, regs.PciCommand()),
            pci.BAR0: (4, base),
            pci.SUBSYSTEM_VENDOR_ID: (2, pci.Wired16(VENDOR)),
            pci.SUBSYSTEM_ID: (2, pci.Wired16(DEVICE)),
            pci.INTERRUPT_PIN: (1, pci.Wired8(1)),
            pci.MIN_GNT: (1, pci.Wired8(0x20)),
            pci.MAX_LAT: (1, pci.Wired8(0x40)),
        },
        revision=0x10,
    )


class Rtl8139:
    """`irq` is its INTA#, seen as active high; `on_transmit` gets what leaves, `receive` is given what arrives.

    Frames are as on the wire from destination to payload, without CRC.
    """

    name = "rtl8139"

    def __init__(self, timers: Timers, memory: DmaMemory, irq: Line, mac: bytes) -> None:
        self.pci = _function()
        self.pci.on_change = self._pci_changed
        self.on_remap: Callable[[], None] = lambda: None
        self.on_transmit: Callable[[bytes], None] = lambda frame: None
        self.frames_written = 0
        """Frames brought to the ring since power-on."""
        self.bytes_written = 0
        """Bytes written to memory with them, headers and CRCs included."""
        words = [int.from_bytes(mac[at : at + 2], "little") for at in (0, 2, 4)]
        self.eeprom = Eeprom93c46([_EEPROM_SIGNATURE, *[0] * (_EEPROM_ID_WORD - 1), *words])
        self._timers, self._memory, self._irq = timers, memory, irq
        self._line = False
        self._base = self.pci.io_base(pci.BAR0)
        self._receive_timer = timers.timer("rtl8139 receive", self._received)
        self._transmit_timer = timers.timer("rtl8139 transmit", self._transmit_step)
        self._reset_timer = timers.timer("rtl8139 reset", self._reset_done)

        self.command, self.mask, self.status = regs.Command(), regs.InterruptMask(), regs.InterruptStatus()
        self.read_pointer, self.write_pointer = regs.ReadPointer(), regs.WritePointer()
        self.transmit_config, self.receive_config = regs.TransmitConfig(), regs.ReceiveConfig()
        self.ring, self.missed, self._eeprom_command = regs.Whole32(), regs.Missed(), regs.EepromCommand()
        self.descriptors = [regs.TransmitStatus() for _ in range(DESCRIPTORS)]
        self._addresses = [regs.Whole32() for _ in range(DESCRIPTORS)]
        self._id, self._hash = [regs.Whole32(), regs.Whole32()], [regs.Whole32(), regs.Whole32()]
        self._summary = regs.TransmitSummary()
        registers: dict[int, tuple[int, Register]] = {
            regs.RBSTART: (4, self.ring), regs.CR: (1, self.command), regs.CAPR: (2, self.read_pointer),
            regs.CBR: (2, self.write_pointer), regs.IMR: (2, self.mask), regs.ISR: (2, self.status),
            regs.TCR: (4, self.transmit_config), regs.RCR: (4, self.receive_config), regs.MPC: (4, self.missed),
            regs.EECR: (1, self._eeprom_command), regs.CONFIG0: (1, regs.Config()), regs.CONFIG1: (1, regs.Config()),
            regs.MSR: (1, regs.MediaStatus()), regs.CONFIG3: (1, regs.Config()), regs.CONFIG4: (1, regs.Config()),
            regs.RERID: (1, regs.Revision()), regs.TSAD_STATUS: (2, self._summary), regs.BMCR: (2, regs.BasicMode()),
            regs.BMSR: (2, regs.BasicStatus()), regs.ANAR: (2, regs.Advertised()),
            regs.ANLPAR: (2, regs.PartnerAbility()), regs.ANER: (2, regs.Expansion()),
        }  # fmt: skip
        for first, group in (
            (regs.IDR0, self._id), (regs.MAR0, self._hash), (regs.TSD0, self.descriptors), (regs.TSAD0, self._addresses)
        ):  # fmt: skip
            registers |= {first + 4 * at: (4, register) for at, register in enumerate(group)}
        self._registers = RegisterFile(registers)
        self._clear()
        self._load_id()

    # What a reset leaves.

    def _clear(self) -> None:
        """What both resets do: transmitter and receiver off, FIFOs empty, pointers and interrupts at their start."""
        self._receive_timer.cancel()
        self._transmit_timer.cancel()
        self._fifo: deque[tuple[int, bytes]] = deque()  # header bits and frame
        self._next = 0  # the descriptor whose turn it is
        self._outgoing: bytes | None = None  # fetched, on its way
        for register in (
            self.command, self.mask, self.status, self.read_pointer, self.write_pointer, self.transmit_config,
            self.receive_config, self.missed, self._summary, *self.descriptors, *self._addresses
        ):  # fmt: skip
            register.reset()

    def _load_id(self) -> None:
        words = self.eeprom.words[_EEPROM_ID_WORD : _EEPROM_ID_WORD + 3]
        mac = b"".join(word.to_bytes(2, "little") for word in words)
        self._id[0].value, self._id[1].value = int.from_bytes(mac[:4], "little"), int.from_bytes(mac[4:], "little")

    @property
    def mac(self) -> bytes:
        """What IDR says."""
        return (self._id[0].value | self._id[1].value << 32).to_bytes(8, "little")[:6]

    def reset(self) -> None:
        """The hardware reset line."""
        self.pci.reset()
        self._reset_timer.cancel()
        self._registers.reset()
        self._clear()
        self._load_id()
        self._update_irq()

    def _reset_done(self) -> None:
        self.command.reset_chip = 0

    # The bus.

    def _decode(self) -> None:
        base = self.pci.io_base(pci.BAR0)
        if base != self._base:
            self._base = base
            self.on_remap()

    def _pci_changed(self) -> None:
        self._decode()
        self._go_on_receiving()
        self._go_on_transmitting()

    def _update_irq(self) -> None:
        level = bool(self.status.value & self.mask.value)
        if level != self._line:
            self._line = level
            self._irq(level)

    def ports(self) -> list[tuple[int, int]]:
        return [] if self._base is None else [(self._base, PORTS)]

    def port_read(self, port: int, size: int) -> int:
        return self._registers.read(port & PORTS - 1, size)

    def port_write(self, port: int, size: int, value: int) -> None:
        for at, written in self._registers.spread(port & PORTS - 1, size, value).items():
            self._write(at, size, written)

    def _write(self, at: int, size: int, value: int) -> None:
        if self.command.reset_chip or (at in _LOCKED and self._eeprom_command.mode != 3):
            return
        if regs.TSD0 <= at < regs.TSAD0:
            if size == 4:
                self._begin_transmit((at - regs.TSD0) // 4, value)
            return
        self._registers[at].write(value)
        if at == regs.CR:
            self._commanded()
        elif at in (regs.CAPR, regs.RCR):
            self._update_empty()
        elif at in (regs.IMR, regs.ISR):
            self._update_irq()
        elif at == regs.TCR:
            self._unblock()
        elif at == regs.MPC:
            self.missed.reset()
        elif at == regs.EECR:
            self._drive_eeprom()

    def _commanded(self) -> None:
        if self.command.reset_chip:
            self._clear()
            self.command.reset_chip = 1
            self._reset_timer.arm(self._timers.now + RESET_NS)
            self._update_irq()
            return
        if not self.command.receive:
            self._receive_timer.cancel()
            self._fifo.clear()
        if not self.command.transmit:
            self._transmit_timer.cancel()
            self._outgoing = None
            self._next = 0
        self._go_on_transmitting()

    def _drive_eeprom(self) -> None:
        command = self._eeprom_command
        if command.mode == 1:  # load; it ends by itself
            self._load_id()
            command.reset()
        elif command.mode == 2:
            self.eeprom.drive(bool(command.select), bool(command.clock), bool(command.data_in))
            command.data_out = int(self.eeprom.data_out)

    # Receiving.

    @property
    def _ring_size(self) -> int:
        return 0x2000 << self.receive_config.ring_length

    def _used(self) -> int:
        """Bytes of the ring the driver has not read."""
        return (self.write_pointer.offset - self.read_pointer.offset - 16) % self._ring_size

    def _update_empty(self) -> None:
        self.command.buffer_empty = int(not self._used())

    def _accepts(self, target: bytes) -> int | None:
        """The header's address bits for a destination, or None if the filter drops it."""
        config = self.receive_config
        if target == _BROADCAST:
            bits, passed = _BROADCAST_FRAME, config.broadcast
        elif target[0] & 1:
            bits, passed = _MULTICAST_FRAME, config.multicast and self._in_hash(target)
        elif target == self.mac:
            bits, passed = _MY_FRAME, config.own_address
        else:
            bits, passed = 0, 0
        return bits if passed or config.all_addresses else None

    def _in_hash(self, target: bytes) -> bool:
        """Is the bit of MAR set that the top six bits of the address's CRC, highest first, select?"""
        low = ~zlib.crc32(target) & 0x3F  # zlib's is the mirror image
        index = int(f"{low:06b}"[::-1], 2)
        return bool(self._hash[index >> 5].value >> (index & 31) & 1)

    def receive(self, frame: bytes) -> None:
        """A frame has arrived."""
        if not self.command.receive or len(frame) < 14:
            return
        bits = self._accepts(frame[:6])
        if bits is None:
            return
        if sum(len(waiting) for _, waiting in self._fifo) + len(frame) > FIFO_BYTES:
            self.missed.count += 1
            self.status.fifo_overflow = 1
            self._update_irq()
            return
        self._fifo.append((bits, frame))
        self._go_on_receiving()

    def _go_on_receiving(self) -> None:
        if self._fifo and self.pci.may_master and self._receive_timer.deadline is None:
            delay = DMA_SETUP_NS + len(self._fifo[0][1]) * DMA_NS_PER_BYTE
            self._receive_timer.arm(self._timers.now + delay)

    def _received(self) -> None:
        """DMA has brought a frame to the ring."""
        if not self.pci.may_master:
            return
        bits, frame = self._fifo.popleft()
        checksum = zlib.crc32(frame).to_bytes(4, "little")
        header = (bits | _RECEIVED).to_bytes(2, "little") + (len(frame) + 4).to_bytes(2, "little")
        packet = header + frame + checksum
        room = len(packet) + 3 & ~3
        if self._used() + room >= self._ring_size:  # a full ring would look like an empty one
            self.missed.count += 1
            self.status.ring_full = 1
        else:
            self._write_ring(packet)
            self.write_pointer.offset = (self.write_pointer.offset + room) % self._ring_size
            self.status.receive_ok = 1
            self._update_empty()
        self._update_irq()
        self._go_on_receiving()

    def _write_ring(self, packet: bytes) -> None:
        at, size = self.write_pointer.offset, self._ring_size
        split = len(packet) if self.receive_config.wrap else size - at  # WRAP: the tail goes on after the ring's end
        self._memory.dma_write(self.ring.value + at, packet[:split])
        if packet[split:]:
            self._memory.dma_write(self.ring.value, packet[split:])
        self.frames_written += 1
        self.bytes_written += len(packet)

    # Transmitting: the descriptors in turn.

    def _begin_transmit(self, number: int, value: int) -> None:
        descriptor = self.descriptors[number]
        descriptor.reset()
        descriptor.write(value)
        self._summarise()
        self._go_on_transmitting()

    def _summarise(self) -> None:
        for field in ("own", "aborted", "underrun", "ok"):
            bits = sum(getattr(each, field) << at for at, each in enumerate(self.descriptors))
            setattr(self._summary, field, bits)

    def _go_on_transmitting(self) -> None:
        descriptor = self.descriptors[self._next]
        if not self.command.transmit or descriptor.own or descriptor.aborted or not self.pci.may_master:
            return
        if self._transmit_timer.deadline is None:
            if descriptor.size > MAX_TRANSMIT:
                descriptor.aborted = 1
                self._sent(ok=False)
            else:
                delay = DMA_SETUP_NS + descriptor.size * DMA_NS_PER_BYTE
                self._transmit_timer.arm(self._timers.now + delay)

    def _unblock(self) -> None:
        """TCR.CLRABT: try the aborted descriptor again; the bit clears itself."""
        if self.transmit_config.clear_abort:
            self.transmit_config.clear_abort = 0
            self.descriptors[self._next].aborted = 0
            self._go_on_transmitting()

    def _transmit_step(self) -> None:
        descriptor = self.descriptors[self._next]
        if self._outgoing is None:
            if self.pci.may_master:
                self._outgoing = self._memory.dma_read(self._addresses[self._next].value, descriptor.size)
                descriptor.own = 1
                self._summarise()
                delay = (descriptor.size + WIRE_OVERHEAD) * WIRE_NS_PER_BYTE
                self._transmit_timer.arm(self._timers.now + delay)
            return
        frame, self._outgoing = self._outgoing, None
        descriptor.ok = 1
        self._next = (self._next + 1) % DESCRIPTORS
        self._sent(ok=True)
        if self.transmit_config.loopback == 3:
            self.receive(frame)
        else:
            self.on_transmit(frame)
        self._go_on_transmitting()

    def _sent(self, *, ok: bool) -> None:
        self._summarise()
        if ok:
            self.status.transmit_ok = 1
        else:
            self.status.transmit_error = 1
        self._update_irq()

    # State.

    def state(self) -> dict[str, Any]:
        """Configuration space, registers and what is under way."""
        return {
            "pci": self.pci.state(),
            "registers": self._registers.state(),
            "fifo": list(self._fifo),
            "next": self._next,
            "outgoing": self._outgoing,
            "line": self._line,
            "eeprom": self.eeprom.state(),
            "written": (self.frames_written, self.bytes_written),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.pci.restore(state["pci"])
        self._decode()
        self._registers.restore(state["registers"])
        self._fifo = deque(state["fifo"])
        self._next, self._outgoing, self._line = state["next"], state["outgoing"], state["line"]
        self.eeprom.restore(state["eeprom"])
        self.frames_written, self.bytes_written = state["written"]
