# SPDX-License-Identifier: GPL-2.0-or-later
"""Judging a dump by the oracle: the LKDTT paper's completeness and accuracy, and the registers of every CPU.

* completeness: of all pages of RAM outside the reserved region, the share that is in the dump;
* accuracy: of those that are in it, the share that equals the truth at the jump (the hand-over).

What the crash path itself changed between the crash and the jump (stacks, the console's buffer, crash notes …) is in
the dump as it was at the jump, so it is no inaccuracy; it is listed beside.  So are pages that a device wrote to after
the jump, by DMA that the dying kernel had left running: they count as true if each byte of them in the dump is what it
was at the jump or what the device put there.  A page that a CPU wrote to which ran on after the jump is wrong, and the
difference says so.

Of a kernel that dumps itself, a page that was handed to a device is true if it is in the dump as it was then
(:mod:`kdumpsim.vmcore.handed`), whatever it was at the hand-over and became afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kdumpsim.records import HEX, TUPLE, Record, each, record, stored
from kdumpsim.target import PAGE_SIZE, TARGET, words

from .handed import HandedPages
from .notes import cpu_notes
from .oracle import DmaWrite, Oracle, RanOn, Region
from .owners import OwnerMap
from .picture import Picture
from .reader import Load, Vmcore
from .registers import RegisterCheck, check_registers

Extent = tuple[int, int]
_LINE = 256
"""Bytes that are looked at word by word only if they differ."""


@dataclass(frozen=True, slots=True)
class Difference(Record):
    """Physical memory from `start` up to `end` in which the dump is not the truth, and whose it is."""

    kind: str
    """``missing`` from the dump, or it ``differs``."""
    start: int = field(metadata=stored(HEX))
    end: int = field(metadata=stored(HEX))
    owner: str
    cause: str | None = None
    """Who wrote to the page after the jump, as far as the machine saw."""


@dataclass(frozen=True, slots=True)
class Change(Record):
    """A page that the crash path itself changed between the crash and the jump."""

    page: int = field(metadata=stored(HEX))
    owners: tuple[str, ...] = field(metadata=stored(TUPLE))


@dataclass(frozen=True, slots=True)
class DmaChange(Record):
    """A page that differs from the truth at the jump by nothing but a device's writes after it."""

    page: int = field(metadata=stored(HEX))
    owner: str


@dataclass(frozen=True)
class PageCounts(Record):
    """Pages of 4 KiB."""

    ram: int
    """Of RAM, outside the reserved region."""
    present: int
    """Of these, in the dump."""
    equal: int
    """Of these, equal to the truth at the jump, but for what devices wrote after it."""


@dataclass
class Judgement(Record):
    """What a dump is worth."""

    pages: PageCounts = field(metadata=stored(record(PageCounts)))
    registers: list[RegisterCheck] = field(default_factory=list, metadata=stored(each(RegisterCheck)))
    differences: list[Difference] = field(default_factory=list, metadata=stored(each(Difference)))
    crash_path: list[Change] = field(default_factory=list, metadata=stored(each(Change), name="changed_by_crash_path"))
    dma: list[DmaChange] = field(default_factory=list, metadata=stored(each(DmaChange), name="changed_by_dma"))
    handed: list[Change] = field(default_factory=list, metadata=stored(each(Change), name="changed_before_handed"))
    """Pages that a kernel which dumps itself changed after the hand-over, and before it handed them to a device."""

    @property
    def completeness(self) -> float:
        """Share of RAM pages present, a fraction of 1."""
        return self.pages.present / self.pages.ram if self.pages.ram else 0.0

    @property
    def accuracy(self) -> float:
        """Share of present pages that are true, a fraction of 1."""
        return self.pages.equal / self.pages.present if self.pages.present else 0.0

    @property
    def registers_ok(self) -> bool:
        """Are every CPU's registers what the machine saw?"""
        return all(check.ok for check in self.registers)


def judge(vmcore: Vmcore, oracle: Oracle, owners: OwnerMap | None = None) -> Judgement:
    """Compare a dump with what the oracle saw; ValueError if the oracle saw no hand-over."""
    if oracle.jump is None or oracle.jump.ram is None:
        raise ValueError("the oracle saw no hand-over, so there is no truth to judge by")
    owners = owners or OwnerMap.of(oracle)
    truth = oracle.jump.ram
    ram = without(oracle.ram, [oracle.reserved] if oracle.reserved else [])
    loads = _disjoint(vmcore.loads)
    present = [(load.paddr + a, load.paddr + b) for load, a, b in loads]
    missing = without(ram, [Region(*span) for span in present])
    ram_pages, absent = _pages(ram), _page_set(missing)
    wrong: set[int] = set()
    ran_on = oracle.ran_on()
    differences = [Difference("missing", a, b, owners.owner(a)) for a, b in missing]
    dma = []
    for load, page in _different_pages(vmcore, loads, ram, truth):
        if page in absent or (oracle.handed is not None and page in oracle.handed):
            continue
        start, end = _within(ram, page)
        dumped = vmcore.slice(load, start - load.paddr, end - load.paddr)
        if _written_by_dma(truth.read(start, end), dumped, start, oracle.dma):
            dma.append(DmaChange(page, owners.owner(start)))
            continue
        wrong.add(page)
        cause = _cause(page, ran_on, oracle.dma)
        for a, b, owner in _owned_runs(truth.read(start, end), dumped, start, owners):
            differences.append(Difference("differs", a, b, owner, cause))
    handed = []
    for page, start, true, dumped in _handed_pages(vmcore, loads, ram, oracle.handed or ()):
        if dumped not in true:
            wrong.add(page)
            for a, b, owner in _owned_runs(true[-1], dumped, start, owners):
                differences.append(Difference("differs", a, b, owner, "after it was handed to a device"))
        elif oracle.handed is not None and oracle.handed.changed(page):
            handed.append(Change(page, (owners.owner(start),)))
    return Judgement(
        PageCounts(ram_pages, ram_pages - len(absent), ram_pages - len(absent) - len(wrong)),
        differences=differences,
        crash_path=crash_path_changes(oracle, owners),
        dma=dma,
        handed=handed,
        registers=check_registers(cpu_notes(vmcore, oracle), oracle, owners),
    )


def _cause(page: int, ran_on: Sequence[RanOn], dma: Sequence[DmaWrite]) -> str | None:
    """Who wrote to a page after the jump."""
    causes = [f"CPU {ran.cpu} ran on after the jump and wrote this page" for ran in ran_on if page in ran.pages]
    if any(write.start < page + PAGE_SIZE and page < write.start + len(write.data) for write in dma):
        causes.append("a device wrote to this page after the jump")
    return "; ".join(causes) or None


def _written_by_dma(true: bytes, found: bytes, base: int, writes: Sequence[DmaWrite]) -> bool:
    """Is each byte that differs one that a device put there after the jump?"""
    left = {at for at in range(len(true)) if true[at] != found[at]}
    for write in writes:
        first, last = max(write.start, base), min(write.start + len(write.data), base + len(true))
        left -= {at - base for at in range(first, last) if found[at - base] == write.data[at - write.start]}
    return not left


def crash_path_changes(oracle: Oracle, owners: OwnerMap) -> list[Change]:
    """Pages outside the reserved region that changed between the crash and the jump."""
    if oracle.crash is None or oracle.jump is None or oracle.crash.ram is None or oracle.jump.ram is None:
        return []
    before, after = oracle.crash.ram, oracle.jump.ram
    changes = []
    for page in before.changed_pages(after):
        if oracle.reserved is not None and page in oracle.reserved:
            continue
        end = page + PAGE_SIZE
        runs = _owned_runs(before.read(page, end), after.read(page, end), page, owners)
        changes.append(Change(page, tuple(dict.fromkeys(owner for _, _, owner in runs))))
    return changes


def without(spans: Sequence[Extent], holes: Sequence[Region]) -> list[Extent]:
    """`spans` less `holes`, in order."""
    left = sorted(spans)
    for hole in holes:
        rest: list[Extent] = []
        for start, end in left:
            if hole.end <= start or end <= hole.start:
                rest.append((start, end))
                continue
            if start < hole.start:
                rest.append((start, hole.start))
            if hole.end < end:
                rest.append((hole.end, end))
        left = rest
    return left


def _disjoint(loads: Sequence[Load]) -> list[tuple[Load, int, int]]:
    """(load, start, end within it) so that no physical address occurs twice; earlier loads come first."""
    seen: list[Region] = []
    parts = []
    for load in loads:
        for start, end in without([(load.paddr, load.paddr + load.size)], seen):
            parts.append((load, start - load.paddr, end - load.paddr))
        seen.append(Region(load.paddr, load.paddr + load.size))
    return parts


def _pages(spans: Sequence[Extent]) -> int:
    """How many pages the spans touch."""
    count, last = 0, -1
    for start, end in spans:
        first = max(start // PAGE_SIZE, last + 1)
        final = (end - 1) // PAGE_SIZE
        count += max(final - first + 1, 0)
        last = max(last, final)
    return count


def _page_set(spans: Sequence[Extent]) -> set[int]:
    """Addresses of the pages the spans touch."""
    return {page * PAGE_SIZE for start, end in spans for page in range(start // PAGE_SIZE, (end - 1) // PAGE_SIZE + 1)}


def _within(ram: Sequence[Extent], page: int) -> Extent:
    """The part of a page that is RAM."""
    for start, end in ram:
        if start < page + PAGE_SIZE and page < end:
            return max(start, page), min(end, page + PAGE_SIZE)
    raise AssertionError("a page of no RAM range")


def _different_pages(
    vmcore: Vmcore, loads: Sequence[tuple[Load, int, int]], ram: Sequence[Extent], truth: Picture
) -> Iterator[tuple[Load, int]]:
    """Pages of which the dump holds something else than the truth; only what either of them stores is compared."""
    for load, inside_start, inside_end in loads:
        for low, high in ram:
            start, end = max(low, load.paddr + inside_start), min(high, load.paddr + inside_end)
            if start >= end:
                continue
            suspects = set(truth.held(start, end))
            for first, last in vmcore.stored(load, start - load.paddr, end - load.paddr):
                suspects.update(range(load.paddr + first & -PAGE_SIZE, load.paddr + last, PAGE_SIZE))
            for page in sorted(suspects):
                a, b = max(page, start), min(page + PAGE_SIZE, end)
                if vmcore.slice(load, a - load.paddr, b - load.paddr) != truth.read(a, b):
                    yield load, page


def _handed_pages(
    vmcore: Vmcore, loads: Sequence[tuple[Load, int, int]], ram: Sequence[Extent], handed: HandedPages | tuple[()]
) -> Iterator[tuple[int, int, list[bytes], bytes]]:
    """(page, start of the part of it that is RAM, what a device may have read there, what the dump has)."""
    for page in handed:
        start, end = _within(ram, page) if any(a < page + PAGE_SIZE and page < b for a, b in ram) else (page, page)
        for load, a, b in loads:
            low, high = max(start, load.paddr + a), min(end, load.paddr + b)
            if low < high and handed:
                true = [version[low - page : high - page] for version in handed.versions(page)]
                yield page, low, true, bytes(vmcore.slice(load, low - load.paddr, high - load.paddr))


def _owned_runs(true: bytes, found: bytes, base: int, owners: OwnerMap) -> Iterator[tuple[int, int, str]]:
    """(start, end, owner) of the pieces that differ, joined as long as the owner stays the same."""
    start = end = 0
    owner = ""
    size = min(len(true), len(found))
    word = TARGET.word
    whole = size & -word
    places: list[int] = []
    for at in range(0, whole, _LINE):
        one, other = true[at : min(at + _LINE, whole)], found[at : min(at + _LINE, whole)]
        if one != other:
            pairs = zip(words(one), words(other), strict=True)
            places += [at + word * i for i, (a, b) in enumerate(pairs) if a != b]
    places += [i for i in range(whole, size) if true[i] != found[i]]
    for place in places:
        name = owners.owner(base + place)
        if name != owner:
            if owner:
                yield base + start, base + end, owner
            owner, start = name, place
        end = min(place + word, size)
    if owner:
        yield base + start, base + end, owner
