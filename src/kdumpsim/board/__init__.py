# SPDX-License-Identifier: GPL-2.0-or-later
"""The board: clock, memory, buses, devices and the Machine that joins them."""
