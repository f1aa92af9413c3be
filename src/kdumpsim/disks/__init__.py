# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies on the machine's disks: the toy file system, the swap area, the dump's header."""
