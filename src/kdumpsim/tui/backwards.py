# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back by a source line: where the line before began, from what a CPU ran last.

What a function called is passed over by the stack: the call was made on the same one, not deeper than what it came
back to. A function that calls itself is not told from itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kdumpsim.debugger.orders import Trace
from kdumpsim.debugger.symbols import Spot

Lookup = Callable[[int], Spot]
"""What is at an address."""


def line_before(trail: Sequence[Trace], here: Trace, spot: Lookup, stack_size: int, *, into: bool) -> Trace | None:
    """The first instruction of the line that `here` is in or, where `here` is that, of the line before.

    None: `trail`, what the CPU ran before `here`, does not go back far enough. `into`: stop in functions that were
    called on the way, too; interrupts are passed over in any case.
    """
    at = _before(trail, len(trail), here, spot, stack_size, into=into)
    if at is None:
        return None
    line = _line(spot(trail[at].address))
    while True:
        earlier = _before(trail, at, trail[at], spot, stack_size, into=into)
        if earlier is None:
            return trail[at] if trail[0].number == 1 else None
        before = spot(trail[earlier].address)
        if _line(before) != line:
            if not in_the_middle(spot(trail[at].address), before):
                return trail[at]
            line = _line(before)
        at = earlier


def in_the_middle(spot: Spot, before: Spot) -> bool:
    """Has a jump led into the middle of a line?  The compiler's table has no line for what is there, but the one
    before it in memory."""
    return _function(spot) == _function(before) and spot.address != spot.extent[0]


def _before(
    trail: Sequence[Trace], at: int, here: Trace, spot: Lookup, stack_size: int, *, into: bool
) -> int | None:  # fmt: skip
    """The place in the trail of what ran before `here`, which is at `at`."""
    if at == 0:
        return None
    at -= 1
    now, before = spot(here.address), spot(trail[at].address)
    if _function(now) == _function(before) or now.offset == 0 or now.entry or (into and not before.entry):
        return at
    while at >= 0:
        step = trail[at]
        same_stack = (step.stack ^ here.stack) & -stack_size == 0 and step.stack >= here.stack
        if same_stack and _function(spot(step.address)) == _function(now):
            return at
        at -= 1
    return None


def _function(spot: Spot) -> tuple[str, str]:
    return spot.owner, spot.function


def _line(spot: Spot) -> tuple[str, str, int | None]:
    return spot.owner, spot.function, spot.line
