# SPDX-License-Identifier: GPL-2.0-or-later
"""One run from power-on to verdict, forked runs, and the result."""
