# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks nobody shut down (LKDTT paper, section 5.2.4): what the capture kernel's drivers make of what they find.

With ``reset_devices`` a channel is reset before anything else.  Without it the IDE driver does as 2.6.16's: it waits
for BSY to clear and asks who is there.  libata resets its port in any case, as 2.6.16's does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kdumpsim.board.ata import BSY, DRQ
from kdumpsim.board.machine import StopReason

SATA = "console=ttyS0,115200 root=/dev/sda panic_on_oops=1"
ONE_CABLE = "console=ttyS0,115200 combined_mode=ide root=/dev/hdd panic_on_oops=1"
BOTH = pytest.mark.parametrize("defaults", [("maxcpus=1",), ("maxcpus=1", "reset_devices")], ids=["2.6.16", "reset"])
SUBMITTED = 21
"""Of the transfers from this one on the drive is slow; the first that is meets the crash."""
LONG, VERY_LONG = 20_000_000, 3_000_000_000
"""Nanoseconds a drive takes to find a sector: until interrupts are off for good; until the capture kernel runs."""


def crash(
    guest: Any, defaults: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, *, append: str, seek: int
) -> dict[str, Any]:
    """Alt-SysRq-C while the disk is at work; the system disk as it is when the capture kernel begins.

    `seek`: how long the drive takes for the command that is in flight at the crash.
    """
    found: dict[str, Any] = {}
    submitted, slow = [0], [0]

    def seek_ns() -> int:
        slow[0] += 1
        return seek

    def submit_bh(cpu: Any) -> None:
        submitted[0] += 1
        if submitted[0] == SUBMITTED:
            for port in guest.machine.ide.channels:
                monkeypatch.setattr(port, "seek_ns", seek_ns)

    def handed_over(cpu: Any) -> None:
        drive = next(d for port in guest.machine.ide.channels for d in port.drives if d.disk is guest.system)
        port = guest.machine.ide.channels[drive.number // 2]
        found.update(status=drive.status, interrupt=drive.interrupt, engine=port.bus_master.active)
        monkeypatch.undo()

    guest.kexec_p(append, defaults=defaults)
    guest.machine.watch(guest.capture.symbols["start_kernel"], handed_over)
    guest.machine.watch(guest.first.symbols["submit_bh"], submit_bh)
    guest.agent.start("diskio")
    guest.machine.run(until=guest.machine.clock.now + 10**10, stop=lambda: slow[0] != 0)
    guest.machine.i8042.chord("leftalt", "sysrq", "c")
    assert guest.run(60) is StopReason.RESET
    return found


@BOTH
def test_a_transfer_in_flight_on_the_dump_disks_channel(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, defaults: tuple[str, ...]
) -> None:
    """The bus master is at work when the capture kernel looks for its dump disk: the transfer ends by itself, and the
    driver waits for that, or the reset ends it."""
    guest = boot(command_line=ONE_CABLE, one_cable=True)
    found = crash(guest, defaults, monkeypatch, append="root=/dev/hdd", seek=VERY_LONG)
    assert found["status"] & BSY
    assert found["engine"]
    assert guest.dumped() is not None


@BOTH
def test_an_interrupt_nobody_acknowledged(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, defaults: tuple[str, ...]
) -> None:
    guest = boot(command_line=ONE_CABLE, one_cable=True)
    found = crash(guest, defaults, monkeypatch, append="root=/dev/hdd", seek=LONG)
    assert found["interrupt"]
    assert not found["engine"]
    assert guest.dumped() is not None


@BOTH
def test_a_drive_that_waits_for_the_rest_of_a_commands_data(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, defaults: tuple[str, ...]
) -> None:
    """Programmed output, cut short: DRQ stays. Unless it is reset, the drive takes no selection and no command, the
    driver finds no disk on the cable, and there is no dump: the paper's (2c)."""
    guest = boot("ide=nodma", command_line=ONE_CABLE, one_cable=True)
    found = crash(guest, defaults, monkeypatch, append="root=/dev/hdd", seek=LONG)
    assert found["status"] & (DRQ | BSY) == DRQ
    if "reset_devices" in defaults:
        assert guest.dumped() is not None
    else:
        assert guest.dumped() is None
        assert "savecore: no disk hdc" in guest.console


@BOTH
def test_libata_resets_a_busy_port_in_any_case(
    boot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, defaults: tuple[str, ...]
) -> None:
    guest = boot(command_line=SATA)
    found = crash(guest, defaults, monkeypatch, append="combined_mode=libata root=/dev/sda", seek=VERY_LONG)
    assert found["status"] & BSY
    assert found["engine"]
    assert guest.console.count("Attached scsi disk sda") == 2
    assert guest.dumped() is not None
