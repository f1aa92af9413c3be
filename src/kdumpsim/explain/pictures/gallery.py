# SPDX-License-Identifier: GPL-2.0-or-later
"""All pictures of a run."""

from __future__ import annotations

from kdumpsim.explain.facts import Facts
from kdumpsim.explain.kernelmap import KernelMap
from kdumpsim.explain.pictures import controllers, cpoints, memory, stack, timeline
from kdumpsim.explain.pictures.recorder import Record
from kdumpsim.explain.pictures.svg import Drawing


def drawings(record: Record, facts: Facts | None = None) -> list[Drawing]:
    """Each that there is something to draw for, in the order in which they are told; some are of facts alone."""
    found = []
    found += _crash_point(record)
    found += timeline.figures(record)
    if facts is not None:
        found += _stack(record, facts)
    found += memory.figures(record)
    found += controllers.figures(record)
    return found


def _stack(record: Record, facts: Facts) -> list[Drawing]:
    first = record.session.first
    return stack.figures(facts, first.stack_size, KernelMap(first.elf).sizes["thread_info"])


def _crash_point(record: Record) -> list[Drawing]:
    armed, oracle = record.session.armed, record.oracle
    if armed is None or not armed.crash_point:
        return []
    steps = cpoints.path(record.points, oracle.jump.time_ns if oracle.jump is not None else None)
    return [cpoints.figure(armed.crash_point, steps)]
