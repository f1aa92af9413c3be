# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated SMP PC on which a toy kernel dies, and its crash dump is judged."""

__version__ = "0.1.0"
