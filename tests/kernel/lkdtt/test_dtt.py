# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/dtt: commands, refusals, and the life of a crash point (LKDTT paper, sections 3.2.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL, ENOENT
from pathlib import Path
from typing import Any

import pytest

import kdumpsim
from kdumpsim.agent.errors import AgentError, AgentTimeout
from kdumpsim.board.machine import StopReason
from kdumpsim.scenario.points import crash_points, crash_types


def points(guest: Any) -> dict[str, list[str]]:
    lines = guest.text("/proc/dtt/cpoints").splitlines()
    assert lines[0].split() == ["id", "crash", "type", "crash", "point", "name", "count", "location"]
    return {words[2]: [words[1], words[3]] for line in lines[1:] if (words := line.split())[4] == "kern"}


def test_commands(boot: Callable[..., Any]) -> None:
    guest = boot()
    assert points(guest) == {name: ["none", "0"] for name, point in crash_points().items() if not point.dynamic}
    for kind in (kind.ttutils for kind in crash_types().values()):
        guest.dtt(f"set FS_DEVRW {kind} 77")
        assert points(guest)["FS_DEVRW"] == [kind, "77"]
    guest.dtt("set FS_DEVRW oops")
    assert points(guest)["FS_DEVRW"] == ["bug", "10"]
    guest.dtt("set FS_SUBMIT_BH hang 3")
    assert points(guest)["FS_DEVRW"] == ["loop", "3"]
    guest.dtt("set FS_DEVRW oops")
    guest.dtt("reset FS_DEVRW")
    assert points(guest)["FS_DEVRW"] == ["bug", "0"]
    guest.dtt("reset FS_DEVRW -f")
    assert points(guest)["FS_DEVRW"] == ["none", "0"]


REFUSED = {
    "set FS_DEVRW burn 3": EINVAL,
    "set NOWHERE panic 3": ENOENT,
    "set FS_DEVRW panic 0": EINVAL,
    "set FS_DEVRW panic -1": EINVAL,
    "set FS_DEVRW panic 99999999999": EINVAL,
    "set FS_DEVRW panic 3 4": EINVAL,
    "set FS_DEVRW": EINVAL,
    "reset": EINVAL,
    "reset FS_DEVRW -x": EINVAL,
    "add X 50": ENOENT,
    "": EINVAL,
    "x" * 200: EINVAL,
}


def test_refusals(boot: Callable[..., Any]) -> None:
    guest = boot()
    for command, errno in REFUSED.items():
        with pytest.raises(AgentError) as caught:
            guest.dtt(command)
        assert caught.value.errno == errno, command
    assert points(guest) == {name: ["none", "0"] for name, point in crash_points().items() if not point.dynamic}


def test_a_survived_point_is_disabled_until_it_is_set_again(boot: Callable[..., Any]) -> None:
    guest = boot()
    guest.agent.start("diskio")
    guest.dtt("set FS_DEVRW none 5")
    guest.run(0.3)
    assert guest.console.count("LKDTT: crash point FS_DEVRW of type none survived") == 1
    assert points(guest)["FS_DEVRW"] == ["none", "0"]
    guest.dtt("set FS_DEVRW none 5")
    guest.run(0.3)
    assert guest.console.count("LKDTT: crash point FS_DEVRW of type none survived") == 2


def test_the_count_counts_crossings(boot: Callable[..., Any]) -> None:
    guest = boot()
    crossings = []
    guest.machine.watch(guest.first.symbols["dtt_crossed"], lambda cpu: crossings.append(cpu.index))
    guest.dtt("set FS_DEVRW none 23")
    guest.agent.start("diskio")
    guest.run(1)
    assert len(crossings) == 23


@pytest.mark.parametrize("count", [1, 10])
def test_fs_devrw_is_crossed_by_an_unlocked_buffer_that_needs_no_transfer(boot: Callable[..., Any], count: int) -> None:
    """The paper's listing 3: after unlock_buffer(), where the loop comes to if neither branch submitted the buffer."""
    guest = boot()
    crossed = f"set FS_DEVRW none {count}"
    calls: list[str] = []
    for name in ("submit_bh", "unlock_buffer", "dtt_induce"):
        guest.machine.watch(guest.first.symbols[name], lambda cpu, name=name: calls.append(name))
    guest.dtt(crossed)
    guest.agent.start("diskio")
    guest.run(0.5)
    at = calls.index("dtt_induce")
    assert calls[at - 1] == "unlock_buffer"
    assert "submit_bh" in calls[:at]


def test_an_oops_without_panic_on_oops_leaves_an_unstable_system(boot: Callable[..., Any]) -> None:
    """The paper's Table 2, FS_DEVRW and oops on 2.6.16, X (log, SysRq): nothing is detected, but locks stay taken."""
    guest = boot(command_line="console=ttyS0,115200 combined_mode=ide root=/dev/hda")
    guest.kexec_p()
    guest.dtt("set FS_DEVRW oops 10")
    guest.agent.start("diskio")
    guest.run(1)
    source = Path(kdumpsim.__file__).parent / "kernel/lkdtt/dtt.py"
    (line,) = (n for n, text in enumerate(source.read_text().splitlines(), 1) if text.strip() == "BUG()")
    assert f"kernel BUG at kdumpsim/kernel/lkdtt/dtt.py:{line}!\n" in guest.console.replace("\r", "")
    assert points(guest)["FS_DEVRW"] == ["bug", "0"]
    guest.agent.timeout = 5
    with pytest.raises(AgentTimeout, match="no answer"):
        guest.text("/diskio")
    for key in ("leftalt", "sysrq", "c"):
        guest.machine.i8042.press(key)
    assert guest.run(30) is StopReason.RESET
    assert guest.dumped() is not None
