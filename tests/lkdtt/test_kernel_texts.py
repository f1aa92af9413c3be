# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel can print when it dies, taken from the kernel itself, and whether the judges of a run know it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from kdumpsim import images
from kdumpsim.explain.oops import find_reports
from kdumpsim.lkdtt.outcome import Seen, console_notes

KERNEL = Path(str(files("kdumpsim") / "kernel"))
FORMATS = {
    "die": "%s: %04x [#%u]\n",
    "do_trap": "%s: %04x [#%u]\n",
    "die_nmi": "%s on CPU%u, eip %08x, registers:\n",
}
"""Functions of the kernel that print an oops, and the line that says what it is about."""
REPORTERS = {"die": 0, "do_trap": 1, "die_nmi": 1}
"""Which of their arguments that is."""
DETAILS = (
    "       ", " =======================", " [<", "------------[ cut here ]------------", "CPU:    ", "Call Trace:",
    "Code: ", "EFLAGS: ", "EIP is at ", "EIP:    ", "Modules linked in:",
    "PREEMPT SMP", "Process ", "SMP ", "Stack: ", "ds: ", "eax: ",
    "esi: ", " printing eip:", "*pde = ", "*pte = ", "double fault, tss at ", "eip = ", "eax = ", "esi = ",
    "Fatal exception: panic in 5 seconds",
)  # fmt: skip
"""Lines that only ever come after a report's first one."""
OTHERS = (
    "Dazed and confused", "Disabling IRQ #", "NMI: IOCK error", "Uhhuh. NMI received", "Rebooting in ",
    "Restarting system.", "Starting new kernel", "System halted.", "console shuts up", "Read-error on swap-device",
    "Write-error on swap-device", "CPU %u: Machine Check Exception", "Bank ", "Attempting to continue.",
)  # fmt: skip
"""Emergencies and alerts that are no error of the kernel's own code."""


def shown(text: str) -> str:
    """A format of printk's as it might appear on the console."""
    filled = re.sub(r"%0(\d)x", lambda match: "c0de1234"[-int(match[1]) :], text)
    return re.sub(r"%p", "c0de1234", re.sub(r"%[duxs]", "7", filled))


def emergencies() -> list[str]:
    """Everything in the kernel's image that printk is given with KERN_EMERG or KERN_ALERT."""
    image = images.kernel().stripped
    return sorted({text.decode() for text in re.findall(rb"<[01]>([^\0<]*[^\0]*)", image)})


def causes() -> Iterator[tuple[str, str]]:
    """(function, text) of each call in the kernel's sources that reports an oops."""
    for path in sorted(KERNEL.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REPORTERS:
                what = node.args[REPORTERS[node.func.id]]
                if isinstance(what, ast.Constant):
                    yield node.func.id, str(what.value)


def test_every_emergency_is_a_sign_a_detail_or_none_of_the_kernels_errors() -> None:
    unknown = [
        text
        for text in emergencies()
        if text not in FORMATS.values()  # these are the next test's
        and not text.startswith((*DETAILS, *OTHERS))
        and not console_notes([(0, shown(text))])
    ]
    assert unknown == [], "an oops that says this leaves no note, and (nmiw) can be missed"


@pytest.mark.parametrize(("function", "text"), sorted(set(causes())))
def test_every_cause_of_an_oops_is_a_sign(function: str, text: str) -> None:
    form = FORMATS[function]
    assert form in emergencies(), "the kernel says it in another form now"
    line = shown(form.replace("%s", text, 1))
    (note,) = console_notes([(0, line)])
    assert note.seen is (Seen.NMI_WATCHDOG if function == "die_nmi" else Seen.OOPS)
    (report,) = find_reports(f"{line}EIP:    0060:[<c0118180>]    Not tainted VLI\n")
    assert report.headline == line.strip()


def test_the_causes_are_those_of_the_processors_exceptions() -> None:
    """The reading of the sources finds what is there."""
    assert {text for _, text in causes()} >= {"Oops", "invalid opcode", "general protection fault", "divide error"}
