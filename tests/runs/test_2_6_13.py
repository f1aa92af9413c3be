# SPDX-License-Identifier: GPL-2.0-or-later
"""Profile 2.6.13-rc7: what its kernel does that 2.6.16 no longer does, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kdumpsim import boot
from kdumpsim.api import Machine

COUNTS = range(8, 20)


@pytest.fixture(scope="module")
def older() -> Iterator[Machine]:
    with boot(profile="2.6.13-rc7") as machine:
        yield machine


def test_die_enables_interrupts_while_the_line_that_died_is_locked(older: Machine) -> None:
    """LKML, 2005-09-08: the timer's own interrupt spins for its descriptor, and the NMI watchdog ends it."""
    for count in COUNTS:
        crash = older.crash("INT_HARDWARE_ENTRY", "panic", count=count).crash
        if crash is not None and crash.context == "IRQ 0":
            break
    else:
        pytest.fail(f"no crossing {COUNTS} is of the timer's interrupt")
    result = older.crash("INT_HARDWARE_ENTRY", "oops", count=count)
    assert str(result.outcome) == "X (nmiw)"
    assert "LOCKUP" in result.console
    with boot(profile="2.6.13-rc7", kernel_options=(("die_enables_irqs", "0"),)) as mended:
        assert str(mended.crash("INT_HARDWARE_ENTRY", "oops", count=count).outcome) == "O"


def test_sleepers_count_in_jiffies_and_cross_the_crash_point_in_mod_timer(older: Machine) -> None:
    crash = older.crash("TIMERADD", "panic").crash
    assert crash is not None
    assert "mod_timer" in crash.calls
    assert not [name for name in crash.calls if "hrtimer" in name]


def test_nobody_detects_a_soft_lockup(older: Machine) -> None:
    result = older.crash("INT_TASKLET_ENTRY", "hang")
    assert "soft lockup" not in result.console
    assert "det" not in str(result.outcome)
