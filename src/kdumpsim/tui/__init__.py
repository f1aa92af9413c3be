# SPDX-License-Identifier: GPL-2.0-or-later
"""A run on a screen of text, forwards and backwards (docs/tui.md).  Only `app` and `panes` import textual."""
