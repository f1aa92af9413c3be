# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong on the host side of kexec."""

from __future__ import annotations

import errno as _errno
import os


class KexecError(Exception):
    """A load that cannot be done; the text says why and what is allowed, for the person who asked for it."""


class AgentError(KexecError):
    """The guest refused a request with an errno."""

    def __init__(self, what: str, errno: int) -> None:
        self.errno = errno
        self.name = _errno.errorcode.get(errno, f"errno {errno}")
        super().__init__(f"{what}: {self.name} ({os.strerror(errno)})")


class AgentTimeout(KexecError):
    """No answer came in time."""


class AgentGone(KexecError):
    """The other end is gone: the socket was closed, or the machine has reset or halted for good."""


class AgentProtocolError(KexecError):
    """Something came that is not an answer of the agent's protocol."""
