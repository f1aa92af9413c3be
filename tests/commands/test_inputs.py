# SPDX-License-Identifier: GPL-2.0-or-later
"""Times and files as users name them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import click
import pytest

from kdumpsim.commands.inputs import MAX_SECONDS, Seconds, read_input


@pytest.mark.parametrize(("text", "seconds"), [("1", 1), ("0.5", 0.5), ("1e3", 1000), (str(MAX_SECONDS), MAX_SECONDS)])
def test_seconds(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e300", "0", "-1", "1000001", "soon", "", "9" * 400])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="give more than 0, at most 1000000"):
        Seconds().convert(text, None, None)


def test_files_pipes_and_things_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_input(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 0 MiB") as caught:
        read_input(tmp_path / "file", 4)
    assert caught.value.filename == str(tmp_path / "file")
    os.truncate(tmp_path / "file", 1 << 40)  # sparse: nobody reads that much
    with pytest.raises(OSError, match="larger than 1024 MiB"):
        read_input(tmp_path / "file", 1 << 30)
    with pytest.raises(OSError, match="larger than 64 MiB"):
        read_input("/dev/zero", 1 << 30)
    assert read_input("/dev/null", 5) == b""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(b"through a pipe"), daemon=True).start()
    assert read_input(pipe, 100) == b"through a pipe"
    with pytest.raises(IsADirectoryError):
        read_input(tmp_path, 5)
