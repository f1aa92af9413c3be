# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that the console completes are the guest's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdumpsim.agent.client import O_RDONLY, O_WRONLY
from kdumpsim.agent.errors import AgentError
from kdumpsim.console.shell import PATHS


def test_files_worth_knowing_are_there(boot: Callable[..., Any]) -> None:
    agent = boot().agent
    for path in PATHS:
        try:
            agent.close(agent.open(path, O_RDONLY))
        except AgentError:
            agent.close(agent.open(path, O_WRONLY))
