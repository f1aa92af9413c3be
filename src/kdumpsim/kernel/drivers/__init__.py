# SPDX-License-Identifier: GPL-2.0-or-later
"""Device drivers: serial ports, keyboard, PCI, IDE."""
