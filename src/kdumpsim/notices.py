# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a run slower than it could be, and never wrong: said on the logger "kdumpsim" to those who ask for it
(``kdumpsim run --verbose``).
"""

from __future__ import annotations

import sys

LOGGER = "kdumpsim"


def notice(text: str) -> None:
    """Say a sentence at level INFO."""
    if "logging" in sys.modules:  # or there is no handler yet: importing it would cost each run 10 ms
        import logging

        logging.getLogger(LOGGER).info(text)
