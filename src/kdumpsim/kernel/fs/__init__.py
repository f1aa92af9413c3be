# SPDX-License-Identifier: GPL-2.0-or-later
"""Files: the file table, /proc and /sys, and toyfs on the disk."""
