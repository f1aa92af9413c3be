# SPDX-License-Identifier: GPL-2.0-or-later
"""LKCD: the kernel dumps itself to a block device; part of a kernel only with mechanism lkcd (`images.kernel`)."""
