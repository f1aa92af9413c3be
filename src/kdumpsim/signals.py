# SPDX-License-Identifier: GPL-2.0-or-later
"""Python's signal handlers, held back while the engine runs, or while something is made that must be cleared away.

Python runs a handler wherever its interpreter happens to be, so also inside a device's callback from the engine. What a
handler raises there (KeyboardInterrupt, for one) goes through C code, and is lost. Held back, a handler is called once
the engine has been left, and what it raises comes out of `Machine.run`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

NUMBERS: Final = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


@contextmanager
def _blocked(handlers: int) -> Iterator[None]:
    """No signal arrives inside, so that so many handlers are exchanged all or none; a single one needs no more."""
    if handlers < 2 or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class HeldSignals:
    """A context manager: inside, a signal calls `wake` at once, and its own handler at the next `deliver`.

    Does nothing in a thread that no signal arrives in, and nothing about signals without a handler in Python.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self.waiting: list[tuple[int, FrameType | None]] = []
        """Signals that have arrived and whose handlers have not been called yet."""

    def __enter__(self) -> HeldSignals:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: handler for number in NUMBERS if callable(handler := signal.getsignal(number))}
            with _blocked(len(handlers)):
                self._handlers.update(handlers)
                for number in handlers:
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handlers:
            with _blocked(len(self._handlers)):
                for number, handler in self._handlers.items():
                    signal.signal(number, handler)
        try:
            self.deliver()
        finally:
            self._handlers.clear()
            self.waiting.clear()

    def deliver(self) -> bool:
        """Call the handlers of the signals that have arrived, in order; they may raise. False if there were none."""
        if not self.waiting:
            return False
        while self.waiting:
            number, frame = self.waiting.pop(0)
            self._handlers[number](number, frame)
        return True

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.waiting.append((number, frame))
        self._wake()
