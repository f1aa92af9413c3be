# SPDX-License-Identifier: GPL-2.0-or-later
"""The PC: CPUs, memory, controllers and devices on one clock.

CPUs run in turn, in rounds. A round lasts until the next event, or, with several CPUs running, at most a quantum; each
CPU gets the same virtual time in it. What a CPU runs past the round's end (a block, or a round cut short by a device
that armed an earlier timer) counts as its lead, which the next round takes off. So no CPU is ever more than a quantum
ahead of the others, and the clock between rounds is the time all of them have reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final

from kdumpsim.apic.i8259 import I8259Pair
from kdumpsim.apic.ioapic import IoApic
from kdumpsim.apic.lapic import LocalApic
from kdumpsim.apic.lapic_registers import ADDRESS as LAPIC_ADDRESS
from kdumpsim.apic.messages import Line, Message
from kdumpsim.apic.routing import deliver
from kdumpsim.board import firmware, multiboot
from kdumpsim.board.clock import NS_PER_BYTE, Clock, Standstill
from kdumpsim.board.devices import DeviceList
from kdumpsim.board.disk import Disk
from kdumpsim.board.i8042 import I8042
from kdumpsim.board.ide import IdeController
from kdumpsim.board.idechannel import SEEK_NS, Channel
from kdumpsim.board.memory import Memory
from kdumpsim.board.network import MAC, Network, NetworkConfig
from kdumpsim.board.pci import PciBus
from kdumpsim.board.pirq import PciInterrupt, pirq
from kdumpsim.board.pit import Pit
from kdumpsim.board.port92 import Port92
from kdumpsim.board.rtc import Rtc
from kdumpsim.board.rtl8139 import Rtl8139
from kdumpsim.board.sata import SataController
from kdumpsim.board.schedule import PendingRound, Schedule
from kdumpsim.board.spinning import Spinning
from kdumpsim.board.uart import Uart
from kdumpsim.board.vga import Vga
from kdumpsim.cpu import Cpu, Exit, MmioRegion, Neighbours, RamBlock, Shortcuts
from kdumpsim.cpu.cpu import STANDSTILL
from kdumpsim.cpu.cpuid import FEATURES, SIGNATURE
from kdumpsim.signals import HeldSignals

MAX_CPUS: Final = 15  # physical APIC IDs the I/O APIC and flat destinations can name
QUANTUM_NS: Final = 100_000
MAX_ROUND_NS: Final = 40_000_000  # 10 ms of ours for plain code, 1 s for nothing but IN; see `cpu.BREATH`
NIC_SLOT: Final = 3
"""Where QEMU's `pc` has its first network card."""
SATA_SLOT: Final = 31
"""The ICH5's; its INTA# is PIRQC# there, too, which slot 3 shares."""
PIRQ_ROUTES: Final = (10, 10, 11, 11)
"""How firmware routes PIRQA# to PIRQD#, as SeaBIOS does on QEMU's `pc`."""
PIRQ_PINS: Final = (16, 17, 18, 19)
"""Their pins of the I/O APIC on a board with native-mode SATA, as the ICH5 has them."""
UART_PORTS: Final = ((0x3F8, 4), (0x2F8, 3))


class StopReason(Enum):
    """Why `Machine.run` came back."""

    UNTIL = "until"  # the clock reached the time asked for
    STOPPED = "stopped"  # request_stop(), or the stop condition held
    RESET = "reset"  # the reset line was pulled; the machine is as it was at that moment
    IDLE_FOREVER = "idle-forever"  # every CPU sleeps and no event will ever wake one
    ALL_SHUTDOWN = "all-shutdown"  # every CPU has shut down, and shutdown does not reset this machine


@dataclass
class MachineConfig:
    """`holes`: (base, size) of physical memory that is not there. `seed`: the jitter of quanta, seeks and the network.

    `network`: there is a network card, with a network behind it; None: there is none. `sata`: the disks at the two
    ports of a SATA function in native mode, with which PIRQA# to PIRQD# have pins of the I/O APIC of their own; None:
    there is none. `intr`: where the i8259s' INTR ends.
    """

    cpus: int = 2
    memory: int = 64 << 20
    holes: tuple[tuple[int, int], ...] = ()
    disks: tuple[Disk | None, ...] = ()
    network: NetworkConfig | None = None
    nic_slot: int = NIC_SLOT
    sata: tuple[Disk | None, ...] | None = None
    intr: firmware.Intr = firmware.Intr.LINT0
    seed: int = 0
    quantum_ns: int = QUANTUM_NS
    shutdown_resets: bool = True  # as chipsets do


class Machine:
    """A PC. Everything it does follows from its configuration, what was loaded, and what the host feeds it."""

    def __init__(self, config: MachineConfig | None = None) -> None:
        self.config = config = config or MachineConfig()
        if not 1 <= config.cpus <= MAX_CPUS:
            raise ValueError(f"{config.cpus} CPUs: 1 to {MAX_CPUS}")
        self.poll: Callable[[], None] | None = None  # asked between rounds; what it raises comes out of run()
        self.on_message: Callable[[Message], None] | None = (
            None  # told of what goes over the APIC bus, before it arrives
        )
        self.devices = devices = DeviceList(config.cpus, self.irq)
        """Everything with a state: see `board/devices.py`."""
        add, fit = devices.add, devices.fit
        self.clock = clock = add(Clock())
        self.memory = memory = add(Memory(config.memory, config.holes))
        self._schedule = schedule = add(Schedule(config.cpus, config.seed))
        self.lapics = [
            add(
                LocalApic(
                    index, clock, self._post, bsp=index == 0, on_eoi=self._broadcast_eoi,
                    changed=self._changed_for(index),
                ),
                cpu=index,
            )
            for index in range(config.cpus)
        ]  # fmt: skip
        self.pic = add(I8259Pair(self._on_intr))
        self.ioapic = add(IoApic(0, self._post))
        self.pit = fit(lambda irq: Pit(clock, irq(0), self._nmi))
        self.rtc = fit(lambda irq: Rtc(clock, irq(8)))
        self.uarts = (self._uart(0), self._uart(1))
        self.i8042 = fit(lambda irq: I8042(irq(1), irq(12), lambda: self.pull_reset("i8042")))
        self.port92 = add(Port92(lambda: self.pull_reset("port 0x92")))
        self.vga = add(Vga())
        self.pci = fit(self._pci_bus)
        self.ide = fit(lambda irq: IdeController(clock, memory.port("ide"), irq(14), irq(15), config.disks))
        self.pci.add(1, 1, self.ide.pci)
        self.sata: SataController | None = None
        self.nic: Rtl8139 | None = None
        self.network: Network | None = None
        self._pci_interrupts: tuple[PciInterrupt, ...] = ()
        if config.sata is not None:
            self._add_sata(config.sata)
        for channel in self.channels.values():
            channel.seek_ns = lambda: schedule.jitter.around(SEEK_NS)
        if config.network is not None:
            self._add_network(config.network)

        # What the CPUs' bus needs (CpuBus).
        self.ram: Sequence[RamBlock] = self.memory.blocks
        self.mmio: Sequence[MmioRegion] = [MmioRegion(base, 0x1000) for base in devices.mmio.bases]
        readers, writers = devices.ports.readers, devices.ports.writers

        def port_in(_cpu: int, port: int, size: int) -> int:
            reader = readers.get(port)
            return (1 << 8 * size) - 1 if reader is None else reader(port, size)

        def port_out(_cpu: int, port: int, size: int, value: int) -> None:
            writer = writers.get(port)
            if writer is not None:
                writer(port, size, value)

        self.port_in = port_in
        self.port_out = port_out
        self.ns_per_byte = NS_PER_BYTE
        self.mmio_read = devices.mmio.read
        self.mmio_write = devices.mmio.write
        neighbours = Neighbours() if config.cpus > 1 else None
        latches = {port: uart.sent for (port, _), uart in zip(UART_PORTS, self.uarts, strict=True)}
        shortcuts = [Shortcuts(schedule.tsc_word, {LAPIC_ADDRESS: lapic.steady}, latches) for lapic in self.lapics]
        self.cpus = [
            add(Cpu(index, self, bsp=index == 0, neighbours=neighbours, shortcuts=shortcuts[index]))
            for index in range(config.cpus)
        ]

        self._spinning = Spinning(self.cpus, schedule.jitter, config.quantum_ns)

        self.memory.written = self._memory_written
        clock.armed = self._armed
        self._appointments: list[tuple[int, Callable[[], None]]] = []
        self._round_end = 0
        self._running: int | None = None
        self._stop_requested = False
        self._standstill = False
        self._signals = HeldSignals(self._cut_turn)

    def _uart(self, number: int) -> Uart:
        base, line = UART_PORTS[number]
        return self.devices.fit(lambda irq: Uart(f"ttyS{number}", base, self.clock, irq(line), lambda data: None))

    def _pci_bus(self, irq: Callable[[int], Line]) -> PciBus:
        """With native-mode SATA the PIRQs' own pins are the I/O APIC's, and PIRQRC routes to the 8259s only."""
        pull, pic, ioapic = lambda: self.pull_reset("port 0xCF9"), self.pic, self.ioapic
        if self.config.sata is None:
            return PciBus(pull, irq)

        def active_low(pin: int) -> Line:
            ioapic.set_pin(pin, True)
            return lambda asking: ioapic.set_pin(pin, not asking)

        return PciBus(pull, lambda number: partial(pic.set_irq, number), [active_low(pin) for pin in PIRQ_PINS])

    def _pci_interrupt(self, slot: int) -> Line:
        """The wire of the INTA# of a slot's device, which firmware hears of."""
        number = pirq(slot, 1)
        pin = PIRQ_PINS[number] if self.config.sata is not None else None
        self._pci_interrupts += (PciInterrupt(slot, 1, PIRQ_ROUTES[number], pin),)
        return self.pci.interrupt_line(slot, 1)

    def _add_sata(self, disks: Sequence[Disk | None]) -> None:
        inta = self._pci_interrupt(SATA_SLOT)
        self.sata = self.devices.add(SataController(self.clock, self.memory.port("sata"), inta, disks))
        self.pci.add(SATA_SLOT, 0, self.sata.pci)

    @property
    def channels(self) -> dict[str, Channel]:
        """Those of the IDE function and, if there is one, of the SATA function, by the names of their timers."""
        controllers = [self.ide] if self.sata is None else [self.ide, self.sata]
        return {f"{each.name}{number}": channel for each in controllers for number, channel in enumerate(each.channels)}

    def _add_network(self, config: NetworkConfig) -> None:
        """The card in its slot, the cable, and who is at the other end."""
        slot = self.config.nic_slot
        self.nic = nic = self.devices.add(
            Rtl8139(self.clock, self.memory.port("rtl8139"), self._pci_interrupt(slot), MAC)
        )
        self.network = network = self.devices.add(Network(self.clock, config, self.config.seed, nic.receive))
        nic.on_transmit = network.send
        self.pci.add(slot, 0, nic.pci)

    @property
    def reset_cause(self) -> str | None:
        """Who pulled the reset line; None if nobody did, or the machine has been reset since."""
        return self._schedule.reset_cause

    def time(self) -> int:
        """The time stamp counter (CpuBus): virtual nanoseconds, but more than any CPU has read before.

        CPUs run one after the other, so the next one may be behind the last one's reading, by less than a round. Until
        its own time is there, it reads on from that. "A monotonically increasing unique value whenever executed" (SDM
        vol. 3B, 17.17).
        """
        schedule = self._schedule
        schedule.tsc = tsc = max(self.clock.now, schedule.tsc + 1)
        return tsc

    def apic_enabled(self, cpu: int) -> bool:
        """IA32_APIC_BASE bit 11 (CpuBus)."""
        return self.lapics[cpu].hardware_enabled

    def enable_apic(self, cpu: int, enabled: bool) -> None:
        """IA32_APIC_BASE bit 11 (CpuBus)."""
        self.lapics[cpu].set_hardware_enabled(enabled)

    # Wiring.

    def irq(self, number: int) -> Line:
        """An ISA interrupt line: to the i8259s, and to the I/O APIC (where IRQ 0 is on pin 2)."""
        pin = 2 if number == 0 else number
        pic, ioapic = self.pic, self.ioapic

        def line(level: bool) -> None:
            pic.set_irq(number, level)
            ioapic.set_pin(pin, level)

        return line

    def _on_intr(self, level: bool) -> None:
        if self.config.intr.at_pin:
            self.ioapic.set_pin(0, level)
            return
        for lapic in self.lapics:
            lapic.set_lint(0, level)
            if level and lapic.accepts_extint():
                lapic.changed()

    def _post(self, message: Message) -> None:
        if self.on_message is not None:
            self.on_message(message)
        deliver(message, self.lapics)

    def _broadcast_eoi(self, vector: int) -> None:
        self.ioapic.eoi(vector)

    def _changed_for(self, index: int) -> Callable[[], None]:
        def changed() -> None:
            running = self._running
            if running is not None and (running == index or self._schedule.alone):
                self.cpus[running].shorten(0)

        return changed

    def _armed(self, deadline: int) -> None:
        if self._running is not None and deadline < self._round_end:
            now = self.clock.now
            self._round_end = max(deadline, now)
            self.cpus[self._running].shorten((self._round_end - now) // NS_PER_BYTE)

    def _memory_written(self, begin: int, end: int) -> None:
        for cpu in self.cpus:
            cpu.invalidate(begin, end)

    def nmi_button(self) -> None:
        """The NMI switch at the front: a pulse on every LINT1."""
        for level in (True, False):
            self._nmi(level)

    def _nmi(self, level: bool) -> None:
        """The line that every LINT1 is wired to."""
        for lapic in self.lapics:
            lapic.set_lint(1, level)

    def system_error(self, *, parity: bool) -> bool:
        """An error of the PCI bus's parity, or of memory, between rounds; whether it became an NMI (port 0x61)."""
        return self.pci.error(parity=parity) and self.pit.system_error()

    def machine_check(self, index: int) -> bool:
        """A machine check on a CPU, between rounds; False if it shut down instead of taking it."""
        self.cpus[index].machine_check()
        if self.cpus[index].shutdown:
            self._shut_down(index, "machine check")
            return False
        return True

    # Power, reset, boot.

    def pull_reset(self, cause: str) -> None:
        """The reset line: `run` comes back with RESET. The host then looks around, resets, and boots again or not."""
        if self._schedule.reset_cause is None:
            self._schedule.reset_cause, self._schedule.reset_ns = cause, self.clock.now
        self._cut_turn()

    def reset(self) -> None:
        """Reset every CPU and device; memory keeps its contents, as on a PC. Watches stay."""
        self.devices.reset()

    def load_multiboot(self, image: bytes, cmdline: str, modules: Sequence[multiboot.Module | bytes] = ()) -> None:
        """Reset; then what firmware and boot loader do, up to the kernel's first instruction.

        Firmware comes first, so a kernel may be loaded over what it left in low memory.
        """
        disks = sum(disk is not None for disk in (*self.config.disks, *(self.config.sata or ())))
        firmware.install(
            self.memory, cpus=self.config.cpus, ioapic_id=0, disks=disks, signature=SIGNATURE, features=FEATURES,
            pci_interrupts=self._pci_interrupts, intr=self.config.intr,
        )  # fmt: skip
        state = multiboot.load(image, cmdline, modules, self.memory, self.memory.e820)
        self.reset()
        firmware.program(
            lambda port, size, value: self.port_out(0, port, size, value),
            lambda address, size, value: self.mmio_write(0, address, size, value),
            memory_size=self.config.memory,
            cpus=self.config.cpus,
            pci_interrupts=self._pci_interrupts,
            intr=self.config.intr,
        )
        self._memory_written(0, self.config.memory)
        self.cpus[0].set_registers(
            eax=state.eax, ebx=state.ebx, esp=state.esp, eip=state.eip, eflags=state.eflags, cr0=state.cr0,
            cs=state.cs, ds=state.ds, es=state.ds, fs=state.ds, gs=state.ds, ss=state.ds,
            gdtr=state.gdtr, idtr=state.idtr,
        )  # fmt: skip

    # Running.

    def request_stop(self) -> None:
        """From a callback: `run` comes back with STOPPED; from a watch, before the watched instruction runs.

        The next `run` goes on from there: the guest's run is the one there would have been without the stop.
        """
        self._stop_requested = True
        self._cut_turn()

    def _cut_turn(self) -> None:
        if self._running is not None:
            self.cpus[self._running].stop()

    def run(self, *, until: int | None = None, stop: Callable[[], bool] | None = None) -> StopReason:
        """Run until a virtual time, until `stop()` holds, or until something else ends it.

        `stop` is asked between rounds, and `poll` also within those that take long: milliseconds of the host's time
        apart, a second for the slowest guest known; at once after a signal. Neither shows in the guest's run.

        What a signal's handler raises (KeyboardInterrupt) comes out of here, and the next `run` goes on from there.
        Every round retires code, delivers an event or moves the clock; Standstill if they cease to.
        """
        self.memory.changing()
        with self._signals:
            try:
                return self._run(until, stop)
            finally:
                for uart in self.uarts:
                    uart.flush()

    def _run(self, until: int | None, stop: Callable[[], bool] | None) -> StopReason:
        clock = self.clock
        if self._schedule.reset_cause is not None:
            self.reset()
        still = 0
        while True:
            signalled = bool(self._signals.waiting) and self._signals.deliver()
            if self.poll is not None:
                self.poll()
            if signalled and stop is not None and stop():
                return StopReason.STOPPED
            before = clock.base
            if self._schedule.pending is None:
                clock.fire()
                self._keep_appointments()
                if self._stop_requested:
                    self._stop_requested = False
                    return StopReason.STOPPED
                if stop is not None and stop():
                    return StopReason.STOPPED
                if until is not None and clock.base >= until:
                    return StopReason.UNTIL
                end = self._idle(self._next_halt(until))
                if self._schedule.reset_cause is not None:
                    self._stop_requested = False
                    return StopReason.RESET
                if isinstance(end, StopReason):
                    return end
                if end is None:
                    continue
                pending = PendingRound(0, end, [])
            else:
                pending, self._schedule.pending = self._schedule.pending, None
            self._round(pending)
            still = still + 1 if clock.base == before and self._schedule.pending is None else 0
            if self._standstill or still == STANDSTILL:
                self._standstill = False
                raise Standstill(f"virtual time stands still at {clock.base} ns")
            if self._schedule.reset_cause is not None:
                clock.advance(self._schedule.reset_ns)  # of a round, the rest does not come
                self._stop_requested = False
                return StopReason.RESET
            if self._stop_requested:
                self._stop_requested = False
                return StopReason.STOPPED

    def appoint(self, at_ns: int, callback: Callable[[], None]) -> None:
        """Call back between the first two rounds from a time on, when every CPU is between slices and may be changed.

        Like `until`, and unlike a timer, it cuts no round of several CPUs: the run up to there, and the run after it if
        nothing is changed, is the one without it.  It belongs to the observer: no snapshot has it.
        """
        self._appointments.append((at_ns, callback))
        self._appointments.sort(key=lambda appointment: appointment[0])

    def _keep_appointments(self) -> None:
        while self._appointments and self._appointments[0][0] <= self.clock.base:
            self.memory.changing()
            self._appointments.pop(0)[1]()

    def _next_halt(self, until: int | None) -> int | None:
        """Until when a lone CPU may run, or the clock may jump, for those outside."""
        if not self._appointments:
            return until
        at = self._appointments[0][0]
        return at if until is None else min(at, until)

    def _idle(self, until: int | None) -> StopReason | int | None:
        """Wake who can be woken; the end of the coming round, None if the clock jumped, or why nothing can run."""
        clock, cpus, schedule = self.clock, self.cpus, self._schedule
        runnable = 0
        for index in range(len(cpus)):
            self._deliver(index)
            cpu = cpus[index]
            if not (cpu.halted or cpu.waiting_for_sipi or cpu.shutdown):
                runnable += 1
        deadline = clock.next_deadline()
        if not runnable:
            if all(cpu.shutdown for cpu in cpus):
                return StopReason.ALL_SHUTDOWN
            if deadline is None and until is None:
                return StopReason.IDLE_FOREVER
            clock.advance(min(t for t in (deadline, until) if t is not None))
            schedule.lead[:] = [0] * len(cpus)
            return None
        schedule.alone = runnable == 1
        end = clock.base + (MAX_ROUND_NS if schedule.alone else schedule.jitter.around(self.config.quantum_ns))
        if deadline is not None:
            end = min(end, deadline)
        if schedule.alone:
            return end if until is None else min(end, until)
        if schedule.reset_cause is not None:
            return end
        # A round of several CPUs is not cut by `until`: how the host slices its calls must not change the schedule.
        halt = clock.base + MAX_ROUND_NS
        return self._spinning.last_end(end, deadline, halt if until is None else min(halt, until))

    def _round(self, pending: PendingRound) -> None:
        """Every CPU from the first on runs until the end; then the clock moves."""
        clock, cpus, lead = self.clock, self.cpus, self._schedule.lead
        self._round_end = pending.end
        ran = pending.ran
        for index in range(pending.first, len(cpus)):
            cpu = cpus[index]
            if not cpu.cut and (cpu.halted or cpu.waiting_for_sipi or cpu.shutdown):
                continue
            if not self._turn(index):
                self._schedule.pending = PendingRound(index, self._round_end, ran)
                return
            ran.append(index)
            if self._schedule.alone:
                break  # whoever it has woken begins with the next round
        base, reached = clock.base, self._round_end
        if ran and (self._schedule.alone or all(cpu.halted or cpu.waiting_for_sipi or cpu.shutdown for cpu in cpus)):
            reached = base + max(lead[index] for index in ran)  # nobody is owed the rest of the round
        clock.advance(reached)
        for index in range(len(cpus)):
            lead[index] = max(base + lead[index] - clock.base, 0)

    def _turn(self, index: int) -> bool:
        """One CPU's share of the round; False if it was cut, and is to be taken up again at the same place."""
        clock, cpu, lapic = self.clock, self.cpus[index], self.lapics[index]
        schedule, signals, many = self._schedule, self._signals, len(self.cpus) > 1
        start = clock.base + schedule.lead[index]
        self._running = index
        counter = cpu.counter
        zero = clock.follow(counter, start)
        still = 0
        try:
            while True:
                if self._stop_requested or schedule.reset_cause is not None or signals.waiting:
                    return False
                before = counter.retired
                if cpu.cut:
                    result = cpu.resume()
                else:
                    left = self._round_end - zero - before * NS_PER_BYTE
                    if left <= 0:
                        break
                    limit = left // NS_PER_BYTE
                    waiting = lapic.pending() is not None or (self.pic.intr and lapic.accepts_extint())
                    result = cpu.run(limit, until_interruptible=waiting, until_nmi=lapic.nmi_pending)
                if result is Exit.STOPPED:
                    return False
                if cpu.take_perf_overflow():
                    lapic.perf_overflow()
                if result is Exit.SHUTDOWN and self._shut_down(index):
                    return False
                if schedule.alone and many and result is Exit.LIMIT and self._others_wake(index):
                    break
                self._deliver(index)
                if cpu.halted or cpu.waiting_for_sipi or cpu.shutdown:
                    break
                still = still + 1 if counter.retired == before else 0
                if still == STANDSTILL:
                    self._standstill = True
                    break
        finally:
            schedule.lead[index] = clock.unfollow() - clock.base
            self._running = None
        return True

    def _others_wake(self, running: int) -> bool:
        """Has the only running CPU woken another?"""
        woken = False
        for index in range(len(self.cpus)):
            if index != running:
                self._deliver(index)
                cpu = self.cpus[index]
                woken |= not (cpu.halted or cpu.waiting_for_sipi or cpu.shutdown)
        return woken

    def _deliver(self, index: int) -> None:
        """Hand a CPU, between slices, what its local APIC has for it: INIT, SIPI, NMI, interrupts (table 6-2)."""
        lapic = self.lapics[index]
        if lapic.quiet() and not self.pic.intr:
            return
        cpu = self.cpus[index]
        if lapic.take_init():
            cpu.init()
        vector = lapic.take_startup()
        if vector is not None:
            cpu.sipi(vector)
        if cpu.waiting_for_sipi or cpu.shutdown:
            return
        if not cpu.nmi_blocked() and lapic.take_nmi():
            cpu.nmi()
        if cpu.interruptible():
            if lapic.pending() is not None:
                cpu.interrupt(lapic.acknowledge())
            elif self.pic.intr and lapic.accepts_extint():
                number = self.pic.acknowledge()
                lapic.acknowledge_extint()
                cpu.interrupt(number)
        if cpu.shutdown:
            self._shut_down(index)

    def _shut_down(self, index: int, cause: str = "triple fault") -> bool:
        """A CPU has shut down, by a triple fault in its code or in the delivery of an event as a rule; is that a
        reset?"""
        if self.config.shutdown_resets:
            self.pull_reset(f"{cause} on CPU {index}")
        return self.config.shutdown_resets

    # Observers.

    def watch(self, address: int, callback: Callable[[Cpu], None]) -> None:
        """Call back before any CPU runs the instruction at a linear address."""
        for cpu in self.cpus:
            cpu.watch(address, callback)

    def unwatch(self, address: int) -> None:
        """Forget every watch at an address."""
        for cpu in self.cpus:
            cpu.unwatch(address)

    def forget_observers(self) -> None:
        """Forget whoever watches CPUs, or what devices do to memory; not from within a callback."""
        for cpu in self.cpus:
            cpu.forget_observers()
        self.memory.written, self.memory.read = self._memory_written, None
        self._appointments.clear()
        self.poll = self.on_message = None

    def prepare_fork(self) -> None:
        """Processes that are forked from now on, until it runs again, find the way to what they change faster."""
        self.memory.remember()

    def close(self) -> None:
        """Nothing: all of it is this process's own memory."""

    # State.

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain data, by device; for a machine of the same configuration. Not from within a callback."""
        return self.devices.state()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Back to a snapshot, also one taken by another process; ValueError if it is of another kind of machine."""
        self.devices.restore(snapshot)
        self._stop_requested = False
