# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that run in ring 3 of the guest (docs/userland.md)."""
