# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs on file systems without room, such as a container's /dev/shm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import kdumpsim

NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-euc")
"""A mount namespace of a command's own; its mounts are gone with it."""
RUN = ("run", "--crashpoint", "FS_DEVRW", "--type", "panic")


def mounts(size: str, place: Path) -> tuple[str, ...]:
    """What goes before a command for which a tmpfs of `size` is mounted at `place`."""
    return (*NAMESPACE, f'mount -t tmpfs -o size={size} none {place}; exec "$@"', "-")


@pytest.fixture(scope="module", autouse=True)
def _mounting_is_allowed(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> None:
    require_tool("unshare")
    if subprocess.run([*mounts("64k", tmp_path_factory.mktemp("try")), "true"], check=False).returncode:
        pytest.skip("this host allows no mount namespaces")  # also in CI: a container may forbid them, no package helps


def test_a_sparse_dump_larger_than_its_file_system_is_judged(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=48m none {tmp_path}; "$@"; cp {tmp_path}/dump/result.json /dev/stderr'
    done = kdumpsim(*RUN, "--memory", "96M", "--output", str(tmp_path / "dump"), prefix=(*NAMESPACE, script, "-"))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stderr)
    assert result["vmcore"]["bytes"] > 48 << 20
    assert (result["accuracy"], result["completeness"]) == (1, 1)


def test_a_dump_that_does_not_fit_is_a_failure_of_the_host(tmp_path: Path) -> None:
    done = kdumpsim(*RUN, "--output", str(tmp_path / "dump"), prefix=mounts("1m", tmp_path))
    assert done.returncode == 5
    assert done.stderr.startswith(
        f"Error: cannot write {tmp_path}/dump/vmcore: No space left on device; free some space"
    )


def test_qemu_needs_no_room_in_dev_shm(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("qemu-system-i386")
    words = ("--machine", "qemu", "--output", str(tmp_path / "dump"))
    done = kdumpsim(*RUN, *words, prefix=mounts("64k", Path("/dev/shm")))
    assert done.returncode == 0, done.stderr
