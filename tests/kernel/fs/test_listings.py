# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories, tasks and the log of a booted guest, as its files show them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from kdumpsim.agent.client import O_DIRECTORY, O_RDWR, AgentClient
from kdumpsim.agent.errors import AgentError


def listing(agent: AgentClient, path: str, flags: int = 0) -> list[str]:
    fd = agent.open(path, O_DIRECTORY | flags)
    try:
        return agent.read(fd).decode().splitlines()
    finally:
        agent.close(fd)


@pytest.fixture
def agent(boot: Callable[..., Any], shared: list[AgentClient]) -> AgentClient:
    if not shared:
        shared.append(boot().agent)
    return shared[0]


@pytest.fixture(scope="module")
def shared() -> list[AgentClient]:
    """The agent of the guest these tests share, once one was booted."""
    return []


def test_the_root_shows_the_disk_and_where_the_kernels_own_files_are(agent: AgentClient) -> None:
    names = listing(agent, "/")
    assert {"boot/", "proc/", "sys/"} <= set(names)
    assert len(names) == len(set(names))
    assert "vmlinux-kdump" in listing(agent, "/boot/")


def test_a_directory_of_proc_shows_each_name_once(agent: AgentClient) -> None:
    names = listing(agent, "/proc/")
    assert {"dtt/", "iomem", "ps", "kmsg"} <= set(names)
    assert names.count("dtt/") == 1
    assert sorted(listing(agent, "/proc/dtt/")) == ["cpoints", "ctrl"]
    assert sorted(listing(agent, "/sys/devices/system/cpu/")) == ["cpu0/", "cpu1/"]


@pytest.mark.parametrize(
    ("path", "flags", "refusal"),
    [
        ("/nothing/", 0, errno.ENOENT),
        ("/proc/nothing/", 0, errno.ENOENT),
        ("/boot/vmlinux-kdump/", 0, errno.ENOTDIR),
        ("/boot", 0, errno.EINVAL),
        ("/boot/", O_RDWR, errno.EISDIR),
    ],
)
def test_what_is_no_directory_is_refused(agent: AgentClient, path: str, flags: int, refusal: int) -> None:
    with pytest.raises(AgentError) as caught:
        listing(agent, path, flags)
    assert caught.value.errno == refusal


def test_ps_lists_the_tasks(agent: AgentClient) -> None:
    head, *tasks = agent.read_file("/proc/ps").decode().splitlines()
    assert head.split() == ["PID", "CPU", "STAT", "SWITCHES", "COMMAND"]
    rows = [line.split(maxsplit=4) for line in tasks]
    pids = [int(row[0]) for row in rows]
    assert pids == sorted(set(pids))
    assert pids[0] == 1
    assert {row[1] for row in rows} <= {"0", "1"}
    assert {row[2] for row in rows} <= set("RSD")
    assert {"ksoftirqd/0", "ksoftirqd/1"} <= {row[4] for row in rows}
    pid = agent.start("diskio")
    assert f"{pid}" in [
        line.split()[0] for line in agent.read_file("/proc/ps").decode().splitlines() if "diskio" in line
    ]


def test_kmsg_keeps_what_was_printed_with_its_level(boot: Callable[..., Any]) -> None:
    guest = boot()
    log = guest.text("/proc/kmsg")
    lines = log.splitlines()
    assert all(line[0] == "<" and line[1] in "01234567" and line[2] == ">" for line in lines)
    assert [line[3:] for line in lines if line[1] < "7"] == guest.console.replace("\r", "").splitlines()
    assert guest.text("/proc/kmsg").startswith(log)
