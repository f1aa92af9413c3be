# SPDX-License-Identifier: GPL-2.0-or-later
"""Check one case again: `PYTHONPATH=tests python -m soak KIND TEXT`, as a failed soak prints it.

TEXT is a case in words, or `@SEED/NUMBER`."""

from __future__ import annotations

import sys

from soak.driver import drawn
from soak.kinds import KINDS


def main() -> None:
    """Check it twice, in this process, so that a debugger can be at hand."""
    if len(sys.argv) != 3 or sys.argv[1] not in KINDS:
        sys.exit(f"usage: python -m soak KIND TEXT; choose KIND from: {', '.join(KINDS)}")
    kind = KINDS[sys.argv[1]]()
    kind.prepare()
    print(kind.check(drawn(kind, sys.argv[2]), True))


if __name__ == "__main__":
    main()
