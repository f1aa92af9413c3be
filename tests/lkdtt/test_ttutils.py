# SPDX-License-Identifier: GPL-2.0-or-later
"""ttutils as the LKDTT paper's section 3.3 has it; the guest's answers are played here, the real ones in tests/e2e."""

from __future__ import annotations

import errno

import pytest

from kdumpsim.agent.errors import AgentError
from kdumpsim.lkdtt import ttutils


class Guest:
    """Keeps what is written, or refuses it."""

    def __init__(self, refusal: int = 0) -> None:
        self.written: list[tuple[str, bytes]] = []
        self._refusal = refusal

    def read_file(self, path: str) -> bytes:
        assert path == "/proc/dtt/cpoints"
        return b"id      crash type\n"

    def write_file(self, path: str, data: bytes) -> None:
        if self._refusal:
            raise AgentError(f"write to {path}", self._refusal)
        self.written.append((path, data))


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("set -p FS_DEVRW -t panic", b"set FS_DEVRW panic 10\n"),
        ("set -p IDE_CORE_CP -t panic -c 7", b"set IDE_CORE_CP panic 7\n"),
        ("set -c 7 -t oops -p TASKLET", b"set TASKLET oops 7\n"),
        ("set -pFS_SUBMIT_BH -thang", b"set FS_SUBMIT_BH hang 10\n"),
        ("reset -p FS_DEVRW", b"reset FS_DEVRW\n"),
        ("reset -f -p FS_DEVRW", b"reset FS_DEVRW -f\n"),
        ("add -p IDE_CORE_CP -n 50", b"add IDE_CORE_CP 50\n"),
        ("rmv -p IDE_CORE_CP", b"rmv IDE_CORE_CP\n"),
    ],
)
def test_commands_become_words_for_ctrl(line: str, command: bytes) -> None:
    guest = Guest()
    assert ttutils.run(line.split(), guest) == ""
    assert guest.written == [("/proc/dtt/ctrl", command)]


@pytest.mark.parametrize("word", ["ls", "list"])
def test_ls_shows_what_the_guest_lists(word: str) -> None:
    assert ttutils.run([word], Guest()) == "id      crash type\n"


@pytest.mark.parametrize("word", ["ver", "version"])
def test_ver_names_lkdtt(word: str) -> None:
    assert ttutils.run([word], Guest()).startswith("LKDTT ")


def test_help_names_every_command_and_option_of_the_paper() -> None:
    text = ttutils.run(["help"], Guest())
    assert text.startswith("usage: ttutils command [options]\n")
    for word in ("help", "ver(sion)", "list|ls", "set", "reset", "add", "rmv", "-p", "-t", "-c", "-f", "-n"):
        assert word in text.split()
    assert "none panic bug (oops) exception loop (hang) overflow" in text
    assert "(default 10)" in text


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "no command"),
        ("frob", "unknown command 'frob'"),
        ("set -p FS_DEVRW", "set needs -t"),
        ("set", "set needs -p and -t"),
        ("set -p FS_DEVRW -t explode", "exception"),
        ("set -p FS_DEVRW -t panic -c 0", "from 1 to"),
        ("set -p FS_DEVRW -t panic -c many", "from 1 to"),
        ("set -p FS_DEVRW -t panic -x", "-x"),
        ("set -p FS_DEVRW -t", "-t"),
        ("add -p IDE_CORE_CP", "add needs -n"),
        ("add -p IDE_CORE_CP -n 64", "from 1 to 63"),
        ("rmv", "rmv needs -p"),
        ("ls all", "unknown argument 'all'"),
    ],
)
def test_wrong_use_is_said_before_anything_is_written(line: str, complaint: str) -> None:
    guest = Guest()
    with pytest.raises(ttutils.Usage, match=complaint):
        ttutils.run(line.split(), guest)
    assert guest.written == []


@pytest.mark.parametrize(
    ("line", "refusal", "words"),
    [
        ("set -p NOWHERE -t panic", errno.ENOENT, "set NOWHERE: the crash point does not exist"),
        ("set -p FS_DEVWR -t panic", errno.ENOENT, "did you mean FS_DEVRW?"),
        ("add -p NOWHERE -n 50", errno.ENOENT, "no driver has a crash point of this name"),
        ("add -p IDE_CORE_CP -n 50", errno.EEXIST, "registered already"),
        ("add -p IDE_CORE_CP -n 3", errno.EINVAL, "belongs to another"),
        ("rmv -p FS_DEVRW", errno.EPERM, "cannot be removed"),
    ],
)
def test_what_the_kernel_refuses_is_explained(line: str, refusal: int, words: str) -> None:
    with pytest.raises(ttutils.TtutilsError, match=words):
        ttutils.run(line.split(), Guest(refusal))
