# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's terminal as the guest's: raw mode while the machine runs, and the way it was in every case afterwards.

Input that is not a terminal (a pipe, a file, /dev/null) works too: it is handed on as it comes, without escape keys.
On a terminal, Ctrl-A is the escape: Ctrl-A x leaves, Ctrl-A Ctrl-A sends a Ctrl-A, Ctrl-A h lists these.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

ESCAPE = 0x01
HELP = b"\r\nCtrl-A x      leave kdumpsim\r\nCtrl-A Ctrl-A send Ctrl-A\r\nCtrl-A h      this help\r\n"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EscapeKeys:
    """Takes what was typed apart into what is the guest's and what is ours."""

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, data: bytes) -> tuple[bytes, bool, bool]:
        """(bytes for the guest, leave, show help). Nothing after the key that leaves is the guest's."""
        out, help_wanted = bytearray(), False
        for byte in data:
            if not self._escaped:
                if byte == ESCAPE:
                    self._escaped = True
                else:
                    out.append(byte)
                continue
            self._escaped = False
            if byte in b"xX":
                return bytes(out), True, help_wanted
            if byte in b"hH?":
                help_wanted = True
            elif byte in (ESCAPE, ord("a")):
                out.append(ESCAPE)
        return bytes(out), False, help_wanted


class Terminal:
    """A context manager over two file descriptors. Inside, a terminal is raw: every key is the guest's."""

    def __init__(self, stdin: int = 0, stdout: int = 1) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._saved: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._keys = EscapeKeys()
        self.show_help: Callable[[], None] = lambda: self.write(HELP)
        self.interactive = False
        self.ended = False  # no more input will come
        self.signal: int | None = None  # the signal that asked to leave
        self.left = False  # the user or a signal asked to leave, or the output cannot be written any more
        self.error: OSError | None = None  # what became of the output

    def __enter__(self) -> Terminal:
        # A handler does not raise: whoever runs the machine looks at `left`, and puts the terminal back first.
        for number in _SIGNALS:
            self._handlers[number] = signal.signal(number, self._on_signal)
        self.interactive = os.isatty(self._stdin)
        if self.interactive:
            self._saved = termios.tcgetattr(self._stdin)
            raw = termios.tcgetattr(self._stdin)
            raw[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
            raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            raw[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
            raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._stdin, termios.TCSADRAIN, raw)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saved is not None:
            with contextlib.suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(self._stdin, termios.TCSADRAIN, self._saved)
            self._saved = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.left = True

    def read(self, timeout: float | None = 0.0) -> bytes:
        """What was typed, at most after `timeout` seconds (None: wait for it); empty at a time-out and at the end."""
        if self.ended or self.left:
            return b""
        try:
            ready, _, _ = select.select([self._stdin], [], [], timeout)
            data = os.read(self._stdin, 4096) if ready else None
        except OSError:
            data = b""
        if data is None:
            return b""
        if not data:
            self.ended = True
            self.left |= self.interactive  # a raw terminal has no end of file: it was hung up
            return b""
        if not self.interactive:
            return data
        out, leave, help_wanted = self._keys.feed(data)
        self.left |= leave
        if help_wanted:
            self.show_help()
        return out

    def write(self, data: bytes) -> None:
        """Write all of it at once.  A failure ends the session and is kept in `error`."""
        view = memoryview(data)
        while view and self.error is None:
            try:
                view = view[os.write(self._stdout, view) :]
            except BlockingIOError:
                select.select([], [self._stdout], [])
            except OSError as error:
                self.left, self.error = True, error
