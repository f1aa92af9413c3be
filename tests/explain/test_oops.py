# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding crash reports in a console log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdumpsim.explain.oops import find_reports

OOPS = """VFS: Mounted root.
Unable to handle kernel NULL pointer dereference at virtual address 00000000
 printing eip:
c0118180
*pde = 00000000
Oops: 0002 [#1]
CPU:    1
EIP:    0060:[<c0118180>]    Not tainted VLI
EIP is at dtt_induce+0x18/0x65
Process diskio (pid: 9, threadinfo=c01b4000 task=c014db00)
Stack: c01b5ec4 c01182c3
Call Trace:
 [<c01182c3>] dtt_crossed+0x6a/0x8c
 [<c010204c>] system_call+0x1c/0x30
Code: 75 09 31 c0 <a3> 00 00 00 00
"""
BUG = """------------[ cut here ]------------
kernel BUG at kernel/lkdtt/dtt.py:99!
invalid opcode: 0000 [#2]
EIP:    0060:[<c010b0b7>]    Not tainted VLI
Code:  Bad EIP value.
"""
SOFT_LOCKUP = """BUG: soft lockup detected on CPU#1!
Call Trace:
 [<c010d20e>] softlockup_tick+0x87/0xba
Kernel panic - not syncing: softlockup: hung tasks
"""
DOUBLE_FAULT = """double fault, gdt at c0130000 [255 bytes]
double fault, tss at c0130040
eip = c0137fc3, esp = b4c0137f
eax = 00000000, ebx = c0138000, ecx = 00000001, edx = 00000001
esi = c0102880, edi = 00133380
NMI Watchdog detected LOCKUP on CPU0, eip c0103f10, registers:
EIP:    0060:[<c0103f10>]    Not tainted VLI
"""


def test_an_oops_is_read_whole() -> None:
    (report,) = find_reports(OOPS)
    assert report.headline.startswith("Unable to handle kernel NULL pointer dereference")
    assert report.address == 0xC0118180
    assert report.task == "diskio (pid 9)"
    assert report.trace == [0xC01182C3, 0xC010204C]
    assert report.code == bytes.fromhex("750931c0a300000000")
    assert report.before == 4


def test_every_report_is_found_in_order() -> None:
    reports = find_reports(OOPS + BUG + SOFT_LOCKUP)
    assert [report.headline.split()[0] for report in reports] == ["Unable", "kernel", "BUG:"]
    bug, lockup = reports[1:]
    assert (bug.address, bug.code, bug.trace) == (0xC010B0B7, b"", [])
    assert (lockup.address, lockup.trace) == (None, [0xC010D20E])


def test_a_double_fault_has_a_report_of_its_own() -> None:
    fault, lockup = find_reports(DOUBLE_FAULT)
    assert (fault.headline, fault.address) == ("double fault, gdt at c0130000 [255 bytes]", 0xC0137FC3)
    assert lockup.address == 0xC0103F10


def test_a_log_without_reports_has_none() -> None:
    assert find_reports("Kernel panic - not syncing: LKDTT: crash point FS_DEVRW\n [<c010d20e>] x\n") == []


fragments = st.sampled_from([
    "Unable to handle kernel", "EIP:    0060:[<c0100000>]", "EIP: 0060:[<zz>]", "Code: ", "a3 00 <0f> 0b", "a300", "<",
    ">", " [<c0100010>]", "Process x(pid: 7, ", "Process (pid: 9999999999999999999,", "\n", " ", "\x00", "\u0663",
    "[#1]",
])  # fmt: skip


@given(st.lists(fragments | st.text(max_size=5), max_size=20).map("".join))
def test_any_log_is_read(text: str) -> None:
    for report in find_reports(text):
        assert report.address is not None or report.trace
        assert 0 <= report.before <= len(report.code)


def test_code_that_is_run_together_is_no_code() -> None:
    log = "Unable to handle kernel\nEIP:    0060:[<c0100000>]\nCode: a300 00\n"
    assert find_reports(log)[0].code == b""
