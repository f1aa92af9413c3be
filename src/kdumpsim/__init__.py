# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated SMP PC on which a toy kernel dies, and its crash dump is judged.

The names in `__all__` are the public interface, documented in ``docs/api.rst``; everything else may change.
They are imported when they are first used, so that ``import kdumpsim`` is quick.
"""

from typing import TYPE_CHECKING, Any

from kdumpsim._version import __version__

if TYPE_CHECKING:
    from kdumpsim.api import (
        At,
        BootFailed,
        BootSettings,
        CommandError,
        CrashSettings,
        Fault,
        GuestError,
        HostFailure,
        HostTimeout,
        Judgement,
        KdumpsimError,
        Machine,
        MachineBusy,
        MachineDead,
        Outcome,
        PhysicalMemory,
        QemuLost,
        Reservation,
        Result,
        Scenario,
        ScenarioError,
        StoreError,
        Sweep,
        Vmcore,
        VmcoreError,
        WorkerDied,
        boot,
        run,
        sweep,
    )

__all__ = [
    "At",
    "BootFailed",
    "BootSettings",
    "CommandError",
    "CrashSettings",
    "Fault",
    "GuestError",
    "HostFailure",
    "HostTimeout",
    "Judgement",
    "KdumpsimError",
    "Machine",
    "MachineBusy",
    "MachineDead",
    "Outcome",
    "PhysicalMemory",
    "QemuLost",
    "Reservation",
    "Result",
    "Scenario",
    "ScenarioError",
    "StoreError",
    "Sweep",
    "Vmcore",
    "VmcoreError",
    "WorkerDied",
    "__version__",
    "boot",
    "run",
    "sweep",
]


if not TYPE_CHECKING:  # to a type checker, a module with __getattr__ has every name

    def __getattr__(name: str) -> Any:
        """PEP 562: import a public name when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module 'kdumpsim' has no attribute '{name}'")
        from kdumpsim import api

        value = globals()[name] = getattr(api, name)
        return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
