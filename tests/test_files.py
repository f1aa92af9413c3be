# SPDX-License-Identifier: GPL-2.0-or-later
"""Files appear whole or not at all, and what a killed process left is cleared by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kdumpsim.files import HostFailure, atomic_file, scratch_directory, writable_directory

HOLDER = """
import sys
import tempfile
from pathlib import Path
from kdumpsim.files import atomic_file, scratch_directory
with atomic_file(Path(sys.argv[1]) / "vmcore") as file, scratch_directory(Path(sys.argv[1])) as scratch:
    (scratch / "large").write_bytes(b"x")
    file.write(b"half")
    print(scratch, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that is writing a file in `tmp_path` and has a scratch directory there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    with atomic_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        raise RuntimeError
    assert [left.name for left in tmp_path.iterdir()] == ["vmcore"]
    assert path.read_bytes() == b"whole"


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    """Root's `--output /dev/null` would make a file of it, for all programs."""
    pipe, link, elsewhere = tmp_path / "pipe", tmp_path / "link", tmp_path / "elsewhere"
    os.mkfifo(pipe)
    for path, why in ((pipe, "not a regular file"), (tmp_path, "is a directory"), (Path(""), "is a directory")):
        with pytest.raises(HostFailure, match=f"cannot write {path}: .*{why}"), atomic_file(path):
            pass
    assert pipe.is_fifo()
    link.symlink_to(elsewhere)
    with atomic_file(link) as file:
        file.write(b"whole")
    assert link.is_symlink()
    assert elsewhere.read_bytes() == b"whole"


def test_what_a_living_process_uses_stays_and_what_a_killed_one_left_goes(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    used = sorted(tmp_path.iterdir())
    assert len(used) == 2
    writable_directory(tmp_path)
    with scratch_directory(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == used
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    writable_directory(tmp_path)
    with scratch_directory(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".download.partial").touch()
    (tmp_path / "kdumpsim-notes").mkdir()
    writable_directory(tmp_path)
    with scratch_directory(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".download.partial", "kdumpsim-notes"]


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostFailure, match=r"cannot write to output directory '.*/file/dump': Not a directory"):
        writable_directory(tmp_path / "file" / "dump")


def test_an_interrupt_in_the_moment_of_its_making_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tempfile.mkdtemp

    def interrupted(**options: Any) -> str:
        name = made(**options)
        os.kill(os.getpid(), signal.SIGINT)
        return name

    monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
    with pytest.raises(KeyboardInterrupt), scratch_directory(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_waits_until_the_temporary_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tempfile tries a place with a file of its own; interrupted, it would leave it there."""
    tried: list[str] = []

    def find() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        tried.append("and cleared")
        return str(tmp_path)

    monkeypatch.setattr(tempfile, "gettempdir", find)
    with pytest.raises(KeyboardInterrupt), scratch_directory():
        pytest.fail("goes on")
    assert tried == ["and cleared"]


def test_a_scratch_directory_that_another_process_clears_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    mkdtemp = tempfile.mkdtemp

    def cleared_at_once(prefix: str, dir: Path) -> str:
        made.append(Path(mkdtemp(prefix=prefix, dir=dir)))
        if len(made) == 1:
            made[0].rmdir()
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", cleared_at_once)
    with scratch_directory(tmp_path) as scratch:
        assert scratch == made[1]
        assert scratch.is_dir()
