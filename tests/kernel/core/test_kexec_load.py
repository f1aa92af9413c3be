# SPDX-License-Identifier: GPL-2.0-or-later
"""kexec -l and -e on the booted guest, and what its kexec_load refuses."""

from __future__ import annotations

from collections.abc import Callable
from errno import EADDRNOTAVAIL, EINVAL
from typing import Any

import pytest

from kdumpsim.agent.client import KexecFlags, Reboot
from kdumpsim.agent.errors import AgentError
from kdumpsim.kexec import load
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.segments import Segment

PAGE = 4096
REGION = 16 << 20  # crashkernel=16M@16M
CRASH = KexecFlags.ON_CRASH | KexecFlags.ARCH


def test_the_kernel_reboots_into_itself_as_often_as_one_likes(boot: Callable[..., Any]) -> None:
    guest = boot()
    for number in (1, 2):
        plan = load.kexec_load_normal(guest.agent, guest.first.stripped, None, f"console=ttyS0 again={number}")
        assert guest.text("/sys/kernel/kexec_loaded") == "1\n"
        guest.agent.version = None
        guest.agent.reboot(Reboot.KEXEC)
        guest.agent.hello()
        assert guest.text("/proc/cmdline") == f"console=ttyS0 again={number}\n"
        assert guest.text("/sys/kernel/kexec_loaded") == "0\n"
        assert plan.crash is None
    assert guest.console.count("Starting new kernel") == 2
    assert guest.console.count("I'm in purgatory") == 2
    assert guest.console.count("Total of 2 processors activated") == 3
    assert guest.machine.reset_cause is None  # no firmware in between


def test_the_new_kernel_can_crash_and_dump(boot: Callable[..., Any]) -> None:
    guest = boot()
    load.kexec_load_normal(guest.agent, guest.first.stripped, None, "console=ttyS0 crashkernel=16M@16M")
    guest.agent.version = None
    guest.agent.reboot(Reboot.KEXEC)
    guest.agent.hello()
    guest.crash()
    assert guest.dumped() is not None


def test_executing_nothing_is_refused(boot: Callable[..., Any]) -> None:
    guest = boot()
    guest.agent.reboot(Reboot.KEXEC)
    assert "crashkernel" in guest.text("/proc/cmdline")


def segment(mem: int, memsz: int = PAGE, bufsz: int = 16) -> Segment:
    return Segment("test", mem, memsz, bytes(bufsz))


@pytest.mark.parametrize(
    ("segments", "flags", "errno"),
    [
        ([segment(REGION + 1)], CRASH, EADDRNOTAVAIL),
        ([segment(REGION, PAGE + 1)], CRASH, EADDRNOTAVAIL),
        ([segment(REGION, PAGE, PAGE + 1)], CRASH, EINVAL),
        ([segment(REGION, 2 * PAGE), segment(REGION + PAGE)], CRASH, EINVAL),
        ([segment(REGION - PAGE)], CRASH, EADDRNOTAVAIL),
        ([segment(REGION - PAGE, 2 * PAGE)], CRASH, EADDRNOTAVAIL),
        ([segment(2 * REGION - PAGE, 2 * PAGE)], CRASH, EADDRNOTAVAIL),
        ([segment(0xFFFFF000, 2 * PAGE)], CRASH, EADDRNOTAVAIL),
        ([segment(REGION)], CRASH | 2, EINVAL),
        ([segment(REGION)], KexecFlags.ON_CRASH | 62 << 16, EINVAL),  # for an x86-64
        ([segment(REGION + n * PAGE) for n in range(17)], CRASH, EINVAL),
    ],
    ids=["misaligned", "odd-size", "longer-than-its-room", "overlapping", "below-the-region", "across-its-start",
         "across-its-end", "around-the-end-of-memory", "unknown-flag", "other-machine", "too-many"],
)  # fmt: skip
def test_kexec_load_refuses_what_would_do_harm(
    boot: Callable[..., Any], segments: list[Segment], flags: int, errno: int
) -> None:
    guest = boot()
    with pytest.raises(AgentError) as caught:
        guest.agent.kexec_load(REGION, segments, flags)
    assert caught.value.errno == errno
    assert guest.text("/sys/kernel/kexec_crash_loaded") == "0\n"
    guest.kexec_p()  # and the next one is none the worse for it
    assert guest.text("/sys/kernel/kexec_crash_loaded") == "1\n"


def test_an_entry_outside_the_region_is_refused(boot: Callable[..., Any]) -> None:
    with pytest.raises(AgentError) as caught:
        boot().agent.kexec_load(REGION - PAGE, [segment(REGION)], CRASH)
    assert caught.value.errno == EADDRNOTAVAIL


def test_without_a_reserved_region_nothing_can_be_loaded_for_a_crash(boot: Callable[..., Any]) -> None:
    guest = boot()
    load.kexec_load_normal(guest.agent, guest.first.stripped, None, "console=ttyS0")
    guest.agent.version = None
    guest.agent.reboot(Reboot.KEXEC)
    guest.agent.hello()
    with pytest.raises(AgentError) as caught:
        guest.agent.kexec_load(REGION, [segment(REGION)], CRASH)
    assert caught.value.errno == EADDRNOTAVAIL
    with pytest.raises(KexecError, match="crashkernel="):
        guest.kexec_p()
