# SPDX-License-Identifier: GPL-2.0-or-later
"""The local APIC, as a reader of the SDM expects it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import run_for, run_until, transplant
from kdumpsim.apic.lapic import LocalApic
from kdumpsim.apic.messages import DeliveryMode, Message, Shorthand
from kdumpsim.apic.routing import deliver
from kdumpsim.board.clock import Clock

ID, VERSION, TPR, APR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR_LOW, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
TIMER, THERMAL, PERF, LINT0, LINT1, ERROR = 0x320, 0x330, 0x340, 0x350, 0x360, 0x370
INITIAL, CURRENT, DIVIDE = 0x380, 0x390, 0x3E0
MASKED, PERIODIC = 1 << 16, 1 << 17
DM_NMI, DM_INIT, DM_EXTINT = 0x400, 0x500, 0x700
LEVEL, ACTIVE_LOW = 1 << 15, 1 << 13


class Bench:
    """Some local APICs on one bus."""

    def __init__(self, count: int = 1, *, enabled: bool = True) -> None:
        self.clock = Clock()
        self.eois: list[int] = []
        self.changes = 0
        self.sent: list[Message] = []
        self.lapics = [
            LocalApic(index, self.clock, self._post, bsp=index == 0, on_eoi=self.eois.append, changed=self._changed)
            for index in range(count)
        ]
        if enabled:
            for lapic in self.lapics:
                lapic.write(SVR, 0x1FF)

    def _post(self, message: Message) -> None:
        self.sent.append(message)
        deliver(message, self.lapics)

    def _changed(self) -> None:
        self.changes += 1


def fixed(vector: int, *, level: bool = False, destination: int = 0) -> Message:
    return Message(DeliveryMode.FIXED, vector, destination, trigger_level=level)


def vectors(lapic: LocalApic, bank: int) -> list[int]:
    words = [lapic.read(bank + 0x10 * index) for index in range(8)]
    return [32 * index + bit for index, word in enumerate(words) for bit in range(32) if word >> bit & 1]


# -- reset values (SDM: "Local APIC State After Power-Up or Reset") ----------------------------------------------------


def test_power_on_state() -> None:
    lapic = Bench(3, enabled=False).lapics[2]
    assert lapic.read(ID) == 2 << 24
    assert lapic.read(VERSION) == 0x00050014
    assert lapic.read(SVR) == 0xFF
    assert lapic.read(DFR) == 0xFFFFFFFF
    assert lapic.read(LDR) == lapic.read(TPR) == lapic.read(PPR) == 0
    assert [lapic.read(entry) for entry in (TIMER, THERMAL, PERF, LINT0, LINT1, ERROR)] == [MASKED] * 6
    assert not lapic.software_enabled


def test_software_disable_masks_the_lvt_for_good() -> None:
    lapic = Bench(enabled=False).lapics[0]
    lapic.write(LINT1, DM_NMI)
    assert lapic.read(LINT1) == DM_NMI | MASKED
    lapic.write(SVR, 0x1FF)
    lapic.write(LINT1, DM_NMI)
    assert lapic.read(LINT1) == DM_NMI
    lapic.write(SVR, 0xFF)
    assert lapic.read(LINT1) == DM_NMI | MASKED
    lapic.write(SVR, 0x1FF)
    assert lapic.read(LINT1) == DM_NMI | MASKED


def test_disabled_it_takes_nmi_init_and_startup_but_nothing_fixed() -> None:
    lapic = Bench(enabled=False).lapics[0]
    lapic.accept(fixed(0x40))
    assert vectors(lapic, IRR) == []
    lapic.accept(Message(DeliveryMode.NMI, 0, 0))
    assert lapic.take_nmi()
    assert not lapic.take_nmi()
    lapic.accept(Message(DeliveryMode.INIT, 0, 0))
    assert lapic.take_init()
    lapic.accept(Message(DeliveryMode.STARTUP, 0x9A, 0))
    assert lapic.take_startup() == 0x9A
    assert lapic.take_startup() is None


def test_pending_interrupts_are_held_while_disabled() -> None:
    lapic = Bench().lapics[0]
    lapic.accept(fixed(0x40))
    lapic.write(SVR, 0xFF)
    assert lapic.pending() is None
    assert vectors(lapic, IRR) == [0x40]
    lapic.write(SVR, 0x1FF)
    assert lapic.pending() == 0x40


def test_init_resets_all_but_the_id() -> None:
    lapic = Bench().lapics[0]
    lapic.write(ID, 7 << 24)
    lapic.write(TPR, 0x30)
    lapic.write(LDR, 0x01000000)
    lapic.accept(fixed(0x50))
    lapic.accept(Message(DeliveryMode.INIT, 0, 7))
    assert lapic.read(ID) == 7 << 24
    assert (lapic.read(TPR), lapic.read(LDR), lapic.read(SVR)) == (0, 0, 0xFF)
    assert vectors(lapic, IRR) == []


def test_init_deassert_is_only_about_arbitration() -> None:
    lapic = Bench().lapics[0]
    lapic.accept(Message(DeliveryMode.INIT, 0, 0, level=False, trigger_level=True))
    assert not lapic.take_init()
    assert lapic.software_enabled


# -- priorities --------------------------------------------------------------------------------------------------------


def test_the_highest_vector_goes_first_and_nests_by_class() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    for vector in (0x41, 0x62, 0x65):
        lapic.accept(fixed(vector))
    assert lapic.acknowledge() == 0x65
    assert lapic.read(PPR) == 0x60
    assert lapic.pending() is None  # 0x62 is of the class in service
    lapic.accept(fixed(0x71))
    assert lapic.acknowledge() == 0x71
    assert vectors(lapic, ISR) == [0x65, 0x71]
    lapic.write(EOI, 0)
    assert vectors(lapic, ISR) == [0x65]
    before = bench.changes
    lapic.write(EOI, 0)
    assert bench.changes == before + 1  # 0x62 can be taken now
    assert lapic.acknowledge() == 0x62


def test_task_priority_holds_interrupts_back() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(TPR, 0x55)
    assert lapic.read(PPR) == 0x55
    lapic.accept(fixed(0x5F))
    assert lapic.pending() is None
    lapic.write(TPR, 0x4F)
    assert bench.changes == 1
    assert lapic.pending() == 0x5F


def test_acknowledge_without_a_request_is_spurious() -> None:
    lapic = Bench().lapics[0]
    lapic.write(SVR, 0x1EF)
    lapic.accept(fixed(0x40))
    lapic.write(TPR, 0xF0)
    assert lapic.acknowledge() == 0xEF
    assert vectors(lapic, ISR) == []
    assert vectors(lapic, IRR) == [0x40]


def test_level_eoi_is_broadcast_and_edge_is_not() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.accept(fixed(0x40, level=True))
    assert vectors(lapic, TMR) == [0x40]
    lapic.acknowledge()
    lapic.write(EOI, 0)
    assert bench.eois == [0x40]
    lapic.accept(fixed(0x40))
    assert vectors(lapic, TMR) == []
    lapic.acknowledge()
    lapic.write(EOI, 0)
    assert bench.eois == [0x40]


# -- the ICR and destinations ------------------------------------------------------------------------------------------


def ipi(bench: Bench, source: int, low: int, destination: int = 0) -> list[int]:
    """Send, and return which local APICs now have something in their IRR."""
    bench.lapics[source].write(ICR_HIGH, destination << 24)
    bench.lapics[source].write(ICR_LOW, low)
    return [index for index, lapic in enumerate(bench.lapics) if vectors(lapic, IRR)]


@pytest.mark.parametrize(
    ("low", "destination", "reached"),
    [
        (0x00040, 2, [2]),
        (0x00040, 0xFF, [0, 1, 2, 3]),
        (0x40040, 0, [1]),  # self
        (0x80040, 0, [0, 1, 2, 3]),  # all including self
        (0xC0040, 0, [0, 2, 3]),  # all but self
        (0x00840, 0b1010, [1, 3]),  # logical, flat
        (0x00840, 0xFF, [0, 1, 2, 3]),
    ],
)
def test_destinations(low: int, destination: int, reached: list[int]) -> None:
    bench = Bench(4)
    for index, lapic in enumerate(bench.lapics):
        lapic.write(LDR, 1 << (24 + index))
    assert ipi(bench, 1, low, destination) == reached
    assert bench.lapics[1].read(ICR_LOW) == low  # delivery status reads idle


def test_cluster_model() -> None:
    bench = Bench(4)
    for lapic, logical in zip(bench.lapics, (0x11, 0x12, 0x21, 0x22), strict=True):
        lapic.write(DFR, 0x0FFFFFFF)
        lapic.write(LDR, logical << 24)
    assert ipi(bench, 0, 0x00840, 0x13) == [0, 1]
    bench.lapics[0].acknowledge(), bench.lapics[1].acknowledge()
    assert ipi(bench, 0, 0x00840, 0x21) == [2]
    bench.lapics[2].acknowledge()
    assert ipi(bench, 0, 0x00840, 0xF2) == [1, 3]  # every cluster's second member


def test_lowest_priority_goes_to_one() -> None:
    bench = Bench(3)
    for index, lapic in enumerate(bench.lapics):
        lapic.write(LDR, 1 << (24 + index))
        lapic.write(TPR, (0x40, 0x20, 0x30)[index])
    assert ipi(bench, 0, 0x00990, 0b111) == [1]
    # Focus: it is pending there, so it stays there, whatever the priorities have become.
    bench.lapics[1].write(SVR, 0x1FF)
    bench.lapics[1].write(TPR, 0xF0)
    assert ipi(bench, 0, 0x00990, 0b111) == [1]


def test_lowest_priority_skips_the_disabled() -> None:
    bench = Bench(2)
    bench.lapics[0].write(SVR, 0xFF)
    assert ipi(bench, 1, 0x00190, 0xFF) == [1]


def test_init_init_deassert_startup_sequence() -> None:
    """The MP specification's way to start an application processor."""
    bench = Bench(2)
    boot, other = bench.lapics
    boot.write(ICR_HIGH, 1 << 24)
    boot.write(ICR_LOW, 0x0000C500)
    assert other.take_init()
    boot.write(ICR_LOW, 0x00008500)
    assert not other.take_init()
    boot.write(ICR_LOW, 0x00000610)
    assert other.take_startup() == 0x10
    assert not boot.take_init()


def test_nmi_to_all_others() -> None:
    bench = Bench(3)
    bench.lapics[2].write(ICR_LOW, 0x000C0400)
    assert [lapic.take_nmi() for lapic in bench.lapics] == [True, True, False]


def test_shorthand_messages_name_their_source() -> None:
    bench = Bench(2)
    ipi(bench, 1, 0xC0040)
    assert bench.sent == [Message(DeliveryMode.FIXED, 0x40, 0, shorthand=Shorthand.OTHERS, source=1)]


# -- errors ------------------------------------------------------------------------------------------------------------


def test_esr_is_written_before_it_is_read() -> None:
    lapic = Bench().lapics[0]
    lapic.write(ERROR, 0xFE)
    lapic.write(ICR_LOW, 0x00040005)
    assert lapic.read(ESR) == 0
    assert lapic.pending() == 0xFE
    lapic.write(ESR, 0)
    assert lapic.read(ESR) == 0x20  # send illegal vector
    lapic.write(ESR, 0)
    assert lapic.read(ESR) == 0


def test_illegal_vectors_and_registers() -> None:
    lapic = Bench().lapics[0]
    lapic.accept(fixed(0x0F))
    assert vectors(lapic, IRR) == []
    lapic.read(0x3F0)
    lapic.write(ESR, 0)
    assert lapic.read(ESR) == 0x40 | 0x80


def test_an_error_entry_with_an_illegal_vector_does_not_feed_itself() -> None:
    lapic = Bench().lapics[0]
    lapic.write(ERROR, 0x03)
    lapic.accept(fixed(0x02))
    lapic.write(ESR, 0)
    assert lapic.read(ESR) == 0x40


# -- local interrupts --------------------------------------------------------------------------------------------------


def test_lint_nmi_is_edge_triggered() -> None:
    lapic = Bench().lapics[0]
    lapic.set_lint(1, True)
    lapic.write(LINT1, DM_NMI)
    assert not lapic.take_nmi()  # the edge came while masked
    lapic.set_lint(1, False)
    assert not lapic.take_nmi()
    lapic.set_lint(1, True)
    assert lapic.take_nmi()


def test_lint_polarity() -> None:
    lapic = Bench().lapics[0]
    lapic.set_lint(1, True)
    lapic.write(LINT1, DM_NMI | ACTIVE_LOW)
    assert not lapic.take_nmi()
    lapic.set_lint(1, False)
    assert lapic.take_nmi()


def test_lint_level_has_a_remote_irr() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(LINT0, 0x45 | LEVEL)
    lapic.set_lint(0, True)
    assert lapic.read(LINT0) & 1 << 14
    assert lapic.acknowledge() == 0x45
    assert lapic.pending() is None
    lapic.write(EOI, 0)
    assert lapic.pending() == 0x45  # still asserted
    assert lapic.acknowledge() == 0x45
    lapic.set_lint(0, False)
    lapic.write(EOI, 0)
    assert lapic.pending() is None
    assert not lapic.read(LINT0) & 1 << 14


def test_virtual_wire_through_lint0() -> None:
    lapic = Bench(enabled=False).lapics[0]
    assert not lapic.accepts_extint()
    lapic.write(SVR, 0x1FF)
    lapic.write(LINT0, DM_EXTINT)
    assert lapic.accepts_extint()
    lapic.write(LINT0, DM_EXTINT | MASKED)
    assert not lapic.accepts_extint()
    lapic.write(LINT0, DM_NMI)
    assert not lapic.accepts_extint()


def test_an_extint_message_is_good_for_one_inta() -> None:
    lapic = Bench().lapics[0]
    lapic.accept(Message(DeliveryMode.EXTINT, 0, 0))
    assert lapic.accepts_extint()
    lapic.acknowledge_extint()
    assert not lapic.accepts_extint()


def test_hardware_disabled_the_pins_are_the_processors() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(TPR, 0x40)
    lapic.set_hardware_enabled(False)
    assert lapic.read(TPR) == 0xFFFFFFFF
    assert lapic.accepts_extint()
    assert not lapic.matches(fixed(0x40))
    lapic.set_lint(1, True)
    assert lapic.take_nmi()
    lapic.set_hardware_enabled(True)
    assert lapic.read(TPR) == 0
    assert not lapic.accepts_extint()


def test_performance_counter_masks_itself() -> None:
    """What an NMI watchdog sees: it has to unmask the entry each time."""
    lapic = Bench().lapics[0]
    lapic.perf_overflow()
    assert not lapic.take_nmi()
    lapic.write(PERF, DM_NMI)
    lapic.perf_overflow()
    assert lapic.take_nmi()
    assert lapic.read(PERF) == DM_NMI | MASKED
    lapic.perf_overflow()
    assert not lapic.take_nmi()


def test_lint_init() -> None:
    lapic = Bench().lapics[0]
    lapic.write(LINT0, DM_INIT)
    lapic.set_lint(0, True)
    assert lapic.take_init()


# -- timer: the bus runs at 100 MHz, divided by 2 after reset ----------------------------------------------------------


def test_one_shot() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(TIMER, 0xEF)
    lapic.write(INITIAL, 1000)
    run_until(bench.clock, 19_999)
    assert lapic.read(CURRENT) == 1
    assert lapic.pending() is None
    run_until(bench.clock, 20_000)
    assert lapic.read(CURRENT) == 0
    assert lapic.acknowledge() == 0xEF
    run_until(bench.clock, 100_000)
    assert lapic.read(CURRENT) == 0
    assert lapic.pending() is None
    assert bench.clock.next_deadline() is None


def test_periodic_keeps_its_phase() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(DIVIDE, 0b1011)  # by 1
    lapic.write(TIMER, 0xEF | PERIODIC)
    lapic.write(INITIAL, 500)
    fired = []
    for moment in range(1000, 31_000, 1000):
        run_until(bench.clock, moment)
        if lapic.pending():
            fired.append(moment)
            lapic.acknowledge()
            lapic.write(EOI, 0)
    assert fired == [5000, 10_000, 15_000, 20_000, 25_000, 30_000]


def test_masked_it_counts_and_wakes_nobody() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(INITIAL, 1000)
    assert bench.clock.next_deadline() is None
    run_until(bench.clock, 10_000)
    assert lapic.read(CURRENT) == 500
    lapic.write(TIMER, 0x30)
    assert bench.clock.next_deadline() == 20_000


@pytest.mark.parametrize(("bits", "divisor"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (0xA, 128), (0xB, 1)])
def test_divide_configuration(bits: int, divisor: int) -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(DIVIDE, bits)
    lapic.write(INITIAL, 1 << 20)
    run_until(bench.clock, 10 * divisor * 300)
    assert (1 << 20) - lapic.read(CURRENT) == 300


def test_changing_the_divisor_keeps_the_count() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(INITIAL, 1000)
    run_until(bench.clock, 10_000)
    lapic.write(DIVIDE, 0xB)
    assert lapic.read(CURRENT) == 500
    run_for(bench.clock, 1000)
    assert lapic.read(CURRENT) == 400


def test_initial_count_zero_stops_it() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(TIMER, 0x30 | PERIODIC)
    lapic.write(INITIAL, 1000)
    lapic.write(INITIAL, 0)
    assert lapic.read(CURRENT) == 0
    assert bench.clock.next_deadline() is None


def test_a_due_interrupt_is_not_lost_to_a_register_write() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(TIMER, 0x30)
    lapic.write(INITIAL, 1000)
    bench.clock.advance(20_500)  # code ran on; the clock did not get to fire
    lapic.write(TIMER, 0x30 | MASKED)
    assert lapic.pending() == 0x30


def test_a_storm_is_merged() -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(DIVIDE, 0xB)
    lapic.write(TIMER, 0x30 | PERIODIC)
    lapic.write(INITIAL, 1)
    deadline = bench.clock.next_deadline()
    assert deadline is not None
    assert deadline >= 1000


# -- properties --------------------------------------------------------------------------------------------------------

OFFSETS = [ID, TPR, EOI, LDR, DFR, SVR, ESR, ICR_LOW, ICR_HIGH, TIMER, PERF, LINT0, LINT1, ERROR, INITIAL, DIVIDE]
steps = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(OFFSETS), st.integers(0, 0xFFFFFFFF)),
    st.tuples(st.just("accept"), st.integers(0, 255), st.booleans()),
    st.tuples(st.just("lint"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("run"), st.integers(0, 100_000), st.none()),
    st.tuples(st.just("take"), st.none(), st.none()),
    st.tuples(st.just("perf"), st.none(), st.none()),
)


def apply(bench: Bench, step: tuple[str, Any, Any]) -> None:
    lapic = bench.lapics[0]
    kind, first, second = step
    if kind == "write":
        lapic.write(first, second)
    elif kind == "accept":
        lapic.accept(fixed(first, level=second))
    elif kind == "lint":
        lapic.set_lint(first, second)
    elif kind == "run":
        run_for(bench.clock, first)
    elif kind == "perf":
        lapic.perf_overflow()
    else:
        vector = lapic.pending()
        highest = max(vectors(lapic, ISR), default=0)
        if vector is not None:
            assert vector >> 4 > highest >> 4
            assert vector >> 4 > lapic.read(TPR) >> 4
            assert lapic.acknowledge() == vector
            assert max(vectors(lapic, ISR)) == vector
        else:
            assert lapic.acknowledge() == lapic.read(SVR) & 0xFF


@given(st.lists(steps, max_size=40))
def test_state_round_trips_and_priorities_hold(script: list[tuple[str, Any, Any]]) -> None:
    bench = Bench()
    for step in script:
        apply(bench, step)
        assert bench.lapics[0].read(PPR) >= bench.lapics[0].read(TPR) & 0xF0
    state = bench.lapics[0].state()
    copy = transplant(bench.lapics[0], bench.clock, lambda clock: LocalApic(0, clock, lambda message: None, bsp=True))
    assert copy.state() == state
    readable = [*OFFSETS, CURRENT, PPR, APR, *range(ISR, IRR + 0x80, 0x10)]
    assert [copy.read(offset) for offset in readable] == [bench.lapics[0].read(offset) for offset in readable]
    assert copy.pending() == bench.lapics[0].pending()


@given(st.integers(100, 5000), st.sampled_from([0, 1, 2, 3, 8, 9, 10, 11]), st.booleans(), st.integers(0, 2_000_000))
def test_current_count_against_a_counter(initial: int, divide: int, periodic: bool, elapsed: int) -> None:
    bench = Bench()
    lapic = bench.lapics[0]
    lapic.write(DIVIDE, divide)
    lapic.write(TIMER, 0x30 | (PERIODIC if periodic else 0))
    lapic.write(INITIAL, initial)
    run_until(bench.clock, elapsed)
    tick = 10 * {0: 2, 1: 4, 2: 8, 3: 16, 8: 32, 9: 64, 10: 128, 11: 1}[divide]
    count = initial
    for _ in range(min(elapsed // tick, 3 * initial + elapsed // tick % initial if periodic else initial)):
        count -= 1
        if count == 0 and periodic:
            count = initial
    assert lapic.read(CURRENT) == count
    assert (lapic.pending() == 0x30) == (elapsed >= tick * initial)
