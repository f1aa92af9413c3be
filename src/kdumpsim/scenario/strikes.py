# SPDX-License-Identifier: GPL-2.0-or-later
"""Strikes other than at a crash point: a crash at an instant, or a fault; and their text form.

The forms are ``instant:CPU@TIME`` and ``MODEL:TARGET@TIME``; TIME is virtual seconds since power-on.  What is left out
is drawn from the seed (`kdumpsim.faults`); the printed command has what was drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kdumpsim.choices import unknown
from kdumpsim.scenario.values import ScenarioError
from kdumpsim.target import GENERAL_REGISTERS, SEGMENTS

NS = 1_000_000_000
INSTANT = "instant"
_TIME = re.compile(r"(\d{1,6})(?:\.(\d{1,9}))?")


@dataclass(frozen=True)
class FaultRow:
    """A fault model, as users see it."""

    help: str
    drawn: tuple[str, ...]
    """Words for targets that are drawn; the first one is the default."""
    target: str
    """The text form of a target that was drawn."""
    syntax: re.Pattern[str]


_NUMBER = r"0x[0-9a-f]{1,8}"
_BIT = re.compile(rf"{_NUMBER}\.\d{{1,3}}")
_AT = re.compile(_NUMBER)
_TEXT = ("executed", "uniform")

FAULTS: dict[str, FaultRow] = {
    "text-bit": FaultRow("a bit of an instruction flips", _TEXT, "ADDRESS.BIT", _BIT),
    "text-nop": FaultRow("an instruction becomes NOPs", _TEXT, "ADDRESS", _AT),
    "text-branch": FaultRow("a conditional branch is inverted", _TEXT, "ADDRESS", _AT),
    "text-destination": FaultRow(
        "an instruction writes another register", _TEXT, "ADDRESS=REGISTER", re.compile(rf"{_NUMBER}=[a-z]{{3}}")
    ),
    "text-init": FaultRow("the initialisation of a local variable is removed", _TEXT, "ADDRESS", _AT),
    "stack": FaultRow("a bit of the live stack of a busy CPU flips", ("live",), "ADDRESS.BIT", _BIT),
    "data": FaultRow("a bit of the kernel's data flips", ("touched", "uniform"), "ADDRESS.BIT", _BIT),
    "heap": FaultRow("a bit of a page from the page allocator flips", ("used",), "ADDRESS.BIT", _BIT),
    "register": FaultRow(
        "a register bit flips in a CPU that is busy in the kernel",
        ("busy",),
        "CPU.REGISTER.BIT",
        re.compile(rf"\d{{1,2}}\.({'|'.join(name for name in GENERAL_REGISTERS if name not in SEGMENTS)})\.\d{{1,2}}"),
    ),
    "store": FaultRow(
        "a word is stored at a random address", ("uniform",), "ADDRESS=VALUE", re.compile(rf"{_NUMBER}={_NUMBER}")
    ),
    "allocation": FaultRow(
        "the next few allocations fail", ("slab", "page"), "ALLOCATOR.COUNT", re.compile(r"(slab|page)\.\d{1,3}")
    ),
    "disk": FaultRow(
        "the next few transfers of the system disk fail", ("system",), "hda.COUNT",
        re.compile(r"(hd[a-d]|sd[ab])\.\d{1,3}"),
    ),
    "mce": FaultRow("a CPU that is busy in the kernel takes a machine check", ("busy",), "CPU", re.compile(r"\d{1,2}")),
    "serr": FaultRow(
        "the host bridge asserts SERR#: memory has an error that ECC cannot correct, or the PCI bus one of parity",
        ("memory", "pci"), "SOURCE.ERROR", re.compile(r"memory\.ecc|pci\.parity"),
    ),
    "dma": FaultRow(
        "a device writes 512 bytes to a wrong address", ("uniform",), "ADDRESS+BYTES", re.compile(rf"{_NUMBER}\+\d+")
    ),
}  # fmt: skip
MACHINE_CHECK = "mce"
CPU_FAULTS = ("register", MACHINE_CHECK)
"""Models whose target begins with a CPU's number."""
TEXT = "text"
"""One of the text models, drawn."""


def fault_names() -> list[str]:
    """Return the names that MODEL can have."""
    return [TEXT, *FAULTS]


def parse_time(text: str) -> int:
    """Return the virtual ns of `12.345678901`; raise ScenarioError otherwise."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ScenarioError(f"'{text}' is not a time: write virtual seconds since power-on, such as 2.125")
    return int(match[1]) * NS + int((match[2] or "").ljust(9, "0"))


def format_time(ns: int) -> str:
    """Return the shortest exact text of a time."""
    return f"{ns // NS}.{ns % NS:09d}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class At:
    """A crash of a type at an instant at which a CPU is busy in the kernel: ``Scenario(crash=At("bug"))``.

    CPU and time (virtual ns since power-on) are drawn if they are left out.
    """

    type: str
    cpu: int | None = None
    time: int | None = None

    def __str__(self) -> str:
        return INSTANT if self.cpu is None or self.time is None else f"{INSTANT}:{self.cpu}@{format_time(self.time)}"

    @property
    def to_draw(self) -> bool:
        """Whether something is left to draw."""
        return self.cpu is None or self.time is None

    @classmethod
    def parse(cls, text: str, kind: str = "") -> At:
        """The instant of ``instant`` or ``instant:CPU@TIME``."""
        name, colon, rest = text.strip().partition(":")
        if name != INSTANT:
            raise ScenarioError(unknown("value of --at:", name, [INSTANT]))
        if not colon:
            return cls(kind)
        cpu, _, time = rest.partition("@")
        if not cpu.isdecimal():
            raise ScenarioError(f"at '{text}' is not valid: write {INSTANT}, or {INSTANT}:CPU@TIME")
        return cls(kind, int(cpu), parse_time(time))


@dataclass(frozen=True)
class Fault:
    """A fault: ``Scenario(crash=Fault("text", "executed"))``.

    Target and time (virtual ns since power-on) are drawn if they are left out, or if the target is one of the model's
    words.
    """

    model: str
    target: str = ""
    time: int | None = None

    def __str__(self) -> str:
        text = f"{self.model}:{self.target}" if self.target else self.model
        return text if self.time is None else f"{text}@{format_time(self.time)}"

    @property
    def to_draw(self) -> bool:
        """Whether something is left to draw."""
        return self.time is None or self.model == TEXT or self.target in FAULTS[self.model].drawn

    @classmethod
    def parse(cls, text: str) -> Fault:
        """The fault of ``MODEL[:TARGET][@TIME]``, its target word filled in; ScenarioError with what is allowed."""
        rest, at, time = text.strip().partition("@")
        model, _, target = rest.partition(":")
        if model not in fault_names():
            raise ScenarioError(unknown("fault", model, fault_names()))
        row = FAULTS["text-bit" if model == TEXT else model]
        fault = cls(model, target or row.drawn[0], parse_time(time) if at else None)
        if fault.target in row.drawn:
            if fault.time is not None:
                raise ScenarioError(
                    f"fault '{text}' has a time and no target of its own: leave out @TIME, or write "
                    f"{model}:{row.target}@TIME"
                )
        elif model == TEXT or not row.syntax.fullmatch(fault.target):
            raise ScenarioError(
                f"fault '{text}': a target of {model} is one of {', '.join(row.drawn)}"
                + ("" if model == TEXT else f", or {row.target}")
            )
        elif fault.time is None:
            raise ScenarioError(f"fault '{text}' has no time: write {fault}@TIME, in virtual seconds since power-on")
        return fault


def check_strikes(strikes: Iterable[At | Fault], cpus: int, timeout: int) -> None:
    """Raise ScenarioError for a CPU that the machine does not have, or a time after the timeout (virtual seconds)."""
    for strike in strikes:
        if isinstance(strike, At):
            cpu = strike.cpu
        else:
            number = strike.target.partition(".")[0] if strike.model in CPU_FAULTS else ""
            cpu = int(number) if number.isdecimal() else None
        if cpu is not None and cpu >= cpus:
            raise ScenarioError(f"{strike}: CPU {cpu} does not exist; with --cpus {cpus}, choose 0 to {cpus - 1}")
        if strike.time is not None and strike.time >= timeout * NS:
            raise ScenarioError(f"{strike} would come after the run's end: --timeout is {timeout} seconds")
