# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine of one run and what happens on it, phase by phase.

The phases' ends are seen by the machine, not read off the console: watches on code addresses, the dump disk's first
write, the reset line.
"""

from __future__ import annotations
