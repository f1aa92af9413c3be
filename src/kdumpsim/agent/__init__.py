# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's hand in the guest: the agent's protocol over the second serial port."""
