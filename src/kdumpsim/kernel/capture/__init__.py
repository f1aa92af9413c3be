# SPDX-License-Identifier: GPL-2.0-or-later
"""What only a capture kernel does: elfcorehdr, /proc/vmcore, /dev/oldmem, saving the dump."""
