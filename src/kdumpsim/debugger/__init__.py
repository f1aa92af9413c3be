# SPDX-License-Identifier: GPL-2.0-or-later
"""Debuggers for dumps: how each is started, and commands of ours for gdb."""
