# SPDX-License-Identifier: GPL-2.0-or-later
"""Command lines with a wrong word in them: a message and a status the documentation knows."""

from __future__ import annotations

import os
import random
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kdumpsim import cli
from kdumpsim.commands.status import Status
from soak.driver import Kind, without_pieces
from soak.isolation import Broken, Counts

RUN = "run --crashpoint FS_DEVRW --type none --output out"
WHOLE = (
    f"{RUN} --count 3", f"{RUN} --cpus 2 --memory 64M", f"{RUN} --crashkernel 16M@16M", f"{RUN} --memory-holes 40M:1M",
    f"{RUN} --kernel-option stack=4k", f"{RUN} --dma disk --dump-disk hdc", f"{RUN} --load diskio --patience 3",
    f"{RUN} --timeout 10 --seed 1 --profile default", f"{RUN} --trace 10 --other-cpus halted --crash-cpu 0",
    "table2 --point NOWHERE --type hang --runs 1 --jobs 1 --seed 0", "options --profile default", "options",
    "decode out", "decode out --kernel out/vmlinux", "boot out/nothing --memory 64M --cpus 1 --timeout 1",
    "boot /etc/hostname --timeout 0.1 --append x --keyboard serial", "kexec -p kernel --agent unix:nowhere --timeout 1",
    "kexec -l /etc/hostname --dry-run --iomem /etc/hostname", "kexec -p out --dry-run --iomem out --crash-notes 1000",
    "console --memory 64M --cpus 1 --timeout 5 /etc/hostname", "--version", "run --help",
)  # fmt: skip
HOSTILE = (
    "", "-1", "0", "9" * 25, "1e300", "nan", "inf", "-inf", "0x", "64", "64MM", "é", "🙂", "\udcff", "--", "-",
    "a" * 5000, "16M@", "@", "1:1", "M", "=", "stack=", "=1", "stack=é", ",", ",,", "/", "/dev/null/x", ".", "\n",
    "[bold]", "[/]", "%s", "{0}", "-0", "٣", "1_000", "+5", " 5", "0b11", "none,none",
)  # fmt: skip
STATUSES = frozenset(Status) - {Status.INTERNAL_ERROR, Status.HANGUP, Status.INTERRUPTED, Status.TERMINATED}
"""No bug may be met, and nobody sends a signal."""


class Arguments(Kind[tuple[str, ...]]):
    """Command lines."""

    name = "arguments"
    share = 0.02
    cpu_s = 60

    def draw(self, dice: random.Random, number: int) -> tuple[str, ...]:
        words = dice.choice(WHOLE).split()
        for _ in range(dice.choice([1, 1, 2])):
            at = dice.randrange(1, len(words) + 1)
            if dice.random() < 0.8 and at < len(words):
                words[at] = dice.choice(HOSTILE)
            elif dice.random() < 0.5:
                words.insert(at, dice.choice(HOSTILE))
            elif at < len(words):
                del words[at]
        return tuple(words)

    def check(self, case: tuple[str, ...], repeat: bool) -> Counts:
        before = os.getcwd()
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            status: object = 0
            try:
                cli.main(list(case))
            except SystemExit as end:
                status = end.code or 0
            finally:
                os.chdir(before)
            if status not in STATUSES:
                raise Broken(f"ended with status {status}")
            if status == Status.FAILURE and case[0] == "run" and not list(Path(directory).rglob("result.json")):
                raise Broken("status 1, which means X, and no result")
        return {"command lines": 1}

    def smaller(self, case: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield from (fewer for fewer in without_pieces(case) if fewer)

    def text(self, case: tuple[str, ...]) -> str:
        return shlex.join(case).encode("unicode_escape").decode()

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(shlex.split(text.encode().decode("unicode_escape")))

    def command(self, case: tuple[str, ...]) -> str:
        return f"kdumpsim {self.text(case)}"
