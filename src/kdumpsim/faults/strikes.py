# SPDX-License-Identifier: GPL-2.0-or-later
"""The strikes of one run: when each comes, what it does, and when a changed instruction first runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kdumpsim.faults.instant import call_stub
from kdumpsim.faults.models import (
    AllocationFault,
    DataFault,
    DiskFault,
    DmaFault,
    HeapFault,
    MachineCheck,
    Model,
    RegisterFault,
    StackFault,
    StoreFault,
    SystemError,
)
from kdumpsim.faults.text import TextBit, TextBranch, TextDestination, TextInit, TextNop
from kdumpsim.records import Record
from kdumpsim.scenario.strikes import NS, At, Fault
from kdumpsim.scenario.values import ScenarioError

if TYPE_CHECKING:
    from kdumpsim.cpu import Cpu
    from kdumpsim.images import KernelImage
    from kdumpsim.machines.pc import Striking

TEXT_MODELS: tuple[type[Model], ...] = (TextBit, TextNop, TextBranch, TextDestination, TextInit)
_OTHERS: tuple[type[Model], ...] = (
    *(StackFault, DataFault, HeapFault, RegisterFault, StoreFault, DmaFault),
    *(AllocationFault, DiskFault, MachineCheck, SystemError),
)
MODELS: Mapping[str, type[Model]] = {model.name: model for model in TEXT_MODELS + _OTHERS}


@dataclass
class Struck(Record):
    """A strike and what became of it.  Times in virtual ns."""

    what: str
    """As `--fault` or `--at` has it."""
    at_ns: int | None = None
    """When it came; None if it has not."""
    did: str = ""
    """What was done; empty if there was nothing to be struck."""
    activated_ns: int | None = None
    """When it first mattered: a changed instruction ran, all others at once; None if it has not."""

    def __str__(self) -> str:
        if self.at_ns is None:
            return f"{self.what}: its time did not come"
        if not self.did:
            return f"{self.at_ns / NS:.6f} s: {self.what}: there was nothing to be struck"
        ran = ""
        if self.activated_ns is None:
            ran = "; it never ran"
        elif self.activated_ns > self.at_ns:
            ran = f"; it first ran {(self.activated_ns - self.at_ns) / 1e6:.3f} ms later"
        return f"{self.at_ns / NS:.6f} s: {self.what}: {self.did}{ran}"


class Strikes:
    """Strikes that were drawn, on the machine they are for."""

    def __init__(self, machine: Striking, kernel: KernelImage, strikes: Sequence[At | Fault]) -> None:
        """ScenarioError for one that this kernel does not have the target for."""
        self._machine, self._kernel = machine, kernel
        self.struck: list[Struck] = []
        self.pages: frozenset[int] = frozenset()
        """Physical addresses of the pages that hold the faults themselves."""
        self._symbols = frozenset(kernel.symbols.values())
        self._appointments: list[tuple[int, Any]] = []
        for strike in strikes:
            record = Struck(str(strike))
            self.struck.append(record)
            assert strike.time is not None
            if isinstance(strike, At):
                assert strike.cpu is not None
                self._appointments.append((strike.time, partial(self._call_stub, record, strike.cpu)))
            else:
                model = MODELS[strike.model](strike.target, kernel)
                self.pages |= model.pages
                self._appointments.append((strike.time, partial(self._fault, record, model)))

    @property
    def last(self) -> int:
        """When the last one comes, virtual ns."""
        return max(time for time, _ in self._appointments)

    def appoint(self) -> None:
        """From now on they come when it is their time.  ScenarioError if that is over for one."""
        now = self._machine.clock.now
        for (time, callback), record in zip(self._appointments, self.struck, strict=True):
            if time < now:
                raise ScenarioError(f"{record.what} is before the machine was armed, at {now / NS:.9f} s")
            self._machine.appoint(time, callback)

    def _call_stub(self, record: Struck, cpu: int) -> None:
        record.at_ns = self._machine.clock.now
        record.did = call_stub(self._machine, self._kernel, cpu) or ""
        record.activated_ns = record.at_ns if record.did else None

    def _fault(self, record: Struck, model: Model) -> None:
        record.at_ns = now = self._machine.clock.now
        record.did = model.strike(self._machine) or ""
        if not record.did:
            return
        if model.instruction is None:
            record.activated_ns = now
        else:
            self._machine.watch(model.instruction, partial(self._runs, record, model.instruction))

    def _runs(self, record: Struck, address: int, _cpu: Cpu) -> None:
        if record.activated_ns is None:
            now = self._machine.clock.now
            record.activated_ns = now
            if address not in self._symbols:  # where the oracle may be watching
                self._machine.appoint(now, partial(self._machine.unwatch, address))
