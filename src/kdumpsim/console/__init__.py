# SPDX-License-Identifier: GPL-2.0-or-later
"""The console's language: commands typed at a machine, and scripts of them."""
