# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m kdumpsim``: the command line."""

import gc
import os
import signal
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: nothing has begun yet but imports, which must not be left by an exception."""
    os.write(2, b"Interrupted; nothing half-written was left behind.\n")
    os._exit(128 + number)


def main() -> None:
    """The command line; Ctrl-C ends it with one line from its first import on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    gc.disable()  # nothing of what is imported is garbage
    from kdumpsim.cli import main as command

    gc.enable()
    command()


if __name__ == "__main__":
    main()
