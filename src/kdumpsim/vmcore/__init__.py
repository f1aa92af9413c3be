# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash dumps: reading them, the machine's own truth about the crash, and judging one by the other."""
