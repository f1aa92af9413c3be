# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run is, as plain data: the PC, the kernel, the crash."""
