# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of a crash or a fault, in a word: the classes of fault injection (docs/faults.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from kdumpsim.records import Form, Record, stored


class EffectClass(Enum):
    """Classes of runs; a run that was ended because the host's time was up has no result, and so none of these."""

    NOT_ACTIVATED = "not activated"
    """The changed instruction never ran."""
    CONVERGED = "converged"
    """The machine became the one without the fault."""
    LATENT = "latent"
    """The fault is still in memory, and nothing else differs."""
    LOAD_ONLY = "load only"
    """A program came to harm; the kernel reported nothing and works."""
    SURVIVED = "survived"
    """The kernel still works, and no dump was needed."""
    CAPTURED = "O"
    """The kernel's dump was captured, and is right."""
    WRONG = "O wrong"
    """It was captured, and memory or registers in it are wrong."""
    FAILED = "X"
    """There is no dump, or only one that the kernel did not start by itself."""


@dataclass(frozen=True)
class Effect(Record):
    """What came of it."""

    name: EffectClass = field(metadata=stored(Form(lambda name: name.value, EffectClass), name="class"))
    ended_in: str | None = None
    """For a run without a dump: the first kernel, or what the mechanism calls the place (`Mechanism.stage`)."""
    latency_ns: int | None = None
    """From the first strike that was activated to the crash, virtual ns."""

    def __str__(self) -> str:
        return self.name.value if self.ended_in is None else f"{self.name.value} in the {self.ended_in}"
