# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's time that a run may take, beside the guest's (`Scenario.timeout`)."""

from __future__ import annotations

import time
from collections.abc import Callable

from kdumpsim.errors import KdumpsimError
from kdumpsim.scenario.values import ScenarioError

Poll = Callable[[], None]
"""Asked often while a machine runs; ends the run by raising."""
HOST_TIMEOUT_S = 600.0
"""For each run of a table or a sweep: minutes, where a run takes a second or ten."""


class HostTimeout(KdumpsimError):
    """A run exceeded its limit of host time.  That says nothing about the guest, so it is not an outcome."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the run has taken more than {self.seconds:g} s of the host's time; allow more with --host-timeout"


def check_host_timeout(seconds: float | None) -> None:
    """ScenarioError for what is no limit: a number that is not positive, or none."""
    if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
        raise ScenarioError(f"host_timeout is {seconds!r}: give more than 0 seconds, or None for no limit")


def within(seconds: float | None, poll: Poll | None = None) -> Poll | None:
    """A poll that asks `poll`, and raises HostTimeout once so many seconds have passed from now on; None: no limit."""
    if seconds is None:
        return poll
    end = time.monotonic() + seconds

    def limited() -> None:
        if poll is not None:
            poll()
        if time.monotonic() > end:
            raise HostTimeout(seconds)

    return limited
