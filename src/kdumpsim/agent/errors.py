# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong between the host and the guest's agent."""

from __future__ import annotations

import errno as _errno
import os

from kdumpsim.errors import KdumpsimError


class AgentFailure(KdumpsimError):
    """The agent did not do what it was asked; the text says what was asked, and why not."""


class AgentError(AgentFailure):
    """The guest refused a request with an errno."""

    def __init__(self, what: str, errno: int) -> None:
        self.errno = errno
        self.name = _errno.errorcode.get(errno, f"errno {errno}")
        super().__init__(f"{what}: {self.name} ({os.strerror(errno)})")


class AgentTimeout(AgentFailure):
    """No answer came in time."""


class AgentGone(AgentFailure):
    """The other end is gone: the socket was closed, or the machine has reset or halted for good."""


class AgentUnreachable(AgentFailure):
    """No agent can be reached at an address."""


class BadAddress(AgentUnreachable):
    """The text is no address."""


class AgentProtocolError(AgentFailure):
    """Something came that is not an answer of the agent's protocol."""
