# SPDX-License-Identifier: GPL-2.0-or-later
"""LKDTT on the host: crash points, scenarios, and one run from power-on to a judged dump."""
