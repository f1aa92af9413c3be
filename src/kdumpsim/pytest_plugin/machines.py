# SPDX-License-Identifier: GPL-2.0-or-later
"""The machines of a test session: each is booted when it is first crashed, and kept to the session's end."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any, Self

from kdumpsim.api import BootSettings, CrashSettings, Machine, Result, boot
from kdumpsim.runs.hosttime import HOST_TIMEOUT_S
from kdumpsim.scenario.scenario import BootKey, Scenario


class Machines:
    """Booted machines by PC and kernel.  Nothing but copies of them is crashed, so that tests don't see each other."""

    def __init__(self) -> None:
        self._booted: dict[BootKey, Machine] = {}
        self._closing = ExitStack()

    def crash(self, scenario: Scenario, output: str | os.PathLike[str] | None = None) -> Result:
        """Crash a copy of the machine that a scenario needs, booting it if this is the first time.

        Errors are those of `kdumpsim.boot` and `Machine.crash`.
        """
        key = scenario.boot_key()
        if key not in self._booted:
            self._booted[key] = self._closing.enter_context(boot(host_timeout=HOST_TIMEOUT_S, **_boot(scenario)))
        how: dict[str, Any] = {name: getattr(scenario, name) for name in CrashSettings.__annotations__}
        return self._booted[key].crash(scenario.crash_point, scenario.crash_type, output=output, **how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._booted.clear()
        self._closing.close()


def _boot(scenario: Scenario) -> dict[str, Any]:
    """What to boot for a scenario, with what its crash needs from power-on."""
    same = BootSettings.__annotations__.keys() - {"modules", "nic", "kernel_options"}
    settings = {name: getattr(scenario, name) for name in same}
    return settings | {
        "modules": scenario.guest_modules,
        "nic": scenario.has_nic,
        "kernel_options": scenario.kernel.kernel_options,
    }
