# SPDX-License-Identifier: GPL-2.0-or-later
"""One run for all tests of the screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kdumpsim.debugger.service import new_session
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.tui.model import Model

PANIC = Scenario("FS_DEVRW", "panic")


@dataclass
class Tour:
    """A run that was gone through from power-on with stops and steps back on the way."""

    model: Model
    ending: str
    """When it came to its end for the first time, after all that."""


@pytest.fixture(scope="session")
def tour() -> Iterator[Tour]:
    model = Model(new_session(PANIC), PANIC)
    try:
        model.open("boot")
        model.toggle(*model.find("dtt_induce"))
        model.run()
        cpu = model.picture().cpu
        for into in (True, True, False, False):
            model.line(cpu, into=into)
        for _ in range(5):
            model.instruction_back(cpu)
        model.line_back(cpu, into=True)
        model.instruction(1 - cpu)
        model.clear()
        model.run()
        model.picture()
        yield Tour(model, model.ending)
    finally:
        model.close()


@pytest.fixture
def model(tour: Tour) -> Model:
    """At the crash."""
    tour.model.clear()
    tour.model.stop("crash")
    return tour.model
