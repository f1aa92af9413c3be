# SPDX-License-Identifier: GPL-2.0-or-later
"""truth.core and truth-end.core: the machine's own RAM and every CPU's registers, at the crash and at the end.

They are ELF cores with the kernel's addresses, so what no dump came home of can be looked at all the same.
"""

from __future__ import annotations

from pathlib import Path

from kdumpsim.files import atomic_file
from kdumpsim.runfiles import TRUTH_CORE, TRUTH_END_CORE
from kdumpsim.runs.session import Session
from kdumpsim.vmcore.formats.elf import write_elf
from kdumpsim.vmcore.truth import TruthDump


def write_truth(session: Session, output: Path) -> None:
    """Write both files; where the machine saw no crash, truth.core is its end.  HostFailure if they cannot be."""
    oracle = session.oracle
    end = oracle.look("the end of the run")
    for name, instant in ((TRUTH_CORE, oracle.led_to_dump or end), (TRUTH_END_CORE, end)):
        with atomic_file(output / name) as file:
            write_elf(TruthDump(instant, oracle.ram), file)
