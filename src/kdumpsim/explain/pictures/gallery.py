# SPDX-License-Identifier: GPL-2.0-or-later
"""All pictures of a run."""

from __future__ import annotations

from kdumpsim.explain.pictures import controllers, cpoints, memory, timeline
from kdumpsim.explain.pictures.recorder import Record
from kdumpsim.explain.pictures.svg import Drawing


def drawings(record: Record) -> list[Drawing]:
    """Each that there is something to draw for, in the order in which they are told."""
    found = []
    found += _crash_point(record)
    found += timeline.figures(record)
    found += memory.figures(record)
    found += controllers.figures(record)
    return found


def _crash_point(record: Record) -> list[Drawing]:
    armed, oracle = record.session.armed, record.oracle
    if armed is None or not armed.crash_point:
        return []
    steps = cpoints.path(record.points, oracle.jump.time_ns if oracle.jump is not None else None)
    return [cpoints.figure(armed.crash_point, steps)]
