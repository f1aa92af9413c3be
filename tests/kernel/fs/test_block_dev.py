# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks as files: whole sectors go straight to the disk and come from there."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from kdumpsim.agent.errors import AgentError
from kdumpsim.board.disk import SECTOR

O_RDWR = 2


def test_whole_sectors_are_read_and_written(boot: Callable[..., Any]) -> None:
    guest = boot()
    guest.dump.write(3, bytes(range(256)) * 2)
    data = bytes(range(255, -1, -1)) * 6
    fd = guest.agent.open("/dev/hdc", O_RDWR)
    assert guest.agent.write(fd, data) == len(data)
    assert guest.agent.read(fd, SECTOR) == bytes(range(256)) * 2
    assert bytes(guest.dump.read(0, 3)) == data
    for wrong in (b"x", bytes(SECTOR + 2)):
        with pytest.raises(AgentError) as refused:
            guest.agent.write(fd, wrong)
        assert refused.value.errno == errno.EINVAL
    with pytest.raises(AgentError) as missing:
        guest.agent.open("/dev/hdd", O_RDWR)
    assert missing.value.errno == errno.ENOENT
