# SPDX-License-Identifier: GPL-2.0-or-later
"""What each processor architecture brings to the kernel."""
