# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-C and kill, as clean ends of a command.

Once a command polls, its handler only takes note, so that the command ends where it asked and not in the middle of its
own work. A machine that runs calls the handler and the poll at once (`kdumpsim.signals`).
"""

from __future__ import annotations

import contextlib
import signal
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated", signal.SIGHUP: "Hung up"}


class Interrupted(BaseException):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status, as a shell would give it."""
        return 128 + self.number

    def __str__(self) -> str:
        return f"{_SIGNALS[signal.Signals(self.number)]}; nothing half-written was left behind."


class Interrupts:
    """A context manager: inside, these signals raise Interrupted, at once or at the next `poll()`."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._seen: int | None = None
        self._polled = False

    def __enter__(self) -> Interrupts:
        with contextlib.suppress(ValueError):  # not in the main thread, where no signal arrives
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                    self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._seen = number
        if not self._polled:
            raise Interrupted(number)

    def poll(self) -> None:
        """Raise what came. From the first call on, signals wait for the next one."""
        self._polled = True
        if self._seen is not None:
            number, self._seen = self._seen, None
            raise Interrupted(number)
