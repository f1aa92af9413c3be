# SPDX-License-Identifier: GPL-2.0-or-later
"""How a dying kernel's memory gets out: the dump mechanisms, one module each."""
