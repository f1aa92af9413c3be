# SPDX-License-Identifier: GPL-2.0-or-later
"""kexec_load(2) with segments of every kind, held to the rules of 2.6.16's kernel/kexec.c."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EINVAL, ENOMEM

from kdumpsim.agent.client import KexecFlags
from kdumpsim.agent.errors import AgentError
from kdumpsim.agent.segments import FileData
from kdumpsim.kexec.segments import Segment
from kdumpsim.mechanisms.kdump import CAPTURE_KERNEL_PATH
from kdumpsim.runs.run import power_on
from kdumpsim.runs.session import Session
from kdumpsim.scenario.parts import KernelPart, PcPart
from soak.driver import Kind, without_pieces
from soak.isolation import Broken, Counts

PAGE, MIB = 4096, 1 << 20
REGION = (16 * MIB, 32 * MIB)
KNOWN_FLAGS, MOST_SEGMENTS = 1, 16
ARCHITECTURES = (0, 3)
"""EM_NONE and EM_386, in the flags' upper half."""
CONTROL_PAGE = PAGE
SLACK_PAGES = 8
"""Pages that the slab and the page cache may keep."""


@dataclass(frozen=True)
class Call:
    """One call; segments are (address, size in memory, size of the contents, contents come from a guest file)."""

    entry: int
    flags: int
    segments: tuple[tuple[int, int, int, bool], ...]

    def __str__(self) -> str:
        words = [f"{mem:x}:{memsz:x}:{bufsz:x}{':file' if file else ''}" for mem, memsz, bufsz, file in self.segments]
        return " ".join([f"{self.entry:x}", f"{self.flags:x}", *words])


class Loading(Kind[tuple[Call, ...]]):
    """Calls of kexec_load, one after the other, on one booted guest."""

    name = "kexec_load"
    share = 0.05
    cpu_s = 60
    _session: Session | None = None

    def prepare(self) -> None:
        session = power_on(PcPart(), KernelPart())
        session.boot()
        self._session = session

    def draw(self, dice: random.Random, number: int) -> tuple[Call, ...]:
        return tuple(_call(dice) for _ in range(12))

    def check(self, case: tuple[Call, ...], repeat: bool) -> Counts:
        assert self._session is not None
        session = self._session
        agent = session.agent
        agent.kexec_load(0, [], KexecFlags.ARCH)  # what the kernel allocates once is allocated
        before = _free(session)
        loaded = {"crash_": False, "": False}
        for call in case:
            which = "crash_" if call.flags & KexecFlags.ON_CRASH else ""
            allowed = expected(call)
            if allowed is not None and which:
                loaded[which] = False  # a new image lies where the old one was
            try:
                agent.kexec_load(call.entry, [_segment(*part) for part in call.segments], call.flags)
                errno = 0
            except AgentError as error:
                errno = error.errno
            if errno not in (allowed or {EINVAL}):
                raise Broken(f"kexec_load gives {errno}, and not one of {sorted(allowed or {EINVAL})}: {call}")
            if errno == 0:
                loaded[which] = bool(call.segments)
            for name, value in loaded.items():
                said = agent.read_file(f"/sys/kernel/kexec_{name}loaded").strip() == b"1"
                if said != value:
                    raise Broken(f"kexec_{name}loaded is {said} after: {call}")
        for flags in (KexecFlags.ARCH, KexecFlags.ARCH | KexecFlags.ON_CRASH):
            agent.kexec_load(0, [], flags)
        if (lost := before - _free(session)) > SLACK_PAGES * PAGE // 1024:
            raise Broken("memory is lost over loading and unloading\n" + f"{lost} KiB")
        session.prepare_dump()
        return {"calls": len(case)}

    def smaller(self, case: tuple[Call, ...]) -> Iterator[tuple[Call, ...]]:
        yield from without_pieces(case)
        for at, call in enumerate(case):
            for segments in without_pieces(call.segments):
                yield (*case[:at], Call(call.entry, call.flags, segments), *case[at + 1 :])

    def text(self, case: tuple[Call, ...]) -> str:
        return "; ".join(map(str, case))

    def parse(self, text: str) -> tuple[Call, ...]:
        return tuple(_parse(part) for part in text.split(";"))


def expected(call: Call) -> set[int] | None:
    """Errors that may come, 0 among them; None where the flags are refused before anything is done."""
    if call.flags & 0xFFFF & ~KNOWN_FLAGS or call.flags >> 16 not in ARCHITECTURES:
        return None
    if len(call.segments) > MOST_SEGMENTS:
        return None
    crash = call.flags & KexecFlags.ON_CRASH
    if not call.segments:
        return {0}
    done: list[tuple[int, int]] = []
    for mem, memsz, bufsz, _ in call.segments:
        end = mem + memsz & 0xFFFFFFFF
        if (mem | end) % PAGE or end < mem:
            return {EADDRNOTAVAIL}
        if bufsz > memsz or any(end > start and mem < stop for start, stop in done):
            return {EINVAL}
        done.append((mem, end))
    if not crash:
        return {0, ENOMEM}
    first, last = REGION[0], REGION[1] - 1
    if not first <= call.entry <= last:
        return {EADDRNOTAVAIL}
    if any(start < first or stop - 1 > last for start, stop in done if start != stop):
        return {EADDRNOTAVAIL}
    room = range(first, last, CONTROL_PAGE)
    if not any(all(hole >= stop or hole + CONTROL_PAGE <= start for start, stop in done) for hole in room):
        return {ENOMEM}
    return {0}


def _free(session: Session) -> int:
    """KiB of free memory."""
    match = re.search(rb"MemFree: +(\d+) kB", session.agent.read_file("/proc/meminfo"))
    assert match is not None
    return int(match[1])


def _segment(mem: int, memsz: int, bufsz: int, file: bool) -> Segment:
    return Segment("soak", mem, memsz, FileData(CAPTURE_KERNEL_PATH, 0, bufsz) if file else bytes(bufsz))


def _call(dice: random.Random) -> Call:
    crash = dice.random() < 0.6
    flags = (KexecFlags.ON_CRASH if crash else 0) | dice.choice([3, 3, 3, 3, 0]) << 16
    if dice.random() < 0.05:
        flags ^= 1 << dice.randrange(32)
    low, high = REGION if crash else (32 * MIB, 64 * MIB)
    count = dice.choice([0, 1, 1, 2, 3, 5, 8, 16, 17])
    segments = []
    at = low
    for _ in range(count):
        mem = min(at + dice.randrange(8) * PAGE, high)
        memsz = dice.choice([1, 1, 2, 16, dice.randrange(64)]) * PAGE
        at = mem + memsz
        bufsz = dice.choice([0, min(memsz, 100), min(memsz, dice.randrange(600)), memsz if memsz < 3 * PAGE else 0])
        segments.append([mem, memsz, bufsz, memsz >= 3 * PAGE and dice.random() < 0.3])
    if segments and dice.random() < 0.4:
        part = dice.choice(segments)
        change = dice.randrange(7)
        if change == 0:
            part[0] = dice.choice([0, 0xFFFFF000, low - PAGE, high, dice.getrandbits(20) << 12])
        elif change == 1:
            part[1] = dice.choice([0, high - low, 0xFFFFF000, part[1] + 1, part[1] + 64 * PAGE])
        elif change == 2:
            part[0] += dice.choice([1, 0x800, 0xFFF])
        elif change == 3:
            part[1], part[2] = PAGE, PAGE + 1
        elif change == 4:
            segments.append(list(part))
        elif change == 5:
            dice.shuffle(segments)
        else:
            part[0], part[1] = low, high - low
    entry = dice.choice([low, low + 0x1234, high - 1, high, low - 1, 0, 0xFFFFFFFF]) if dice.random() < 0.3 else low
    return Call(entry, flags, tuple((mem & 0xFFFFFFFF, size, data, bool(file)) for mem, size, data, file in segments))


def _parse(text: str) -> Call:
    entry, flags, *parts = text.split()
    segments = []
    for part in parts:
        numbers = part.removesuffix(":file").split(":")
        mem, memsz, bufsz = (int(number, 16) for number in numbers)
        segments.append((mem, memsz, bufsz, part.endswith(":file")))
    return Call(int(entry, 16), int(flags, 16), tuple(segments))
