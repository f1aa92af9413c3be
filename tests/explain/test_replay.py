# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs that are run again and explained: facts beside the machine's own knowledge and a debugger's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from kdumpsim.debugger.orders import Go, Watch
from kdumpsim.debugger.service import begin, new_session
from kdumpsim.debugger.travel import Traveller
from kdumpsim.explain import facts as kinds
from kdumpsim.explain import stacks
from kdumpsim.explain.facts import Fact, Facts
from kdumpsim.explain.guest import Guest
from kdumpsim.explain.page import most_overwritten, sections, text
from kdumpsim.explain.replay import NotTheSame, explain, explain_result
from kdumpsim.explain.sentences import Sentence, said
from kdumpsim.explain.watching import Watching
from kdumpsim.runs.account import conclude
from kdumpsim.runs.result import Result
from kdumpsim.runs.run import drive, power_on, run_scenario, start
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.target import PAGE_OFFSET, physical
from kdumpsim.vmcore.compare import Difference

OVERFLOW = Scenario("INT_HARDWARE_ENTRY", "overflow")
LOCKED = Scenario("INT_HARDWARE_ENTRY", "hang", kernel_options=(("watchdog_thresh", "1"),))
PRESSED = Scenario("FS_DEVRW", "hang", patience=2)
NETWORK = Scenario("FS_DEVRW", "panic", dma=("net",))
MARKS = re.compile(r"\[#(\d+)\]")


class Explained:
    """A run, and what was found of it when it was run again."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.result = run_scenario(scenario, directory)
        self.directory = directory
        self.facts = explain(directory)
        self.page = text(self.facts)

    def only(self, kind: type[kinds.Kind]) -> kinds.Kind:
        """The fact of a kind of which there is one."""
        (found,) = self.facts.all(kind)
        return found


def sentences(facts: Facts) -> Iterator[Sentence]:
    for section in sections(facts):
        yield from (item for item in section.items if isinstance(item, Sentence))


@pytest.fixture(scope="module")
def overflow(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    return Explained(OVERFLOW, tmp_path_factory.mktemp("overflow"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    return Explained(LOCKED, tmp_path_factory.mktemp("locked"))


@pytest.fixture(scope="module")
def tour() -> Iterator[Traveller]:
    """A debugger in the overflow."""
    traveller = Traveller(new_session(OVERFLOW), OVERFLOW)
    begin(traveller, "crash")
    yield traveller
    traveller.close()


# An overflow that ends in a triple fault.


def test_the_first_bad_write_is_the_one_a_debuggers_watchpoint_names(overflow: Explained, tour: Traveller) -> None:
    first = overflow.facts.all(kinds.Overwritten)[0]
    assert first.first
    crash = overflow.only(kinds.Crash)
    assert crash.at.number is not None
    tour.goto(crash.at.number)
    assert tour.ask("where")[0].eip == crash.at.address, "numbers are the debugger's"
    watch = Watch(first.address, physical(first.address), 1)
    place = tour.forward(Go(watches=(watch,)))
    assert place.changed is not None
    assert place.changed.by == f"CPU {first.at.cpu} at {first.at.address:#x}"
    assert place.number - 1 == first.at.number
    left = overflow.only(kinds.StackLeft)
    assert left.at.number is not None
    assert left.at.number < place.number
    assert left.pointer < left.stack
    assert first.frames[0].function == "dtt_overflow"


def test_two_first_writes_are_told_apart_by_their_numbers(overflow: Explained) -> None:
    below, info = (fact for fact in overflow.facts.all(kinds.Overwritten) if fact.first)
    assert (below.in_thread_info, info.in_thread_info) == (False, True)
    words = " ".join(overflow.page.split())
    assert f"The first write below the stack's end, at instruction {below.at.number:,}: CPU 0 overwrote" in words
    assert f"The first write to thread_info, at instruction {info.at.number:,}: CPU 0 overwrote {info.what} (" in words


def test_padding_below_the_stack_is_no_object(overflow: Explained) -> None:
    """The kernel's file has a variable there whose size is 0."""
    assert {fact.what for fact in overflow.facts.all(kinds.Overwritten) if not fact.in_thread_info} == {kinds.UNUSED}


def test_thread_info_is_told_however_much_was_overwritten_before(overflow: Explained) -> None:
    below, info = (fact for fact in overflow.facts.all(kinds.Overwritten) if fact.first)
    others = [replace(below, by=f"function {number}") for number in range(40)]
    shown = [run for run, told in most_overwritten([*others, info, *others], 8) if told]
    assert shown == [*([fact] for fact in others[:8]), [info]]


def test_exceptions_that_are_not_listed_are_counted(overflow: Explained) -> None:
    left = overflow.only(kinds.ExceptionsLeftOut)
    taken = next(fact.count for fact in overflow.facts.all(kinds.Events) if fact.name == "#PF")
    refused = [fact for fact in overflow.facts.all(kinds.NotDelivered) if fact.name == "#PF"]
    assert left.count + len(overflow.facts.all(kinds.CpuException)) == taken + len(refused)


def test_what_destroyed_thread_info_is_the_writer_that_a_debugger_finds(overflow: Explained, tour: Traveller) -> None:
    task, cpu = (
        next(fact for fact in overflow.facts.all(kinds.Overwritten) if fact.what == f"thread_info.{name}")
        for name in ("task", "cpu")
    )
    assert (task.by, cpu.by, cpu.old, cpu.new) == ("memset", "memset", 0, 0xFFFFFFFF)
    assert task.at.number is not None
    assert cpu.at.number is not None
    assert task.at.number < cpu.at.number, "in order"
    tour.goto(cpu.at.number - 50)
    place = tour.forward(Go(watches=(Watch(cpu.address, physical(cpu.address), 4),)))
    assert place.changed is not None
    assert (place.changed.by, place.number - 1) == (f"CPU 0 at {cpu.at.address:#x}", cpu.at.number)


def test_the_stack_is_followed_from_the_crash_to_the_shutdown(overflow: Explained) -> None:
    grown = overflow.facts.all(kinds.StackGrown)
    crash = next(state for state in overflow.facts.all(kinds.CpuState) if (state.at.cpu, state.when) == (0, "crash"))
    assert grown[0].begin == crash.registers["esp"]
    assert [step.pointer for step in grown[:-1]] == [step.begin for step in grown[1:]], "without a gap"
    levels = [step for step in grown if step.function == "dtt_overflow"]
    assert len(levels) == 10, "dtt_overflow() calls itself so often"
    assert len({above.pointer - below.pointer for above, below in pairwise(levels)}) == 1, "each takes the same"
    refused = overflow.facts.all(kinds.NotDelivered)
    assert grown[-1].pointer <= refused[-1].stack
    assert not overflow.facts.all(kinds.NotLookedAt)


def test_the_overwritten_page_directory_is_told_as_the_faults_that_follow_are(overflow: Explained) -> None:
    damage = {each.what: each for each in overflow.facts.all(kinds.Damage)}
    directory = damage["swapper_pg_dir"]
    with closing(power_on(OVERFLOW.pc, OVERFLOW.kernel)) as session:
        entry = session.first.symbols["swapper_pg_dir"] + (PAGE_OFFSET >> 22) * 4
    assert directory.start <= entry < directory.end, "that of the kernel's first 4 MiB, with the IDT"
    refused = overflow.facts.all(kinds.NotDelivered)
    assert [fact.unmapped for fact in refused] == [True, True]
    assert directory.at.ns < refused[0].at.ns
    pieces = sum(each.pieces for each in damage.values())
    assert pieces > len(overflow.facts.all(kinds.Overwritten)), "not all are told one by one"
    flat = " ".join(overflow.page.split())
    assert f"swapper_pg_dir ({directory.size} bytes from {directory.start:#x} to {directory.end - 1:#x}" in flat


def test_where_the_closer_look_ends_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "AFTER", 5)
    facts = watched(OVERFLOW)
    (end,) = [fact for fact in facts if isinstance(fact, kinds.NotLookedAt)]
    assert said(end).text.endswith(": 5 instructions after the overflow was noticed, the look ended.")
    (task,) = [fact for fact in facts if isinstance(fact, kinds.Overwritten) and fact.what == "thread_info.task"]
    assert task.at.number is not None
    assert end.at.number is not None
    assert 0 < end.at.number - task.at.number < 10


def test_a_triple_fault_is_told_fault_by_fault(overflow: Explained) -> None:
    chain = [fact for fact in overflow.facts.facts
             if isinstance(fact, (kinds.CpuException, kinds.NotDelivered, kinds.ShutDown))]  # fmt: skip
    first, *_, last, refused, double, shut = chain
    assert isinstance(first, kinds.CpuException)
    assert (first.name, first.frames[0].function) == ("#PF", "update_process_times")
    assert isinstance(last, kinds.CpuException)
    assert isinstance(refused, kinds.NotDelivered)
    assert isinstance(double, kinds.NotDelivered)
    assert [(fact.name, fact.met_name) for fact in (refused, double)] == [("#PF", "#PF"), ("#DF", "#PF")]
    assert isinstance(shut, kinds.ShutDown)
    assert overflow.result.outcome.evidence[0].startswith("INT_HARDWARE_ENTRY on CPU 0")
    assert "so on" in overflow.page


# A CPU that hangs with interrupts off, holding a lock.


def test_a_lock_is_told_with_its_holder(locked: Explained) -> None:
    held = [(lock.name, lock.owner) for lock in locked.facts.all(kinds.LockHeld) if lock.when == "crash"]
    assert held == [("irq_desc[14].lock", 0)]
    hanging = [state for state in locked.facts.all(kinds.CpuState) if (state.at.cpu, state.when) == (0, "later")]
    assert [(state.frames[0].function, state.interrupts) for state in hanging] == [("dtt_loop", False)]


def test_who_noticed_a_hang_and_who_could_not_is_told_by_what_came(locked: Explained) -> None:
    counts = {(events.name, events.at.cpu): events.count for events in locked.facts.all(kinds.Events)}
    assert counts["local timer", 0] == 0
    assert counts["NMI", 0] > 90 < counts["local timer", 1]
    flat = " ".join(locked.page.split())
    assert re.search(r"The NMI watchdog of CPU 0 could notice it: \d+ NMIs came, and no local timer interrupts", flat)
    assert "The soft-lockup watchdog of CPU 0 could not notice anything: it looks in the local timer's interrupt; none "
    assert "came, for its interrupts were off." in flat
    assert "NMI Watchdog detected LOCKUP" in flat


def test_the_news_is_followed_from_the_sender_to_each_cpu(locked: Explained) -> None:
    message = locked.only(kinds.Message)
    assert (message.at.cpu, message.mode, message.to) == (0, "NMI", (1,))
    assert "send_IPI_allbutself" in [frame.function for frame in message.frames]
    taken = [nmi for nmi in locked.facts.all(kinds.NmiTaken) if nmi.at.ns >= message.at.ns]
    assert [(nmi.at.cpu, nmi.frames[0].function) for nmi in taken] == [(1, "safe_halt")]
    saved = locked.facts.all(kinds.Saved)
    assert [(save.at.cpu, save.number) for save in saved] == [(1, 1), (0, 0)]
    roles = {role.at.cpu: role.role for role in locked.facts.all(kinds.Role)}
    assert roles == {0: "crashing", 1: "stopped by NMI"}
    assert locked.result.judgement is not None
    assert roles == {check.cpu: check.role for check in locked.result.judgement.registers}


def test_the_way_to_the_dump_is_told_with_what_was_checked(locked: Explained) -> None:
    checked, copied, read = locked.facts.all(kinds.Passage)
    assert (checked.ok, copied.ok, read.ok) == (True, None, True)
    assert "SHA-256" in checked.found
    jump = locked.only(kinds.HandedOver)
    entered = locked.only(kinds.KernelEntered)
    assert jump.at.ns < checked.begin_ns < checked.at.ns <= copied.begin_ns < copied.at.ns < entered.at.ns < read.at.ns
    dump = locked.only(kinds.Dump)
    assert read.found == f"/proc/vmcore has {dump.bytes} bytes"


# What a run looks like to whoever watches it.


def watched(scenario: Scenario) -> list[Fact]:
    """What is seen of a run the first time."""
    with closing(power_on(scenario.pc, scenario.kernel)) as session:
        watching = Watching(session, Guest(session))
        try:
            start(session)
            drive(session, scenario)
            return watching.over()
        finally:
            watching.stop()


def test_the_nmi_that_is_told_is_the_one_that_was_sent() -> None:
    """Under lkcd the watchdog's NMIs go on after it, on both CPUs."""
    facts = watched(Scenario("FS_DEVRW", "panic", mechanism="lkcd"))
    (message,) = [fact for fact in facts if isinstance(fact, kinds.Message) and fact.mode == "NMI"]
    (taken,) = [fact for fact in facts if isinstance(fact, kinds.NmiTaken)]
    (saved,) = [fact for fact in facts if isinstance(fact, kinds.Saved) and fact.at.cpu == 0]
    assert (message.at.cpu, message.to, taken.at.cpu) == (1, (0,), 0)
    assert message.at.ns <= taken.at.ns < saved.at.ns
    assert [frame.function for frame in taken.frames[:2]] == ["safe_halt", "default_idle"]


def test_a_double_fault_on_a_guard_page_is_told_with_its_task_gate() -> None:
    facts = watched(Scenario("TASKLET", "overflow", cpus=1, profile="hardened"))
    (guard,) = [fact for fact in facts if isinstance(fact, kinds.GuardPageMet)]
    (left,) = [fact for fact in facts if isinstance(fact, kinds.StackLeft)]
    assert guard.stack == left.stack == guard.page + 0x1000
    assert guard.page <= guard.linear < left.pointer < guard.stack
    fault, refused, double = [fact for fact in facts if isinstance(fact, (kinds.CpuException, kinds.NotDelivered))]
    assert isinstance(refused, kinds.NotDelivered)
    assert (refused.name, refused.met_name, refused.linear) == ("#PF", "#PF", guard.linear)
    told = [said(fact).text for fact in (fault, double)]
    assert told[0].startswith(f"CPU 0 met #PF at address 0x{guard.linear:08x} in dtt_overflow() ")
    assert told[1].startswith("CPU 0 met #DF (by its task gate) in dtt_overflow() ")
    entered = {fact.name: fact.count for fact in facts if isinstance(fact, kinds.Events)}
    assert entered["#DF"] == 1
    assert "#PF" not in entered
    assert not [fact for fact in facts if isinstance(fact, kinds.Overwritten)]


# SysRq, devices, CPUs after the hand-over.


@pytest.mark.nightly
def test_a_hang_that_only_the_operator_noticed(tmp_path: Path) -> None:
    run = Explained(PRESSED, tmp_path)
    assert [mark.mark for mark in run.facts.all(kinds.Marked)] == ["log", "SysRq"]
    counts = {(events.name, events.at.cpu): events.count for events in run.facts.all(kinds.Events)}
    assert counts["IRQ 1", 0] > 0, "the keyboard's"
    assert counts["local timer", 1] > 0
    states = [state for state in run.facts.all(kinds.CpuState) if (state.at.cpu, state.when) == (1, "later")]
    assert [(state.frames[0].function, state.interrupts) for state in states] == [("dtt_loop", True)]
    assert "The NMI watchdog of CPU 1 had nothing to notice" in " ".join(run.page.split())


def test_who_wrote_to_memory_after_the_hand_over_is_named(tmp_path: Path) -> None:
    """By DMA, and by a CPU to memory in which the dump is said to differ."""
    with closing(power_on(NETWORK.pc, NETWORK.kernel)) as session:
        start(session)
        drive(session, NETWORK)
        conclusion = conclude(session, tmp_path, large=False)
        assert conclusion.judgement is not None
        pages = {change.page for change in conclusion.judgement.dma}
        assert pages
        jump = session.oracle.jump
        assert jump is not None
        assert jump.ram is not None
        now = session.machine.memory.view
        low = next(at for at in range(0x1000, 0x90000) if jump.ram.read(at, at + 1)[0] != now[at])
    differences = [Difference("differs", low, low + 1, "low memory")]
    judgement = replace(conclusion.judgement, differences=differences)
    facts = explain_result(Result(NETWORK, conclusion.outcome, judgement=judgement))
    written = facts.all(kinds.PageWritten)
    by_dma = [fact for fact in written if fact.by == "DMA of rtl8139"]
    assert {fact.start & ~0xFFF for fact in by_dma} <= pages
    (by_cpu,) = [fact for fact in written if fact.by.startswith("CPU")][:1]
    assert by_cpu.start <= low < by_cpu.end
    assert by_cpu.at.number is not None
    assert (by_cpu.by, by_cpu.at.cpu) == (f"CPU {jump.cpu}", jump.cpu)


# Properties, and what cannot be explained.


@pytest.mark.parametrize("which", ["overflow", "locked"])
def test_no_sentence_is_without_a_fact(which: str, request: pytest.FixtureRequest) -> None:
    run: Explained = request.getfixturevalue(which)
    known = set(map(id, run.facts.facts))
    for sentence in sentences(run.facts):
        assert sentence.facts, sentence.text
        assert {id(fact) for fact in sentence.facts} <= known, sentence.text
    body, _, references = run.page.partition("\nReferences\n")
    for item in re.split(r"^- ", body, flags=re.M)[1:]:
        statement = re.split(r"\n(?=    |\n)", item)[0]
        assert MARKS.search(statement), item
    listed = set(re.findall(r"^ +#(\d+) ", references, flags=re.M))
    assert set(MARKS.findall(body)) <= listed
    assert [line for line in run.page.splitlines()[2:] if len(line) > 80] == []


def test_a_fact_leads_a_debugger_to_where_it_was(overflow: Explained, tour: Traveller) -> None:
    exception = overflow.facts.all(kinds.CpuException)[0]
    assert exception.at.number is not None
    tour.goto(exception.at.number)
    assert tour.ask("where")[exception.at.cpu].eip == exception.at.address


def test_the_facts_are_json(overflow: Explained) -> None:
    data = overflow.facts.as_dict()
    assert data["replayed"] is True
    assert [row["mark"] for row in data["facts"]] == list(range(1, len(overflow.facts.facts) + 1))
    assert {row["kind"] for row in data["facts"]} >= {"Armed", "Crash", "CpuState", "Overwritten", "ShutDown", "Ended"}


@pytest.mark.nightly
def test_a_run_that_does_not_end_the_same_is_not_explained(overflow: Explained) -> None:
    other = replace(overflow.result.outcome, captured=True, success=True)
    with pytest.raises(NotTheSame, match=r"it ended in O, and ends in X when it is run again"):
        explain_result(replace(overflow.result, outcome=other))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "0.0.1"}, r"it was run by kdumpsim 0\.0\.1, and this is "),
        ({"scenario": Scenario("FS_DEVRW", "panic", machine="qemu")}, "no two runs are alike"),
    ],
)
def test_what_cannot_be_run_again_is_said_with_both_versions(
    change: dict[str, object], words: str, overflow: Explained
) -> None:
    values = {**vars(overflow.result), **change}
    with pytest.raises(NotTheSame, match=words):
        explain_result(Result(**values))


def test_another_build_is_named_by_both_build_ids(overflow: Explained) -> None:
    with pytest.raises(NotTheSame, match=r"has the build-id \(none\), and this one has [0-9a-f]{40}"):
        explain_result(overflow.result, b"\x7fELF of another day")


def test_every_kind_of_fact_has_its_sentence() -> None:
    from kdumpsim.explain.sentences import _SAYERS

    declared = {kind for kind in vars(kinds).values() if isinstance(kind, type) and issubclass(kind, Fact)}
    assert set(_SAYERS) == declared - {Fact}


def test_a_phase_without_a_detail_is_told_without_one() -> None:
    phase = kinds.Phase(kinds.Moment(3_020_000_000), "arm", "", 0)
    assert said(phase).text == "Phase arm took 3.02 s."


def test_only_what_was_initialised_is_a_lock(locked: Explained) -> None:
    """Memory of zeros, such as the lock of a driver that found no device, would look taken."""
    looks = {look.when: (look.count, look.taken) for look in locked.facts.all(kinds.LocksLookedAt)}
    assert looks["crash"][1] == looks["later"][1] == 1
    assert looks["crash"][0] > 100


def test_a_task_that_thread_info_no_longer_names_is_unknown(overflow: Explained) -> None:
    tasks = [(state.when, state.task) for state in overflow.facts.all(kinds.CpuState) if state.at.cpu == 0]
    assert tasks == [("crash", "swapper (pid 0)"), ("end", None)]
    assert "its task unknown: the thread_info of its stack names none" in " ".join(overflow.page.split())
