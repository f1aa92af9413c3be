# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose PC a run happens on: ours, or QEMU's, with one face."""
