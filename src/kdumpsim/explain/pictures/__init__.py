# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of a run as SVG: what the machine was seen to do and to hold, drawn."""
