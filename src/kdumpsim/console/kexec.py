# SPDX-License-Identifier: GPL-2.0-or-later
"""The console's kexec command, with those options of kexec(8) that need no file name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kdumpsim.agent.client import AgentClient, Reboot
from kdumpsim.kexec.errors import KexecError
from kdumpsim.kexec.load import CAPTURE_LOADED, KEXEC_LOADED, kexec_load_normal, kexec_unload
from kdumpsim.runs.session import Session

_LONG = {"--load-panic": "-p", "--load": "-l", "--exec": "-e", "--unload": "-u"}


def parse(words: Sequence[str]) -> frozenset[str]:
    """Return the short options of a command line; raise ValueError if they are not valid."""
    flags = frozenset(_LONG.get(word, word) for word in words)
    if strange := flags - set(_LONG.values()):
        raise ValueError(f"kexec: unknown option '{min(strange)}'; choose from: -p, -l, -e, -u, -p -u")
    if len(flags) != 1 and flags != {"-p", "-u"}:
        raise ValueError("kexec: choose one of -p, -l, -e, -u or -p -u")
    return flags


def perform(flags: frozenset[str], session: Session, say: Callable[[str], None]) -> None:
    """Carry out the command in a session; raise KexecError, MechanismError or AgentFailure if that fails."""
    guest = session.guest
    if "-u" in flags:
        panic = "-p" in flags
        what = "capture kernel" if panic else "kernel"
        was_loaded = _loaded(guest, CAPTURE_LOADED if panic else KEXEC_LOADED)
        kexec_unload(guest, panic=panic)
        say(f"the {what} was unloaded\n" if was_loaded else f"no {what} was loaded: nothing to unload\n")
    elif "-p" in flags:
        session.prepare_dump()
    elif "-l" in flags:
        line = guest.read_file("/proc/cmdline").decode("utf-8", "replace").strip()
        kexec_load_normal(guest, session.first.stripped, None, line)
        say("loaded; kexec -e starts it\n")
    elif not _loaded(guest, KEXEC_LOADED):
        raise KexecError("nothing is loaded; kexec -l loads a kernel")
    else:
        guest.version = None
        guest.reboot(Reboot.KEXEC)
        say(f"{guest.hello().strip()} is up; kexec -p loads a capture kernel for it\n")


def _loaded(guest: AgentClient, path: str) -> bool:
    return guest.read_file(path).strip() == b"1"
