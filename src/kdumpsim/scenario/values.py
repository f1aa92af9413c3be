# SPDX-License-Identifier: GPL-2.0-or-later
"""How the values of a scenario are written: sizes, the reserved region, memory holes, lists of words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kdumpsim.errors import KdumpsimError

SMALL = 4096
"""A size below this, in bytes, was probably meant in a larger unit."""
NO_LOAD = "none"
"""What `--load` is given for no load at all."""


class ScenarioError(KdumpsimError, ValueError):
    """An impossible scenario; the message says what is allowed."""


@dataclass(frozen=True)
class Reservation:
    """What ``crashkernel=`` asks for, in bytes."""

    size: int = 0
    """0 where `ranges` say it."""
    base: int | None = None
    """None: the kernel finds a place."""
    ranges: tuple[tuple[int, int | None, int], ...] = ()
    """(start, end, size): how much to reserve with memory from `start` up to, not including, `end`."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Every size that it can have."""
        return tuple(size for *_, size in self.ranges) or (self.size,)

    def size_with(self, memory: int) -> int:
        """How much is reserved on a machine with that much memory; 0 if none of the ranges holds it."""
        for start, end, size in self.ranges:
            if start <= memory and (end is None or memory < end):
                return size
        return self.size

    def __str__(self) -> str:
        ranges = (
            f"{format_size(start)}-{'' if end is None else format_size(end)}:{format_size(size)}"
            for start, end, size in self.ranges
        )
        text = ",".join(ranges) or format_size(self.size)
        return text if self.base is None else f"{text}@{format_size(self.base)}"


_SIZE = re.compile(r"^(0x[0-9a-fA-F]+|\d+)([kKmMgG]?)$")
_RANGE = re.compile(r"^(\w+)-(\w*):(\w+)$")
_SHIFT = {"": 0, "k": 10, "m": 20, "g": 30}


def parse_size(text: str) -> int:
    """Return the bytes of `64M`, `0x1000000`, `640K` …; raise ScenarioError otherwise."""
    match = _SIZE.match(text.strip())
    if not match:
        raise ScenarioError(f"'{text}' is not a size: write a number of bytes, or one with K, M or G, such as 64M")
    return int(match[1], 0) << _SHIFT[match[2].lower()]


def format_size(size: int) -> str:
    """The shortest exact way to write a size: `16M`, `640K`, `4097`."""
    for suffix, shift in (("G", 30), ("M", 20), ("K", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{suffix}"
    return str(size)


def size_words(size: int) -> str:
    """A size for a complaint about it: with its unit where it has none, since `64` is easily written for `64M`."""
    text = format_size(size)
    return f"{text} bytes (did you mean {text}M?)" if text.isdigit() and size < SMALL else text


def parse_crashkernel(text: str) -> Reservation:
    """`crashkernel=`: SIZE@START as in 2.6.16, or with what came in 2.6.24 and later: without a start, or with ranges
    START-[END]:SIZE,… of the machine's memory in place of the size.  ScenarioError otherwise."""
    sizes, at, start = text.partition("@")
    base = parse_size(start) if at else None
    if "-" not in sizes:
        return Reservation(parse_size(sizes), base)
    ranges = []
    for word in sizes.split(","):
        if not (match := _RANGE.match(word.strip())):
            raise ScenarioError(
                f"crashkernel '{text}': '{word}' is not a range; write START-[END]:SIZE, such as 512M-2G:64M"
            )
        low, high = parse_size(match[1]), parse_size(match[2]) if match[2] else None
        if high is not None and high <= low:
            raise ScenarioError(f"crashkernel '{text}': the range '{word}' is empty; its end must be above its start")
        ranges.append((low, high, parse_size(match[3])))
    return Reservation(0, base, tuple(ranges))


def parse_holes(text: str) -> tuple[tuple[int, int], ...]:
    """Memory holes from `BASE:SIZE,…`; ScenarioError otherwise."""
    holes = []
    for part in words_of(text):
        base, colon, size = part.partition(":")
        if not colon:
            raise ScenarioError(f"memory hole '{part}' has no size: write BASE:SIZE, such as 40M:1M")
        holes.append((parse_size(base), parse_size(size)))
    return tuple(holes)


def format_holes(holes: tuple[tuple[int, int], ...]) -> str:
    """`BASE:SIZE,…`."""
    return ",".join(f"{format_size(base)}:{format_size(size)}" for base, size in holes)


def parse_load(text: str) -> tuple[str, ...]:
    """Programs to start, from `NAME,…` or `none`; ScenarioError for an empty list."""
    if not words_of(text):
        raise ScenarioError(f"load '{text}' names no program: write NAME,… or {NO_LOAD}")
    return () if text.strip() == NO_LOAD else words_of(text)


def format_load(load: tuple[str, ...]) -> str:
    """`NAME,…` or `none`."""
    return ",".join(load) or NO_LOAD


def words_of(text: str) -> tuple[str, ...]:
    """The words of a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
