# SPDX-License-Identifier: GPL-2.0-or-later
"""The paper's legend (section 4), entry by entry, from what was seen."""

from __future__ import annotations

import pytest

from kdumpsim.lkdtt.outcome import MARKS, NS, Note, Outcome, Seen, console_notes, name_outcome


def notes(*seen: Seen) -> list[Note]:
    """One note a second, in this order."""
    return [Note(second * NS, kind, kind.value) for second, kind in enumerate(seen, 1)]


SAVED = (Seen.HANDED_OVER, Seen.CAPTURE_STARTED, Seen.DUMP_SAVED, Seen.RESET)
KEY = (Seen.SYSRQ_PRESSED, Seen.SYSRQ_TAKEN)


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        ((Seen.PANIC, *SAVED), "O"),
        ((Seen.NMI_WATCHDOG, Seen.PANIC, *SAVED), "O"),  # a hang found by the watchdog is what it is there for
        ((Seen.SOFT_LOCKUP, Seen.PANIC, *SAVED), "O"),
        ((Seen.PANIC, *SAVED[:-1], Seen.REBOOT_HANGS), "O (nrbt)"),
        ((Seen.HIT, Seen.OOPS, Seen.RECOVERED, Seen.REBOOTING, Seen.REBOOT_HANGS), "O (nrbt)"),
        ((Seen.HIT, Seen.OOPS, Seen.RECOVERED, Seen.REBOOTING, Seen.RESET), "O"),
        ((Seen.OOPS, Seen.NMI_WATCHDOG, *SAVED), "X (nmiw)"),
        ((Seen.PANIC, Seen.NMI_WATCHDOG, *SAVED[:-1], Seen.REBOOT_HANGS), "X (nmiw, nrbt)"),
        ((Seen.PANIC, Seen.HANDED_OVER, Seen.REBOOT_HANGS, Seen.NMI_WATCHDOG, Seen.DUMP_SAVED), "O (nrbt, nmiw)"),
        ((Seen.SILENT, *KEY, *SAVED), "X (SysRq)"),
        ((Seen.SILENT, *KEY, *SAVED[:2], Seen.PLUG_PULLED), "X (SysRq, 2c)"),
        ((Seen.SILENT, *KEY, Seen.HANDED_OVER, Seen.PLUG_PULLED), "X"),  # the key started nothing that went on
        ((Seen.SOFT_LOCKUP, Seen.SILENT, *KEY, *SAVED), "X (det, SysRq)"),
        ((Seen.OOPS, Seen.NO_LOGIN, *KEY, *SAVED), "X (log, SysRq)"),
        ((Seen.STUCK, Seen.UNKILLABLE, *KEY, *SAVED[:2], Seen.RESET), "X (unk, SysRq, 2c)"),
        ((Seen.PANIC, *SAVED[:2], Seen.PLUG_PULLED), "X (2c)"),
        ((Seen.SILENT, Seen.SYSRQ_PRESSED, Seen.PLUG_PULLED), "X"),
        ((Seen.RESET,), "X"),
        ((Seen.NOT_CROSSED,), "X"),
    ],
)
def test_the_legend_of_the_paper(seen: tuple[Seen, ...], outcome: str) -> None:
    assert str(name_outcome(notes(*seen))) == outcome


def test_log_is_for_systems_in_which_no_watchdog_saw_anything() -> None:
    assert str(name_outcome(notes(Seen.SOFT_LOCKUP, Seen.NO_LOGIN, *KEY, *SAVED))) == "X (det, SysRq)"


def test_a_key_that_the_kernel_did_not_take_started_nothing() -> None:
    outcome = name_outcome(notes(Seen.SILENT, Seen.SYSRQ_PRESSED, Seen.PANIC, *SAVED))
    assert str(outcome) == "O"


def test_every_mark_says_what_was_seen_and_when() -> None:
    outcome = name_outcome(notes(Seen.SOFT_LOCKUP, Seen.SILENT, *KEY, *SAVED))
    assert [(mark.name, mark.at_ns) for mark in outcome.details] == [("det", 1 * NS), ("SysRq", 3 * NS)]
    assert all(mark.seen and mark.as_dict()["meaning"] == MARKS[mark.name] for mark in outcome.details)
    assert [line for line in outcome.evidence if line.startswith("SysRq: 3.000 s")]


def test_a_recovery_is_told_apart_from_a_dump() -> None:
    recovered = name_outcome(notes(Seen.OOPS, Seen.RECOVERED, Seen.RESET))
    assert (recovered.ok, recovered.captured, recovered.recovered) == (True, False, True)


def test_a_system_that_recovered_and_was_handed_over_all_the_same_is_no_success() -> None:
    """It worked again, somebody rebooted it, and on the way down it died: then a dump was called for."""
    seen = (Seen.OOPS, Seen.RECOVERED, Seen.REBOOTING, Seen.PANIC, Seen.HANDED_OVER)
    assert str(name_outcome(notes(*seen, Seen.PLUG_PULLED))) == "X"
    assert str(name_outcome(notes(*seen, Seen.CAPTURE_STARTED, Seen.PLUG_PULLED))) == "X (2c)"
    assert str(name_outcome(notes(*seen, *SAVED[1:]))) == "O"


def test_a_dump_started_by_hand_is_kept_but_counts_as_failure() -> None:
    outcome = name_outcome(notes(Seen.SILENT, *KEY, *SAVED))
    assert (outcome.ok, outcome.captured) == (False, True)


def test_unknown_marks_cannot_be_given() -> None:
    with pytest.raises(KeyError):
        Outcome(True).mark("magic", "nothing")


def test_the_console_is_read_with_the_words_of_2_6_16() -> None:
    lines = [
        (1, "BUG: soft lockup detected on CPU#0!"),
        (2, "NMI Watchdog detected LOCKUP on CPU1, eip c0100000, registers:"),
        (3, "Unable to handle kernel NULL pointer dereference at virtual address 00000000"),
        (4, "Oops: 0002 [#1]"),
        (5, "Kernel panic - not syncing: Fatal exception"),
        (6, "SysRq : Trigger a crashdump"),
        (7, "kernel BUG at kdumpsim/kernel/lkdtt/dtt.py:102!"),
    ]
    assert [(note.at_ns, note.seen) for note in console_notes(lines)] == [
        (1, Seen.SOFT_LOCKUP),
        (2, Seen.NMI_WATCHDOG),
        (3, Seen.OOPS),
        (5, Seen.PANIC),
        (6, Seen.SYSRQ_TAKEN),
    ]
