# SPDX-License-Identifier: GPL-2.0-or-later
"""Files and answers with damage in them: each is used, or refused in words, and never with a traceback.

Damage: `set AT HEX`, `insert AT HEX`, `cut AT COUNT`, `end COUNT` (drop the rest). Numbers are hexadecimal.
"""

from __future__ import annotations

import contextlib
import functools
import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from click.testing import CliRunner

from kdumpsim import images
from kdumpsim.agent.client import AgentClient
from kdumpsim.agent.errors import AgentFailure
from kdumpsim.board.machine import Machine, MachineConfig
from kdumpsim.board.multiboot import BootError
from kdumpsim.commands.decode import decode
from kdumpsim.console.script import ScriptError, read_script
from kdumpsim.console.shell import COMMANDS, ENGLISH, parse
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.image import load_image
from kdumpsim.kexec.iomem import memory_layout
from kdumpsim.kexec.load import default_purgatory, kexec_load_panic, plan_normal, plan_panic
from kdumpsim.runs.run import run_scenario
from kdumpsim.scenario.scenario import Scenario
from kdumpsim.vmcore.compare import judge
from kdumpsim.vmcore.reader import Vmcore, VmcoreError
from kexec.builders import IOMEM, FakeGuest, vmlinux
from soak.driver import Kind, without_pieces
from soak.isolation import Broken, Counts
from vmcore.builders import FULL, FakeMachine, crashed, dump

NOTES = (0x14A000, 0x14A400)
SCRIPT = b"""# ttutils set -p FS_DEVRW -t panic -c 3
FS_DEVRW armed
# ./helper/memdrain
# step 10ms
# echo c > /proc/sysrq-trigger
"""


def boot_file(data: bytes) -> None:
    """`kdumpsim boot`: load and run for a millisecond."""
    machine = Machine(MachineConfig(cpus=1, memory=8 << 20))
    try:
        machine.load_multiboot(data, "soak")
    except BootError:
        return
    machine.run(until=1_000_000)


def kexec_file(data: bytes) -> None:
    """`kexec -p` and `-l` of this file."""
    layout = memory_layout(IOMEM)
    for plan in (
        lambda image: plan_panic(image, layout, NOTES, default_purgatory(), "soak"),
        lambda image: plan_normal(image, layout, default_purgatory(), "soak"),
    ):
        try:
            for segment in plan(load_image(data)).segments:
                if segment.bufsz > segment.memsz:
                    raise Broken(f"a segment of {segment.memsz} bytes with contents of {segment.bufsz}")
        except KexecError:
            pass


def iomem_file(data: bytes) -> None:
    """`kexec -p --dry-run --iomem` of this file."""
    try:
        layout = memory_layout(data.decode("ascii", "replace"))
        plan_normal(load_image(vmlinux(((0x400000, b"code", 4096),))), layout, default_purgatory(), "soak")
        plan_panic(load_image(vmlinux()), layout, NOTES, default_purgatory(), "soak")
    except KexecError:
        pass


def vmcore_file(data: bytes) -> None:
    """Read all of a dump and judge it."""
    machine = FakeMachine()
    oracle = crashed(machine)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vmcore"
        path.write_bytes(data)
        try:
            with Vmcore(path) as core:
                for _ in (core.cpus, core.vmcoreinfo, sum(len(page) for _, page in core.pages())):
                    pass
                judgement = judge(core, oracle)
                if not 0 <= judgement.accuracy <= 1 or not 0 <= judgement.completeness <= 1:
                    raise Broken("accuracy or completeness is no fraction of 1")
                core.read_physical(0x100000, 64)
                core.read_virtual(0xC0100000, 64)
        except VmcoreError:
            pass


def decode_log(data: bytes) -> None:
    """`kdumpsim decode` of a damaged console log."""
    _decode(data, oopsed()[1])


def decode_kernel(data: bytes) -> None:
    """`kdumpsim decode` with a damaged vmlinux."""
    _decode(oopsed()[0], data)


def _decode(console: bytes, kernel: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "console.log").write_bytes(console)
        (Path(directory) / "vmlinux").write_bytes(kernel)
        result = CliRunner().invoke(decode, [directory])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code not in (0, 2):
            raise Broken(f"decode ends with status {result.exit_code}: {result.output}")


def script(data: bytes) -> None:
    """A console script."""
    with contextlib.suppress(ScriptError, UnicodeDecodeError):
        read_script(data.decode(), COMMANDS, parse, english=ENGLISH)


class _DamagedGuest(FakeGuest):
    """An agent whose bytes are damaged on their way."""

    damage: tuple[str, ...] = ()
    sent = b""

    def receive(self, deadline: float, wanted: int = 1) -> bytes:
        data = super().receive(deadline, wanted)
        if self.damage and data:
            data, self.damage = damaged(data, self.damage[:1]), self.damage[1:]
        return data


def agent_answers(damage: tuple[str, ...]) -> None:
    """`kexec -p` through an agent of which one answer after the other comes damaged."""
    guest = _DamagedGuest()
    guest.damage = damage
    with contextlib.suppress(AgentFailure, KexecError):
        kexec_load_panic(AgentClient(guest, 20), vmlinux(), None, "soak")


@functools.cache
def oopsed() -> tuple[bytes, bytes]:
    """console.log and vmlinux of a run with an oops."""
    with tempfile.TemporaryDirectory() as directory:
        run_scenario(Scenario("FS_DEVRW", "exception"), Path(directory))
        return (Path(directory) / "console.log").read_bytes(), (Path(directory) / "vmlinux").read_bytes()


@functools.cache
def whole_vmcore() -> bytes:
    """A small dump without a fault."""
    machine = FakeMachine()
    crashed(machine)
    return dump(machine.memory.view, FULL, machine.merged)


@dataclass(frozen=True)
class Target:
    """What takes an input, and an input without damage."""

    take: Callable[[bytes], None]
    whole: Callable[[], bytes]
    weight: int


TARGETS: dict[str, Target] = {
    "boot": Target(boot_file, lambda: images.kernel().stripped, 4),
    "kexec": Target(kexec_file, vmlinux, 8),
    "iomem": Target(iomem_file, IOMEM.encode, 8),
    "vmcore": Target(vmcore_file, whole_vmcore, 8),
    "decode-log": Target(decode_log, lambda: oopsed()[0], 1),
    "decode-kernel": Target(decode_kernel, lambda: oopsed()[1], 1),
    "script": Target(script, lambda: SCRIPT, 4),
    "agent": Target(lambda data: None, lambda: b"", 6),
}


@dataclass(frozen=True)
class Damaged:
    """An input with damage."""

    target: str
    damage: tuple[str, ...]


class Inputs(Kind[tuple[Damaged, ...]]):
    """Damaged inputs, some at a time."""

    name = "inputs"
    share = 0.05
    cpu_s = 60

    def prepare(self) -> None:
        oopsed()
        default_purgatory()
        for target in TARGETS.values():
            target.whole()
        agent_answers(())

    def draw(self, dice: random.Random, number: int) -> tuple[Damaged, ...]:
        names = dice.choices(list(TARGETS), [target.weight for target in TARGETS.values()], k=20)
        return tuple(Damaged(name, _damage(dice, len(TARGETS[name].whole()))) for name in names)

    def check(self, case: tuple[Damaged, ...], repeat: bool) -> Counts:
        for one in case:
            print(one)
            if one.target == "agent":
                agent_answers(one.damage)
            else:
                target = TARGETS[one.target]
                target.take(damaged(target.whole(), one.damage))
        return {"inputs": len(case)}

    def smaller(self, case: tuple[Damaged, ...]) -> Iterator[tuple[Damaged, ...]]:
        yield from without_pieces(case)
        for at, one in enumerate(case):
            for damage in without_pieces(one.damage):
                if damage:
                    yield (*case[:at], replace(one, damage=damage), *case[at + 1 :])

    def text(self, case: tuple[Damaged, ...]) -> str:
        return "\n".join("; ".join([one.target, *one.damage]) for one in case)

    def parse(self, text: str) -> tuple[Damaged, ...]:
        lines = [[part.strip() for part in line.split(";")] for line in text.split("\n")]
        return tuple(Damaged(target, tuple(damage)) for target, *damage in lines)


def damaged(data: bytes, damage: tuple[str, ...]) -> bytes:
    """The bytes with the damage done, one after the other; places are taken modulo what there is."""
    for one in damage:
        what, *words = one.split()
        at = int(words[0], 16) % (len(data) + 1)
        if what == "set":
            new = bytes.fromhex(words[1])
            data = data[:at] + new + data[at + len(new) :]
        elif what == "insert":
            data = data[:at] + bytes.fromhex(words[1]) + data[at:]
        elif what == "cut":
            data = data[:at] + data[at + int(words[1], 16) :]
        else:
            data = data[:at]
    return data


def _damage(dice: random.Random, size: int) -> tuple[str, ...]:
    """One to five pieces of it, most of them where headers are."""
    pieces = []
    for _ in range(dice.choice([1, 1, 1, 2, 3, 5])):
        near = min(size + 1, dice.choice([52, 52, 256, 4096, size + 1]))
        at = dice.randrange(near)
        if near == 52 and dice.random() < 0.7:
            at &= ~3  # a field of a header
        value = dice.choice([0, 1, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFF000, dice.getrandbits(32), size])
        new = dice.choice(
            [struct.pack("<I", value), dice.randbytes(1), dice.randbytes(2), b" ", b"\n", b":", b"-", b"\xff"]
        )
        kind = dice.random()
        if kind < 0.75:
            pieces.append(f"set {at:x} {new.hex()}")
        elif kind < 0.85:
            pieces.append(f"insert {at:x} {(new * dice.choice([1, 1, 40])).hex()}")
        elif kind < 0.95:
            pieces.append(f"cut {at:x} {dice.choice([1, 4, 32, 1000]):x}")
        else:
            pieces.append(f"end {dice.randrange(size + 1):x}")
    return tuple(pieces)
